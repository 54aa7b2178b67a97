"""The declaration of affirmation: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="affirmation",
    title="Affirmation of pronouns",
    summary="misgendering, by pronoun family and stage",
    paper="reward",
    audit="evenhand.methods.reward.pronouns.audit:AffirmationAudit",
    shown=("config", "declared", "verdict", "pronoun", "text"),
    section="evenhand.methods.reward.pronouns.page:affirmation_part",
    order=30,
)
