"""Claim: 10,000 two-way bootstrap draws of the six intraclass correlations of 350 x 123 ratings are at least 50 times
faster than calling pingouin once for each draw, with the same coefficients.

Both resample items and raters with replacement. The peer rebuilds the long table of a draw and calls
``pingouin.intraclass_corr``; it runs fewer draws and is compared per draw. The draws are the same, so coefficients are
compared draw by draw, not only as intervals. ``python bench/bench_icc.py [--quick]``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pingouin

from evenhand.statistics.icc import icc_draws
from evenhand.statistics.two_way import resampled_indices

ITEMS, RATERS, DRAWS = 350, 123, 10_000


def table(seed: int) -> np.ndarray:
    """Ratings 0, 0.5 or 1 with item and rater effects, (items, raters)."""
    generator = np.random.default_rng(seed)
    latent = generator.normal(0, 0.5, (ITEMS, 1)) + generator.normal(0, 0.5, (1, RATERS))
    latent = latent + generator.normal(0, 1, (ITEMS, RATERS))
    return np.where(latent > 0.5, 1.0, np.where(latent > 0.3, 0.5, 0.0))


def peer(ratings: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The six coefficients of each draw, (6, draws), by one call of pingouin a draw."""
    item, rater = (axis.ravel() for axis in np.indices(ratings.shape))
    found = np.empty((6, draws))
    for at, (items, raters) in enumerate(resampled_indices(ITEMS, RATERS, "both", draws, seed)):
        sample = ratings[np.ix_(items, raters)]
        frame = pd.DataFrame({"item": item, "rater": rater, "rating": sample.ravel()})
        rows = pingouin.intraclass_corr(frame, targets="item", raters="rater", ratings="rating")
        found[:, at] = rows["ICC"].to_numpy()
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the runs, the median ratio and the largest difference; exit 1 below 50 times or where they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 runs and 3 draws of the peer")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # what pingouin itself uses of pandas is deprecated there
    runs, draws = (2, 3) if options.quick else (5, 10)
    ratings = table(0)
    peer(ratings, 1, 0)
    print(f"{ITEMS} items x {RATERS} raters; ours {DRAWS} draws, pingouin {draws} draws a run")
    ratios, worst = [], 0.0
    for run in range(runs):
        started = time.perf_counter()
        ours = icc_draws(ratings, draws=DRAWS, seed=run)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        theirs = peer(ratings, draws, run)
        peer_seconds = time.perf_counter() - started
        worst = max(worst, float(np.abs(ours[:, :draws] - theirs).max()))
        ratios.append((peer_seconds / draws) / (seconds / DRAWS))
        print(f"run {run}: ours {seconds:.3f} s, pingouin {peer_seconds:.3f} s, per draw {ratios[-1]:.0f} times faster")
    ratio = statistics.median(ratios)
    print(f"median {ratio:.0f} times faster (claim: 50); largest difference of a coefficient {worst:.1e}")
    return 0 if ratio >= 50 and worst < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
