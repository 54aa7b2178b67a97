"""Agreement of repetitions, against pingouin and statsmodels."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.stability import intraclass_correlation, same_label_share, stability


def pingouin_icc1(table: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pingouin

        rows = pd.DataFrame(table).reset_index(names="prompt").melt("prompt", var_name="rep", value_name="y")
        found = pingouin.intraclass_corr(rows, targets="prompt", raters="rep", ratings="y")
    return float(found["ICC"].iloc[0])


def test_equal_the_oracles() -> None:
    generator = np.random.default_rng(0)
    rate = generator.beta(0.4, 0.8, (40, 1))
    outcome = (generator.random((40, 3)) < rate).astype(float)
    found = stability(outcome.astype(int), outcome)
    assert found.icc == pytest.approx(pingouin_icc1(outcome))
    assert found.fleiss_kappa == pytest.approx(statsmodels_fleiss(aggregate_raters(outcome.astype(int))[0]))
    assert found.same_label == pytest.approx((outcome.min(axis=1) == outcome.max(axis=1)).mean())
    assert found.prompts == 40


def test_missing_repetitions() -> None:
    assert same_label_share([[1, 1, -1], [0, 2, 0], [3, -1, -1]]) == 0.5
    assert same_label_share([[1, -1]]) is None
    assert stability([[1, 1, -1], [0, 2, 0], [3, -1, -1]], [[1, 1, np.nan]] * 3).prompts == 2


def test_icc_with_unequal_repetitions_follows_the_analysis_of_variance() -> None:
    rows = [[1.0, 2.0, np.nan], [4.0, 5.0, 6.0], [0.0, 0.5, np.nan]]
    known = [[1.0, 2.0], [4.0, 5.0, 6.0], [0.0, 0.5]]
    flat = np.concatenate(known)
    between = sum(len(k) * (np.mean(k) - flat.mean()) ** 2 for k in known) / 2
    within = sum(((np.array(k) - np.mean(k)) ** 2).sum() for k in known) / 4
    k0 = (7 - (4 + 9 + 4) / 7) / 2
    assert intraclass_correlation(rows) == pytest.approx((between - within) / (between + (k0 - 1) * within))


def test_undefined() -> None:
    assert intraclass_correlation([[1.0, 1.0], [1.0, 1.0]]) is None
    assert intraclass_correlation([[1.0], [0.0]]) is None
    assert intraclass_correlation([[1.0, 0.0]]) is None
    with pytest.raises(BadInput, match="table"):
        intraclass_correlation([1.0, 0.0])
    with pytest.raises(BadInput, match="table"):
        same_label_share([1, 0])
