"""Claim: the default 95 % intervals of reward margins cover the truth in 92 to 98 % of draws of predicates, and the
sign-flip test keeps its level.

Every draw takes predicates (clusters) from a population, each with its own effect, and several pairs of each with
noise. Printed for the mean margin, the stigma-selection rate and a change of a rate: how often each interval holds the
population's value, its mean width, and how often there is none because the predicates do not differ. Then the size and
power of the sign-flip test beside the t test. ``python bench/reward_coverage.py`` (4,000 draws a cell) or ``--quick``
(1,000). The populations, in words, are in docs/statistics.md.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import special, stats

from evenhand.methods.reward.margins.measures import selections
from evenhand.statistics.cells import FloatArray
from evenhand.statistics.clusters import Method, cluster_bootstrap, cluster_means, paired_t, sign_flip_test
from evenhand.statistics.intervals import t_interval

CLUSTERS = (8, 15, 28, 129)
PAIRS = 6
NOISE = 0.6
BAND = (0.92, 0.98)
SIZE_LIMIT = 0.06


@dataclass(frozen=True, slots=True)
class Population:
    """Effects of predicates in nats: ``draw(generator, size)`` and their exact ``mean``; ``primary`` must hold the band."""

    name: str
    draw: Callable[[Generator, int], FloatArray]
    mean: float
    primary: bool = True


def _contaminated(generator: Generator, size: int) -> FloatArray:
    """One predicate in ten is far from the others."""
    far = generator.random(size) < 0.1
    return np.where(far, generator.normal(4, 1, size), generator.normal(0, 1, size))


POPULATIONS = (
    Population("normal", lambda g, n: g.normal(0.3, 1, n), 0.3),
    Population("skewed, 1", lambda g, n: g.gamma(4, 0.5, n) - 1.7, 0.3),
    Population("skewed, 2", lambda g, n: g.exponential(1, n) - 0.7, 0.3),
    Population("skewed, -2", lambda g, n: 1.3 - g.exponential(1, n), 0.3),
    Population("one in ten far", _contaminated, 0.4),
    Population("skewed, 3.3", lambda g, n: g.lognormal(0, 0.75, n), math.exp(0.75**2 / 2), primary=False),
)
RATES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Stigma-selection rates of populations whose predicates lean strongly one way (beta, precision 2)."""

CHANGES = ((0.5, 0.5), (0.5, 0.7), (0.1, 0.3), (0.1, 0.1))
"""Rates in the base and in a stage; probabilities of predicates are beta, precision 4."""


@dataclass(frozen=True, slots=True)
class Row:
    """One cell: coverage (of the draws with an interval) and mean width by interval, and the share without one."""

    population: str
    clusters: int
    coverage: dict[str, float]
    width: dict[str, float]
    missing: float
    primary: bool = True


MARGIN_METHODS: tuple[Method, ...] = ("studentised", "expanded percentile", "percentile")
RATE_METHODS: tuple[Method, ...] = ("Wilson", "expanded percentile", "percentile")
CHANGE_METHODS: tuple[Method, ...] = ("expanded percentile", "studentised", "percentile")


def _intervals(
    values: FloatArray, labels: list[int], draws: int, methods: tuple[Method, ...]
) -> dict[str, tuple[float, float]] | None:
    """Ends of every interval, the default first; None where the default has none."""
    out: dict[str, tuple[float, float]] = {}
    for method in methods:
        # One seed for all draws of predicates: the resampling weights are then made once.
        interval = cluster_bootstrap(values, labels, draws=draws, method=method)
        if interval is None:
            return None
        out[method] = (interval.low, interval.high)
    means = cluster_means(values, labels).means
    student = t_interval(float(means.mean()), float(means.std(ddof=1)) / math.sqrt(means.size), means.size - 1)
    rows = t_interval(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(values.size), values.size - 1)
    return {**out, "t": (student.low, student.high), "rows": (rows.low, rows.high)}


def _row(
    name: str, clusters: int, truth: float, sample: Callable[[], FloatArray], count: int, draws: int,
    methods: tuple[Method, ...], primary: bool = True,
) -> Row:  # fmt: skip
    labels = np.repeat(np.arange(clusters), PAIRS).tolist()
    held = [ends for _ in range(count) if (ends := _intervals(sample(), labels, draws, methods)) is not None]
    return Row(
        name,
        clusters,
        {one: float(np.mean([e[one][0] <= truth <= e[one][1] for e in held])) for one in held[0]},
        {one: float(np.mean([e[one][1] - e[one][0] for e in held])) for one in held[0]},
        1 - len(held) / count,
        primary,
    )


def coverage(population: Population, clusters: int, count: int, *, draws: int = 2000, seed: int = 0) -> Row:
    """Coverage of the mean margin in ``count`` draws of predicates."""
    generator = np.random.default_rng([seed, clusters, *population.name.encode()])

    def sample() -> FloatArray:
        effects = np.repeat(population.draw(generator, clusters), PAIRS)
        return effects + generator.normal(0, NOISE, effects.size)

    return _row(population.name, clusters, population.mean, sample, count, draws, MARGIN_METHODS, population.primary)


def rate_coverage(rate: float, clusters: int, count: int, *, draws: int = 2000, seed: int = 0) -> Row:
    """Coverage of the stigma-selection rate; each pair is won with its predicate's own probability."""
    generator = np.random.default_rng([seed, clusters, round(1000 * rate)])

    def sample() -> FloatArray:
        own = np.repeat(generator.beta(2 * rate, 2 * (1 - rate), clusters), PAIRS)
        return selections(np.where(generator.random(own.size) < own, 1.0, -1.0))

    return _row(f"rate {rate:g}", clusters, rate, sample, count, draws, RATE_METHODS)


def change_coverage(base: float, stage: float, clusters: int, count: int, *, draws: int = 2000, seed: int = 0) -> Row:
    """Coverage of a change of a rate in points; a predicate's two probabilities share half of their variance."""
    generator = np.random.default_rng([seed, clusters, round(1000 * base), round(1000 * stage)])

    def outcomes(rate: float, common: FloatArray) -> FloatArray:
        # Gaussian copula: normal scores with correlation .5 between the models, beta probabilities.
        score = math.sqrt(0.5) * common + math.sqrt(0.5) * generator.normal(0, 1, common.size)
        own = np.repeat(special.betaincinv(4 * rate, 4 * (1 - rate), special.ndtr(score)), PAIRS)
        return (generator.random(own.size) < own).astype(np.float64)

    def sample() -> FloatArray:
        common = generator.normal(0, 1, clusters)
        return 100 * (outcomes(stage, common) - outcomes(base, common))

    truth = 100 * (stage - base)
    return _row(f"{base:g} to {stage:g}", clusters, truth, sample, count, draws, CHANGE_METHODS)


def rejections(
    shift: float, clusters: int, count: int, population: str, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Share of draws in which the sign-flip test and the t test reject mean = 0 at .05; predicates centred at ``shift``."""
    generator = np.random.default_rng([seed, clusters, round(100 * shift)])
    flips = students = 0
    for _ in range(count):
        if population == "symmetric":
            effects = generator.normal(shift, 1, clusters)
        else:
            effects = generator.exponential(1, clusters) - 1 + shift
        means = effects + generator.normal(0, NOISE / math.sqrt(PAIRS), clusters)
        flips += sign_flip_test(means, draws=draws).p <= 0.05
        student = paired_t(means)
        students += student is not None and student[2] <= 0.05
    return flips / count, students / count


def _t_power(shift: float, clusters: int) -> float:
    """Exact power of the t test for normal predicates, the yardstick of the sign-flip test."""
    noncentral = shift * math.sqrt(clusters) / math.sqrt(1 + NOISE**2 / PAIRS)
    cut = float(special.stdtrit(clusters - 1, 0.975))
    return float(stats.nct.sf(cut, clusters - 1, noncentral) + stats.nct.cdf(-cut, clusters - 1, noncentral))


def _line(row: Row) -> str:
    parts = []
    for name, share in row.coverage.items():
        mark = " " if BAND[0] <= share <= BAND[1] else "*"
        parts.append(f"{100 * share:5.1f}{mark} {row.width[name]:6.2f}")
    return f"{row.population:15}{row.clusters:4}  " + "  ".join(parts) + f"  {100 * row.missing:4.1f}%"


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; exit 1 where a primary cell leaves the band, or the sign-flip test its level, by two Monte Carlo errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 draws a cell instead of 4,000")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    count = 1000 if options.quick else 4000
    slack = 2 * math.sqrt(0.0475 / count)
    started, failures = time.perf_counter(), []
    print(
        f"{count} draws a cell, {PAIRS} pairs a predicate; Monte Carlo error {100 * math.sqrt(0.0475 / count):.1f} points"
    )
    print(f"each interval: coverage in %, * outside {BAND[0]:.0%}-{BAND[1]:.0%}, and mean width; last: no interval")
    blocks: tuple[tuple[str, tuple[Method, ...], list[Callable[[int], Row]]], ...] = (
        (
            "margin, nats",
            MARGIN_METHODS,
            [lambda n, p=p: coverage(p, n, count, seed=options.seed) for p in POPULATIONS],  # type: ignore[misc]
        ),
        (
            "rate",
            RATE_METHODS,
            [lambda n, r=r: rate_coverage(r, n, count, seed=options.seed) for r in RATES],  # type: ignore[misc]
        ),
        (
            "change, points",
            CHANGE_METHODS,
            [lambda n, c=c: change_coverage(*c, n, count, seed=options.seed) for c in CHANGES],  # type: ignore[misc]
        ),
    )
    for title, methods, cells in blocks:
        print(f"{title:15}   n  " + "  ".join(f"{name[:12]:13}" for name in (*methods, "t", "rows")) + "  none")
        for cell in cells:
            for clusters in CLUSTERS:
                row = cell(clusters)
                print(_line(row), flush=True)
                if row.primary and not BAND[0] - slack <= next(iter(row.coverage.values())) <= BAND[1] + slack:
                    failures.append(row)
    print("rejections in % at .05: sign flips, t test (exact power of t for normal predicates)")
    for shape in ("symmetric", "skewed"):
        for shift in (0.0, 0.3, 0.6):
            for clusters in CLUSTERS:
                flips, students = rejections(shift, clusters, count, shape, seed=options.seed)
                exact = f" ({100 * _t_power(shift, clusters):.1f})" if shape == "symmetric" else ""
                print(f"{shape:10} mean {shift:g} n {clusters:4}  {100 * flips:5.1f}  {100 * students:5.1f}{exact}")
                if shape == "symmetric" and shift == 0 and flips > SIZE_LIMIT + slack:
                    failures.append(Row("sign flips", clusters, {}, {}, 0.0))
    print(f"{time.perf_counter() - started:.0f} s; {len(failures)} primary cells outside")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
