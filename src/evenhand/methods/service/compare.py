"""Two configurations on the same items: did the later one decline more, and did it widen the difference between groups?

Paired by name and stem. Nothing of the kind was published: the comparison is a chosen default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import polars as pl

from evenhand.findings.builder import DIFFERENCE
from evenhand.findings.decide import is_found
from evenhand.findings.families import record_of
from evenhand.methods.service.findings import Maker
from evenhand.methods.service.graders import Trust
from evenhand.methods.service.statistics.contrasts import Contrast, contrast_family
from evenhand.methods.service.statistics.rates import GroupRate
from evenhand.methods.service.table import COLLAPSES, NO_STEM, ServiceTable
from evenhand.records import Finding, Interval
from evenhand.statistics.cells import Cells, cells_from_rows, group_rate, name_values
from evenhand.statistics.clusters import sign_flip_test
from evenhand.statistics.multiplicity import best_attainable, holm
from evenhand.statistics.permutation import PermutationTest
from evenhand.statistics.resampling import crossed_bootstrap, percentile
from evenhand.wording import group_label, group_phrase, percent_points, point_range, points

CHANGE, GAP_CHANGE = "configuration_change", "gap_change"
ONE_NAME = "a group with one name has no sign to flip"


def change_findings(makers: Sequence[Maker]) -> list[Finding]:
    """Each configuration against the one before it, where both answered the same items.

    For every group the change of the declined rate (signs of names flipped), and for every group but the reference the change
    of its difference to the reference (changes permuted over names), both Holm-adjusted over groups. Intervals are the two-way
    cluster t of every difference; the crossed bootstrap stands beside them.
    """
    changes: list[Finding] = []
    for before, after in pairwise(makers):
        groups = [group for group in after.table.groups if group in before.table.groups]
        pairs = _paired(before.table, after.table, groups)
        if pairs.height:
            changes += _of_pair(before, after, pairs, groups)
    return changes


def _means(table: ServiceTable) -> pl.DataFrame:
    """The mean of ``declined`` and the responses of every cell: columns item's unit, stem, group, y, n."""
    return (
        table.labelled.select(
            "group",
            unit=pl.col(table.units.unit),
            stem=pl.col(table.units.stem) if table.units.stem else pl.lit(NO_STEM),
            y=pl.col("label").is_in(list(COLLAPSES["declined"])).cast(pl.Float64),
        )
        .group_by("group", "unit", "stem")
        .agg(y=pl.col("y").mean(), n=pl.len())
    )


def _paired(before: ServiceTable, after: ServiceTable, groups: Sequence[str]) -> pl.DataFrame:
    """Cells that both configurations have, sorted: the change, both means, and the responses behind them."""
    shared = set(before.labelled["item_id"].unique()) & set(after.labelled["item_id"].unique())
    if not shared or not groups or groups[0] != after.groups[0]:
        return pl.DataFrame()
    first, second = (_means(replace(table, rows=_only(table, shared), _digests={})) for table in (before, after))
    joined = first.join(second, on=["group", "unit", "stem"], how="inner", suffix="_to")
    return joined.filter(pl.col("group").is_in(list(groups))).sort("unit", "stem")


def _only(table: ServiceTable, items: set[str]) -> pl.DataFrame:
    return table.rows.filter(pl.col("item_id").is_in(list(items)))


def _cells(pairs: pl.DataFrame, groups: Sequence[str], column: str) -> Cells:
    units = pairs["unit"].unique(maintain_order=True).to_list()
    stems = sorted(pairs["stem"].unique().to_list())
    group_of = dict(zip(pairs["unit"], pairs["group"], strict=True))
    return cells_from_rows(
        [units.index(unit) for unit in pairs["unit"]],
        [stems.index(stem) for stem in pairs["stem"]],
        pairs[column].to_numpy(),
        [groups.index(group_of[unit]) for unit in units],
        n_stems=len(stems),
        binary=False,
    )


def _of_pair(before: Maker, after: Maker, pairs: pl.DataFrame, groups: Sequence[str]) -> list[Finding]:
    present = set(pairs["group"])
    if groups[0] not in present:
        return []
    groups = [group for group in groups if group in present]
    part = {"from": before.table.config, "to": after.table.config}
    cells = _cells(pairs.with_columns(change=pl.col("y_to") - pl.col("y")), groups, "change")
    family = contrast_family(cells, 0, draws=after.draws, seed=after.seed)
    tests = [_flipped(cells, code, after.seed) for code in range(len(groups))]
    adjusted = holm([test.p if test else None for test in tests])
    least = best_attainable([test.smallest_p if test else None for test in tests])
    size, name = adjusted.family_size, f"change of declined, {part['from']} to {part['to']}"
    rates = {column: _rates(_cells(pairs, groups, column), len(groups)) for column in ("y", "y_to")}
    changes = []
    for code, (rate, test, p, best) in enumerate(zip(family.rates, tests, adjusted.values, least.values, strict=True)):
        changes.append(
            after.make(
                CHANGE, "declined", rate.rate, DIFFERENCE, group=groups[code], part=part,
                interval=_within(rate.interval, 1), standard_error=rate.standard_error,
                test=record_of(test, name, family_size=size, p_holm=p), reason=_why(rate, test),
                clusters={"names": rate.names, "stems": rate.stems},
                extra={
                    "rate_from": rates["y"][code], "rate_to": rates["y_to"][code], "smallest_p_holm": best,
                    "percentile": _percentile(cells, code, after),
                },
            )
        )  # fmt: skip
    return changes + [_gap(after, contrast, groups, part, family.family_size) for contrast in family.contrasts]


def _percentile(cells: Cells, code: int, maker: Maker) -> list[float] | None:
    """Ends of the crossed bootstrap of one group's change."""
    group_cells = cells.shared(code).cells
    drawn = crossed_bootstrap(
        group_cells.by_stem() if group_cells.nested else group_cells, draws=maker.draws, seed=maker.seed
    )
    interval = percentile(drawn.of(code))
    return None if interval is None else [interval.low, interval.high]


def _rates(cells: Cells, groups: int) -> list[float | None]:
    return [group_rate(cells.of(code)) for code in range(groups)]


def _flipped(cells: Cells, code: int, seed: int) -> PermutationTest | None:
    """Signs of the names' changes flipped, or of the stems' where each prompt has one stem; None with fewer than two."""
    group_cells = cells.shared(code).cells
    values = group_cells.by_stem().values[0] if group_cells.nested else name_values(group_cells.values)
    return sign_flip_test(values, seed=seed) if values.size >= 2 else None


def _why(rate: GroupRate, test: PermutationTest | None) -> str:
    reasons = ["" if rate.interval else "no variation: the change is the same everywhere", "" if test else ONE_NAME]
    return "; ".join(filter(None, reasons))


def _within(interval: Interval | None, bound: float) -> Interval | None:
    if interval is None:
        return None
    return replace(interval, low=max(-bound, interval.low), high=min(bound, interval.high))


def _gap(maker: Maker, contrast: Contrast, groups: Sequence[str], part: Mapping[str, str], size: int) -> Finding:
    reasons = contrast.reasons or {}
    ends = contrast.percentile
    extra: dict[str, Any] = {
        "change": contrast.rate,
        "reference_change": contrast.reference_rate,
        "percentile": [ends.low, ends.high] if ends else None,
        "smallest_p_holm": contrast.best_holm,
    }
    return maker.make(
        GAP_CHANGE, "declined", contrast.difference, DIFFERENCE, group=groups[contrast.group],
        reference=groups[contrast.reference], part=part, interval=_within(contrast.interval, 2),
        standard_error=contrast.standard_error, minimum_detectable=contrast.minimum_detectable, extra=extra,
        test=record_of(
            contrast.test, f"change of the difference, {part['from']} to {part['to']}", family_size=size,
            p_holm=contrast.p_holm,
        ),
        reason="; ".join(dict.fromkeys(reasons[key] for key in ("difference", "interval", "test", "names") if key in reasons)),
        clusters={
            "names": contrast.names[0], "reference names": contrast.names[1],
            "stems": contrast.stems, "stems dropped": contrast.stems_dropped,
        },
    )  # fmt: skip


def change_told(findings: Sequence[Finding], config: str, trust: Trust, subject: str) -> str:
    """One sentence: which differences to the reference changed on the way to ``config``; empty where nothing may be said.

    Nothing is said of a grader that is not calibrated. The changes are as graded: what a grader gets wrong in both
    configurations alike cancels in them, and nothing else of its error is taken out.
    """
    gaps = [f for f in findings if f.estimand == GAP_CHANGE and f.config == config]
    if not gaps or not trust.calibrated:
        return ""
    way = f"From {gaps[0].slice['from']} to {config}"
    moved = sorted((f for f in gaps if is_found(f)), key=lambda f: -abs(f.estimate or 0.0))
    if moved:
        listed = [
            f"{group_label(f.group)} {points(f.estimate)}"
            + (f" ({point_range(f.interval.low, f.interval.high)})" if f.interval else "")
            for f in moved
        ]
        return (
            f"{way}, the difference to {group_phrase(moved[0].reference, subject)} moved, in points "
            f"(+: the group is declined more than before, relative to it): {', '.join(listed)}, as graded."
        )
    if all(f.decision == "even" for f in gaps):
        seen = max(f.minimum_detectable or 0.0 for f in gaps)
        return f"{way}, no difference between groups was found to change; changes of about {percent_points(seen)} could be seen."
    return f"{way}, we cannot tell whether the differences between groups changed."
