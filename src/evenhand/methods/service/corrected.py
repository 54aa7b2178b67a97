"""The grader's error taken out of rates and differences of ``declined``, group by group (spec section 5.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evenhand.findings.builder import DIFFERENCE, PROBABILITY
from evenhand.methods.service.findings import CORRECTION, Maker
from evenhand.methods.service.graders import Trust
from evenhand.methods.service.statistics.contrasts import ContrastFamily
from evenhand.methods.service.statistics.noise import Corrected, Validation, correct_rate, corrected_difference
from evenhand.methods.service.statistics.rates import group_rates
from evenhand.methods.service.statistics.variance import dominating_names
from evenhand.methods.service.table import COLLAPSES
from evenhand.records import Finding
from evenhand.statistics.cells import Cells
from evenhand.statistics.resampling import calibrate as spread_draws
from evenhand.statistics.resampling import crossed_bootstrap

if TYPE_CHECKING:
    from evenhand.graders.calibration import Calibration


NO_SHARED_STEM = "the groups share no stem, so the grader's error cannot be taken out"


def corrected_findings(maker: Maker, trust: Trust, family: ContrastFamily | None) -> list[Finding]:
    """Rates and differences of ``declined`` corrected for the grader's error by group, the validation sample redrawn with the rest.

    A difference is corrected on the stems that its two groups share, the same as those of the difference as graded.
    """
    calibration = trust.calibrations.get(maker.table.config)
    if calibration is None or family is None:
        return []
    table, part = maker.table, CORRECTION
    cells = table.cells(COLLAPSES["declined"])
    findings: list[Finding] = []
    for code, group in enumerate(table.groups):
        errors = calibration.groups.get(group)
        result = _corrected(maker, calibration, cells, (code,))[code]
        counted: dict[str, Any] = {} if errors is None else {
            "tp": errors.tp, "fn": errors.fn, "tn": errors.tn, "fp": errors.fp,
        }  # fmt: skip
        findings.append(
            maker.make(
                "rate", "declined", result.estimate, PROBABILITY, group=group, part=part,
                interval=result.interval, reason=result.reason, extra=counted,
            )
        )  # fmt: skip
        if not code:
            continue
        pair = _corrected(maker, calibration, cells, (code, 0))
        gap = corrected_difference(pair[code], pair[0])
        findings.append(
            maker.make(
                "risk_difference", "declined", gap.estimate, DIFFERENCE, group=group, reference=table.groups[0],
                part=part, interval=gap.interval, reason=gap.reason,
            )
        )  # fmt: skip
    return findings


def _corrected(maker: Maker, calibration: Calibration, cells: Cells, codes: tuple[int, ...]) -> dict[int, Corrected]:
    """The corrected rate of each of these groups on the stems that all of them have, from draws they share."""
    found_on = cells.shared(*codes)
    shared = found_on.cells
    if not shared.values.shape[1] or len(shared.codes) < len(codes):
        return dict.fromkeys(codes, Corrected(None, None, None, NO_SHARED_STEM))
    units = shared.by_stem() if shared.nested else shared
    # A dominating name is found on all cells, as for the differences as graded.
    held = {} if cells.nested else dominating_names(cells)
    fixed = {code: int(at[0]) for code, row in held.items() if (at := np.flatnonzero(found_on.rows == row)).size}
    drawn = crossed_bootstrap(units, draws=maker.draws, seed=maker.seed)
    result: dict[int, Corrected] = {}
    for rate in group_rates(units, fixed={} if shared.nested else fixed):
        errors = calibration.groups.get(maker.table.groups[rate.group])
        if errors is None or rate.rate is None:
            result[rate.group] = Corrected(None, None, None, "no human label in this group")
            continue
        draws = drawn.of(rate.group)
        if rate.standard_error and rate.df:
            draws = spread_draws(draws, rate.rate, rate.standard_error, rate.df)
        # Predictive values hold for samples drawn by predicted class and for random ones alike.
        counts = Validation(errors.tp, errors.fn, errors.tn, errors.fp, design="by_label")
        result[rate.group] = correct_rate(rate.rate, draws, counts, seed=maker.seed, stream=rate.group)
    return result
