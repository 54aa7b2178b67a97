"""Krippendorff's alpha with distances against a count pair by pair, and its two-way bootstrap."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.statistics.agreement import krippendorff_alpha
from evenhand.statistics.krippendorff import Distance, alpha_of_tallies, krippendorff, tally

# The twelve-unit, four-observer example that Krippendorff (2011) uses; his values are in the test.
EXAMPLE = (
    np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ]
    ).T
    - 1
)


def plain_alpha(table: np.ndarray, distance: str) -> float:
    units = [[int(x) for x in row if x >= 0] for row in table]
    units = [unit for unit in units if len(unit) >= 2]
    pool = [x for unit in units for x in unit]

    def apart(a: int, b: int) -> float:
        if distance == "nominal":
            return float(a != b)
        if distance == "interval":
            return float((a - b) ** 2)
        low, high = min(a, b), max(a, b)
        between = sum(low <= x <= high for x in pool) - (pool.count(low) + pool.count(high)) / 2
        return 0.0 if a == b else between**2

    observed = sum(sum(apart(a, b) for a, b in itertools.permutations(u, 2)) / (len(u) - 1) for u in units) / len(pool)
    expected = sum(apart(a, b) for a, b in itertools.permutations(pool, 2)) / (len(pool) * (len(pool) - 1))
    return 1 - observed / expected


@pytest.mark.parametrize(("distance", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_published_example(distance: Distance, published: float) -> None:
    found = krippendorff(EXAMPLE, distance=distance, draws=0)
    assert found.coefficient == pytest.approx(published, abs=5e-4)
    assert found.coefficient == pytest.approx(plain_alpha(EXAMPLE, distance))
    assert (found.items, found.ratings) == (11, 40)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["nominal", "ordinal", "interval"]))
def test_random_tables(seed: int, distance: Distance) -> None:
    generator = np.random.default_rng(seed)
    table = generator.integers(-1, 3, (8, 4))
    table[0] = [0, 1, 2, 0]
    found = krippendorff(table, distance=distance, draws=0)
    assert found.coefficient == pytest.approx(plain_alpha(table, distance))
    if distance == "nominal":
        assert found.coefficient == pytest.approx(krippendorff_alpha(table))


def test_many_sets_at_once() -> None:
    generator = np.random.default_rng(0)
    tables = [generator.integers(0, 3, (9, 5)) for _ in range(4)]
    together = alpha_of_tallies(np.stack([tally(table, 3) for table in tables], axis=2))
    assert together == pytest.approx([krippendorff(table, draws=0).coefficient for table in tables])


def test_values_of_the_labels_scale_out() -> None:
    table = np.random.default_rng(1).integers(0, 3, (9, 5))
    plain = krippendorff(table, distance="interval", draws=0)
    halves = krippendorff(table, distance="interval", values=(0, 0.5, 1), draws=0)
    assert plain.coefficient == pytest.approx(halves.coefficient)
    assert halves.observed == pytest.approx(plain.observed / 4 if plain.observed is not None else None)


def test_the_123_raters(public_data: Callable[[str], Path]) -> None:
    folder = public_data("dices")
    with (folder / "dices_350_overall_matrix.csv").open(newline="", encoding="utf-8") as file:
        table = np.array([["NUY".index(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]])
    reference = json.loads((folder / "reference_values.json").read_text("utf-8"))
    for labels, name in (
        (table, "3cat"),
        ((table == 2).astype(int), "yes_vs_rest"),
        ((table > 0).astype(int), "yesunsure_vs_no"),
    ):
        value = krippendorff(labels, draws=0).coefficient
        assert value == pytest.approx(reference[f"krippendorff_alpha_nominal_{name}"], abs=1e-4)


def test_drawing_a_rater_twice_does_not_lift_alpha() -> None:
    table = np.random.default_rng(2).integers(0, 3, (150, 5))  # no agreement at all
    for unit in ("raters", "items", "both"):
        found = krippendorff(table, resample=unit, draws=400)  # type: ignore[arg-type]
        assert found.bias == pytest.approx(0, abs=0.02)
        assert found.interval is not None
        assert found.interval.low < 0 < found.interval.high


def test_an_item_draw_is_alpha_of_the_resampled_items() -> None:
    table = np.random.default_rng(5).integers(0, 3, (30, 4))
    found = krippendorff(table, resample="items", draws=300)
    generator = np.random.default_rng(6)
    peer = [krippendorff(table[generator.integers(0, 30, 30)], count=3, draws=0).coefficient for _ in range(300)]
    assert found.interval is not None
    assert [found.interval.low, found.interval.high] == pytest.approx(np.quantile(peer, [0.025, 0.975]), abs=0.04)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ([[0, -1], [-1, 1]], "no item has two ratings"),
        ([[1, 1], [1, 1]], "every rating is the same label"),
    ],
)
def test_undefined_with_a_reason(table: list[list[int]], reason: str) -> None:
    found = krippendorff(table)
    assert (found.coefficient, found.reason) == (None, reason)


def test_one_item_has_no_interval_over_items() -> None:
    found = krippendorff([[0, 1, 2, 0, 0, 1]], draws=100)
    assert (found.coefficient, found.interval, found.reason) == (0.0, None, "one item: no interval")
    assert krippendorff([[0, 1, 2, 0, 0, 1]], draws=100, resample="raters").interval is not None


def test_perfect_disagreement_stays_negative() -> None:
    found = krippendorff([[0, 1], [1, 0], [0, 1]], draws=0)
    assert found.coefficient is not None
    assert found.coefficient < 0


def test_bad_labels() -> None:
    with pytest.raises(BadInput, match="outside -1 to 2") as error:
        krippendorff([[0, 1], [2, 3]], count=3)
    assert error.value.row == 2
    with pytest.raises(BadInput, match="whole numbers"):
        krippendorff([[0.5, 1.0]])
    with pytest.raises(BadInput, match="as many values"):
        krippendorff([[0, 1], [1, 0]], distance="interval", values=(0.0, 0.5, 1.0))
    with pytest.raises(BadInput, match="distance"):
        krippendorff([[0, 1], [1, 0]], distance="ratio")  # type: ignore[arg-type]
