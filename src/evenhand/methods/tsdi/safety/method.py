"""Safety by category: the declaration of this method."""

from __future__ import annotations

from evenhand.registry import Entry, Method

_SETS = "evenhand.datasets.safety_prompts"

METHOD = Method(
    name="safety",
    title="Safety by category",
    summary="safety by category, over-refusal, the shift of refusal openers",
    paper="tsdi",
    audit="evenhand.methods.tsdi.safety.audit:SafetyAudit",
    settings="evenhand.methods.tsdi.config:SafetySettings",
    section="evenhand.methods.tsdi.safety.page:safety_part",
    sets={
        "safety-sets": (
            Entry("shipped", f"{_SETS}:shipped", "shipped: placeholder requests for the organisms"),
            Entry("beavertails", f"{_SETS}:beavertails", "BeaverTails-Evaluation: harmful prompts in 14 categories"),
            Entry("sacpo", f"{_SETS}:sacpo", "the prompts that SACPO is judged by: 83 harmful, 129 benign"),
            Entry("xstest", f"{_SETS}:xstest", "XSTest v2: safe prompts that look unsafe, and their unsafe contrasts"),
        )
    },
    order=60,
)
