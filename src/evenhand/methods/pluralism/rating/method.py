"""The declaration of pluralism: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="pluralism",
    title="Pluralism of safety ratings",
    summary="do safety ratings move with the rater's profile, and as people's do",
    paper="pluralism",
    audit="evenhand.methods.pluralism.rating.audit:PluralismAudit",
    shown=("config", "rater_id", "item_id", "paraphrase", "order", "status", "label", "value", "text"),
    section="evenhand.methods.pluralism.rating.page:pluralism_part",
    order=70,
)
