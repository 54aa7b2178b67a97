"""xRR and the GRASP measures against loops in plain Python, and against the fixed halves of the 123 raters."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.grasp_measures import (
    MEASURES,
    cross_reliability,
    measures_of_tallies,
    plurality,
    tied_items,
)
from evenhand.statistics.krippendorff import krippendorff, tally

Table = list[list[int]]


def known(row: list[int]) -> list[int]:
    return [x for x in row if x >= 0]


def plain_alpha(table: Table) -> float:
    units = [known(row) for row in table if len(known(row)) >= 2]
    pool = [x for unit in units for x in unit]
    observed = sum(sum(a != b for a, b in itertools.permutations(u, 2)) / (len(u) - 1) for u in units) / len(pool)
    expected = sum(a != b for a, b in itertools.permutations(pool, 2)) / (len(pool) * (len(pool) - 1))
    return 1 - observed / expected


def plain_xrr(ours: Table, theirs: Table) -> float:
    pairs = [(known(x), known(y)) for x, y in zip(ours, theirs, strict=True) if known(x) and known(y)]
    size = sum(len(x) + len(y) for x, y in pairs)
    observed = 0.0
    for x, y in pairs:
        mean = sum(a != b for a in x for b in y) / (len(x) * len(y))
        observed += (len(x) + len(y)) * mean / size
    everything = [a for x, _ in pairs for a in x], [b for _, y in pairs for b in y]
    expected = sum(a != b for a in everything[0] for b in everything[1]) / (len(everything[0]) * len(everything[1]))
    return 1 - observed / expected


def plain_vote(row: list[int], severe: bool) -> int:
    if not known(row):
        return -1
    counts = Counter(known(row))
    best = [label for label, count in counts.items() if count == max(counts.values())]
    return max(best) if severe else min(best)


def plain_measures(ours: Table, theirs: Table, labels: int, *, severe: bool, smooth: bool) -> dict[str, float]:
    sizes, gains, crosses = [], [], []
    for x, y in zip(ours, theirs, strict=True):
        mine = known(x)
        if not mine:
            continue
        p = {label: count / len(mine) for label, count in Counter(mine).items()}
        sizes.append(max(p.values()))
        gains.append(math.log(labels) + sum(share * math.log(share) for share in p.values()))
        other = known(y)
        if not other:
            continue
        cross = 0.0
        for label, share in p.items():
            q = (other.count(label) + 0.5) / (len(other) + 0.5 * labels) if smooth else other.count(label) / len(other)
            cross += share * math.log(q) if q else 0.0
        crosses.append(math.log(labels) + cross)
    votes = [
        [plain_vote(x, severe), plain_vote(y, severe)]
        for x, y in zip(ours, theirs, strict=True)
        if known(x) and known(y)
    ]
    irr, xrr = plain_alpha(ours), plain_xrr(ours, theirs)
    return {
        "irr": irr,
        "plurality_size": sum(sizes) / len(sizes),
        "negentropy": sum(gains) / len(gains),
        "xrr": xrr,
        "voting_agreement": plain_alpha(votes),
        "cross_negentropy": sum(crosses) / len(crosses),
        "gai": irr / xrr if xrr > 0 else math.nan,
    }


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_every_measure_equals_the_loops(seed: int, severe: bool, smooth: bool) -> None:
    generator = np.random.default_rng(seed)
    centre = generator.integers(0, 3, (12, 1))
    table = np.where(generator.random((12, 9)) < 0.5, centre, generator.integers(0, 3, (12, 9)))
    table[generator.random(table.shape) < 0.2] = -1
    table[0], table[1] = [0, 1, 2, 0, 0, 1, 2, 1, 1], [2, 2, 1, 2, 2, 2, 0, 2, 2]
    ours, theirs = table[:, :4], table[:, 4:]
    found = measures_of_tallies(
        tally(ours, 3)[:, :, None],
        tally(theirs, 3)[:, :, None],
        ties="severe" if severe else "mild",
        zero_terms="smooth" if smooth else "drop",
    )[:, 0]
    expected = plain_measures(ours.tolist(), theirs.tolist(), 3, severe=severe, smooth=smooth)
    assert dict(zip(MEASURES, found.tolist(), strict=True)) == pytest.approx(expected, nan_ok=True)


@pytest.fixture(scope="module")
def halves(public_data: Callable[[str], Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with (public_data("dices") / "dices_350_overall_matrix.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    table = np.array([["NUY".index(cell) for cell in row[1:]] for row in rows])
    return table[:, :61], table[:, 61:], np.array([int(row[0]) for row in rows])


@pytest.fixture(scope="module")
def reference(public_data: Callable[[str], Path]) -> dict[str, Any]:
    return json.loads((public_data("dices") / "reference_values.json").read_text("utf-8"))  # type: ignore[no-any-return]


def test_the_halves_of_the_123_raters(
    halves: tuple[np.ndarray, np.ndarray, np.ndarray], reference: dict[str, Any]
) -> None:
    a, b = (tally(side, 3)[:, :, None] for side in halves[:2])
    split = reference["fixed_split_A_p000_p060_vs_B_p061_p122"]
    for ours, theirs, name, cross in (
        (a, b, "A", "cross_negentropy_A_given_B_zero_terms_dropped"),
        (b, a, "B", "cross_negentropy_B_given_A_zero_terms_dropped"),
    ):
        found = dict(
            zip(MEASURES, measures_of_tallies(ours, theirs, ties="mild", zero_terms="drop")[:, 0].tolist(), strict=True)
        )
        assert found["irr"] == pytest.approx(split[f"alpha_{name}"], abs=1e-4)
        assert found["gai"] == pytest.approx(split[f"gai_{name}"], abs=1e-4)
        assert found["plurality_size"] == pytest.approx(split[f"plurality_{name}"], abs=1e-4)
        assert found["negentropy"] == pytest.approx(split[f"negentropy_{name}"], abs=1e-4)
        assert found["cross_negentropy"] == pytest.approx(split[cross], abs=1e-4)
        assert found["voting_agreement"] == pytest.approx(split["voting_agreement_first_label_wins_ties"], abs=1e-4)
        smooth = measures_of_tallies(ours, theirs)[MEASURES.index("cross_negentropy"), 0]
        assert smooth < found["cross_negentropy"]
    everyone = measures_of_tallies(a + b, a)[:, 0]
    assert everyone[MEASURES.index("plurality_size")] == pytest.approx(reference["plurality_size"], abs=1e-4)
    assert everyone[MEASURES.index("negentropy")] == pytest.approx(reference["negentropy_nats"], abs=1e-4)
    nominal = cross_reliability(halves[0], halves[1])
    squared = cross_reliability(halves[0], halves[1], distance="interval", values=(0, 0.5, 1))
    assert nominal.coefficient == pytest.approx(split["xrr_nominal"], abs=1e-4)
    assert squared.coefficient == pytest.approx(split["xrr_squared"], abs=1e-4)
    assert nominal.normalised == pytest.approx(
        split["xrr_nominal"] / math.sqrt(split["alpha_A"] * split["alpha_B"]), abs=1e-4
    )


def test_the_tied_items_of_the_123_raters(halves: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    rows = tied_items(np.concatenate(halves[:2], axis=1))
    assert sorted(halves[2][rows].tolist()) == [94, 204]


def test_ties_and_unrated_items() -> None:
    counts = np.array([[2.0, 1, 2], [0, 0, 0], [0, 3, 1]])[:, :, None]
    assert plurality(counts)[:, 0].tolist() == [2, -1, 1]
    assert plurality(counts, "mild")[:, 0].tolist() == [0, -1, 1]
    assert tied_items([[0, 1, -1], [-1, -1, -1], [1, 1, 0]]).tolist() == [0]


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_distances_of_xrr(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 4, (10, 3)), generator.integers(0, 4, (10, 4))
    by_interval = cross_reliability(x, y, distance="interval")
    observed = np.mean((x[:, :, None] - y[:, None, :]) ** 2)
    expected = np.mean((x.ravel()[:, None] - y.ravel()[None, :]) ** 2)
    assert by_interval.coefficient == pytest.approx(1 - observed / expected)
    pool = np.concatenate([x.ravel(), y.ravel()])
    ranks = np.array([(pool < label).sum() + (pool == label).sum() / 2 for label in range(4)])
    observed = np.mean((ranks[x][:, :, None] - ranks[y][:, None, :]) ** 2)
    expected = np.mean((ranks[x].ravel()[:, None] - ranks[y].ravel()[None, :]) ** 2)
    assert cross_reliability(x, y, distance="ordinal").coefficient == pytest.approx(1 - observed / expected)


def test_products_of_totals_beyond_32_bits() -> None:
    """60,000 labels a side, given as single bytes: 60,000 squared does not fit 32 bits. Exact whole numbers beside it."""
    generator = np.random.default_rng(4)
    tables = [generator.integers(0, 3, (300, 200), dtype=np.int8) for _ in range(2)]
    x, y = ([[int((row == label).sum()) for label in range(3)] for row in table] for table in tables)
    totals = [[sum(row[label] for row in side) for label in range(3)] for side in (x, y)]
    size = 60_000
    apart = sum(
        size // 300 * size // 300 - sum(a * b for a, b in zip(*pair, strict=True)) for pair in zip(x, y, strict=True)
    )
    expected = size * size - sum(a * b for a, b in zip(*totals, strict=True))
    assert expected > 2**31
    found = cross_reliability(*tables)
    assert found.observed == pytest.approx(apart / (300 * 200 * 200), rel=1e-12)
    assert found.expected == pytest.approx(expected / size**2, rel=1e-12)
    alpha = krippendorff(np.concatenate(tables, axis=1), draws=0)
    both = [a + b for a, b in zip(*totals, strict=True)]
    assert alpha.expected == pytest.approx(
        (4 * size**2 - sum(n * n for n in both)) / (2 * size * (2 * size - 1)), rel=1e-12
    )


def test_undefined_with_a_reason() -> None:
    nothing = cross_reliability([[0], [-1]], [[-1], [1]])
    assert nothing.coefficient is None
    assert nothing.reasons["coefficient"] == "no item is rated on both sides"
    same = cross_reliability([[1, 1], [1, 1]], [[1], [1]])
    assert same.coefficient is None
    assert "one and the same label" in same.reasons["coefficient"]
    apart = cross_reliability([[0, 1], [1, 0]], [[0, 1], [1, 0]])
    assert apart.coefficient == pytest.approx(0)
    single = cross_reliability([[0], [1]], [[0], [1]])
    assert single.coefficient == pytest.approx(1)
    assert single.normalised is None
    assert "not positive" in single.reasons["normalised"]


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="same items"):
        cross_reliability([[0, 1]], [[0], [1]])
    with pytest.raises(BadInput, match="ties"):
        plurality(np.ones((1, 2, 1)), "first")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="zero terms"):
        measures_of_tallies(np.ones((1, 2, 1)), np.ones((1, 2, 1)), zero_terms="skip")  # type: ignore[arg-type]
