"""Groups of raters, partial pooling, and checks of a table of ratings."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from statsmodels.regression.mixed_linear_model import MixedLM

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.raters import (
    intersect,
    intersection_name,
    one_answer_share,
    one_hot,
    partial_pooling,
    polarity,
    rater_groups,
    shuffled_codes,
    straight_liners,
)
from evenhand.statistics.icc import icc
from evenhand.statistics.krippendorff import krippendorff


def test_small_excluded_and_missing_groups_are_counted_not_merged() -> None:
    values = ["White"] * 6 + ["Asian"] * 5 + ["Black"] * 4 + ["Other"] * 7 + [None, " "]
    found = rater_groups(values)
    assert found.names == ("Asian", "White")
    assert found.sizes == (5, 6)
    assert found.codes.tolist() == [1] * 6 + [0] * 5 + [-1] * 13
    assert found.known.sum() == 15
    assert dict(found.suppressed) == {"Black": 4}
    assert dict(found.left_out) == {"Other": 7, "missing": 2}


@given(st.lists(st.sampled_from(["a", "b", "c", "Other", None]), max_size=40), st.integers(1, 6))
def test_every_rater_is_somewhere(values: list[str | None], least: int) -> None:
    found = rater_groups(values, least=least)
    counted = sum(found.sizes) + sum(found.suppressed.values()) + sum(found.left_out.values())
    assert counted == len(values)
    assert all(size >= least for size in found.sizes)
    assert all((found.codes == code).sum() == size for code, size in enumerate(found.sizes))


def test_an_intersection_needs_every_value() -> None:
    demographics = {"race": ["White", "Asian", "Other", None], "gender": ["Man", "Woman", "Man", "Man"]}
    assert intersect(demographics, ("race", "gender")) == ("White, Man", "Asian, Woman", None, None)
    assert intersection_name(("race", "gender")) == "race x gender"
    with pytest.raises(BadInput, match="'age'"):
        intersect(demographics, ("race", "age"))
    with pytest.raises(BadInput, match="two different axes"):
        intersect(demographics, ("race", "race"))
    with pytest.raises(BadInput, match="unequal"):
        intersect({"race": ["White"], "gender": []}, ("race", "gender"))


def test_a_shuffle_keeps_sizes_strata_and_outsiders() -> None:
    codes = np.array([0, 0, 1, -1, 1, 1, 0, -1, 1])
    strata = ["x", "x", "x", "x", "y", "y", "y", "y", "y"]
    drawn = np.concatenate(list(shuffled_codes(codes, draws=200, seed=0, chunk=7, within=strata)))
    assert drawn.shape == (200, 9)
    assert (drawn[:, [3, 7]] == -1).all()
    assert (np.sort(drawn[:, :3], axis=1) == [0, 0, 1]).all()
    assert (np.sort(drawn[:, [4, 5, 6, 8]], axis=1) == [0, 1, 1, 1]).all()
    assert len(np.unique(drawn, axis=0)) == 3 * 4
    whole = next(shuffled_codes(codes, draws=200, seed=0, chunk=200, within=strata))
    assert np.array_equal(whole, drawn)


def test_without_strata_every_arrangement_is_as_likely() -> None:
    drawn = next(shuffled_codes([0, 0, 1, 1], draws=6_000, seed=1, chunk=6_000))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert counts.size == 6
    assert counts == pytest.approx(1_000, abs=150)


def test_membership() -> None:
    found = one_hot(np.array([[0, 1, -1], [1, 1, 0]]), 2)
    assert found.shape == (3, 2, 2)
    assert found[:, :, 0].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert found[:, :, 1].tolist() == [[0, 1], [0, 1], [1, 0]]


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="not a text") as error:
        rater_groups(["a", 3])  # type: ignore[list-item]
    assert error.value.row == 2
    with pytest.raises(BadInput, match="at least one draw"):
        next(shuffled_codes([0, 1], draws=0, seed=0, chunk=1))
    with pytest.raises(BadInput, match="as many strata"):
        next(shuffled_codes([0, 1], draws=1, seed=0, chunk=1, within=["x"]))


SIZES = {"a": 5, "b": 9, "c": 16, "d": 7, "e": 30, "f": 6}


def sample(seed: int, between: float) -> tuple[np.ndarray, list[str | None]]:
    generator = np.random.default_rng(seed)
    names: list[str | None] = [name for name, size in SIZES.items() for _ in range(size)]
    effect = {name: between * generator.normal() for name in SIZES}
    values = np.array([effect[name or ""] for name in names]) + 0.5 * generator.normal(size=len(names))
    return values, names


def test_pooled_means_equal_statsmodels() -> None:
    values, names = sample(0, 0.6)
    found = partial_pooling(values, rater_groups(names))
    peer = MixedLM(values, np.ones((values.size, 1)), groups=np.array(names)).fit(reml=True)
    for row in found.groups:
        assert row.pooled is not None
        assert row.pooled == pytest.approx(float(peer.fe_params[0] + peer.random_effects[row.group].iloc[0]), abs=1e-4)
        assert row.mean == pytest.approx(values[np.array(names) == row.group].mean())
        assert found.mean is not None
        assert min(row.mean, found.mean) <= row.pooled <= max(row.mean, found.mean)
    weights = {row.group: row.weight or 0.0 for row in found.groups}
    assert sorted(weights, key=lambda group: weights[group]) == sorted(SIZES, key=lambda group: SIZES[group])


def test_pooled_means_are_nearer_to_the_truth() -> None:
    pooled, plain, errors = [], [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        effect = 0.15 * generator.normal(size=8)
        values = np.repeat(effect, 6) + 0.5 * generator.normal(size=48)
        found = partial_pooling(values, rater_groups([str(at) for at in range(8) for _ in range(6)]))
        for row, truth in zip(found.groups, effect, strict=True):
            assert row.pooled is not None
            pooled.append((row.pooled - truth) ** 2)
            plain.append((row.mean - truth) ** 2)
            errors.append((row.error or 0.0) ** 2)
    assert np.mean(pooled) < 0.7 * np.mean(plain)
    assert np.mean(errors) == pytest.approx(np.mean(pooled), rel=0.4)


def test_groups_that_do_not_differ_share_one_mean() -> None:
    values = np.tile([0.0, 1.0], 15)
    found = partial_pooling(values, rater_groups(["abc"[at // 10] for at in range(30)]))
    assert found.between == 0
    assert [row.pooled for row in found.groups] == pytest.approx([0.5] * 3)


def test_undefined_with_a_reason() -> None:
    two = partial_pooling(np.arange(12.0), rater_groups(["a"] * 6 + ["b"] * 6))
    assert "fewer than 3 groups" in two.reason
    assert [row.pooled for row in two.groups] == [None, None]
    assert [row.mean for row in two.groups] == [2.5, 8.5]
    flat = partial_pooling(np.ones(15), rater_groups([name for name in "abc" for _ in range(5)]))
    assert flat.reason == "every value is the same"


def test_raters_outside_the_groups_take_no_part() -> None:
    values, names = sample(1, 0.5)
    plain = partial_pooling(values, rater_groups(names))
    more = partial_pooling(np.append(values, [99.0, np.nan]), rater_groups([*names, None, "Other"]))
    assert more == plain
    with pytest.raises(BadInput, match="not a finite number"):
        partial_pooling(np.append(values[1:], np.nan), rater_groups(names))
    with pytest.raises(BadInput, match="as many values"):
        partial_pooling(values[1:], rater_groups(names))


def test_the_error_is_that_of_the_best_linear_prediction() -> None:
    values, names = sample(2, 0.6)
    found = partial_pooling(values, rater_groups(names))
    assert found.between is not None
    assert found.within is not None
    label = np.array(names)
    inverse = np.linalg.inv(found.between * (label[:, None] == label) + found.within * np.eye(values.size))
    for row in found.groups:
        shared = found.between * (label == row.group)
        rest = 1 - (inverse @ shared).sum()
        expected = found.between - shared @ inverse @ shared + rest**2 / inverse.sum()
        assert row.error == pytest.approx(np.sqrt(expected))


def test_straight_liners_of_the_123_raters(public_data: Callable[[str], Path]) -> None:
    folder = public_data("dices")
    with (folder / "dices_350_overall_matrix.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    labels = np.array([["NUY".index(cell) for cell in row[1:]] for row in rows])
    found = straight_liners(labels)
    assert found.size == 7
    kept = np.delete(labels, found, axis=1)
    assert krippendorff(kept, draws=0).coefficient == pytest.approx(0.1774, abs=1e-4)
    assert icc(kept / 2, draws=0).of("ICC(2,1)").coefficient == pytest.approx(0.2150, abs=1e-4)
    reference = json.loads((folder / "reference_values.json").read_text("utf-8"))
    with (folder / "dices_350_items.csv").open(newline="", encoding="utf-8") as file:
        gold = {row["item_id"]: row["safety_gold"] for row in csv.DictReader(file)}
    truth = [float(gold[row[0]] == "Yes") for row in rows]
    check = polarity(labels / 2, truth)
    assert check.auc == pytest.approx(reference["gold_vs_crowd"]["AUC"], abs=1e-4)
    assert (check.unsafe_items, check.safe_items, check.flipped) == (175, 175, False)
    assert polarity(1 - labels / 2, truth).flipped


def test_the_share_of_one_answer() -> None:
    labels = np.array([[0, 1, -1], [0, 2, -1], [0, 1, -1], [1, -1, -1]])
    assert one_answer_share(labels) == pytest.approx([0.75, 2 / 3, np.nan], nan_ok=True)
    assert straight_liners(labels, above=0.7).tolist() == [0]
    assert straight_liners(labels, above=0.75).size == 0
    assert np.isnan(one_answer_share(np.full((2, 2), -1))).all()


def test_polarity_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    ratings = generator.choice([0.0, 0.5, 1.0], (40, 6))
    ratings[3] = np.nan
    truth = generator.choice([0.0, 1.0, np.nan], 40)
    kept = np.isfinite(truth) & np.isfinite(ratings).any(axis=1)
    expected = roc_auc_score(truth[kept], ratings[kept].mean(axis=1))
    assert polarity(ratings, truth).auc == pytest.approx(expected)


def test_polarity_needs_both_labels() -> None:
    found = polarity([[0.0], [1.0]], [1, 1])
    assert (found.auc, found.flipped) == (None, False)
    assert found.reason
    with pytest.raises(BadInput, match="not 0, 1") as error:
        polarity([[0.0], [1.0]], [0, 3])
    assert error.value.row == 2
    with pytest.raises(BadInput, match="as many true labels"):
        polarity([[0.0], [1.0]], [0])


def test_an_area_below_one_half_may_be_chance() -> None:
    few = polarity([[0.2], [0.4], [0.3], [0.5]], [1, 1, 0, 0])
    assert few.auc == 0.25
    assert few.flipped
    assert few.p == pytest.approx(2 / 6)  # of the 6 orders of two and two, 2 are as low or lower
    many = polarity(np.arange(20.0)[:, None] / 20, [1] * 10 + [0] * 10)
    assert (many.auc, many.flipped) == (0.0, True)
    assert many.p < 0.001
    assert polarity(np.arange(4.0)[:, None], [0, 0, 1, 1]).p == 1.0
