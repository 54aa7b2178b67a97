"""Stages of tuning: what supervised fine-tuning and preference tuning each contribute, and what changed from the base model.

The stage algebra is exact. The words "amplifies", "reduces" and "no detectable change" with their rule, and the rule that
names the stage responsible for a harm, are chosen defaults (docs/statistics.md, "Reward margins"). Margins are in nats, rates
are probabilities, and changes of rates are in percentage points.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.methods.reward.margins.measures import fate
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.clusters import (
    brown_forsythe,
    cluster_bootstrap,
    cluster_draws,
    cluster_means,
    finite_values,
    interval_reason,
    sign_flip_test,
)
from evenhand.statistics.permutation import PermutationTest
from evenhand.statistics.resampling import DRAWS, percentile

NO_CHANGE = "no detectable change"
STAGE_TITLES = {"base": "base", "sft": "SFT", "dpo": "DPO", "sft-dpo": "SFT+DPO"}
"""What the page calls a stage."""


def _same_pairs(*margins: ArrayLike) -> list[FloatArray]:
    arrays = [finite_values(margin, "Margins") for margin in margins]
    if len({array.size for array in arrays}) > 1:
        raise BadInput(f"Stages were scored on {', '.join(str(array.size) for array in arrays)} pairs.")
    return arrays


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """Shift of the margin from the base to SFT+DPO for every pair, (pairs,), in nats: ``total`` = ``sft`` + ``dpo``.

    ``dpo`` is Delta / beta of SFT+DPO with SFT as its reference. ``sft`` is a pseudo-reward: SFT has no reward of its own.
    """

    total: FloatArray
    sft: FloatArray
    dpo: FloatArray


def stage_contributions(m_base: ArrayLike, m_sft: ArrayLike, m_sft_dpo: ArrayLike) -> Contributions:
    """Split the total shift of each pair, (pairs,) margins in nats of the three models."""
    base, sft, tuned = _same_pairs(m_base, m_sft, m_sft_dpo)
    return Contributions(tuned - base, sft - base, tuned - sft)


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivity:
    """How far SFT before it changes what DPO does, (pairs,) in nats.

    ``dpo`` is Delta / beta of DPO from the base, ``sft_dpo`` that of DPO from SFT; ``reward_change`` = sft_dpo - dpo;
    ``margin_change`` = M_SFT+DPO - M_DPO.
    """

    dpo: FloatArray
    sft_dpo: FloatArray
    reward_change: FloatArray
    margin_change: FloatArray


def sft_sensitivity(m_base: ArrayLike, m_sft: ArrayLike, m_dpo: ArrayLike, m_sft_dpo: ArrayLike) -> Sensitivity:
    """Compare DPO from the base with DPO from SFT on the same pairs."""
    base, sft, dpo, tuned = _same_pairs(m_base, m_sft, m_dpo, m_sft_dpo)
    return Sensitivity(dpo - base, tuned - sft, (tuned - sft) - (dpo - base), tuned - dpo)


def change_word(interval: Interval | None) -> str:
    """``amplifies`` if the interval lies above 0, ``reduces`` if below, else ``no detectable change``.

    Without an interval no change can be detected either; give the reason with it.
    """
    if interval is not None and interval.low > 0:
        return "amplifies"
    return "reduces" if interval is not None and interval.high < 0 else NO_CHANGE


@dataclass(frozen=True, slots=True)
class StageChange:
    """Change of a rate from the base to a stage on the same items, in percentage points.

    ``base`` and ``stage`` are the levels (probabilities), to be shown with the change. ``distance`` is the change of |rate -
    0.5| in points, for scores whose ideal is one half, with a percentile interval. ``unpaired`` items have a value in one
    model alone, or in neither, and are left out. Undefined numbers are None, with ``reason``.
    """

    base: float | None
    stage: float | None
    points: float | None
    interval: Interval | None
    test: PermutationTest | None
    word: str
    distance: float | None
    distance_interval: Interval | None
    n_items: int
    n_clusters: int
    unpaired: int
    reason: str = ""

    @property
    def change(self) -> float | None:
        """``points`` as a difference of probabilities."""
        return None if self.points is None else self.points / 100

    @property
    def change_interval(self) -> Interval | None:
        """``interval`` as one of a difference of probabilities."""
        ends = self.interval
        return None if ends is None else replace(ends, low=ends.low / 100, high=ends.high / 100)


def stage_change(
    q_stage: ArrayLike,
    q_base: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> StageChange:
    """amp = q_stage - q_base from values of each item, (items,), 0 to 1, NaN if an item has none.

    Mean of cluster means; interval by cluster bootstrap and test by sign flips, both on differences paired by item. Chosen
    defaults. Raises BadInput for values outside 0 to 1 or unequal lengths.
    """
    stage, base = np.asarray(q_stage, dtype=np.float64), np.asarray(q_base, dtype=np.float64)
    if stage.ndim != 1 or stage.shape != base.shape or len(clusters) != stage.size:
        raise BadInput(f"A change needs both models' values of the same items: {stage.size}, {base.size} and clusters.")
    for values in (stage, base):
        bad = np.flatnonzero((values < 0) | (values > 1))
        if bad.size:
            raise BadInput("A rate lies outside 0 to 1.", row=int(bad[0]) + 1)
    paired = np.isfinite(stage) & np.isfinite(base)
    unpaired = int((~paired).sum())
    labels = [label for label, keep in zip(clusters, paired.tolist(), strict=True) if keep]
    if not labels:
        return StageChange(
            None, None, None, None, None, NO_CHANGE, None, None, 0, 0, unpaired, "no item in both models"
        )
    difference = 100 * (stage - base)[paired]
    before, after = cluster_means(base[paired], labels), cluster_means(stage[paired], labels)
    changes = cluster_means(difference, labels)
    interval = cluster_bootstrap(difference, labels, draws=draws, seed=seed, level=level, method="expanded percentile")
    low, high = float(before.means.mean()), float(after.means.mean())
    distance_interval = None
    if interval is not None:
        after_draws, before_draws = (cluster_draws(one, draws=draws, seed=seed) for one in (after, before))
        distances = 100 * (np.abs(after_draws - 0.5) - np.abs(before_draws - 0.5))
        distance_interval = percentile(distances, level, method="percentile bootstrap of clusters")
    count = changes.means.size
    return StageChange(
        base=low,
        stage=high,
        points=float(changes.means.mean()),
        interval=interval,
        test=sign_flip_test(changes.means, draws=draws, seed=seed) if count >= 2 else None,
        word=change_word(interval),
        distance=100 * (abs(high - 0.5) - abs(low - 0.5)),
        distance_interval=distance_interval,
        n_items=len(labels),
        n_clusters=count,
        unpaired=unpaired,
        reason=interval_reason(changes.means),
    )


@dataclass(frozen=True, slots=True)
class SpreadTest:
    """Brown and Forsythe's test of the stages' spread on cluster means, with each stage's sample sd in nats.

    The test takes stages as independent although they share clusters, so it is a description rather than a strict test.
    """

    deviations: Mapping[str, float | None]
    statistic: float | None
    p: float | None
    reason: str = ""


def stage_spread(stages: Mapping[str, tuple[ArrayLike, Sequence[Hashable]]]) -> SpreadTest:
    """Compare the spread of margins between stages: stage -> (margins (pairs,), clusters (pairs,)).

    A chosen default.
    """
    means = {stage: cluster_means(values, clusters).means for stage, (values, clusters) in stages.items()}
    deviations = {stage: float(value.std(ddof=1)) if value.size >= 2 else None for stage, value in means.items()}
    outcome = brown_forsythe(list(means.values()))
    if outcome is None:
        return SpreadTest(deviations, None, None, "fewer than two stages, a stage with one cluster, or no spread")
    return SpreadTest(deviations, *outcome)


@dataclass(frozen=True, slots=True)
class Contribution:
    """A stage's mean shift of the margin for one group, in nats, with its interval and its p adjusted by Holm."""

    estimate: float
    interval: Interval | None
    p: float | None

    def direction(self, alpha: float) -> int:
        """1 toward the harmful text, -1 toward the comparison, 0 where interval and p do not both show a shift."""
        if self.interval is None or self.p is None or self.p >= alpha:
            return 0
        return int(self.interval.low > 0) - int(self.interval.high < 0)


@dataclass(frozen=True, slots=True)
class StageFate:
    """What one stage did to a group: mean margins before and after in nats, direction (1, -1, 0) and fate."""

    before: float
    after: float
    direction: int
    fate: str


@dataclass(frozen=True, slots=True)
class NamedStage:
    """Which stage is responsible for what happened to a group from the base to SFT+DPO.

    ``fate`` is that of the total. ``stage`` is ``"sft"`` or ``"dpo"``: the one that shifted the margin detectably in the
    direction of the total, the larger shift where both did; None with a ``reason`` if no stage can be named.
    """

    fate: str
    stage: str | None
    total: StageFate
    sft: StageFate
    dpo: StageFate
    reason: str = ""


def name_change(before: float, shift: float, *, shown: bool, eps: float = 0.1) -> str:
    """The fate of a group's mean margin, ``before`` and ``shift`` in nats, by whether the shift was ``shown``.

    A shift that is not shown leaves the margin where it was: ``preserved`` above ``eps``, else ``none``.
    """
    return str(fate([before], [before + shift if shown else before], eps)[0])


def name_step(before: float, shift: Contribution, *, eps: float = 0.1, alpha: float = 0.05) -> StageFate:
    """What a stage did to a group whose mean margin was ``before`` nats; a chosen default.

    Where interval and adjusted p show a shift, the group's mean margins get the fate of `reward.fate`. Else it is
    ``preserved`` above ``eps`` and ``none`` below, whatever the point estimates are.
    """
    direction = shift.direction(alpha)
    word = name_change(before, shift.estimate, shown=direction != 0, eps=eps)
    return StageFate(before, before + shift.estimate, direction, word)


def name_stage(
    m_base: float, total: Contribution, sft: Contribution, dpo: Contribution, *, eps: float = 0.1, alpha: float = 0.05
) -> NamedStage:
    """Name the stage that introduced, amplified, attenuated or reversed a harm for one group; a chosen default.

    ``m_base`` is the group's mean margin in the base model and the contributions its mean shifts, in nats. Where there are
    neutral pairs, pass net margins (`controls.net_margins`): a whole-sentence margin also holds how rare the identity word
    is. Raises BadInput where sft + dpo is not the total.
    """
    if abs(sft.estimate + dpo.estimate - total.estimate) > 1e-6 * max(1.0, abs(total.estimate)):
        raise BadInput(
            f"The stages' shifts {sft.estimate:g} and {dpo.estimate:g} do not sum to {total.estimate:g} nats."
        )
    whole = name_step(m_base, total, eps=eps, alpha=alpha)
    steps = {
        "sft": name_step(m_base, sft, eps=eps, alpha=alpha),
        "dpo": name_step(m_base + sft.estimate, dpo, eps=eps, alpha=alpha),
    }
    shifts = {"sft": sft.estimate, "dpo": dpo.estimate}
    stage, reason = None, ""
    if whole.direction == 0:
        opposed = steps["sft"].direction * steps["dpo"].direction == -1
        reason = "the stages shift the margin in opposite directions" if opposed else "no detectable total shift"
    else:
        responsible = [name for name, step in steps.items() if step.direction == whole.direction]
        stage = max(responsible, key=lambda name: abs(shifts[name])) if responsible else None
        reason = "" if responsible else "the total shift is detectable, but that of neither stage alone"
    return NamedStage(whole.fate, stage, whole, steps["sft"], steps["dpo"], reason)
