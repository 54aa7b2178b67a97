"""Claim: the crossed bootstrap is at least 100 times faster than a per-replicate dataframe group-by, with the same
interval.

Both resample names inside each group and stems once for all groups, on one table of 64 names x 32 stems x 5
repetitions. The peer is what one writes in pandas: look up the rows of the drawn names and stems, then group by and
average, once for each replicate. It runs fewer replicates and is compared per replicate. ``python
bench/bench_bootstrap.py [--quick]``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np
import pandas as pd

from evenhand.statistics.cells import Cells, cells_from_rows
from evenhand.statistics.resampling import crossed_bootstrap, percentile

NAMES, GROUPS, STEMS, REPETITIONS = 64, 8, 32, 5


def table(seed: int) -> pd.DataFrame:
    """Long rows: name, stem, repetition, group and a 0/1 outcome with name and stem effects."""
    generator = np.random.default_rng(seed)
    name, stem, repetition = (
        axis.ravel() for axis in np.meshgrid(range(NAMES), range(STEMS), range(REPETITIONS), indexing="ij")
    )
    group = name % GROUPS
    rate = 0.1 + 0.03 * group + generator.normal(0, 0.09, NAMES)[name] + generator.normal(0, 0.15, STEMS)[stem]
    outcome = (generator.random(name.size) < np.clip(rate, 0.01, 0.99)).astype(float)
    return pd.DataFrame({"name": name, "stem": stem, "repetition": repetition, "group": group, "outcome": outcome})


def peer(frame: pd.DataFrame, replicates: int, seed: int) -> np.ndarray:
    """Draws of the rate of every group, (replicates, groups), one dataframe group-by a replicate."""
    generator = np.random.default_rng(seed)
    by_group = {group: rows["name"].unique() for group, rows in frame.groupby("group")}
    draws = np.empty((replicates, GROUPS))
    for replicate in range(replicates):
        names = np.concatenate([generator.choice(pool, pool.size) for pool in by_group.values()])
        stems = generator.choice(STEMS, STEMS)
        sample = frame.merge(pd.DataFrame({"name": names}), on="name").merge(pd.DataFrame({"stem": stems}), on="stem")
        draws[replicate] = sample.groupby("group")["outcome"].mean().to_numpy()
    return draws


def interval_error(draws: np.ndarray) -> float:
    """Monte Carlo standard error of the ends of a 95 % percentile interval, for draws that are close to normal."""
    density = 0.0584  # standard normal density at 1.96
    return float(np.sqrt(0.025 * 0.975 / draws.size) / density * draws.std())


def main(arguments: list[str] | None = None) -> int:
    """Print the runs, the median ratio and both intervals; exit 1 below 100 times or where the intervals disagree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 runs and 40 replicates of the peer")
    options = parser.parse_args(arguments)
    runs, replicates, draws = (2, 40, 10_000) if options.quick else (5, 200, 10_000)
    frame = table(0)
    columns = [frame[column].to_numpy() for column in ("name", "stem", "outcome")]
    groups = np.arange(NAMES) % GROUPS
    print(f"{NAMES} names x {STEMS} stems x {REPETITIONS}; ours {draws} draws, pandas {replicates} replicates a run")
    ratios, theirs, ours = [], [], None
    for run in range(runs):
        started = time.perf_counter()
        cells: Cells = cells_from_rows(*columns, groups)
        ours = crossed_bootstrap(cells, draws=draws, seed=run)
        own_time = time.perf_counter() - started
        started = time.perf_counter()
        theirs.append(peer(frame, replicates, run))
        peer_time = time.perf_counter() - started
        ratios.append((peer_time / replicates) / (own_time / draws))
        print(
            f"run {run + 1}: ours {own_time:.3f} s for {draws}, pandas {peer_time:.2f} s for {replicates}, "
            f"{1e6 * own_time / draws:.1f} against {1e6 * peer_time / replicates:.0f} us each: {ratios[-1]:.0f} x"
        )
    assert ours is not None
    pooled = np.concatenate(theirs)
    agree = True
    for group in (1, GROUPS - 1):
        mine, other = ours.difference(group, 0), pooled[:, group] - pooled[:, 0]
        a, b = percentile(mine), percentile(other)
        assert a is not None
        assert b is not None
        error = np.hypot(interval_error(mine), interval_error(other))
        gaps = (a.low - b.low, a.high - b.high)
        agree &= all(abs(gap) < 4 * error for gap in gaps)
        print(
            f"group {group} - group 0: ours [{a.low:.4f}, {a.high:.4f}], pandas [{b.low:.4f}, {b.high:.4f}], "
            f"ends differ by {gaps[0]:+.4f}, {gaps[1]:+.4f}; Monte Carlo error {error:.4f}"
        )
    ratio, verdict = statistics.median(ratios), "agree" if agree else "DISAGREE"
    print(f"median ratio {ratio:.0f} x (target 100 x); intervals {verdict} within 4 Monte Carlo errors")
    return 0 if ratio >= 100 and agree else 1


if __name__ == "__main__":
    sys.exit(main())
