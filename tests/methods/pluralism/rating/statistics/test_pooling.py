"""Partial pooling of group means against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.statistics.raters import partial_pooling, rater_groups

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
