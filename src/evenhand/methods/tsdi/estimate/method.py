"""TSDI estimate: the declaration of this method."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="tsdi",
    title="TSDI estimate",
    summary="the context-free shift of opening tokens, and the correction that subtracts it",
    paper="tsdi",
    rows="tokens",
    shown=("position", "among", "direction", "rank", "token", "opener", "bias", "standard_error"),
    section="evenhand.methods.tsdi.estimate.page:tsdi_part",
    commands="evenhand.methods.tsdi.commands:add_repair",
    order=100,
)
