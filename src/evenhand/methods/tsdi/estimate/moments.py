"""Running means and variances of the log-ratio: Welford's recurrence in Chan's form, batch by batch, in float64.

Memory is O(positions x tokens), whatever the number of draws. Batches enter in the order of the draws, so that a run that
was killed and taken up again ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

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
        """Take in a batch of log-probabilities in nats, two tensors ``[draws, positions, tokens]``, floored and finite."""
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
        here = values.mean(0)
        values.sub_(here)
        shift = here - mean
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
        here = x.mean(0)
        x.sub_(here)
        shift = here - mean
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
        """All tables on the CPU, contiguous; with ``n`` it is everything that a continuation needs."""
        return {name: table.cpu().contiguous() for name, table in self.tables.items()}

    def restore(self, tables: Mapping[str, Any], n: int) -> None:
        """Take up a stored state of the same shape."""
        for name, table in self.tables.items():
            table.copy_(tables[name])
        self.n = n
