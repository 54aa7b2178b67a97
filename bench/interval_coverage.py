"""Claim: the default 95 % interval of a risk difference covers the truth in 92 to 98 % of tables with names and stems
redrawn.

Simulates tables of two groups (reference and group) in which every name and every stem is drawn anew, and prints for
every cell of the design how often each interval holds the exact truth. Run ``python bench/interval_coverage.py`` (1,000 tables
a cell) or with ``--quick`` (200). The populations, in words, are in docs/statistics.md; in short:

* ``none``: name effects are one normal population (sd .09 on the probability scale). * ``fixed``: each table's group
holds exactly one dominating name, its own effect redrawn, beside ordinary names. The truth is the rate of such lists:
(1 dominating + n - 1 ordinary) / n. This is the primary reading of "a dominating name". * ``random``: each name is
dominating with probability 1/8, so some lists hold none. The truth is the rate of the mixture. No interval can be
right on a list that shows no dominating name; the cell is printed for honesty.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, special, stats

from evenhand.methods.service.statistics.contrasts import contrast
from evenhand.methods.service.statistics.rates import dominating_names
from evenhand.records import Interval
from evenhand.statistics.cells import Cells, FloatArray
from evenhand.statistics.intervals import t_interval
from evenhand.statistics.resampling import crossed_bootstrap

Scale = Literal["probability", "logit"]
Domination = Literal["none", "fixed", "random"]
SCALES: tuple[Scale, ...] = ("probability", "logit")
DOMINATIONS: tuple[Domination, ...] = ("none", "fixed", "random")
INTERVALS = ("default", "all random", "percentile", "bootstrap t", "Wald")
BAND = (0.92, 0.98)
REPETITIONS, STEMS = 5, 32
DOMINATING_SHARE = 1 / 8


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the design: how tables are drawn."""

    scale: Scale
    domination: Domination
    names: int
    reference_rate: float
    group_rate: float


@dataclass(frozen=True, slots=True)
class Row:
    """What one cell gave: share covered and mean width by interval, and how often a dominating name was found."""

    cell: Cell
    tables: int
    coverage: dict[str, float]
    width: dict[str, float]
    found: float


DESIGN = tuple(
    Cell(scale, domination, names, *rates)
    for domination in DOMINATIONS
    for scale in SCALES
    for rates in ((0.15, 0.15), (0.15, 0.30), (0.05, 0.20))
    for names in (8, 16)
)


@dataclass(frozen=True, slots=True)
class _Population:
    """Standard deviations of name, stem and name-by-stem effects, and the dominating name, all on one scale."""

    name: float
    stem: float
    cell: float
    top: float
    top_name: float
    top_stem: float


_POPULATIONS: dict[str, _Population] = {
    "probability": _Population(0.09, 0.15, 0.05, 0.90, 0.03, 0.3),
    "logit": _Population(0.6, 1.0, 0.5, math.log(0.92 / 0.08), 0.5, 0.5),
}


def _expected(scale: Scale, centre: float, spread: float) -> float:
    """E of the probability when the effect is normal: clipped to 0..1 (closed form), or logistic (quadrature)."""
    if scale == "probability":
        low, high = (0 - centre) / spread, (1 - centre) / spread
        inside = centre * (special.ndtr(high) - special.ndtr(low))
        return float(inside + spread * (stats.norm.pdf(low) - stats.norm.pdf(high)) + special.ndtr(-high))
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    return float((weights * special.expit(centre + spread * nodes)).sum() / weights.sum())


def _draw(cell: Cell, generator: np.random.Generator) -> tuple[Cells, float]:
    """One table, names x stems for reference (code 0) and group (code 1), and the exact true risk difference."""
    law = _POPULATIONS[cell.scale]
    link = special.expit if cell.scale == "logit" else lambda x: np.clip(x, 0.0, 1.0)
    stem = generator.normal(0, law.stem, STEMS)
    total = math.sqrt(law.name**2 + law.stem**2 + law.cell**2)
    top_spread = math.sqrt(law.top_name**2 + (law.top_stem * law.stem) ** 2 + law.cell**2)
    tables, truths = [], []
    for code, rate in enumerate((cell.reference_rate, cell.group_rate)):
        centre = _centre(cell.scale, rate, total)
        name = generator.normal(0, law.name, (cell.names, 1))
        mixed = generator.normal(0, law.cell, (cell.names, STEMS))
        effect = centre + name + stem + mixed
        truth = _expected(cell.scale, centre, total)
        if code == 1 and cell.domination != "none":
            if cell.domination == "fixed":
                top, share = np.arange(cell.names) == 0, 1 / cell.names
            else:
                top, share = generator.random(cell.names) < DOMINATING_SHARE, DOMINATING_SHARE
            own = generator.normal(0, law.top_name, (cell.names, 1))
            effect = np.where(top[:, None], law.top + own + law.top_stem * stem + mixed, effect)
            truth = (1 - share) * truth + share * _expected(cell.scale, law.top, top_spread)
        tables.append(generator.binomial(REPETITIONS, link(effect)) / REPETITIONS)
        truths.append(truth)
    values = np.concatenate(tables)
    groups = np.repeat([0, 1], cell.names).astype(np.int64)
    return Cells(values, np.full(values.shape, REPETITIONS), groups), truths[1] - truths[0]


_CENTRES: dict[tuple[str, float, float], float] = {}


def _centre(scale: Scale, rate: float, spread: float) -> float:
    """The centre of the effects: the rate itself on the probability scale; on the logit scale what gives this rate."""
    key = (scale, rate, spread)
    if key not in _CENTRES:
        root = optimize.brentq(lambda x: _expected("logit", x, spread) - rate, -12, 12) if scale == "logit" else rate
        _CENTRES[key] = float(root)
    return _CENTRES[key]


def _bootstrap_t(estimate: float, draws: FloatArray, names: int) -> Interval:
    """The candidate not chosen: bootstrap standard error x sqrt(n / (n - 1)) with t on 2n - 2 degrees of freedom."""
    return t_interval(estimate, float(draws.std(ddof=1)) * math.sqrt(names / (names - 1)), 2 * names - 2)


def simulate(cell: Cell, tables: int, *, draws: int = 1000, seed: int = 0) -> Row:
    """Draw ``tables`` tables of one cell and count how often each interval holds the truth."""
    rates = [round(1000 * rate) for rate in (cell.reference_rate, cell.group_rate)]
    laws = [SCALES.index(cell.scale), DOMINATIONS.index(cell.domination)]
    generator = np.random.default_rng([seed, cell.names, *rates, *laws])
    hits = dict.fromkeys(INTERVALS, 0)
    widths = dict.fromkeys(INTERVALS, 0.0)
    found = 0
    for number in range(tables):
        cells, truth = _draw(cell, generator)
        held = dominating_names(cells)
        bootstrap = crossed_bootstrap(cells, draws=draws, seed=seed + number)
        result = contrast(cells, 1, 0, fixed=held, bootstrap=bootstrap, seed=seed, test=False)
        assert result.difference is not None
        intervals = {
            "default": result.interval,
            "all random": result.interval_all_random,
            "percentile": result.percentile,
            "bootstrap t": _bootstrap_t(result.difference, bootstrap.difference(1, 0), cell.names),
            "Wald": result.wald,
        }
        found += 1 in held
        for name, interval in intervals.items():
            assert interval is not None
            hits[name] += interval.low <= truth <= interval.high
            widths[name] += interval.width
    return Row(
        cell,
        tables,
        {name: hit / tables for name, hit in hits.items()},
        {name: width / tables for name, width in widths.items()},
        found / tables,
    )


def line(row: Row) -> str:
    """One line of the table; a coverage outside 92 to 98 % carries a star."""
    cell = row.cell
    shares = []
    for name in INTERVALS:
        share = row.coverage[name]
        star = " " if BAND[0] <= share <= BAND[1] else "*"
        shares.append(f"{100 * share:5.1f}{star} {row.width[name]:.3f}")
    rates = f"{cell.reference_rate:.2f} {cell.group_rate:.2f}"
    return f"{cell.domination:7} {cell.scale:11} {rates} {cell.names:3}  " + "  ".join(shares) + f"  {row.found:6.1%}"


def main(arguments: list[str] | None = None) -> int:
    """Print every cell; exit 1 when the default leaves 92 to 98 % in a primary cell (``none`` or ``fixed``)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 tables a cell instead of 1,000")
    parser.add_argument("--tables", type=int, help="tables a cell")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    tables = options.tables or (200 if options.quick else 1000)
    error = math.sqrt(0.95 * 0.05 / tables)
    print(
        f"{tables} tables a cell, {STEMS} stems x {REPETITIONS} repetitions; Monte Carlo error {100 * error:.1f} points"
    )
    print("each interval: coverage in %, * outside 92-98, and mean width; last: dominating name found in the group")
    print(
        f"{'dominating':7} {'scale':9} {'rates':9} n    " + "  ".join(f"{name:12}" for name in INTERVALS) + "   found"
    )
    started, outside = time.perf_counter(), []
    for cell in DESIGN:
        row = simulate(cell, tables, seed=options.seed)
        print(line(row), flush=True)
        if cell.domination != "random" and not BAND[0] <= row.coverage["default"] <= BAND[1]:
            outside.append(row)
    seconds = time.perf_counter() - started
    print(f"{len(DESIGN)} cells in {seconds:.0f} s; the default leaves 92-98 % in {len(outside)} primary cells")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
