"""The declaration of tsdi-sweep: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="tsdi-sweep",
    title="TSDI sweep",
    summary="TSDI over its settings: fronts, recommendation, checkpoints",
    paper="tsdi",
    section="evenhand.methods.tsdi.sweep.report.sweep:sweep_part",
    commands="evenhand.methods.tsdi.sweep.commands:add_commands",
    order=110,
)
