"""Correcting a rate for its grader: recovers the truth, carries the error, says when it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.noise import Validation, correct_rate, corrected_difference

FLAT = np.full(4000, 0.35)


def test_the_formula() -> None:
    found = correct_rate(0.35, FLAT, Validation(tp=80, fn=20, tn=90, fp=10))
    assert found.estimate == pytest.approx((0.35 + 0.9 - 1) / (0.8 + 0.9 - 1))
    assert found.interval is not None
    assert found.interval.low < 0.357 < found.interval.high


def test_a_perfect_small_sample_does_not_claim_a_perfect_grader() -> None:
    few = correct_rate(0.35, FLAT, Validation(5, 0, 5, 0))
    many = correct_rate(0.35, FLAT, Validation(500, 0, 500, 0))
    assert few.estimate == many.estimate == pytest.approx(0.35)
    assert few.interval is not None
    assert many.interval is not None
    assert few.interval.width > 10 * many.interval.width > 0


def test_coverage_with_both_sources_of_error() -> None:
    generator = np.random.default_rng(0)
    truth, sensitivity, specificity = 0.3, 0.8, 0.95
    hits = 0
    for number in range(300):
        rate = truth * sensitivity + (1 - truth) * (1 - specificity)
        observed = generator.binomial(400, rate) / 400
        tp, tn = generator.binomial(60, sensitivity), generator.binomial(60, specificity)
        draws = generator.binomial(400, observed, 1000) / 400
        found = correct_rate(observed, draws, Validation(tp, 60 - tp, tn, 60 - tn), seed=number)
        assert found.interval is not None
        hits += found.interval.low <= truth <= found.interval.high
    assert 0.91 <= hits / 300 <= 0.99


def test_a_sample_stratified_by_the_graders_label_is_corrected_by_predictive_values() -> None:
    # 1,000 true positives and 4,000 negatives, graded with sensitivity .5 and specificity .95: 700 flagged, 4,300 not.
    # 100 flagged and 100 unflagged rows are then read by people.
    found = correct_rate(700 / 5000, np.full(2000, 0.14), Validation(tp=71, fp=29, fn=12, tn=88, design="by_label"))
    assert found.estimate == pytest.approx(0.14 * 0.71 + 0.86 * 0.12)
    assert found.interval is not None
    assert found.interval.low < 0.2 < found.interval.high
    # Reading sensitivity off that sample as if it were random would claim .86 and land far below the truth.
    naive = correct_rate(0.14, np.full(2000, 0.14), Validation(tp=71, fp=29, fn=12, tn=88))
    assert naive.estimate == 0.0


def test_undefined_says_why() -> None:
    cases = [
        (Validation(0, 0, 5, 1), "no human-labelled positive"),
        (Validation(5, 1, 0, 0), "no human-labelled negative"),
        (Validation(5, 5, 5, 5), "not above 1"),
        (Validation(0, 3, 4, 0, "by_label"), "no human label"),
    ]
    for validation, reason in cases:
        found = correct_rate(0.35, FLAT, validation)
        assert found.estimate is None
        assert found.draws is None
        assert reason in found.reason
    assert Validation(1, 1, 1, 1, "by_label").sensitivity is None
    unsure = correct_rate(0.35, FLAT, Validation(2, 1, 2, 1))
    assert unsure.estimate is not None
    assert unsure.interval is None
    assert "too few human labels" in unsure.reason
    with pytest.raises(BadInput, match="negative"):
        Validation(-1, 0, 0, 0)
    with pytest.raises(BadInput, match="not between 0 and 1"):
        correct_rate(1.2, FLAT, Validation(5, 1, 5, 1))


def test_difference_uses_each_groups_own_grader() -> None:
    good = correct_rate(0.35, FLAT, Validation(90, 10, 95, 5), stream=1)
    poor = correct_rate(0.35, FLAT, Validation(60, 40, 95, 5), stream=2)
    found = corrected_difference(poor, good)
    assert found.estimate == pytest.approx((0.30 / 0.55) - (0.30 / 0.85))
    assert found.interval is not None
    assert found.interval.low > 0
    nothing = corrected_difference(poor, correct_rate(0.35, FLAT, Validation(0, 0, 5, 1)))
    assert (nothing.estimate, nothing.reason) == (None, "no human-labelled positive in this group: sensitivity unknown")
