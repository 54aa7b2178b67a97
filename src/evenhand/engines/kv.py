"""Keys and values in preallocated slots: one slot per distinct history, written in place, copied only when it forks."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from math import prod
from typing import Any

from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from evenhand.errors import EngineError

_GROWTH = 1.5


@dataclass(slots=True)
class _Focus:
    """Which slots the next forward pass reads and writes, and how many positions they hold already."""

    slots: int
    capacity: int
    low: int
    high: int
    length: int = 0


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, shape ``[slots, heads, capacity, head size]``; sliding layers keep everything."""

    def __init__(self, focus: _Focus, sliding: bool, kept: dict[str, Any]):
        super().__init__()
        self.focus = focus
        self.is_sliding = sliding
        self.kept = kept

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        """Take room for every slot; memory that is never written is never touched."""
        for name, states in (("keys", key_states), ("values", value_states)):
            setattr(self, name, self._room(name, states, self.focus.capacity))
        self.is_initialized = True

    def _room(self, name: str, like: Any, capacity: int) -> Any:
        """An uninitialised tensor, in the memory of an earlier batch where it fits."""
        shape = (self.focus.slots, like.shape[1], capacity, like.shape[3])
        size = prod(shape)
        if like.device.type != "cpu":  # an accelerator's allocator keeps memory itself
            return like.new_empty(shape)
        flat = self.kept.get(name)
        if flat is None or flat.numel() < size or flat.dtype != like.dtype:
            self.kept[name] = flat = like.new_empty(size)
        return flat[:size].view(shape)

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write the new positions of the slots in focus and return views of all their positions."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        at = self.focus
        start, stop = at.length, at.length + key_states.shape[2]
        self.keys[at.low : at.high, :, start:stop] = key_states
        self.values[at.low : at.high, :, start:stop] = value_states
        return self.keys[at.low : at.high, :, :stop], self.values[at.low : at.high, :, :stop]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what attention sees: every position, also in sliding layers (the mask cuts them)."""
        return self.focus.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions held before the current forward pass."""
        return self.focus.length

    def get_max_length(self) -> int:
        """No maximum: the capacity grows."""
        return -1

    def move(self, targets: Any, sources: Any) -> None:
        """Copy whole slots, up to the positions in use."""
        if self.is_initialized:
            for states in (self.keys, self.values):  # three times as fast as indexing with both at once
                used = states[:, :, : self.focus.length]
                used.index_copy_(0, targets, used.index_select(0, sources))

    def grow(self, capacity: int) -> None:
        """Make room for more positions."""
        if self.is_initialized:
            used = self.focus.length
            for name in ("keys", "values"):
                old = getattr(self, name)
                self.kept.pop(name, None)
                new = self._room(name, old, capacity)
                new[: self.focus.high, :, :used] = old[: self.focus.high, :, :used]
                setattr(self, name, new)


class SlotCache(Cache):  # type: ignore[misc]
    """The cache of one batch.

    ``layout`` comes from `cache_layout`; ``slots`` is the most histories it can hold. ``kept`` holds the memory of the
    batch before, layer by layer: fresh memory costs a page fault for every 4 KiB, a tenth of the time of a small model.
    """

    def __init__(self, layout: tuple[str, ...], slots: int, capacity: int, kept: list[dict[str, Any]]):
        self.focus = _Focus(slots=slots, capacity=capacity, low=0, high=slots)
        super().__init__(
            layers=[
                DummyLayer() if kind == "dummy" else _SlotLayer(self.focus, kind == "sliding", memory)
                for kind, memory in zip(layout, kept, strict=True)
            ]
        )

    def see(self, low: int, high: int, length: int) -> None:
        """Let the next forward pass work on slots ``low`` to ``high`` (exclusive), which hold ``length`` positions."""
        self.focus.low, self.focus.high, self.focus.length = low, high, length

    def reserve(self, length: int, most: int) -> None:
        """Make sure that ``length`` positions fit; growth is geometric and never beyond ``most``."""
        if length > self.focus.capacity:
            capacity = min(most, max(length, int(self.focus.capacity * _GROWTH)))
            for layer in self.layers:
                if isinstance(layer, _SlotLayer):
                    layer.grow(capacity)
            self.focus.capacity = capacity

    def move(self, targets: Any, sources: Any) -> None:
        """Copy slots ``sources`` over slots ``targets`` (index tensors; the two are disjoint) in every layer."""
        for layer in self.layers:
            if isinstance(layer, _SlotLayer):
                layer.move(targets, sources)


def cache_layout(model: Any) -> tuple[str, ...]:
    """``full``, ``sliding`` or ``dummy`` for each layer of a transformers model.

    Raises EngineError where the model remembers in another way (state-space, linear or compressed attention,
    an encoder): such a model cannot be decoded with shared and forked histories.
    """
    name = type(model).__name__
    if getattr(model, "_is_stateful", False) or getattr(model.config, "is_encoder_decoder", False):
        raise EngineError(
            f"{name} keeps a state other than keys and values, which this engine cannot share between repetitions. "
            "Serve it behind an OpenAI-style endpoint and use http://HOST/v1#MODEL."
        )
    kinds: dict[type, str] = {DynamicLayer: "full", DynamicSlidingWindowLayer: "sliding", DummyLayer: "dummy"}
    try:
        layers = DynamicCache(config=model.config).layers
        layout = tuple(kinds[type(layer)] for layer in layers)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise EngineError(
            f"{name} has cache layers of a kind this engine does not know ({error}). "
            "Serve it behind an OpenAI-style endpoint and use http://HOST/v1#MODEL."
        ) from error
    if not layout:
        raise EngineError(f"{name} does not say which layers it caches. Serve it behind an OpenAI-style endpoint.")
    return layout


def cache_argument(model: Any) -> str:
    """The name under which a transformers model's ``forward`` takes its cache.

    It is ``cache`` from transformers 5.24 on and ``past_key_values`` before; the signature says which.
    """
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def kv_bytes_per_token(config: Any, bytes_per_number: int) -> int:
    """Bytes of keys and values that one token takes over all layers, from the model's configuration."""
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_attention_heads", None) or 1
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or max(1, (getattr(text, "hidden_size", None) or heads) // heads)
    layers = getattr(text, "num_hidden_layers", None) or 1
    return int(2 * layers * kv_heads * size * bytes_per_number)
