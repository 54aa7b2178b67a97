"""Demographic sensitivity (DS): how far ratings of an item lie apart by group, and what random groups would show.

The published figure (arXiv 2602.07376: 0.12) comes without a formula, a null or group sizes, so its number means
little: random groups of raters already lie apart. Every form here, its permutation null and the difference of the two are
chosen defaults. All values are in the unit of the ratings.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.raters import RaterGroups, one_hot, shuffled_codes
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, IntArray, quotient
from evenhand.statistics.resampling import percentile
from evenhand.statistics.two_way import rating_table

SensitivityForm = Literal["absolute", "deviation", "range", "adjusted", "adjusted by item"]
SENSITIVITY_FORMS: tuple[SensitivityForm, ...] = get_args(SensitivityForm)
"""For each item, then averaged over items: the mean distance of two groups; the population standard deviation over
groups; the largest minus the smallest; and the root of the variance between groups less its noise. The last comes
with noise removed from the average (``"adjusted"``), or from each item with a floor of 0 (``"adjusted by item"``), which
noise alone keeps above 0.
"""

PERMUTATIONS = 9_999
_CHUNK_CELLS = 3_000_000
ONE_COLUMN = "every group has one column: no shuffle changes the value"
NO_VARIANCE = "a group has fewer than 2 ratings on every item: its noise is unknown"
NO_ITEM = "no item is rated by every group"


@dataclass(frozen=True, slots=True, eq=False)
class GroupMeans:
    """Means of groups on items, (items, groups, sets), NaN if a group has no rating, and the variance of each mean.

    ``noise`` is the sample variance of a group's ratings of an item over their number, NaN with fewer than 2.
    """

    means: FloatArray
    noise: FloatArray


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One form: its value, the mean and the central 95 % of its permutation null, and value minus null mean.

    ``p`` is the share of shuffles, with the observed arrangement, that reach the value. None if undefined.
    """

    form: SensitivityForm
    value: float | None
    null_mean: float | None
    null_range: Interval | None
    excess: float | None
    p: float | None
    items: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """All forms for one axis; ``groups`` with their ``sizes`` took part, items not rated by every group did not."""

    forms: tuple[Sensitivity, ...]
    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    items: int
    draws: int

    def of(self, form: SensitivityForm) -> Sensitivity:
        """One form. Raises BadInput for another name."""
        for one in self.forms:
            if one.form == form:
                return one
        raise BadInput(f"Unknown form of sensitivity '{form}'.", do=f"Known: {', '.join(SENSITIVITY_FORMS)}.")


def group_means(ratings: FloatArray, codes: IntArray, groups: int) -> GroupMeans:
    """Means and noise of ``ratings`` (items, raters), NaN where missing, for each row of ``codes`` (sets, raters)."""
    members = one_hot(codes, groups)
    raters, _, sets = members.shape
    columns = members.reshape(raters, -1)
    seen = np.isfinite(ratings)
    filled = np.where(seen, ratings, 0.0)
    shape = (len(ratings), groups, sets)
    count = (seen.astype(np.float64) @ columns).reshape(shape)
    means = quotient((filled @ columns).reshape(shape), count, count > 0)
    squares = (filled**2 @ columns).reshape(shape)
    spread = np.maximum(squares - count * np.where(count > 0, means, 0.0) ** 2, 0.0)
    return GroupMeans(means, quotient(spread, (count - 1) * count, count > 1))


def permuted_means(
    ratings: FloatArray, groups: RaterGroups, *, draws: int, seed: int, within: Sequence[Hashable] | None = None
) -> Iterator[GroupMeans]:
    """Chunks of group means under shuffled labels; raters outside the groups stay out, sizes stay the same."""
    size = len(groups.names)
    chunk = max(1, _CHUNK_CELLS // max(1, len(ratings) * size))
    for codes in shuffled_codes(groups.codes, draws=draws, seed=seed, chunk=chunk, within=within):
        yield group_means(ratings, codes, size)


def whole_items(values: FloatArray) -> NDArray[np.bool_]:
    """Where every group has a value, (items, ...), for ``values`` (items, groups, ...)."""
    return np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)


def _mean_over(values: FloatArray, kept: NDArray[np.bool_]) -> FloatArray:
    count = kept.sum(axis=0).astype(np.float64)
    return quotient(np.where(kept, values, 0.0).sum(axis=0), count, count > 0)


def item_forms(group_values: GroupMeans) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each item the mean distance of two groups, the deviation, the range and the surplus variance, (4, items, sets).

    Beside it where the first three are defined, and where the last is, (items, sets) each; elsewhere a value means nothing.
    """
    groups = group_values.means.shape[1]
    whole = whole_items(group_values.means)
    means = np.where(whole[:, None], group_values.means, 0.0)
    order = np.sort(means, axis=1)
    ranks = 2 * np.arange(1, groups + 1) - groups - 1
    absolute = np.einsum("igs,g->is", order, ranks / (groups * (groups - 1) / 2))
    quiet = whole_items(group_values.noise) & whole
    noise = np.where(quiet[:, None], group_values.noise, 0.0).mean(axis=1)
    surplus = means.var(axis=1, ddof=1) - noise
    return np.stack([absolute, means.std(axis=1), order[:, -1] - order[:, 0], surplus]), whole, quiet


def _forms(group_values: GroupMeans) -> FloatArray:
    """The five forms of each set, (5, sets), in the order of `SENSITIVITY_FORMS`."""
    (*plain, surplus), whole, quiet = item_forms(group_values)
    return np.stack(
        [
            *(_mean_over(values, whole) for values in plain),
            np.sqrt(np.maximum(_mean_over(surplus, quiet), 0.0)),
            np.sqrt(_mean_over(np.maximum(surplus, 0.0), quiet)),
        ]
    )


def sensitivities(
    ratings: ArrayLike,
    groups: RaterGroups,
    *,
    draws: int = PERMUTATIONS,
    seed: int = 0,
    within: Sequence[Hashable] | None = None,
) -> Sensitivities:
    """All forms of DS on one axis, each with its permutation null.

    ``ratings`` (items, raters), NaN where missing; a rater is a person, or a column of a model (a profile, perhaps
    times paraphrase and option order, which ``within`` then keeps apart). Labels are shuffled over raters as wholes. An
    item counts where every group rated it, for the adjusted forms where every group has 2 ratings of it. The adjusted
    forms use the sample variance over groups, so that random groups give 0 on average. Set ``draws`` to 0 for no null.
    Raises BadInput if the number of raters differs.
    """
    table = rating_table(ratings)
    if table.shape[1] != groups.codes.size:
        raise BadInput(f"{table.shape[1]} raters in the ratings, {groups.codes.size} in the groups.")
    size = len(groups.names)
    if size < 2:
        reason = "fewer than 2 groups have enough raters"
        empty = tuple(Sensitivity(form, None, None, None, None, None, 0, reason) for form in SENSITIVITY_FORMS)
        return Sensitivities(empty, groups.names, groups.sizes, 0, draws)
    groups_observed = group_means(table, groups.codes[None, :], size)
    observed = _forms(groups_observed)[:, 0]
    whole = whole_items(groups_observed.means[..., 0])
    quiet = whole & whole_items(groups_observed.noise[..., 0])
    still = max(groups.sizes) == 1
    drawn = np.empty((len(SENSITIVITY_FORMS), 0))
    if draws and not still:
        drawn = permutation_draws(table, groups, _forms, draws=draws, seed=seed, within=within)
    forms = []
    for at, form in enumerate(SENSITIVITY_FORMS):
        adjusted = form.startswith("adjusted")
        items = int((quiet if adjusted else whole).sum())
        if not np.isfinite(observed[at]):
            reason = NO_VARIANCE if adjusted and whole.any() else NO_ITEM
            forms.append(Sensitivity(form, None, None, None, None, None, items, reason))
            continue
        value = float(observed[at])
        null = percentile(drawn[at], method="permutation null, central part") if drawn.size else None
        if null is None:
            reason = ONE_COLUMN if still else "" if not draws else "over 5 % of the permuted values are undefined"
            forms.append(Sensitivity(form, value, None, None, None, None, items, reason))
            continue
        finite = drawn[at][np.isfinite(drawn[at])]
        mean = float(finite.mean())
        p = (1 + int((finite >= value - 1e-12).sum())) / (finite.size + 1)
        forms.append(Sensitivity(form, value, mean, null, value - mean, p, items))
    return Sensitivities(tuple(forms), groups.names, groups.sizes, int(whole.sum()), draws)


def permutation_draws(
    ratings: FloatArray,
    groups: RaterGroups,
    statistic: Callable[[GroupMeans], FloatArray],
    *,
    draws: int,
    seed: int,
    within: Sequence[Hashable] | None = None,
) -> FloatArray:
    """Any statistics of group means, (statistics, sets), under shuffled labels, (statistics, draws)."""
    parts = permuted_means(ratings, groups, draws=draws, seed=seed, within=within)
    return np.concatenate([statistic(part) for part in parts], axis=1)
