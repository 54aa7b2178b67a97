"""The six intraclass correlations against published tables, pingouin, and the reference matrix of 123 raters."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pingouin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.statistics.icc import FORMS, icc, icc_draws, spearman_brown
from evenhand.statistics.two_way import resampled_indices
from evenhand.statistics.variance_components import variance_components

# Shrout and Fleiss 1979, table 2: six targets, four judges.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])


@pytest.fixture(scope="module")
def ratings(public_data: Callable[[str], Path]) -> np.ndarray:
    with (public_data("dices") / "dices_350_overall_matrix.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([[{"N": 0.0, "U": 0.5, "Y": 1.0}[cell] for cell in row[1:]] for row in rows])


@pytest.fixture(scope="module")
def reference(public_data: Callable[[str], Path]) -> dict[str, Any]:
    return json.loads((public_data("dices") / "reference_values.json").read_text("utf-8"))  # type: ignore[no-any-return]


def peer(table: np.ndarray) -> list[float]:
    """Pingouin's six coefficients, in the order of `FORMS`."""
    item, rater = np.indices(table.shape)
    frame = pd.DataFrame({"item": item.ravel(), "rater": rater.ravel(), "rating": table.ravel()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pingouin itself uses of pandas is deprecated there
        found = pingouin.intraclass_corr(frame, targets="item", raters="rater", ratings="rating")
    return [float(x) for x in found["ICC"]]


def test_shrout_and_fleiss() -> None:
    found = icc(SHROUT_FLEISS, draws=0)
    published = (0.166, 0.290, 0.715, 0.443, 0.620, 0.909)
    assert [form.coefficient for form in found.forms] == pytest.approx(published, abs=5e-4)
    assert [form.averaged_over for form in found.forms] == [1, 1, 1, 4, 4, 4]
    assert all(form.interval is None for form in found.forms)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_any_complete_table_equals_pingouin(seed: int) -> None:
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(int(generator.integers(3, 9)), int(generator.integers(2, 6))))
    table += generator.normal(size=(len(table), 1)) * generator.random()
    for form, expected in zip(icc(table, draws=0).forms, peer(table), strict=True):
        if form.coefficient is None:  # where the denominator is not positive the peer's quotient is no coefficient
            assert "denominator is not positive" in form.reason
            assert not -1e9 < expected <= 1
        else:
            assert form.coefficient == pytest.approx(expected, abs=1e-9)


def test_the_123_raters(ratings: np.ndarray, reference: dict[str, Any]) -> None:
    found = icc(ratings, draws=0)
    expected = {form.replace("k", "123"): found.of(form).coefficient for form in FORMS}
    for form, value in reference["icc"].items():
        assert expected[form] == pytest.approx(value, abs=1e-4)
    parts = reference["variance_components"]
    assert found.item_variance == pytest.approx(parts["item"], abs=1e-6)
    assert found.rater_variance == pytest.approx(parts["rater"], abs=1e-6)
    assert found.residual_variance == pytest.approx(parts["residual"], abs=1e-6)
    binary = icc((ratings == 1).astype(float), draws=0)
    for form, value in reference["icc_binary_yes"].items():
        assert binary.of(form).coefficient == pytest.approx(value, abs=1e-4)
    single = found.of("ICC(2,1)").coefficient
    assert single is not None
    for count, value in reference["spearman_brown_from_icc21"].items():
        assert spearman_brown(single, float(count)) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("unit", ["items", "raters", "both"])
def test_bootstrap_ends_of_the_123_raters(ratings: np.ndarray, reference: dict[str, Any], unit: str) -> None:
    interval = icc(ratings, resample=unit, draws=4_000).of("ICC(2,1)").interval  # type: ignore[arg-type]
    assert interval is not None
    expected = reference["icc21_bootstrap95"][f"resample_{unit}"]
    assert (interval.low, interval.high) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("unit", ["items", "raters", "both"])
def test_a_draw_is_the_coefficient_of_the_resampled_table(unit: str) -> None:
    table = np.random.default_rng(3).normal(size=(7, 5))
    drawn = icc_draws(table, resample=unit, draws=6, seed=2)  # type: ignore[arg-type]
    for at, (items, raters) in enumerate(resampled_indices(7, 5, unit, 6, 2)):  # type: ignore[arg-type]
        again = icc(table[np.ix_(items, raters)], draws=0)
        expected = [np.nan if form.coefficient is None else form.coefficient for form in again.forms]
        assert drawn[:, at] == pytest.approx(expected, nan_ok=True)


def test_the_bias_of_drawing_raters_twice_is_told() -> None:
    generator = np.random.default_rng(0)
    table = generator.normal(size=(200, 5))  # no agreement at all
    form = icc(table, resample="raters", draws=500).of("ICC(2,1)")
    assert form.bias == pytest.approx(1 / 5, abs=0.05)


def test_a_missing_rating_makes_it_a_fit_by_reml() -> None:
    generator = np.random.default_rng(1)
    table = generator.normal(size=(40, 1)) + 0.5 * generator.normal(size=(1, 8)) + generator.normal(size=(40, 8))
    whole = icc(table, draws=0)
    holes = table.copy()
    holes[generator.random(table.shape) < 0.05] = np.nan
    found = icc(holes, reml_draws=20)
    assert not found.complete
    assert found.ratings == int(np.isfinite(holes).sum())
    for form in FORMS:
        one = found.of(form)
        assert one.coefficient == pytest.approx(whole.of(form).coefficient, abs=0.05)
        assert one.interval is not None
        assert one.interval.low < one.interval.high
    assert found.of("ICC(2,k)").averaged_over == pytest.approx(1 / np.mean(1 / np.isfinite(holes).sum(axis=1)))


def test_the_forms_of_an_incomplete_table_are_ratios_of_its_variance_components() -> None:
    """Between 3 and 12 ratings an item, as in a set where not all rate all; k is the harmonic mean of the ratings of an item."""
    generator = np.random.default_rng(6)
    table = generator.normal(size=(30, 1)) + 0.7 * generator.normal(size=(1, 12)) + generator.normal(size=(30, 12))
    for item in range(30):
        table[item, generator.permutation(12)[: int(generator.integers(0, 10))]] = np.nan
    item, rater = (x.tolist() for x in np.nonzero(np.isfinite(table)))
    values = table[np.isfinite(table)]
    one = variance_components(values, {"item": item})
    two = variance_components(values, {"item": item, "rater": rater})
    k = 1 / np.mean(1 / np.isfinite(table).sum(axis=1))
    a, within = one.of("item").variance, one.residual.variance
    v, r, e = (two.of(name).variance for name in ("item", "rater", "residual"))
    assert None not in (a, within, v, r, e)
    expected = [
        a / (a + within), v / (v + r + e), v / (v + e),  # type: ignore[operator]
        a / (a + within / k), v / (v + (r + e) / k), v / (v + e / k),  # type: ignore[operator]
    ]  # fmt: skip
    found = icc(table, reml_draws=0)
    assert [form.coefficient for form in found.forms] == pytest.approx(expected, rel=1e-6)
    assert found.ratings == values.size


def test_one_missing_rating_of_the_123_raters_changes_nothing_to_speak_of(ratings: np.ndarray) -> None:
    holes = ratings.copy()
    holes[4, 7] = np.nan
    found, whole = icc(holes, reml_draws=0), icc(ratings, draws=0)
    for form in FORMS[:3]:
        assert found.of(form).coefficient == pytest.approx(whole.of(form).coefficient, abs=1e-4)
    assert found.item_variance == pytest.approx(whole.item_variance, abs=1e-5)


def test_a_negative_coefficient_is_kept() -> None:
    table = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = icc(table, draws=0)
    assert [found.of(form).coefficient for form in ("ICC(1,1)", "ICC(3,1)")] == pytest.approx([-1.0, -1.0])
    assert found.of("ICC(2,k)").coefficient is None
    assert found.item_variance is not None
    assert found.item_variance < 0


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (np.ones((4, 3)), "every rating is the same"),
        (np.array([[1.0, 1.0, np.nan], [1.0, np.nan, 1.0]]), "every rating is the same"),
        (np.array([[1.0, 2.0]]), "fewer than 2 items"),
        (np.array([[1.0], [2.0]]), "fewer than 2 raters"),
        (np.array([[1.0, np.nan], [2.0, np.nan]]), "fewer than 2 raters"),
    ],
)
def test_undefined_with_a_reason(table: np.ndarray, reason: str) -> None:
    found = icc(table)
    assert {(form.coefficient, form.reason) for form in found.forms} == {(None, reason)}


def test_items_that_do_not_vary_have_no_consistency_and_no_agreement() -> None:
    """Every rater gives one answer, each another: nothing tells items apart, and only the forms that divide by 0 are undefined."""
    found = icc(np.tile([0.0, 0.5, 1.0], (5, 1)), draws=0)
    assert found.of("ICC(1,1)").coefficient == pytest.approx(-0.5)
    assert found.of("ICC(2,1)").coefficient == pytest.approx(0)
    for form in ("ICC(3,1)", "ICC(3,k)"):
        assert found.of(form).coefficient is None
        assert "do not vary" in found.of(form).reason


def test_items_and_raters_without_any_rating_are_counted() -> None:
    table = np.full((4, 4), np.nan)
    table[:3, :3] = [[1, 2, 3], [2, 3, 5], [4, 4, 6]]
    found = icc(table, draws=0)
    assert (found.items, found.raters, found.unrated_items, found.idle_raters) == (3, 3, 1, 1)
    assert found.of("ICC(3,1)").coefficient == icc(table[:3, :3], draws=0).of("ICC(3,1)").coefficient


def test_perfect_agreement_in_an_incomplete_table_is_undefined_not_wrong() -> None:
    table = np.repeat(np.arange(5.0)[:, None], 4, axis=1)
    assert icc(table, draws=0).of("ICC(2,1)").coefficient == pytest.approx(1)
    table[0, 0] = np.nan
    form = icc(table).of("ICC(2,1)")
    assert form.coefficient is None
    assert form.reason


def test_bad_tables() -> None:
    with pytest.raises(BadInput, match="table, got the shape"):
        icc([1.0, 2.0])
    with pytest.raises(BadInput, match="infinite") as error:
        icc([[1.0, 2.0], [np.inf, 1.0]])
    assert error.value.row == 2
    with pytest.raises(BadInput, match="complete table"):
        icc_draws([[1.0, np.nan], [1.0, 2.0]])
    with pytest.raises(BadInput, match="resampled as"):
        icc(SHROUT_FLEISS, resample="judges")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="intraclass"):
        icc(SHROUT_FLEISS, draws=0).of("ICC(4,1)")  # type: ignore[arg-type]
    assert spearman_brown(-0.5, 4) is None
