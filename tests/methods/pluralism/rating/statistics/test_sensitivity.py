"""Forms of demographic sensitivity against loops, their null on the 123 raters, and planted shifts."""

from __future__ import annotations

import csv
import itertools
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.raters import RaterGroups, rater_groups
from evenhand.methods.pluralism.rating.statistics.sensitivity import SENSITIVITY_FORMS, SensitivityForm, sensitivities


def groups_of(sizes: dict[str, int], raters: int, seed: int | None = None, least: int = 1) -> RaterGroups:
    """Groups of these sizes, the other raters in none; shuffled with a seed."""
    values: list[str | None] = [name for name, size in sizes.items() for _ in range(size)]
    values += [None] * (raters - len(values))
    if seed is not None:
        values = [values[at] for at in np.random.default_rng(seed).permutation(raters)]
    return rater_groups(values, least=least)


def plain_forms(table: np.ndarray, groups: RaterGroups) -> dict[str, float | None]:
    rows: dict[str, list[float]] = {form: [] for form in ("absolute", "deviation", "range", "surplus", "floored")}
    for item in table:
        cells = [
            [float(x) for x, code in zip(item, groups.codes, strict=True) if code == group and not np.isnan(x)]
            for group in range(len(groups.names))
        ]
        if not all(cells):
            continue
        means = [statistics.fmean(cell) for cell in cells]
        rows["absolute"].append(statistics.fmean(abs(a - b) for a, b in itertools.combinations(means, 2)))
        rows["deviation"].append(statistics.pstdev(means))
        rows["range"].append(max(means) - min(means))
        if min(len(cell) for cell in cells) < 2:
            continue
        noise = statistics.fmean(statistics.variance(cell) / len(cell) for cell in cells)
        rows["surplus"].append(statistics.variance(means) - noise)
        rows["floored"].append(max(0.0, statistics.variance(means) - noise))
    found: dict[str, float | None] = {
        form: statistics.fmean(rows[form]) if rows[form] else None for form in ("absolute", "deviation", "range")
    }
    found["adjusted"] = max(0.0, statistics.fmean(rows["surplus"])) ** 0.5 if rows["surplus"] else None
    found["adjusted by item"] = statistics.fmean(rows["floored"]) ** 0.5 if rows["floored"] else None
    return found


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 4), st.floats(0, 0.3))
def test_every_form_equals_the_loops(seed: int, count: int, missing: float) -> None:
    generator = np.random.default_rng(seed)
    table = generator.random((9, 14))
    table[generator.random(table.shape) < missing] = np.nan
    sizes = {"abcd"[at]: 3 for at in range(count)}
    groups = groups_of(sizes, 14, seed)
    found = sensitivities(table, groups, draws=0)
    assert {form.form: form.value for form in found.forms} == pytest.approx(plain_forms(table, groups), abs=1e-7)


def test_every_permuted_value_equals_the_loops() -> None:
    table = np.random.default_rng(0).random((6, 6))
    groups = groups_of({"a": 3, "b": 3}, 6)
    found = sensitivities(table, groups, draws=2_000)
    exact = []
    for chosen in itertools.combinations(range(6), 3):
        values = ["a" if at in chosen else "b" for at in range(6)]
        exact.append(plain_forms(table, rater_groups(values, least=1)))
    for form in found.forms:
        expected = statistics.fmean(one[form.form] or 0.0 for one in exact)
        assert form.null_mean == pytest.approx(expected, rel=0.05)
        assert form.value is not None
        assert form.null_mean is not None
        assert form.excess == pytest.approx(form.value - form.null_mean)
        share = statistics.fmean((one[form.form] or 0.0) >= form.value - 1e-9 for one in exact)
        assert form.p == pytest.approx(share, abs=0.04)


@pytest.fixture(scope="module")
def ratings(public_data: Callable[[str], Path]) -> np.ndarray:
    with (public_data("dices") / "dices_350_overall_matrix.csv").open(newline="", encoding="utf-8") as file:
        return np.array([["NUY".index(cell) / 2 for cell in row[1:]] for row in list(csv.reader(file))[1:]])


@pytest.fixture(scope="module")
def null(public_data: Callable[[str], Path]) -> dict[str, Any]:
    reference = json.loads((public_data("dices") / "reference_values.json").read_text("utf-8"))
    return reference["null_of_DS_under_random_group_assignment"]  # type: ignore[no-any-return]


def test_the_null_of_the_123_raters(ratings: np.ndarray, null: dict[str, Any]) -> None:
    """The reference draws are not ours, so means agree to the error of both, not to every figure."""
    halves = sensitivities(ratings, groups_of({"a": 61, "b": 62}, 123), draws=1_500).of("absolute")
    assert halves.null_mean == pytest.approx(null["two_halves_mean_abs_diff"]["mean"], abs=0.001)
    assert halves.null_range is not None
    assert halves.null_range.low == pytest.approx(null["two_halves_mean_abs_diff"]["p2.5"], abs=0.001)
    assert halves.null_range.high == pytest.approx(null["two_halves_mean_abs_diff"]["p97.5"], abs=0.004)
    small = sensitivities(ratings, groups_of({"a": 13, "b": 110}, 123), draws=1_500).of("absolute")
    assert small.null_mean == pytest.approx(null["group13_vs_rest_mean_abs_diff"], abs=0.002)
    races = groups_of({"a": 21, "b": 23, "c": 22, "d": 13, "e": 25}, 123)
    five = sensitivities(ratings, races, draws=1_000)
    assert five.of("range").null_mean == pytest.approx(null["five_groups_sized_21_23_22_13_25_range"], abs=0.003)
    deviation = null["five_groups_sized_21_23_22_13_25_population_sd"]
    assert five.of("deviation").null_mean == pytest.approx(deviation, abs=0.0015)


def test_the_first_61_of_the_123_raters_against_the_others(ratings: np.ndarray, null: dict[str, Any]) -> None:
    groups = groups_of({"a": 61, "b": 62}, 123)
    assert sensitivities(ratings, groups, draws=0).of("absolute").value == pytest.approx(0.05689, abs=1e-4)


def test_shuffled_demographics_stay_inside_their_null(ratings: np.ndarray) -> None:
    """With shuffled groups p is uniform; at most 5 % of runs should leave the central 95 %, here 8 of 60 at the most."""
    outside = dict.fromkeys(("absolute", "deviation", "range"), 0)
    for run in range(60):
        groups = groups_of({"a": 21, "b": 23, "c": 22}, 123, seed=run)
        found = sensitivities(ratings[:120], groups, draws=99, seed=run)
        for form in outside:
            one = found.of(form)  # type: ignore[arg-type]
            assert one.null_range is not None
            assert one.value is not None
            outside[form] += not one.null_range.low <= one.value <= one.null_range.high
    assert max(outside.values()) <= 8


@pytest.mark.parametrize("count", [2, 5])
def test_a_planted_shift_is_recovered(count: int) -> None:
    """A shift of 0.1 of one group, 350 items: the adjusted form finds its standard deviation over groups within 0.02."""
    expected = statistics.stdev([0.1] + [0.0] * (count - 1))
    for seed in range(5):
        generator = np.random.default_rng(seed)
        table = generator.random((350, 1)) + 0.4 * generator.normal(size=(350, 20 * count))
        table[:, :20] += 0.1
        groups = rater_groups(["abcde"[at // 20] for at in range(20 * count)])
        found = sensitivities(table, groups, draws=50)
        assert found.of("adjusted").value == pytest.approx(expected, abs=0.02)
        assert found.of("adjusted").p == pytest.approx(1 / 51)


def test_noise_alone_lifts_every_form_but_the_adjusted_one() -> None:
    table = 0.4 * np.random.default_rng(1).normal(size=(350, 40))
    found = sensitivities(table, groups_of({"a": 20, "b": 20}, 40), draws=0)
    values = {form: found.of(form).value for form in SENSITIVITY_FORMS}
    assert values["adjusted"] == pytest.approx(0, abs=0.03)
    for form in ("absolute", "range", "adjusted by item"):
        value = values[form]  # type: ignore[index]
        assert value is not None
        assert value > 0.05


def test_strata_keep_what_varies_between_them_out_of_the_null() -> None:
    """Columns are profile x paraphrase; the paraphrase shifts ratings, the profile does not."""
    generator = np.random.default_rng(2)
    profile, paraphrase = np.repeat([0, 1], 8), np.tile(np.arange(8), 2)
    table = 0.01 * generator.normal(size=(50, 16)) + paraphrase[None, :]
    groups = rater_groups(["ab"[at] for at in profile])
    free = sensitivities(table, groups, draws=300).of("absolute")
    kept = sensitivities(table, groups, draws=300, within=paraphrase.tolist()).of("absolute")
    assert free.null_mean is not None
    assert kept.null_mean is not None
    assert kept.null_mean < 0.02 < 0.5 < free.null_mean


def test_one_column_a_group_has_no_null() -> None:
    found = sensitivities([[0.1, 0.5], [0.2, 0.4]], groups_of({"a": 1, "b": 1}, 2))
    form = found.of("absolute")
    assert form.value == pytest.approx(0.3)
    assert (form.null_mean, form.excess, form.p) == (None, None, None)
    assert "no shuffle" in form.reason
    assert found.of("adjusted").value is None
    assert "fewer than 2 ratings" in found.of("adjusted").reason


def test_undefined_with_a_reason() -> None:
    one = sensitivities(np.ones((3, 4)), groups_of({"a": 4}, 4))
    assert {form.reason for form in one.forms} == {"fewer than 2 groups have enough raters"}
    apart = sensitivities([[1.0, np.nan], [np.nan, 1.0]], groups_of({"a": 1, "b": 1}, 2), draws=0)
    assert apart.of("range").value is None
    assert apart.of("range").reason == "no item is rated by every group"
    assert apart.items == 0


def test_the_draws_are_those_of_the_seed() -> None:
    table = np.random.default_rng(3).random((5, 12))
    groups = groups_of({"a": 6, "b": 6}, 12)
    assert sensitivities(table, groups, draws=50, seed=4) == sensitivities(table, groups, draws=50, seed=4)
    assert sensitivities(table, groups, draws=50, seed=4) != sensitivities(table, groups, draws=50, seed=5)


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="3 raters in the ratings, 2 in the groups"):
        sensitivities(np.ones((2, 3)), groups_of({"a": 2}, 2))
    form: SensitivityForm = "range"
    with pytest.raises(BadInput, match="Unknown form of sensitivity"):
        sensitivities(np.ones((2, 2)), groups_of({"a": 1, "b": 1}, 2), draws=0).of(form.upper())  # type: ignore[arg-type]
