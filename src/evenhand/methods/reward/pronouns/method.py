"""The declaration of affirmation: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="affirmation",
    title="Affirmation of pronouns",
    summary="misgendering, by pronoun family and stage",
    paper="reward",
    audit="evenhand.methods.reward.pronouns.audit:AffirmationAudit",
    settings="evenhand.methods.reward.pronouns.config:AffirmationSettings",
    shown=("config", "declared", "verdict", "pronoun", "text"),
    section="evenhand.methods.reward.pronouns.report.build:affirmation_part",
    order=30,
)
