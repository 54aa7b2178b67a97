"""ICC and DS of ratings on some of their items: the agreement part of a sweep over thresholds.

Ratings are those of people, from a table, or those of a model under profiles, from a run of `evenhand rate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.config import SweepConfig
from evenhand.methods.pluralism.data.rating_table import RatingTable
from evenhand.methods.pluralism.rating.statistics.raters import RaterGroups, one_hot, rater_groups
from evenhand.methods.pluralism.rating.statistics.sensitivity import sensitivities, whole_items
from evenhand.records import Interval
from evenhand.statistics.cells import FloatArray, quotient
from evenhand.statistics.icc import icc
from evenhand.statistics.resampling import less_bias
from evenhand.statistics.two_way import two_way_weights
from evenhand.wording import ORGANISM_NOTICE, is_organism

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its interval; None with a reason where it is undefined."""

    value: float | None
    interval: Interval | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AxisShift:
    """DS (mean distance of two groups, 0 to 1) of one axis, with the mean of its permutation null and the p value."""

    ds: Measured
    null_mean: float | None
    p: float | None
    groups: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """ICC(2,1), ICC(2,k) with its k, and DS by axis, on the kept items."""

    items: int
    raters: int
    single: Measured
    average: Measured
    averaged_over: float | None
    shifts: Mapping[str, AxisShift]


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """Ratings (items, columns) and the groups of their columns; labels are shuffled only inside ``within``, if given."""

    values: FloatArray
    groups: RaterGroups
    within: tuple[str, ...] | None = None


class Rated:
    """Agreement and sensitivity on sets of rated items; equal sets are computed once.

    ``values`` (items, raters) are those of the intraclass correlation; ``people`` says that raters are a sample and are resampled
    for the intervals of DS. ``texts`` is item to the text that was rated, if known. ``notes`` says what was left
    out, ``why`` gives the reason if nothing can be computed.
    """

    def __init__(
        self, values: FloatArray, items: Sequence[str], axes: Mapping[str, _Axis], config: SweepConfig,
        texts: pl.DataFrame, *, people: bool = True, why: str = "", notes: tuple[str, ...] = (),
    ):  # fmt: skip
        self.config, self.values, self.axes, self.people, self.why = config, values, axes, people, why
        self.notes = notes
        self.texts = {item: text for item, text in texts.select("item_id", "text").iter_rows() if text}
        self.place = {item: at for at, item in enumerate(items)}
        self._by_rows: dict[frozenset[int], Agreement] = {}

    @classmethod
    def of_table(cls, table: RatingTable, config: SweepConfig) -> Rated:
        """Ratings by people."""
        values, items, raters = table.matrix()
        demographics = table.demographics(raters) if table.identified else {}
        axes = {axis: _Axis(values, rater_groups(groups)) for axis, groups in demographics.items()}
        why = "" if table.identified else "the table does not say who rated"
        bad = table.rejected
        notes = (f"{len(bad)} ratings were left out, the first because {bad[0][1]}",) if bad else ()
        return cls(values, items, axes, config, table.items, why=why, notes=notes)

    @classmethod
    def named(cls, config: SweepConfig) -> Rated | None:
        """The ratings that the settings name: a run, a public set, or a file; None if they name none."""
        from evenhand.config import checked
        from evenhand.methods.pluralism.rating.config import PluralismConfig
        from evenhand.methods.pluralism.rating.plan import read_people

        if config.ratings is None:
            return None
        if config.ratings.is_dir():
            return cls.of_run(config.ratings, config)
        how = checked(PluralismConfig, columns=config.columns, values=config.values, scale=config.scale)
        return cls.of_table(read_people(config.ratings, how), config)

    @classmethod
    def of_run(cls, folder: Path, config: SweepConfig) -> Rated:
        """A model's ratings under profiles of one field: raters of ICC are the profiles, of DS also the wordings and orders.

        Raises BadInput for a run without such ratings, or with those of several models.
        """
        from evenhand.datasets.question_texts import FIELDS
        from evenhand.methods.pluralism.rating.config import AUDIT
        from evenhand.methods.pluralism.rating.panels import axis_panel, profile_panel
        from evenhand.methods.pluralism.rating.plan import SINGLE
        from evenhand.runs.run import Run
        from evenhand.runs.tables import read_table

        run = Run.open(folder)
        path = run.table(AUDIT, "ratings")
        if not path.exists():
            raise BadInput("The run holds no ratings of a model.", file=folder, do="Rate the set with `evenhand rate`.")
        frame = read_table(path)
        models = frame["config"].unique().sort().to_list()
        if len(models) > 1:
            raise BadInput(f"The run holds ratings of {', '.join(models)}.", file=folder, do="Rate with one model.")
        raters = profile_panel(frame, SINGLE)
        if raters is None:
            raise BadInput("The run holds ratings under fewer than two profiles of one field.", file=folder)
        axes = {}
        for axis in FIELDS:
            panel = axis_panel(frame, axis)
            if panel is not None:
                row = {item: at for at, item in enumerate(panel.items)}
                there = [at for at, item in enumerate(raters.items) if item in row]
                values = np.full((len(raters.items), panel.values.shape[1]), np.nan)
                values[there] = panel.values[[row[raters.items[at]] for at in there]]
                axes[axis] = _Axis(values, panel.groups(axis), panel.within)
        notes = (ORGANISM_NOTICE,) if is_organism(models) else ()
        texts = read_table(run.table(AUDIT, "items"))
        return cls(raters.values, raters.items, axes, config, texts, people=False, notes=notes)

    def on(self, items: frozenset[str]) -> Agreement:
        """The figures on these items; those without ratings are ignored."""
        rows = frozenset(self.place[item] for item in items if item in self.place)
        if rows not in self._by_rows:
            self._by_rows[rows] = self._computed(sorted(rows))
        return self._by_rows[rows]

    def _computed(self, rows: list[int]) -> Agreement:
        config = self.config
        part = self.values[rows]
        part = part[:, np.isfinite(part).any(axis=0)] if rows else part[:, :0]
        if self.why or part.shape[0] < 2 or part.shape[1] < 2:
            none = Measured(None, None, self.why or "fewer than 2 rated items or raters")
            return Agreement(len(rows), part.shape[1], none, none, None, {})
        agreement = icc(part, draws=config.draws, reml_draws=config.reml_draws, seed=config.seed)
        single, average = agreement.of("ICC(2,1)"), agreement.of("ICC(2,k)")
        return Agreement(
            len(rows),
            part.shape[1],
            Measured(single.coefficient, single.interval, single.reason),
            Measured(average.coefficient, average.interval, average.reason),
            average.averaged_over,
            {name: self._shift(rows, axis) for name, axis in self.axes.items()},
        )

    def _shift(self, rows: list[int], axis: _Axis) -> AxisShift:
        config, part = self.config, axis.values[rows]
        sensitivity = sensitivities(
            part, axis.groups, draws=config.permutations, seed=config.seed, within=axis.within
        ).of("absolute")
        interval = None
        if sensitivity.value is not None:
            interval = sensitivity_interval(
                part, axis.groups, sensitivity.value, draws=config.draws, seed=config.seed, people=self.people
            )
        return AxisShift(
            Measured(sensitivity.value, interval, sensitivity.reason),
            sensitivity.null_mean,
            sensitivity.p,
            len(axis.groups.names),
        )


def sensitivity_interval(
    ratings: FloatArray,
    groups: RaterGroups,
    value: float,
    *,
    draws: int,
    seed: int,
    people: bool = True,
    level: float = 0.95,
) -> Interval | None:
    """The bootstrap interval of DS in its absolute form, less the bias: items are resampled, and with ``people`` raters.

    ``ratings`` (items, raters), NaN where missing. None if over 5 % of the draws are undefined.
    """
    size = len(groups.names)
    members = one_hot(groups.codes[None, :], size)[:, :, 0]
    seen = np.isfinite(ratings).astype(np.float64)
    filled = np.where(seen > 0, ratings, 0.0)
    items, raters = ratings.shape
    ranks = (2 * np.arange(1, size + 1) - size - 1) / (size * (size - 1) / 2)
    drawn = []
    width = 4 * items * size
    for of_items, of_raters in two_way_weights(
        items, raters, resample="both" if people else "items", draws=draws, seed=seed, width=width
    ):
        weights = (members[:, :, None] * of_raters.T[:, None, :]).reshape(raters, -1)
        shape = (items, size, len(of_raters))
        count = (seen @ weights).reshape(shape)
        means = quotient((filled @ weights).reshape(shape), count, count > 0)
        whole = whole_items(means)
        order = np.sort(np.where(whole[:, None], means, 0.0), axis=1)
        apart = np.einsum("igs,g->is", order, ranks)
        used = of_items.T * whole
        total = used.sum(axis=0)
        drawn.append(quotient((used * apart).sum(axis=0), total, total > 0))
    what = "items and people" if people else "items"
    method = f"bootstrap of {what}, percentiles less the bias"
    return less_bias(np.concatenate(drawn), value, level, method=method)[0]
