"""TSDI inside vLLM: one class for both of its model runners, around the kernel that all of Evenhand uses.

EVENHAND_TSDI=DIR vllm serve MODEL --logits-processors evenhand.bridges.vllm_tsdi:TsdiLogitsProcessor
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evenhand.bridges.vllm_tsdi_rows import Group, KernelSet, RequestSettings, RowBook, ServerSettings, correct
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.engines.token_bias import read_token_bias
from evenhand.errors import EngineError

if TYPE_CHECKING:
    import torch


"""``TsdiLogitsProcessor`` is made on first use, see `__getattr__`."""

_LOG = logging.getLogger(__name__)
_BASES = {
    "V1": ("vllm.v1.sample.logits_processor", {"apply": 2, "update_state": 2, "is_argmax_invariant": 1}),
    "V2": ("vllm.v1.worker.gpu.sample.logits_processor", {"apply": 3, "add_request": 3}),
}
"""Where each runner's base class is, and the parameters (with ``self``) that each method must have."""


class V1Shell:
    """The V1 runner: a persistent batch whose changes are reported, and one logits row a request."""

    def __init__(self, kernels: KernelSet, vllm_config: Any):
        if getattr(vllm_config, "speculative_config", None) is not None:
            raise EngineError(
                "vLLM's V1 runner does not apply custom logits processors with speculative decoding. "
                "Start it without a speculative config, or use Model Runner V2."
            )
        self.book = RowBook(kernels)

    def update_state(self, batch_update: Any) -> None:
        """Follow the batch; None means that no request came, left or moved."""
        if batch_update is not None:
            self.book.update(batch_update.removed, batch_update.added, batch_update.moved)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Correct logits [requests, width] in place. Raises EngineError where the batch was not followed."""
        return correct(logits, self.book.groups(logits.shape[0])) if self.book.rows else logits


class V2Shell:
    """Model Runner V2: requests in fixed slots, and rows that are mapped to slots anew in every step.

    ``req_states.prompt_len`` is the user's prompt (a resumed request keeps it), and ``ctx.pos`` the place of a row's last token in
    its sequence, so the token about to be drawn has position ``pos + 2 - prompt_len``, for draft tokens as well.
    """

    def __init__(self, kernels: KernelSet, vllm_config: Any, req_states: Any):
        self.kernels, self.states = kernels, req_states
        self.speculative = getattr(vllm_config, "speculative_config", None) is not None
        slots = int(req_states.max_num_reqs)
        self.slots: list[BiasKernel | None] = [None] * slots
        self.length = np.zeros(slots, dtype=np.int64)
        self.prefill = np.zeros(slots, dtype=np.int64)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """A request enters a slot; whatever the slot held is overwritten. Returns whether it is corrected."""
        wanted = self.kernels.of(sampling_params)
        self.slots[req_idx] = wanted[0] if wanted else None
        self.length[req_idx] = wanted[0].length if wanted else 0
        self.prefill[req_idx] = wanted[1] if wanted else 0
        return wanted is not None

    def apply(self, logits: torch.Tensor, ctx: Any) -> torch.Tensor:
        """Correct logits [rows, width] of the step that ``ctx`` describes.

        Without speculative decoding the lengths are on the host: nothing waits for the device, and a step in which no
        row is among the first positions costs nothing.
        """
        slots = np.asarray(ctx.idx_mapping_np)
        if not self.length[slots].any():
            return logits
        lengths = getattr(ctx, "seq_lens_upper_bound_np", None)
        if self.speculative or lengths is None or logits.shape[0] != len(slots):
            return self._on_device(logits, ctx, slots)
        drawn = np.asarray(lengths)[: len(slots)].astype(np.int64) - self.states.prompt_len.np[slots] + 1
        positions = drawn + self.prefill[slots]
        live = np.flatnonzero((drawn >= 1) & (positions <= self.length[slots]))
        return correct(logits, self._groups(slots, live, positions))

    def _groups(self, slots: Any, live: Any, positions: Any) -> list[Group]:
        rows: dict[int, tuple[BiasKernel, list[int]]] = {}
        for row in live.tolist():
            if (kernel := self.slots[slots[row]]) is not None:
                rows.setdefault(id(kernel), (kernel, []))[1].append(row)
        return [Group(kernel, np.asarray(of, dtype=np.int64), positions[of]) for kernel, of in rows.values()]

    def _on_device(self, logits: torch.Tensor, ctx: Any, slots: Any) -> torch.Tensor:
        """With drafts the lengths on the host are only bounds, so positions are reckoned on the device, row by row."""
        import torch

        kernels = {id(kernel): kernel for slot in slots.tolist() if (kernel := self.slots[slot]) is not None}
        numbers = {name: number for number, name in enumerate(kernels, start=1)}
        of_slot = np.array([numbers.get(id(kernel), 0) for kernel in self.slots], dtype=np.int64)
        owner = ctx.expanded_idx_mapping.long()
        drawn = ctx.pos.long() + 2 - self.states.prompt_len.gpu[owner].long()
        positions = drawn + torch.from_numpy(self.prefill).to(logits.device)[owner]
        number = torch.from_numpy(of_slot).to(logits.device)[owner]
        for name, kernel in kernels.items():
            mine = (number == numbers[name]) & (drawn >= 1)
            logits = kernel.apply(logits, torch.where(mine, positions, torch.zeros_like(positions)))
        return logits


class _Processor:
    """Subtracts a context-free bias from the first output positions of each request.

    Pass the class by its name: ``--logits-processors evenhand.bridges.vllm_tsdi:TsdiLogitsProcessor``. Never register it in the
    entry-point group ``vllm.logits_processors``: vLLM loads that group in every start, so a V2 engine would fail on a class bound
    to V1 alone, and any engine without an artefact on this one.

    The artefact's folder comes from ``--additional-config '{"tsdi": "DIR"}'`` (or a table: folder, alpha, length, on,
    allow_negative), else from the environment variable EVENHAND_TSDI. A request chooses by ``extra_args``, over HTTP by
    ``vllm_xargs``: ``{"tsdi": true, "tsdi_alpha": 0.5, "tsdi_prefill": 3}``, the last being the assistant tokens in its prompt.

    Which runner makes it decides what it is. Both interfaces were read in vLLM's public source and not run against an
    installed vLLM:

    * V1 (``vllm.v1.sample.logits_processor``): ``__init__(vllm_config, device, is_pin_memory)``, ``update_state``,
      ``apply(logits)``, ``is_argmax_invariant``. Applied on float32 logits before penalties and temperature. Custom
      processors do not go with speculative decoding there: refused.
    * V2 (``vllm.v1.worker.gpu.sample.logits_processor``): ``__init__(vllm_config, req_states)``, ``add_request(req_idx,
      sampling_params) -> bool``, ``apply(logits, ctx)``. Applied after penalties and grammar and before temperature, with one row
      a draft token. An earlier draft of it hands ``apply`` no positions: refused.

    Raises BadInput for an artefact that is missing, broken or made for another vocabulary, EngineError for what is refused.
    """

    def __init__(self, vllm_config: Any, device_or_states: Any, is_pin_memory: bool | None = None):
        server = ServerSettings.of(vllm_config)
        kernels = KernelSet(read_token_bias(server.folder), server)
        model = getattr(vllm_config, "model_config", None)
        if callable(width := getattr(model, "get_vocab_size", None)):
            kernels.fits(int(width()))
        self.shell: V1Shell | V2Shell
        if is_pin_memory is None:
            lacking = [name for name in ("max_num_reqs", "prompt_len") if not hasattr(device_or_states, name)]
            if lacking:
                raise EngineError(
                    f"vLLM's V2 runner gives request states without {', '.join(lacking)}: cannot tell positions."
                )
            self.shell = V2Shell(kernels, vllm_config, device_or_states)
        else:
            self.shell = V1Shell(kernels, vllm_config)
        header = kernels.bias.header
        _LOG.info("TSDI: %s, %d positions, alpha %g", server.folder, server.length or header.length, server.alpha)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise ValueError for arguments of a request that cannot be meant."""
        RequestSettings.read(getattr(sampling_params, "extra_args", None), on=True, alpha=1.0)

    def is_argmax_invariant(self) -> bool:
        """It changes which token is likeliest, so a greedy request needs it too."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """V1 only: see `V1Shell.update_state`."""
        self._v1().update_state(batch_update)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """V2 only: see `V2Shell.add_request`."""
        return self._v2().add_request(req_idx, sampling_params)

    def apply_staged_writes(self) -> None:
        """V2 only: nothing is staged."""

    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        """The corrected logits [rows, width]: V1 gives no context, V2 does."""
        return self._v1().apply(logits) if ctx is None else self._v2().apply(logits, ctx)

    def _v1(self) -> V1Shell:
        if not isinstance(self.shell, V1Shell):
            raise EngineError("This processor was made by vLLM's V2 runner, but is called as V1 calls it.")
        return self.shell

    def _v2(self) -> V2Shell:
        if not isinstance(self.shell, V2Shell):
            raise EngineError("This processor was made by vLLM's V1 runner, but is called as V2 calls it.")
        return self.shell


def installed_bases() -> dict[str, type]:
    """The base classes of the installed vLLM by runner, ``V1`` and ``V2``; empty where vLLM is not installed."""
    found = {}
    for runner, (module, _) in _BASES.items():
        try:
            base = getattr(importlib.import_module(module), "LogitsProcessor", None)
        except ImportError:
            continue
        if isinstance(base, type):
            found[runner] = base
    return found


def bind(bases: Mapping[str, type]) -> type:
    """``TsdiLogitsProcessor`` over vLLM's base classes, or a plain class where there are none.

    Raises EngineError where no base class has the methods that this was written for; one of two is left out with a warning.
    """
    wrong = {runner: reason for runner, base in bases.items() if (reason := _misfit(runner, base))}
    fitting = tuple(base for runner, base in bases.items() if runner not in wrong)
    reasons = "; ".join(f"{runner}: {reason}" for runner, reason in wrong.items())
    if wrong and not fitting:
        raise EngineError(
            f"The installed vLLM has another interface of logits processors than this version knows ({reasons}). "
            "Use a vLLM whose interface is described in evenhand.bridges.vllm_tsdi, or `evenhand serve`."
        )
    if wrong:
        _LOG.warning("TSDI works with one of vLLM's model runners only (%s).", reasons)
    return type("TsdiLogitsProcessor", (_Processor, *fitting), {"__module__": __name__, "__doc__": _Processor.__doc__})


def _misfit(runner: str, base: type) -> str:
    """Why a base class is not the one this was written for; empty if it is."""
    for name, count in _BASES[runner][1].items():
        method = getattr(base, name, None)
        if method is None:
            return f"no method {name}"
        if len(inspect.signature(method).parameters) != count:
            return f"{name}{inspect.signature(method)}"
    unknown = sorted(name for name in getattr(base, "__abstractmethods__", ()) if not hasattr(_Processor, name))
    return f"it also wants {', '.join(unknown)}" if unknown else ""


def __getattr__(name: str) -> Any:
    if name != "TsdiLogitsProcessor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = bind(installed_bases())
    globals()[name] = made
    return made
