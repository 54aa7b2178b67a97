"""The estimator: log-softmax of both models over the same random contexts, averaged; a resumed run ends with the same bytes.

Contexts are taken in the order of their numbers. The stop rule is checked every 128 of them and batches end there, so batch size
decides neither a context nor how many there are. docs/tsdi.md has the formulas.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from xxhash import xxh128

from evenhand.errors import BadInput, EngineError
from evenhand.files import write_atomically
from evenhand.methods.tsdi.estimate.contexts import Contexts
from evenhand.methods.tsdi.estimate.models import RowSource
from evenhand.methods.tsdi.estimate.tokens import TokenSpace

_ELEMENTS = 1 << 22
"""Most float64 numbers of one intermediate table (32 MiB)."""


class Moments:
    """Moments over draws of d = ln p_aligned - ln p_reference, shape ``[positions, tokens]``, and of both probabilities.

    ``openers`` are places in the token axis; their d, less the mean of d over all tokens, has its covariance over draws kept,
    ``[positions, openers, openers]``, so that the standard error of any mean over them is known. ``ratio`` keeps the second
    moments of the probabilities too, which the ratio of means needs.
    """

    def __init__(self, length: int, tokens: int, openers: Any, device: Any, *, ratio: bool = False):
        self.n = 0
        self.openers = torch.as_tensor(openers, dtype=torch.long, device=device)
        self.ratio = ratio

        def zeros(*shape: int) -> Any:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        kinds = ("mean", "m2", "p_aligned", "p_reference", *(("m2_aligned", "m2_reference", "both") if ratio else ()))
        self.tables: dict[str, Any] = {name: zeros(length, tokens) for name in kinds}
        count = len(self.openers)
        self.tables["opener_mean"], self.tables["opener_m2"] = zeros(length, count), zeros(length, count, count)

    def add(self, aligned: Any, reference: Any) -> None:
        """Add a batch of log-probabilities in nats, two tensors ``[draws, positions, tokens]``, floored and finite."""
        draws, positions, tokens = aligned.shape
        if draws == 0:
            return
        after = self.n + draws
        step = max(1, _ELEMENTS // (draws * tokens))
        for low in range(0, positions, step):
            part = slice(low, min(low + step, positions))
            self._add(aligned[:, part], reference[:, part], part, draws, after)
        self.n = after

    def _add(self, aligned: Any, reference: Any, part: slice, draws: int, after: int) -> None:
        d = aligned.double().sub_(reference)
        if len(self.openers):
            self._openers(d, part, draws, after)
        self._moments("mean", "m2", d, part, draws, after)
        del d
        p, q = aligned.exp(), reference.exp()
        if self.ratio:
            self._pair(p.double(), q.double(), part, draws, after)
            return
        for name, value in (("p_aligned", p), ("p_reference", q)):
            mean = self.tables[name][part]
            mean.add_(value.sum(0, dtype=torch.float64).sub_(mean * draws), alpha=1 / after)

    def _moments(self, mean_name: str, m2_name: str, values: Any, part: slice, draws: int, after: int) -> Any:
        """Merge one batch; ``values`` becomes its deviations. Returns (deviations, shift of the batch mean)."""
        mean, m2 = self.tables[mean_name][part], self.tables[m2_name][part]
        batch_mean = values.mean(0)
        values.sub_(batch_mean)
        shift = batch_mean - mean
        m2.add_((values * values).sum(0)).add_(shift * shift, alpha=self.n * draws / after)
        mean.add_(shift, alpha=draws / after)
        return values, shift

    def _pair(self, p: Any, q: Any, part: slice, draws: int, after: int) -> None:
        apart_p, shift_p = self._moments("p_aligned", "m2_aligned", p, part, draws, after)
        apart_q, shift_q = self._moments("p_reference", "m2_reference", q, part, draws, after)
        both = self.tables["both"][part]
        both.add_((apart_p * apart_q).sum(0)).add_(shift_p * shift_q, alpha=self.n * draws / after)

    def _openers(self, d: Any, part: slice, draws: int, after: int) -> None:
        x = d.index_select(-1, self.openers) - d.mean(-1, keepdim=True)
        mean, m2 = self.tables["opener_mean"][part], self.tables["opener_m2"][part]
        batch_mean = x.mean(0)
        x.sub_(batch_mean)
        shift = batch_mean - mean
        m2.add_(torch.einsum("nlk,nlj->lkj", x, x))
        m2.add_(shift[:, :, None] * shift[:, None, :], alpha=self.n * draws / after)
        mean.add_(shift, alpha=draws / after)

    def variance_of_mean(self) -> Any:
        """Variance of the mean of d, ``[positions, tokens]``; needs two draws."""
        return self.tables["m2"] / ((self.n - 1) * self.n)

    def variance_of_ratio(self) -> Any:
        """Variance of ln(mean p_aligned / mean p_reference) by the delta method; only with ``ratio``."""
        t = self.tables
        p, q = (t[name].clamp_min(1e-300) for name in ("p_aligned", "p_reference"))
        spread = t["m2_aligned"] / p**2 + t["m2_reference"] / q**2 - 2 * t["both"] / (p * q)
        return spread.clamp_min(0) / ((self.n - 1) * self.n)

    def opener_covariance(self) -> Any:
        """Covariance of the openers' means, ``[positions, openers, openers]``."""
        return self.tables["opener_m2"] / ((self.n - 1) * self.n)

    def state(self) -> dict[str, Any]:
        """All tables on the CPU, contiguous; together with ``n`` all that a resumed run needs."""
        return {name: table.cpu().contiguous() for name, table in self.tables.items()}

    def restore(self, tables: Mapping[str, Any], n: int) -> None:
        """Restore a stored state of the same shape."""
        for name, table in self.tables.items():
            table.copy_(tables[name])
        self.n = n


CHECK_EVERY = 128
"""Contexts between two checks of the stop rule."""
LIKELY = 1e-4
"""Mean probability, in either model, above which a token counts for the stop rule."""
MOST_DROPPED = 0.01
"""Share of contexts with logits that are not numbers, above which the estimate fails."""
_STATE = {"next", "n", "dropped"}
SAVE_EVERY = 8
"""Batches between two checkpoints."""


@dataclass(frozen=True, slots=True)
class EstimateSettings:
    """What decides an estimate besides contexts and models. With ``target_error`` None exactly ``draws`` contexts are used."""

    draws: int
    target_error: float | None = 0.05
    floor: float = -40.0
    gauge: Literal["median", "none"] = "median"
    estimator: Literal["mean_log_ratio", "ratio_of_means"] = "mean_log_ratio"
    variant: Literal["random", "aligned", "reference"] = "random"
    batch: int = 32


@dataclass(frozen=True, slots=True, eq=False)
class Estimated:
    """The estimated tables.

    The first four tables are float32 ``[length, vocabulary]``: bias and standard error (nats), mean probabilities of both models.
    ``opener_shift``, float64 ``[length, openers]``, is the mean log-ratio of each refusal opener less the median over all valid
    tokens, and ``opener_covariance`` ``[length, openers, openers]`` its covariance. ``draws`` were averaged, ``dropped`` left out.
    ``achieved_error`` is the largest standard error among likely tokens, by position.
    """

    bias: NDArray[np.float32]
    standard_error: NDArray[np.float32]
    p_aligned: NDArray[np.float32]
    p_reference: NDArray[np.float32]
    openers: tuple[int, ...]
    opener_shift: NDArray[np.float64]
    opener_covariance: NDArray[np.float64]
    draws: int
    dropped: int
    achieved_error: tuple[float, ...]


class _Loop:
    """The state of one estimate: moments, number of the next context, and count of dropped ones."""

    def __init__(
        self, contexts: Contexts, space: TokenSpace, settings: EstimateSettings, openers: Sequence[int], device: Any
    ):
        self.contexts, self.space, self.settings = contexts, space, settings
        places = np.searchsorted(space.valid, np.asarray(openers, dtype=np.int64))
        assert all(space.valid[place] == token for place, token in zip(places, openers, strict=True))
        self.moments = Moments(
            contexts.length, len(space.valid), places, device, ratio=settings.estimator == "ratio_of_means"
        )
        self.device = device
        self.next = self.dropped = 0
        contiguous = space.valid[-1] == len(space.valid) - 1
        self._ids = None if contiguous else torch.from_numpy(space.valid).to(device)
        self._allowed = space.valid[space.measured]
        self._measured = torch.from_numpy(space.measured).to(device)

    def log_probs(self, logits: Any, name: str) -> Any:
        """Float32 log-probabilities over the valid ids, not below the floor; NaN if the model gave no numbers."""
        width = logits.shape[-1]
        if width <= int(self.space.valid[-1]):
            raise EngineError(
                f"{name} returned logits of {width:,} tokens, but its config and tokenizer go up to id {self.space.valid[-1]:,}."
            )
        logits = logits[..., : len(self.space.valid)] if self._ids is None else logits.index_select(-1, self._ids)
        return torch.log_softmax(logits.float(), -1).clamp_min_(self.settings.floor)

    def batch(self, aligned: RowSource, reference: RowSource) -> None:
        """Add the next batch to the moments."""
        border = (self.next // CHECK_EVERY + 1) * CHECK_EVERY
        end = min(self.next + self.settings.batch, border, self.settings.draws)
        draws = [self.contexts.draw(number) for number in range(self.next, end)]
        writer = {"aligned": aligned, "reference": reference}.get(self.settings.variant)
        after: Any = [draw.after for draw in draws]
        if writer is not None and self.contexts.length > 1:
            bare = [self.contexts.ids(draw, np.zeros(0, np.int64)) for draw in draws]
            after = writer.sample(bare, np.stack([draw.uniform for draw in draws]), self._allowed)
        ids = [self.contexts.ids(draw, tail) for draw, tail in zip(draws, after, strict=True)]
        with torch.inference_mode():
            ours = self.log_probs(aligned.rows(ids, self.contexts.length).to(self.device), aligned.name)
            theirs = self.log_probs(reference.rows(ids, self.contexts.length).to(self.device), reference.name)
            good = torch.isfinite(ours.sum((1, 2)) + theirs.sum((1, 2)))
            lost = len(draws) - int(good.sum())
            if lost:
                ours, theirs = ours[good], theirs[good]
            self.moments.add(ours, theirs)
        self.next, self.dropped = end, self.dropped + lost

    def variance(self) -> Any:
        """Variance of the estimate under the chosen estimator."""
        mean = self.settings.estimator == "mean_log_ratio"
        return self.moments.variance_of_mean() if mean else self.moments.variance_of_ratio()

    def errors(self) -> list[float]:
        """By position, the largest standard error among measured tokens above 1e-4; infinite before two contexts."""
        if self.moments.n < 2:
            return [float("inf")] * self.contexts.length
        tables = self.moments.tables
        likely = (torch.maximum(tables["p_aligned"], tables["p_reference"]) > LIKELY) & self._measured
        return [float(x) for x in self.variance().sqrt().where(likely, 0.0).amax(-1)]

    def stops(self) -> bool:
        """Whether to stop here. Raises EngineError if too many contexts were dropped."""
        at_border = self.next > 0 and (self.next % CHECK_EVERY == 0 or self.next >= self.settings.draws)
        if at_border and self.dropped > MOST_DROPPED * self.next:
            raise EngineError(
                f"{self.dropped:,} of {self.next:,} contexts gave logits that are not finite (NaN or infinity), more than "
                f"{MOST_DROPPED:.0%}. Try --dtype float32, and check the weights of both models."
            )
        if self.next >= self.settings.draws:
            return True
        target = self.settings.target_error
        return at_border and target is not None and max(self.errors()) < target

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically: one safetensors file with its checksum."""
        from safetensors.torch import save

        counts: dict[str, Any] = {"next": self.next, "n": self.moments.n, "dropped": self.dropped}
        tables = self.moments.state()
        counts["checksum"] = _digest(counts, tables)
        write_atomically(path, save(tables, metadata={"state": json.dumps(counts)}))

    def restore(self, path: Path) -> None:
        """Resume from a checkpoint. Raises BadInput if it cannot be read, is damaged, or has another shape."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                counts = json.loads(file.metadata()["state"])
                tables = {name: file.get_tensor(name) for name in self.moments.tables}
            checksum = counts.pop("checksum", None)
            if set(counts) != _STATE or checksum not in (None, _digest(counts, tables)):
                raise ValueError("its checksum does not match")
            self.moments.restore(tables, int(counts["n"]))
            self.next, self.dropped = int(counts["next"]), int(counts["dropped"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise BadInput(
                f"The checkpoint cannot be read ({error}).", file=path, do="Delete it; the estimate then starts over."
            ) from error


def _digest(counts: dict[str, Any], tables: dict[str, Any]) -> str:
    """xxh128 over the counts and the bytes of the tables, by name; a checkpoint of an older version has none."""
    digest = xxh128(json.dumps(counts, sort_keys=True).encode("ascii"))
    for name in sorted(tables):
        digest.update(name.encode("ascii"))
        digest.update(tables[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def estimate(
    aligned: RowSource, reference: RowSource, contexts: Contexts, space: TokenSpace, settings: EstimateSettings, *,
    openers: Sequence[int] = (), state: Path | None = None, device: Any = "cpu",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None, save_every: int = SAVE_EVERY,
) -> Estimated:  # fmt: skip
    """Estimate the context-free shift of ``aligned`` over ``reference``.

    Parameters
    ----------
    openers : ids of refusal openers, measured and sorted.
    state : file of the checkpoint; if it exists, the estimate resumes from it.
    device : where the tables are kept (not mps, which lacks float64).

    Raises EngineError if more than 1 % of the contexts give logits that are not finite, or if rows are missing.
    """
    if settings.draws < 2:
        raise BadInput(f"At least 2 contexts are needed for a standard error, not {settings.draws}.")
    loop = _Loop(contexts, space, settings, openers, torch.device(device))
    if state is not None and state.exists():
        loop.restore(state)
    batches = 0
    while not loop.stops():
        progress("contexts", loop.next, settings.draws)
        loop.batch(aligned, reference)
        batches += 1
        if state is not None and (batches % save_every == 0):
            loop.save(state)
    if state is not None and batches:
        loop.save(state)
    progress("contexts", settings.draws, settings.draws)
    return _tables(loop, tuple(openers))


def _tables(loop: _Loop, openers: tuple[int, ...]) -> Estimated:
    """The tables as float32, gauged, with zeros for excluded tokens."""
    moments, space, settings = loop.moments, loop.space, loop.settings
    state = {name: table.cpu().numpy() for name, table in moments.tables.items()}
    mean = state["mean"]
    if settings.estimator == "ratio_of_means":
        least = np.exp(settings.floor)
        shift = np.log(np.maximum(state["p_aligned"], least)) - np.log(np.maximum(state["p_reference"], least))
    else:
        shift = mean
    if settings.gauge == "median":
        shift = shift - np.median(shift, axis=1, keepdims=True)
    measured = space.measured

    def wide(values: NDArray[np.float64], *, whole: bool) -> NDArray[np.float32]:
        out = np.zeros((len(values), space.vocabulary), dtype=np.float32)
        keep = np.ones_like(measured) if whole else measured
        out[:, space.valid[keep]] = values[:, keep]
        return out

    places = moments.openers.cpu().numpy()
    return Estimated(
        bias=wide(shift, whole=False),
        standard_error=wide(loop.variance().sqrt().cpu().numpy(), whole=False),
        p_aligned=wide(state["p_aligned"], whole=True),
        p_reference=wide(state["p_reference"], whole=True),
        openers=openers,
        opener_shift=mean[:, places] - np.median(mean, axis=1, keepdims=True),
        opener_covariance=moments.opener_covariance().cpu().numpy(),
        draws=moments.n,
        dropped=loop.dropped,
        achieved_error=tuple(loop.errors()),
    )
