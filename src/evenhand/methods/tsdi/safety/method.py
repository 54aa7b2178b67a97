"""The declaration of safety: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="safety",
    title="Safety by category",
    summary="safety by category, over-refusal, the shift of refusal openers",
    paper="tsdi",
    audit="evenhand.methods.tsdi.safety.audit:SafetyAudit",
    section="evenhand.methods.tsdi.safety.page:safety_part",
    order=60,
)
