"""REML variance components against statsmodels, balanced mean squares, and the likelihood written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from statsmodels.regression.mixed_linear_model import MixedLM

from evenhand.errors import BadInput
from evenhand.statistics.variance_components import LEAST_LEVELS, variance_components


def plain_deviance(logs: np.ndarray, y: np.ndarray, codes: list[np.ndarray]) -> float:
    """-2 log restricted likelihood from the full covariance matrix; ``logs`` of the variances, the residual last."""
    v = np.exp(logs[-1]) * np.eye(y.size)
    for log, code in zip(logs[:-1], codes, strict=True):
        v += np.exp(log) * (code[:, None] == code[None, :])
    inverse = np.linalg.inv(v)
    weight = inverse.sum()
    centred = y - inverse.sum(axis=0) @ y / weight
    return float(np.linalg.slogdet(v)[1] + np.log(weight) + centred @ inverse @ centred)


def crossed(seed: int, items: int = 9, raters: int = 7, missing: float = 0.3) -> tuple[np.ndarray, list[np.ndarray]]:
    generator = np.random.default_rng(seed)
    item, rater = (x.ravel() for x in np.indices((items, raters)))
    y = generator.normal(size=items)[item] + generator.normal(size=raters)[rater] + generator.normal(size=item.size)
    kept = generator.random(y.size) >= missing
    return y[kept], [item[kept], rater[kept]]


def test_one_factor_equals_statsmodels() -> None:
    y, (item, _) = crossed(1)
    peer = MixedLM(y, np.ones((y.size, 1)), groups=item).fit(reml=True)
    found = variance_components(y, {"item": item.tolist()})
    assert found.of("item").variance == pytest.approx(float(peer.cov_re[0, 0]), rel=1e-3)
    assert found.of("residual").variance == pytest.approx(float(peer.scale), rel=1e-4)
    assert found.mean == pytest.approx(float(peer.fe_params[0]), rel=1e-4)


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_two_crossed_factors_maximise_the_likelihood_written_out(seed: int) -> None:
    y, codes = crossed(seed)
    found = variance_components(y, {"item": codes[0].tolist(), "rater": codes[1].tolist()})
    variances = [found.of(name).variance for name in ("item", "rater", "residual")]
    assert None not in variances
    ours = plain_deviance(np.log(np.asarray(variances, dtype=float)), y, codes)
    start = np.zeros(3)
    peer = optimize.minimize(plain_deviance, start, (y, codes), "Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    assert ours <= peer.fun + 1e-7
    assert variances == pytest.approx(np.exp(peer.x), rel=1e-3)


def test_intervals_come_from_the_curvature_of_that_likelihood() -> None:
    y, codes = crossed(0)
    found = variance_components(y, {"item": codes[0].tolist(), "rater": codes[1].tolist()})
    parts = [found.of(name) for name in ("item", "rater", "residual")]
    at = np.log(np.asarray([part.variance for part in parts], dtype=float))
    step = 1e-3
    hessian = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            a, b = np.eye(3)[i] * step, np.eye(3)[j] * step
            corners = [plain_deviance(at + s * a + t * b, y, codes) * s * t for s in (1, -1) for t in (1, -1)]
            hessian[i, j] = sum(corners) / (4 * step**2)
    errors = np.sqrt(np.diag(2 * np.linalg.inv(hessian)))
    for part, log, error in zip(parts, at, errors, strict=True):
        assert part.interval is not None
        assert np.log([part.interval.low, part.interval.high]) == pytest.approx(
            [log - 1.959964 * error, log + 1.959964 * error], abs=2e-3
        )


def test_a_balanced_table_gives_the_mean_squares_estimates() -> None:
    generator = np.random.default_rng(2)
    shape = (12, 4, 2, 6)  # items, paraphrases, orders, profiles
    axes = [x.ravel() for x in np.indices(shape)]
    y = sum(s * generator.normal(size=n)[x] for s, n, x in zip((1.0, 0.5, 0.7, 0.4), shape, axes, strict=True))
    y = y + 0.3 * generator.normal(size=y.size)
    names = ("item", "paraphrase", "order", "profile")
    found = variance_components(y, {name: x.tolist() for name, x in zip(names, axes, strict=True)})
    grid = y.reshape(shape)
    freedom, rest = y.size - 1, float(((y - y.mean()) ** 2).sum())
    squares = {}
    for at, (name, size) in enumerate(zip(names, shape, strict=True)):
        means = grid.mean(axis=tuple(i for i in range(4) if i != at))
        total = float(((means - means.mean()) ** 2).sum()) * y.size / size
        squares[name] = total / (size - 1)
        rest, freedom = rest - total, freedom - (size - 1)
    residual = rest / freedom
    assert found.of("residual").variance == pytest.approx(residual, rel=1e-5)
    for name, size in zip(names, shape, strict=True):
        assert found.of(name).variance == pytest.approx((squares[name] - residual) / (y.size / size), rel=1e-4)
    shares = [component.share for component in (*found.factors, found.residual)]
    assert sum(share for share in shares if share is not None) == pytest.approx(1)
    for name, size in zip(names, shape, strict=True):
        assert (found.of(name).interval is None) == (size < LEAST_LEVELS)


def test_an_interaction_is_a_factor_of_pairs() -> None:
    generator = np.random.default_rng(4)
    item, profile, _ = (x.ravel() for x in np.indices((30, 6, 8)))
    y = 0.8 * generator.normal(size=(30, 6))[item, profile] + 0.5 * generator.normal(size=item.size)
    factors = {"item": item.tolist(), "profile": profile.tolist(), "both": list(zip(item, profile, strict=True))}
    found = variance_components(y, factors)
    assert found.of("both").variance == pytest.approx(0.64, rel=0.3)
    assert found.of("residual").variance == pytest.approx(0.25, rel=0.15)


def test_no_effect_is_0_at_the_boundary() -> None:
    item = np.repeat(np.arange(6), 4)
    y = np.tile([-1.0, 1.0, -1.0, 1.0], 6)  # item means do not vary at all
    found = variance_components(y, {"item": item.tolist()})
    assert found.of("item").variance == 0
    assert "boundary" in found.of("item").reason
    assert found.of("residual").variance == pytest.approx(y.var(ddof=1))
    assert found.of("residual").interval is not None


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(-50, 50), st.floats(0.01, 100))
def test_shift_and_scale(seed: int, shift: float, scale: float) -> None:
    y, codes = crossed(seed)
    factors = {"item": codes[0].tolist(), "rater": codes[1].tolist()}
    plain, moved = variance_components(y, factors), variance_components(shift + scale * y, factors)
    for name in ("item", "rater", "residual"):
        variance = plain.of(name).variance
        assert variance is not None
        assert moved.of(name).variance == pytest.approx(variance * scale**2, rel=2e-3, abs=1e-4 * scale**2)


def test_undefined_components_have_a_reason() -> None:
    flat = variance_components([1.0, 1.0, 1.0, 1.0], {"item": [0, 0, 1, 1]})
    assert flat.reason == flat.of("item").reason == "every value is the same"
    assert flat.of("item").variance is None
    exact = variance_components([1.0, 1.0, 2.0, 2.0], {"item": [0, 0, 1, 1]})
    assert "no residual variation" in exact.reason
    some = variance_components([1.0, 2.0, 4.0, 3.0], {"item": [0, 0, 1, 1], "row": [0, 1, 2, 3], "one": [0] * 4})
    assert "own level" in some.of("row").reason
    assert some.of("one").reason == "one level"
    assert some.of("item").variance is not None


def test_bad_factors() -> None:
    with pytest.raises(BadInput, match="sort the rows in the same way"):
        variance_components([1.0, 2.0, 4.0], {"a": [0, 0, 1], "b": ["x", "x", "y"]})
    with pytest.raises(BadInput, match="2 labels for 3 values"):
        variance_components([1.0, 2.0, 4.0], {"a": [0, 0]})
    with pytest.raises(BadInput, match="not a finite number") as error:
        variance_components([1.0, np.nan], {"a": [0, 0]})
    assert error.value.row == 2
    with pytest.raises(BadInput, match="named factors"):
        variance_components([1.0], {"residual": [0]})
    many = list(range(8_000))
    with pytest.raises(BadInput, match="too much memory"):
        variance_components(
            np.random.default_rng(0).normal(size=16_000), {"a": many * 2, "b": [x // 2 for x in range(16_000)]}
        )
