"""The trained organism rates: what is planted is found beside people who differ alike, the other way or not at all, and on the
control nothing is. Nothing here says anything of a real model or of real people.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.datasets.shipped_texts import shipped_texts
from evenhand.methods.pluralism.rating.audit import run_rating
from evenhand.methods.pluralism.rating.config import PluralismConfig
from evenhand.methods.pluralism.rating.groups import sensitivity_findings
from evenhand.methods.pluralism.rating.panels import FindingBuilder, axis_panel
from evenhand.organisms.sections.rating import CONTRASTS, LEVEL, ORDER_BIAS, contrast, option_shares
from evenhand.runs.method import AuditResult
from evenhand.runs.tables import read_table

FEW = {"draws": 200, "permutations": 499, "reml_draws": 0}
LINEAR = ("mild", "doubtful", "serious")
"""Grades at which twice the planted contrast stays inside the scale, so that expected ratings add up."""
RATERS = 30
"""People of each group."""


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("rating_toy")


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[AuditResult, pl.DataFrame]]:
    """Both trained models on two texts of each domain."""
    found = {}
    for name in ("aligned", "even"):
        config = PluralismConfig(models=(f"organism/{name}",), rating_items=28, **FEW)
        run, result = run_rating(config, tmp_path_factory.mktemp(name) / "run")
        found[name] = result, read_table(run.table("pluralism", "ratings"))
    return found


def people_of(path: Path, times: float) -> Path:
    """People of five groups whose expected rating moves with the group by ``times`` the contrast planted in the model."""
    draw = np.random.default_rng(11)
    texts = [text for text in shipped_texts() if text.grade in LINEAR]
    rows = []
    for race in CONTRASTS["race"]:
        for number in range(RATERS):
            own = draw.normal(0, 0.02)
            for text in texts:
                moved = times * contrast("aligned", text.domain, {"race": race})
                shares = option_shares(min(0.99, max(0.01, LEVEL[text.grade] + moved + own)))
                told = draw.choice(list(shares), p=list(shares.values()))
                rows.append((text.id, f"{race} {number}", told, race, text.text, text.domain))
    pl.DataFrame(rows, schema=["item", "rater", "rating", "race", "text", "domain"], orient="row").write_csv(path)
    return path


@pytest.mark.parametrize(
    ("times", "tone", "words"),
    [
        (2.0, "even", "by race they follow those of people"),
        (-2.0, "worse", "people's ratings differ by race, and the model's do not follow them"),
        (0.0, "provisional", "these people's ratings are not found to differ by group"),
    ],
)
def test_calibrated_sensitivity_recovers_what_is_planted(
    toy: Any, tmp_path: Path, times: float, tone: str, words: str
) -> None:
    """People move twice as far as the model, or the other way: slope 1/2 or -1/2 and correlation 1 or -1 without their noise."""
    people = people_of(tmp_path / "people.csv", times)
    config = PluralismConfig(
        models=("organism/aligned",), human_ratings=str(people), rating_axes=("race",), rating_items=0, wordings=2, **FEW
    )  # fmt: skip
    _, result = run_rating(config, tmp_path / "run")
    first = result.verdicts[0]
    assert words in first.headline
    assert first.tone == tone
    correlation = toy.found(result.findings, "calibrated_sensitivity", "correlation", axis="race")
    slope = toy.found(result.findings, "calibrated_sensitivity", "slope", axis="race")
    reliability = toy.found(result.findings, "split_half_reliability", axis="race").estimate
    assert correlation.n == len(LINEAR) * 28
    if not times:
        assert correlation.test.p_holm > 0.05
        assert correlation.interval.low < 0 < correlation.interval.high
        assert slope.interval.low < 0 < slope.interval.high
        return
    assert 0.4 < reliability < 0.9  # enough noise for the correction to matter
    assert slope.extra["corrected"] == pytest.approx(1 / times, abs=0.08)
    assert correlation.extra["corrected"] == pytest.approx(np.sign(times), abs=0.08)
    assert abs(slope.estimate) < abs(slope.extra["corrected"]) - 0.05
    assert abs(correlation.estimate) < 0.93
    assert correlation.test.p_holm < 0.01


def test_group_contrasts_of_the_trained_model_are_those_planted(toy: Any, rated: Any) -> None:
    result, _ = rated["aligned"]
    for axis, values in CONTRASTS.items():
        for group, planted in values.items():
            f = toy.found(
                result.findings, "group_contrast", "mean rating", group, axis=axis, domain="mean of the domains"
            )
            assert f.estimate == pytest.approx(planted, abs=0.01), (axis, group)  # the mean domain weight is 1
    first = result.verdicts[0]
    assert first.headline.startswith("Ratings move with the rater's gender, race and age, most with gender")
    races = CONTRASTS["race"]
    sizes = {f.group: f for f in result.findings if f.estimand == "against_neutral" and f.slice["axis"] == "race"}
    assert [sizes[group].estimate > 0 for group in races] == [size > 0 for size in races.values()]


@pytest.mark.parametrize("name", ["aligned", "even"])
def test_the_trained_liking_for_the_first_option_is_a_named_component(toy: Any, rated: Any, name: str) -> None:
    result, _ = rated[name]
    order = toy.found(result.findings, "variance_component", "order")
    assert order.estimate == pytest.approx(2 * ORDER_BIAS**2, rel=0.25)  # two levels 2b apart: 2 b^2
    others = [toy.found(result.findings, "variance_component", part).estimate for part in ("wording", "profile")]
    assert order.estimate > max(others)
    shift = toy.found(result.findings, "order_shift")
    assert shift.extra["towards_first"] == pytest.approx(ORDER_BIAS, abs=0.006)
    (told,) = [text for text in result.verdicts[0].also if text.startswith("The first option is preferred")]
    assert f"order is {100 * order.extra['share']:.1f}% of the variance" in told


def test_the_control_is_called_even_and_none_of_its_groups_is_named(toy: Any, rated: Any) -> None:
    """The trained control moves by some thousandths: a test of exact answers finds that, the verdict must not make much of it."""
    result, _ = rated["even"]
    first = result.verdicts[0]
    assert first.tone == "even"
    assert "do not move with the rater's profile" in first.headline
    assert not any("contrasts of a group" in text for text in first.also)
    for axis, values in CONTRASTS.items():
        ds = toy.found(result.findings, "demographic_sensitivity", "absolute", axis=axis)
        assert ds.extra["excess"] < 0.005
        for group in values:
            f = toy.found(result.findings, "group_contrast", group=group, axis=axis, domain="mean of the domains")
            assert abs(f.estimate) < 0.005


def test_shuffled_profiles_of_the_trained_model_stay_inside_the_null(rated: Any) -> None:
    """200 shuffles of its own columns inside wording and order: about 95 % lie in the central 95 % of the null."""
    _, frame = rated["aligned"]
    panel = axis_panel(frame, "race")
    assert panel is not None
    assert panel.within is not None
    strata, columns = np.asarray(panel.within), len(panel.within)
    builder = FindingBuilder.for_config(frame.head(1), "ratings", "organism/aligned", draws=100, seed=0)
    draw = np.random.default_rng(12)
    runs, inside = 200, dict.fromkeys(("absolute", "deviation", "range", "adjusted"), 0)
    for run in range(runs):
        order = np.lexsort((draw.random(columns), strata))
        home = np.argsort(strata, kind="stable")
        moved = np.empty_like(panel.values)
        moved[:, home] = panel.values[:, order]
        shuffled = replace(panel, values=moved)
        own = replace(builder, seed=run)
        for f in sensitivity_findings(own, shuffled, "race", permutations=199, part={}, rows={}):
            if f.outcome in inside:
                assert f.estimate is not None
                inside[f.outcome] += f.extra["null_low"] <= f.estimate <= f.extra["null_high"]
    assert all(0.90 <= count / runs <= 0.99 for count in inside.values()), inside
