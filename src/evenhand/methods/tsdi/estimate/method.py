"""The declaration of tsdi: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="tsdi",
    title="TSDI estimate",
    summary="the context-free shift of opening tokens, and the correction that takes it off",
    paper="tsdi",
    shown=("position", "among", "direction", "rank", "token", "opener", "bias", "standard_error"),
    section="evenhand.methods.tsdi.estimate.page:tsdi_part",
    order=100,
)
