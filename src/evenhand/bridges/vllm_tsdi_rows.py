"""The part of the vLLM bridge that knows nothing of vLLM: settings, kernels, and which row needs which vector.

A row's position is always ``len(output tokens) + 1`` (plus a declared prefill). It is never a count of calls: chunked prefill,
preemption and recomputation call the sampler at other times than once a token.
"""

from __future__ import annotations

import logging
import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.token_bias import TokenBias
from evenhand.errors import BadInput, EngineError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


_LOG = logging.getLogger(__name__)
ENVIRONMENT = "EVENHAND_TSDI"
"""The environment variable that names the artefact's folder where vLLM's ``additional_config`` does not."""

_SWITCH, _STRENGTH, _PREFILL = "tsdi", "tsdi_alpha", "tsdi_prefill"
_MOST_KERNELS = 32
_MOST_ALPHA = 2
"""The strongest correction that a request may ask for; the server's own setting is not bound by it."""
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class ServerSettings(BaseModel):
    """What the server corrects with; fixed for its life."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="Folder of the artefact: bias.safetensors and header.json.")
    alpha: float = Field(1.0, allow_inf_nan=False, description="Strength for requests that name none.")
    length: int | None = Field(
        None, ge=1, description="Leading positions to correct; by default all that were estimated."
    )
    on: bool = Field(True, description="Whether a request that does not say is corrected.")
    allow_negative: bool = Field(False, description="Permit alpha < 0, which makes the model refuse more.")

    @classmethod
    def of(cls, vllm_config: Any) -> ServerSettings:
        """From ``additional_config={"tsdi": FOLDER or {...}}``, else from the environment variable EVENHAND_TSDI.

        Raises BadInput where neither names a folder, or the settings cannot be read.
        """
        additional = getattr(vllm_config, "additional_config", None)
        found = additional.get(_SWITCH) if isinstance(additional, Mapping) else None
        source = "additional_config['tsdi']"
        if found is None:
            source, found = ENVIRONMENT, os.environ.get(ENVIRONMENT, "").strip() or None
        if found is None:
            raise BadInput(
                "The TSDI logits processor is loaded, but nothing names the artefact to correct with.",
                do=f'Set {ENVIRONMENT}=DIR or pass --additional-config \'{{"tsdi": "DIR"}}\'.',
            )
        try:
            return cls.model_validate(dict(found) if isinstance(found, Mapping) else {"folder": found})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "it"
            raise BadInput(f"{source} cannot be read: {name}: {first['msg']}.", do="Give a folder.") from error


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """What one request asks for: whether it is corrected, how strongly, and how many assistant tokens its prompt holds."""

    on: bool
    alpha: float
    prefill: int = 0

    @classmethod
    def read(cls, arguments: Any, *, on: bool, alpha: float) -> RequestSettings:
        """From a request's ``extra_args`` (over HTTP: ``vllm_xargs``); what it does not say is the server's.

        Raises ValueError, as vLLM wants it, for a key or value that cannot be meant.
        """
        if arguments is None:
            return cls(on, alpha)
        if not isinstance(arguments, Mapping):
            raise ValueError(f"extra_args is a {type(arguments).__name__}, not a table of names and values.")
        known = (_SWITCH, _STRENGTH, _PREFILL)
        odd = [str(key) for key in arguments if str(key).startswith(_SWITCH) and key not in known]
        if odd:
            raise ValueError(f"There is no argument {odd[0][:40]!r}. Known: {', '.join(known)}.")
        if (value := arguments.get(_SWITCH)) is not None:
            on = _switch(value)
        if (value := arguments.get(_STRENGTH)) is not None:
            alpha = _strength(value)
        value = arguments.get(_PREFILL)
        return cls(on, alpha, 0 if value is None else _tokens(value))


def _switch(value: Any) -> bool:
    text = str(value).strip().lower()
    if not isinstance(value, bool | int | str) or text not in _TRUE + _FALSE:
        raise ValueError(f"{_SWITCH} must be true or false, not {str(value)[:40]!r}.")
    return text in _TRUE


def _strength(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{_STRENGTH} must be a number, not a {type(value).__name__}.")
    try:
        alpha = float(value)
    except (ValueError, OverflowError):
        alpha = math.nan
    if not math.isfinite(alpha):
        raise ValueError(f"{_STRENGTH} must be a finite number, not {str(value)[:40]!r}.")
    if alpha < 0:
        raise ValueError(f"{_STRENGTH} is {alpha:g}: a request may not make the model refuse more. Use 0 or more.")
    if alpha > _MOST_ALPHA or abs(alpha * 100 - round(alpha * 100)) > 1e-6:
        raise ValueError(
            f"{_STRENGTH} is {alpha:g}: give hundredths from 0 to {_MOST_ALPHA}; the server holds a table for each strength."
        )
    return round(alpha, 2)


def _tokens(value: Any) -> int:
    whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (isinstance(value, int) or whole) or not 0 <= value < 2**31:
        raise ValueError(f"{_PREFILL} must be a whole number of tokens, 0 or more, not {str(value)[:40]!r}.")
    return int(value)


class KernelSet:
    """The kernels of one server, one for each strength that requests ask for; the least used ones are let go."""

    def __init__(self, bias: TokenBias, server: ServerSettings):
        self.bias, self.server = bias, server
        self._made: OrderedDict[float, BiasKernel] = OrderedDict()
        self.at(server.alpha)

    def fits(self, width: int) -> None:
        """Raise BadInput where logits of this width cannot be corrected."""
        self.at(self.server.alpha).fits(width)

    def at(self, alpha: float) -> BiasKernel:
        """The kernel of one strength. Raises BadInput where the strength is not allowed."""
        kernel = self._made.get(alpha)
        if kernel is None:
            negative = {"allow_negative": True} if self.server.allow_negative and alpha < 0 else {}
            kernel = BiasKernel(self.bias, alpha=alpha, length=self.server.length, **negative)
            for warning in kernel.warnings:
                _LOG.warning("%s", warning)
            self._made[alpha] = kernel
            if len(self._made) > _MOST_KERNELS:
                self._made.popitem(last=False)
        self._made.move_to_end(alpha)
        return kernel

    def of(self, params: Any) -> tuple[BiasKernel, int] | None:
        """A request's kernel and prefill, or None where nothing is to be corrected.

        Arguments that cannot be meant are refused before, by ``validate_params``. Where a vLLM does not ask it, the request
        is not corrected and an error is logged: an exception here would end the engine for every client.
        """
        server = self.server
        try:
            wanted = RequestSettings.read(getattr(params, "extra_args", None), on=server.on, alpha=server.alpha)
        except ValueError as error:
            _LOG.error("A request is answered without the TSDI correction: %s", error)
            return None
        if not wanted.on or wanted.alpha == 0:
            return None
        kernel = self.at(wanted.alpha)
        return (kernel, wanted.prefill) if wanted.prefill < kernel.length else None


@dataclass(frozen=True, slots=True)
class _Row:
    """One corrected request; ``output`` is the engine's own list of its output tokens, which grows."""

    kernel: BiasKernel
    output: Sequence[int]
    prefill: int

    @property
    def position(self) -> int:
        """1-based position of the token about to be drawn."""
        return len(self.output) + 1 + self.prefill


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows that share a kernel: their indices [n] and 1-based positions [n]."""

    kernel: BiasKernel
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]


class RowBook:
    """Which request is in which row of a V1 batch. Requests that are not corrected have no entry."""

    def __init__(self, kernels: KernelSet):
        self.kernels = kernels
        self.rows: dict[int, _Row] = {}

    def update(self, removed: Iterable[int], added: Iterable[Sequence[Any]], moved: Iterable[Sequence[Any]]) -> None:
        """Follow a step's changes in vLLM's order: removed, added, moved.

        An added or moved request takes the place of whatever was there. ``added`` holds (row, params, ..., output tokens),
        ``moved`` (from, to, direction), where the direction's name is SWAP or UNIDIRECTIONAL.
        """
        for row in removed:
            self.rows.pop(row, None)
        for row, params, *_, output in added:
            self.rows.pop(row, None)
            if (wanted := self.kernels.of(params)) is not None:
                self.rows[row] = _Row(wanted[0], output, wanted[1])
        for source, target, direction in moved:
            one, other = self.rows.pop(source, None), self.rows.pop(target, None)
            if one is not None:
                self.rows[target] = one
            if other is not None and direction.name == "SWAP":
                self.rows[source] = other

    def groups(self, count: int) -> list[Group]:
        """The rows to be corrected now, by kernel. Raises EngineError where a row lies beyond the batch's ``count``."""
        found: dict[int, tuple[BiasKernel, list[int], list[int]]] = {}
        for index, row in self.rows.items():
            if (position := row.position) <= row.kernel.length:
                _, rows, positions = found.setdefault(id(row.kernel), (row.kernel, [], []))
                rows.append(index)
                positions.append(position)
        last = max((max(rows) for _, rows, _ in found.values()), default=-1)
        if last >= count:
            raise EngineError(
                f"vLLM gave logits of {count} requests, but row {last} is in use: the batch was not followed. "
                "This vLLM moves rows in a way that this version does not know; please report it with vLLM's version."
            )
        return [
            Group(kernel, np.asarray(rows, dtype=np.int64), np.asarray(positions, dtype=np.int64))
            for kernel, rows, positions in found.values()
        ]


def correct(logits: torch.Tensor, groups: Sequence[Group]) -> torch.Tensor:
    """The logits [rows, width] with each group's rows corrected, in place; all other rows keep their bits."""
    import torch

    for group in groups:
        rows = torch.from_numpy(group.rows).to(logits.device)
        same = bool((group.positions == group.positions[0]).all())
        positions = int(group.positions[0]) if same else group.positions
        logits.index_copy_(0, rows, group.kernel.apply(logits.index_select(0, rows), positions))
    return logits
