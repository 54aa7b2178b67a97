"""The declaration of tsdi-sweep: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="tsdi-sweep",
    title="TSDI sweep",
    summary="TSDI over its settings: fronts, recommendation, checkpoints",
    paper="tsdi",
    section="evenhand.methods.tsdi.sweep.page:sweep_part",
    order=110,
)
