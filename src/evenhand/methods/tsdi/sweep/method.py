"""TSDI sweep: the declaration of this method."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="tsdi-sweep",
    title="TSDI sweep",
    summary="TSDI over its settings: fronts, recommendation, checkpoints",
    paper="tsdi",
    section="evenhand.methods.tsdi.sweep.page:sweep_part",
    commands="evenhand.methods.tsdi.commands:add_sweep",
    order=110,
)
