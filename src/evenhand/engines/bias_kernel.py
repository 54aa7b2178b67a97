"""The one kernel that subtracts a context-free bias from logits, in numpy and torch alike."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evenhand.engines.chat import ChatRenderer
from evenhand.engines.spec import Tsdi
from evenhand.engines.token_bias import BiasHeader, TokenBias, read_token_bias, vocabulary_digest
from evenhand.errors import BadInput
from evenhand.records import Message

if TYPE_CHECKING:
    from evenhand.engines.token_bias import TokenBias

_WIDE = ("float32", "float64")


class BiasKernel:
    """``z~_i(v) = z_i(v) - alpha * b_i(v)`` for the output positions i = 1..length, and ``z_i`` unchanged after them.

    Parameters
    ----------
    bias : a `TokenBias`, or its table alone, shape ``[L, V]``, nats.
    alpha : strength. 1 is plain subtraction; more over-corrects (said in ``warnings``); 0 changes nothing, to the bit.
    length : how many leading positions are corrected, 1..L; None takes all L.
    allow_negative : accept ``alpha < 0``, which adds the bias once more: the model then refuses more, not less.

    The subtraction is done in the logits' own type where that is float32 or float64, else in float32 and cast back. A
    numpy array and a torch tensor of equal numbers get equal results, to the bit. See docs/tsdi.md.
    Raises BadInput for an alpha that is not finite or negative, a length out of range, a table with NaN or infinity.
    """

    def __init__(
        self,
        bias: TokenBias | NDArray[Any],
        *,
        alpha: float = 1.0,
        length: int | None = None,
        allow_negative: bool = False,
    ):
        table = np.asarray(getattr(bias, "bias", bias))
        if table.ndim != 2 or not table.size or table.dtype.kind != "f":
            raise BadInput(f"A bias is a table of floats [positions, vocabulary], not {table.dtype} {table.shape}.")
        if not np.isfinite(table).all():
            raise BadInput("The bias holds NaN or infinity.", do="Estimate it again.")
        rows = table.shape[0]
        length = rows if length is None else length
        if isinstance(length, bool) or not isinstance(length, int | np.integer) or not 1 <= length <= rows:
            raise BadInput(
                f"length={length} is not possible.", do=f"The bias has {rows} positions: choose 1 to {rows}."
            )
        self.alpha, self.length, self.vocabulary = _checked_alpha(alpha, allow_negative), int(length), table.shape[1]
        self.warnings: tuple[str, ...] = (
            (f"alpha = {self.alpha:g} is above 1: more than the measured bias is taken away.",)
            if self.alpha > 1
            else ()
        )
        # Adding zero turns -0.0 into 0.0: z - 0.0 is z to the bit, z - (-0.0) is not where z is -0.0.
        self._scaled: NDArray[np.float64] = self.alpha * table[: self.length].astype(np.float64) + 0.0
        self._tables: dict[tuple[str, str, int], Any] = {}

    def fits(self, width: int) -> None:
        """Raises BadInput, naming both widths, where logits of this width would lose a part of the bias that is not zero.

        Wider logits fit: the columns beyond the vocabulary are padding and stay as they are.
        """
        if width < self.vocabulary and self._scaled[:, width:].any():
            raise BadInput(
                f"The model's logits have {width} columns, the bias has {self.vocabulary}, and it is not zero in the "
                f"{self.vocabulary - width} columns that are missing.",
                do="Use the bias that was estimated for this model.",
            )

    def apply(self, logits: Any, positions: Any, *, normalised: bool = False) -> Any:
        """The corrected logits; the argument itself, unchanged, where no row is corrected.

        Parameters
        ----------
        logits : shape ``[rows, width]``, a numpy array or torch tensor of any float type; log-probabilities serve as well.
        positions : the 1-based output position of the token about to be drawn: one number for all rows, or ``[rows]``.
        normalised : return log-probabilities (log-softmax) in the corrected rows, as beam search needs.

        Minus infinity stays what it is, and so does a row of nothing else. Raises BadInput for shapes that do not fit.
        """
        if len(logits.shape) != 2:
            raise BadInput(f"Logits have the shape [rows, width], not {tuple(logits.shape)}.")
        count, width = int(logits.shape[0]), int(logits.shape[1])
        where = _positions(positions, count)
        if self.alpha == 0:
            return logits
        if where.ndim == 0:
            if not 1 <= int(where) <= self.length:
                return logits
            return self._subtract(logits, int(where) - 1, width, normalised)
        inside = (where >= 1) & (where <= self.length)
        if not inside.any():
            return logits
        if inside.all():
            first = int(where[0])
            at = first - 1 if bool((where == first).all()) else where - 1
            return self._subtract(logits, at, width, normalised)
        rows = np.flatnonzero(inside)
        if isinstance(logits, np.ndarray):
            out = logits.copy()
            out[rows] = self._subtract(logits[rows], where[rows] - 1, width, normalised)
            return out
        import torch

        index = torch.from_numpy(rows).to(logits.device)
        return logits.index_copy(0, index, self._subtract(logits[index], where[rows] - 1, width, normalised))

    def _subtract(self, logits: Any, at: int | NDArray[np.int64], width: int, normalised: bool) -> Any:
        """Every row corrected; ``at`` is the row of the table, one for all or one for each."""
        own = str(logits.dtype).removeprefix("torch.")
        dtype = own if own in _WIDE else "float32"
        if "float" not in own:
            raise BadInput(f"Logits are floats, not {own}.")
        if isinstance(logits, np.ndarray):
            wide = logits.astype(dtype, copy=False)
            table = self._table("numpy", dtype, width)
            out = wide - table[at]
            out = _log_softmax_numpy(out) if normalised else out
            return out.astype(logits.dtype, copy=False)
        import torch

        table = self._table(str(logits.device), dtype, width)
        picked = table[at] if isinstance(at, int) else table[torch.from_numpy(at).to(logits.device)]
        out = logits.to(getattr(torch, dtype)) - picked
        out = _log_softmax_torch(out) if normalised else out
        return out.to(logits.dtype)

    def _table(self, device: str, dtype: str, width: int) -> Any:
        """``alpha * b`` of this width, zeros beyond the vocabulary, kept for the next call; shape ``[length, width]``."""
        key = (device, dtype, width)
        if key not in self._tables:
            self.fits(width)
            table = np.zeros((self.length, width), dtype=dtype)
            shared = min(width, self.vocabulary)
            table[:, :shared] = self._scaled[:, :shared]
            self._tables[key] = table if device == "numpy" else _on_device(table, device)
        return self._tables[key]


def _checked_alpha(alpha: float, allow_negative: bool) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.number) or not math.isfinite(alpha):
        raise BadInput(f"alpha = {alpha} is not a finite number.", do="1 subtracts the whole bias, 0.5 half of it.")
    if alpha < 0 and not allow_negative:
        raise BadInput(
            f"alpha = {alpha:g} is negative: it would make the model refuse more.",
            do="Ask for it explicitly (allow_negative) if that is what you want to study.",
        )
    return float(alpha)


def _positions(positions: Any, count: int) -> NDArray[np.int64]:
    """Positions on the host, int64, a scalar or ``[count]``."""
    if isinstance(positions, int):
        return np.asarray(positions, dtype=np.int64)
    found = np.asarray(positions.detach().cpu() if hasattr(positions, "detach") else positions)
    if found.dtype.kind not in "iu" and found.size:
        raise BadInput(f"Positions are whole numbers, not {found.dtype}.")
    if found.shape not in ((), (count,)):
        raise BadInput(f"There are positions of the shape {found.shape} for {count} rows of logits.")
    return found.astype(np.int64)


def _on_device(table: NDArray[Any], device: str) -> Any:
    import torch

    with torch.inference_mode(False):  # a table that is made within inference mode must serve outside it too
        return torch.from_numpy(table).to(device)


def _log_softmax_numpy(values: NDArray[Any]) -> NDArray[Any]:
    top = values.max(axis=-1, keepdims=True)
    alive = top != -np.inf
    shifted = values - np.where(alive, top, 0)
    with np.errstate(divide="ignore"):
        return shifted - np.where(alive, np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), 0)


def _log_softmax_torch(values: Any) -> Any:
    import torch

    # The log-softmax of a row of nothing but minus infinity would be NaN.
    dead = torch.isneginf(values.amax(dim=-1, keepdim=True))
    return torch.where(dead, values, torch.log_softmax(values, dim=-1))


_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Correction:
    """A bias, the kernel that subtracts it, and ``label``: what it is called in a model's identity."""

    bias: TokenBias
    kernel: BiasKernel
    label: str


def check_tokenizer(header: BiasHeader, tokenizer: Any, *, bias: str, name: str) -> None:
    """Raises BadInput, naming both, where ``name``'s tokenizer has other ids than the one the bias was estimated with."""
    found = vocabulary_digest(tokenizer)
    if found != header.tokenizer:
        raise BadInput(
            f"The bias in {bias} belongs to the tokenizer {header.tokenizer} (of {_model(header)}), but {name} has the "
            f"tokenizer {found}: a token's id does not mean the same in both.",
            do="Estimate a bias for this model.",
        )


def open_correction(asked: Tsdi, tokenizer: Any, renderer: ChatRenderer) -> Correction:
    """Read the bias of a spec for the model of ``renderer``.

    Raises BadInput for a bias that cannot be read, of another tokenizer or another chat template (position 1 would not
    mean the same), EngineError for a template that opens a reasoning block.
    """
    bias = read_token_bias(asked.folder)
    header, name = bias.header, renderer.name
    check_tokenizer(header, tokenizer, bias=str(asked.folder), name=name)
    if header.template != renderer.digest:
        raise BadInput(
            f"The bias in {asked.folder} was estimated under the chat template {header.template} (of {_model(header)}), "
            f"but {name} uses {renderer.digest}: the first assistant token does not stand at the same place.",
            do="Estimate a bias under this template.",
        )
    renderer.may_reason = False
    renderer.prompts([(Message("user", "Hello"),)])  # most templates that open a reasoning block do so always
    kernel = BiasKernel(bias, alpha=asked.alpha, length=asked.length)
    for warning in kernel.warnings:
        _LOG.warning("%s: %s", name, warning)
    return Correction(bias, kernel, f"tsdi {bias.digest} alpha={kernel.alpha:g} length={kernel.length}")


def _model(header: BiasHeader) -> str:
    return str(header.aligned.get("spec") or "an unnamed model")
