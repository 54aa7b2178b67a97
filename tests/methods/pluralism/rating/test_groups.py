"""Intervals of sensitivity and of disparities: those of drawing texts anew, and people inside their groups, one draw at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from evenhand.methods.pluralism.rating.agreement import pooled_findings
from evenhand.methods.pluralism.rating.contrasts import ALL_DOMAINS, MACRO_DOMAINS, contrast_findings
from evenhand.methods.pluralism.rating.groups import disparity_findings, sensitivity_findings
from evenhand.methods.pluralism.rating.panels import FindingBuilder, Panel
from evenhand.methods.pluralism.rating.statistics.disparity import disparities
from evenhand.methods.pluralism.rating.statistics.raters import rater_groups
from evenhand.methods.pluralism.rating.statistics.sensitivity import sensitivities
from evenhand.records import Finding

ITEMS = 40
NAMES = ["a"] * 8 + ["b"] * 6 + ["c"] * 10
GROUPS = rater_groups(NAMES)
TRUTH = np.tile([0.0, 1.0], ITEMS // 2)
LACKING = [5, 6, 11, 20, 21, 22]
FORMS = ("absolute", "deviation", "range", "adjusted")


def panel(people: bool) -> Panel:
    """Three groups that differ more on truly unsafe items, raters of their own lenience; one group lacks some of the items."""
    draw = np.random.default_rng(3)
    shift = np.repeat([0.0, 0.1, 0.3], [8, 6, 10]) * (0.5 + TRUTH[:, None])
    lenience = draw.normal(0, 0.15, 24)
    values = np.clip(0.3 + draw.normal(0, 0.15, (ITEMS, 1)) + shift + lenience + draw.normal(0, 0.2, (ITEMS, 24)), 0, 1)
    values[LACKING, :8] = np.nan
    ids = tuple(f"i{at:02}" for at in range(ITEMS))
    raters = tuple(f"r{at:02}" for at in range(24))
    labels = np.ones(values.shape, dtype=np.int64)
    return Panel("a rater", values, labels, ids, raters, ("d",) * ITEMS, {"axis": NAMES}, people=people)


def builder() -> FindingBuilder:
    rows = pl.DataFrame({"config": ["m"], "item_id": ["i"], "rater_id": ["r"], "domain": ["d"]})
    return FindingBuilder.for_config(rows, "ratings", "m", draws=2_000, seed=1)


def close(found: Finding, drawn: list[float], *, shifted: bool = False) -> None:
    """The central 95 % of ``drawn``, less their bias where it is taken off, within a tenth of its width."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    width = high - low
    if shifted:
        bias = np.mean(drawn) - float(found.estimate or 0.0)
        low, high = low - bias, high - bias
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=0.1 * width), found.outcome


def anew(one: Callable[[np.ndarray, np.ndarray], float], items: Callable[[], np.ndarray], people: bool) -> list[float]:
    """500 values, each of texts, and perhaps of people inside their groups, drawn with replacement."""
    draw = np.random.default_rng(4)
    everyone = np.arange(24)
    found = []
    for _ in range(500):
        raters = everyone
        if people:
            raters = np.concatenate(
                [draw.choice(part, part.size) for part in (everyone[:8], everyone[8:14], everyone[14:])]
            )
        found.append(one(items(), raters))
    return found


@pytest.mark.parametrize("people", [False, True])
def test_intervals_of_every_form_of_sensitivity(people: bool) -> None:
    own = panel(people)
    found = {f.outcome: f for f in sensitivity_findings(builder(), own, "axis", permutations=99, part={}, rows={})}
    draw = np.random.default_rng(5)
    for form in FORMS:

        def value(items: np.ndarray, raters: np.ndarray, form: str = form) -> float:
            one = sensitivities(own.values[np.ix_(items, raters)], GROUPS, draws=0).of(form)  # type: ignore[arg-type]
            return float(one.value or 0.0)

        close(found[form], anew(value, lambda: draw.integers(0, ITEMS, ITEMS), people), shifted=True)
    assert found["adjusted by item"].interval is None


def test_intervals_of_a_models_disparities() -> None:
    """Profiles are no sample: texts alone are drawn, for the odds difference inside each true label."""
    own = panel(people=False)
    rows = disparity_findings(builder(), own, "axis", TRUTH, "the truth", permutations=99, part={}, rows={})
    found = {(f.estimand, f.group): f for f in rows}
    draw, kept = np.random.default_rng(6), np.delete(np.arange(ITEMS), LACKING)
    sides = [kept[TRUTH[kept] == label] for label in (0, 1)]

    def both(items: np.ndarray, raters: np.ndarray) -> float:
        table = own.values[np.ix_(items, raters)]
        one = disparities(table, GROUPS, truth=TRUTH[items], truth_name="the truth", draws=0, permutations=0).eod
        return float(one.value or 0.0) if one is not None else np.nan

    def whole(items: np.ndarray, raters: np.ndarray) -> float:
        return float(disparities(own.values[np.ix_(items, raters)], GROUPS, draws=0, permutations=0).dpd.value or 0.0)

    close(found["parity_difference", None], anew(whole, lambda: draw.choice(kept, kept.size), people=False))
    inside = anew(both, lambda: np.concatenate([draw.choice(side, side.size) for side in sides]), people=False)
    close(found["odds_difference", None], inside)
    shares = {name: found["unsafe_share", name].estimate for name in "abc"}
    assert found["parity_difference", None].estimate == pytest.approx(max(shares.values()) - min(shares.values()))


def test_the_mean_of_the_domains_weighs_every_domain_alike() -> None:
    """Thirty texts of one domain and ten of another: over all texts the first weighs three times as much."""
    domains = ("d",) * 30 + ("e",) * 10
    own = replace(panel(people=False), domains=domains, values=np.nan_to_num(panel(people=False).values, nan=0.4))
    found = {
        (f.slice["domain"], f.group): f.estimate
        for f in contrast_findings(builder(), own, "axis", permutations=0, part={}, rows={})
    }
    means = np.stack([own.values[:, GROUPS.codes == code].mean(axis=1) for code in range(3)], axis=1)
    contrasts = means - means.mean(axis=1, keepdims=True)
    for at, group in enumerate("abc"):
        of_d, of_e = contrasts[:30, at].mean(), contrasts[30:, at].mean()
        assert found["d", group] == pytest.approx(of_d)
        assert found["e", group] == pytest.approx(of_e)
        assert found[ALL_DOMAINS, group] == pytest.approx(0.75 * of_d + 0.25 * of_e)
        assert found[MACRO_DOMAINS, group] == pytest.approx((of_d + of_e) / 2)


def test_pooled_groups_with_a_rater_who_said_nothing_are_undefined_with_a_reason() -> None:
    own = panel(people=True)
    whole = list(pooled_findings(builder(), own, "axis", part={}, rows={}))
    assert all(f.estimate is not None for f in whole)
    own.values[:, 0] = np.nan
    torn = list(pooled_findings(builder(), own, "axis", part={}, rows={}))
    assert [(f.group, f.n) for f in torn] == [("a", 8), ("b", 6), ("c", 10)]
    assert {(f.estimate, f.reason) for f in torn} == {(None, "raters without any rating: 1")}
