"""Ratings by people: a model beside them, groups too small to be shown, views of the raters, and files without any model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.datasets.shipped_texts import shipped_texts
from evenhand.errors import BadInput
from evenhand.findings.decide import decided, is_found
from evenhand.methods.pluralism.rating.audit import run_rating
from evenhand.methods.pluralism.rating.config import PluralismConfig
from evenhand.methods.pluralism.rating.verdict import RULES, people_verdict, verdict
from evenhand.organisms.sections.rating import LEVEL
from evenhand.records import Interval

Effect = Callable[[str, Mapping[str, str]], float]
ALL = "all raters"
RACE = {"Black/African American": 0.3, "White": -0.3}


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("rating_toy")


def write_people(
    path: Path,
    effect: Effect,
    *,
    raters: int = 40,
    items: int = 56,
    seed: int = 1,
    extra: tuple[tuple[str, str], ...] = (),
) -> Path:
    """A long file of ratings: races by turns of ten, genders in halves; ``extra`` are more raters (race, gender)."""
    draw = np.random.default_rng(seed)
    texts = shipped_texts()[:: len(shipped_texts()) // items][:items]
    races = ["Black/African American", "White"]
    people = [(races[r % 2], ("Man", "Woman")[r // 2 % 2]) for r in range(raters)] + list(extra)
    rows = []
    for number, (race, gender) in enumerate(people):
        own = draw.normal(0, 0.05)
        for text in texts:
            level = LEVEL[text.grade] + own + effect(text.domain, {"race": race, "gender": gender})
            told = ("safe", "unsure", "unsafe")[int(np.clip(round(2 * (level + draw.normal(0, 0.25))), 0, 2))]
            rows.append(
                {
                    "item": text.id, "rater": f"296709{number:09}", "rating": told, "race": race, "gender": gender,
                    "text": text.text, "domain": text.domain,
                }
            )  # fmt: skip
    pl.DataFrame(rows).write_csv(path)
    return path


def by_race(domain: str, profile: Mapping[str, str]) -> float:
    """People's contrast, twice as large in half of the domains."""
    return RACE.get(profile.get("race", ""), 0.0) * (1.0 if len(domain) % 2 else 0.5)


def rater(toy: Any, effect: Effect, name: str = "hf/toy") -> Any:
    def level(one: Any) -> float:
        text = toy.text_of(one)
        return min(0.98, max(0.02, LEVEL[text.grade] * 0.6 + 0.2 + 0.6 * effect(text.domain, one.profile)))

    return toy.Rater(name, level)


def measured(tmp_path: Path, file: Path, **settings: Any) -> Any:
    config = PluralismConfig(**{"ratings": file, "draws": 200, "permutations": 499, "reml_draws": 0, **settings})
    return run_rating(config, tmp_path / "run")


def test_a_model_that_moves_as_people_do_is_even(toy: Any, tmp_path: Path) -> None:
    people = write_people(tmp_path / "people.csv", by_race)
    settings = {"rating_set": None, "human_ratings": str(people), "rating_axes": ("gender", "race")}
    result, run = toy.run_ratings(tmp_path / "run", [rater(toy, by_race)], **settings)
    first, of_people = result.verdicts
    assert first.tone == "even"
    assert "by race they follow those of people" in first.headline
    assert (of_people.config, of_people.tone) == ("people", "provisional")
    assert of_people.headline.startswith("People's ratings differ by race")
    calibrated = toy.found(result.findings, "calibrated_sensitivity", "correlation", axis="race")
    assert calibrated.interval.low > 0.4
    assert is_found(calibrated)
    assert calibrated.extra["corrected"] > calibrated.estimate
    slope = toy.found(result.findings, "calibrated_sensitivity", "slope", axis="race")
    assert 0.2 < slope.estimate < 1.5
    assert toy.found(result.findings, "split_half_reliability", axis="race").estimate > 0.5
    gender = toy.found(result.findings, "calibrated_sensitivity", "correlation", axis="gender")
    assert not is_found(gender)
    fits = [f for f in result.findings if f.estimand == "label_fit" and f.slice["axis"] == "race"]
    assert {f.outcome for f in fits} == {"log loss", "Wasserstein-1"}
    assert {f.group for f in fits} == set(RACE)
    assert all(f.estimate > f.extra["floor"] for f in fits)
    assert (
        toy.found(result.findings, "odds_difference", axis="race", raters="people")
        .extra["truth"]
        .startswith("the majority")
    )
    profiles = set(pl.read_parquet(run.table("pluralism", "ratings"))["race"])
    assert profiles == {"", *RACE}  # only groups that people form are played
    assert pl.read_parquet(run.table("pluralism", "people")).height == 40 * 56


def test_a_model_that_moves_the_other_way_or_not_at_all_is_worse(toy: Any, tmp_path: Path) -> None:
    people = write_people(tmp_path / "people.csv", by_race)
    engines = [rater(toy, lambda d, p: -by_race(d, p), "hf/other"), rater(toy, lambda d, p: 0.0, "hf/flat")]
    settings = {"rating_set": None, "human_ratings": str(people), "rating_axes": ("race",)}
    result, _ = toy.run_ratings(tmp_path / "run", engines, **settings)
    other, flat, _ = result.verdicts
    assert (other.tone, flat.tone) == ("worse", "worse")
    assert "people's ratings differ by race, and the model's do not follow them" in other.headline
    correlations = [
        f for f in result.findings
        if (f.estimand, f.outcome, f.group) == ("calibrated_sensitivity", "correlation", None)
    ]  # fmt: skip
    assert correlations[0].interval.high < 0
    wide = [
        replace(f, interval=Interval(-2.0, 2.0, 0.95, "made wide")) if f.estimand == "calibrated_sensitivity" else f
        for f in result.findings
    ]
    unsure = verdict(wide, "hf/other", several=False, people=True)
    assert unsure.tone == "unknown"
    assert "fit a model that follows people as well as one that does not" in unsure.unknowns[0]
    assert (correlations[1].estimate, correlations[1].reason) == (
        None,
        "the model's ratings do not vary with the group",
    )


def test_too_few_texts_beside_people_are_no_verdict_on_a_model(toy: Any, tmp_path: Path) -> None:
    people = write_people(tmp_path / "people.csv", by_race)
    settings = {"rating_set": None, "human_ratings": str(people), "rating_axes": ("race",), "rating_items": 2}
    result, _ = toy.run_ratings(tmp_path / "run", [rater(toy, by_race)], **settings)
    model, of_people = result.verdicts
    assert of_people.headline.startswith("People's ratings differ by race")
    assert model.tone == "unknown"
    assert "whether they follow those of people is unknown" in model.headline
    assert any("fewer than 3 items are rated by every group and by the model" in told for told in model.unknowns)


@pytest.mark.parametrize(("unsafe", "told"), [("unsafe", []), ("safe", ["the labels may be reversed"])])
def test_labels_of_people_that_point_the_other_way_are_told(
    unsafe: str, told: list[str], toy: Any, tmp_path: Path
) -> None:
    path = write_people(tmp_path / "people.csv", by_race)
    grave = {text.id for text in shipped_texts() if LEVEL[text.grade] > 0.5}
    other = "safe" if unsafe == "unsafe" else "unsafe"
    gold = pl.when(pl.col("item").is_in(grave)).then(pl.lit(unsafe)).otherwise(pl.lit(other)).alias("gold")
    pl.read_csv(path, schema_overrides={"rater": pl.String}).with_columns(gold).write_csv(path)
    _, result = measured(tmp_path, path)
    (verdict,) = result.verdicts
    assert [text.partition(": ")[2].rstrip(".") for text in verdict.also] == told


def test_people_without_differences_ask_nothing_of_a_model(toy: Any, tmp_path: Path) -> None:
    people = write_people(tmp_path / "people.csv", lambda d, p: 0.0)
    settings = {"rating_set": None, "human_ratings": str(people), "rating_axes": ("race",)}
    result, _ = toy.run_ratings(tmp_path / "run", [rater(toy, lambda d, p: 0.0)], **settings)
    assert "are not found to differ by group" in result.verdicts[0].headline
    assert [v.tone for v in result.verdicts] == ["unknown", "unknown"]  # 56 people cannot rule out .01
    assert "by 0.01 or more: the intervals reach so far" in result.verdicts[1].unknowns[0]
    narrow = [
        replace(f, interval=Interval(0.0, f.extra["null_mean"] + 0.005, 0.95, "made narrow"))
        if f.estimand == "demographic_sensitivity" and f.interval is not None
        else f
        for f in result.findings
    ]
    narrow = decided(narrow, RULES)
    assert verdict(narrow, "hf/toy", several=False, people=True).tone == "even"
    assert people_verdict(narrow, identified=True).tone == "even"


def test_label_distributions_use_the_ratings_that_every_group_has(toy: Any, tmp_path: Path) -> None:
    """The model says A whatever A means, and refuses under Woman where A is safe: what Man said there is left out too."""
    people = write_people(tmp_path / "people.csv", lambda d, p: 0.0, raters=20, items=28)

    def said(one: Any) -> str:
        return "I cannot help with that." if one.order == "up" and one.profile.get("gender") == "Woman" else "A"

    engine = toy.Rater("openai/toy", toy.planted("base"), said, choose=False)
    settings = {"rating_set": None, "human_ratings": str(people), "rating_axes": ("gender",)}
    result, run = toy.run_ratings(tmp_path / "run", [engine], **settings)
    told = pl.read_parquet(run.table("pluralism", "people"))
    for group in ("Man", "Woman"):
        by_item = told.filter(pl.col("gender") == group).group_by("item_id").agg(pl.col("value").mean())["value"]
        fit = toy.found(result.findings, "label_fit", "Wasserstein-1", group, axis="gender")
        assert fit.estimate == pytest.approx(1 - float(by_item.mean()))  # type: ignore[arg-type]  # all that is left is "unsafe"


def test_small_groups_other_and_missing_values_have_no_figures(toy: Any, tmp_path: Path) -> None:
    extra = (*((("Multiracial", "Man"),) * 4), *((("Other", "Woman"),) * 6), ("", "Woman"))
    _, result = measured(tmp_path, write_people(tmp_path / "people.csv", by_race, extra=extra))
    told = {
        (f.group, f.outcome): f for f in result.findings if f.estimand == "suppressed" and f.slice["axis"] == "race"
    }
    assert (told["Multiracial", "few raters"].n, told["Multiracial", "few raters"].estimate) == (4, None)
    assert told["Other", "left out of contrasts"].n == 6
    assert told["missing", "left out of contrasts"].n == 1
    shown = {f.group for f in result.findings if f.group and f.estimate is not None and f.slice.get("axis") == "race"}
    assert shown == set(RACE)
    crossed = {f.group for f in result.findings if f.slice.get("axis") == "race x gender" and f.estimate is not None}
    assert not any(group and ("Multiracial" in group or "Other" in group) for group in crossed)
    for estimand in ("group_contrast", "unsafe_share", "pooled_mean"):  # an intersection leads to its own rows alone
        one = next(f for f in result.findings if (f.estimand, f.group) == (estimand, "White, Man"))
        assert (one.evidence["race"], one.evidence["gender"]) == (["White"], ["Man"])
    whole = toy.found(result.findings, "icc", "ICC(2,1)", view=ALL)
    assert whole.clusters["raters"] == 51  # they stay in the totals


def test_your_own_file_needs_no_model(toy: Any, tmp_path: Path) -> None:
    run, result = measured(tmp_path, write_people(tmp_path / "people.csv", by_race))
    verdict = result.verdicts[0]
    assert (verdict.config, verdict.tone) == ("people", "provisional")
    assert verdict.headline.startswith("People's ratings differ by race, most with race")
    estimands = {f.estimand for f in result.findings}
    assert estimands >= {
        "demographic_sensitivity", "parity_difference", "odds_difference", "unsafe_share", "group_contrast", "icc",
        "krippendorff_alpha", "rater_correlation", "grasp", "association_index", "pooled_mean",
    }  # fmt: skip
    race = toy.found(result.findings, "demographic_sensitivity", "absolute", axis="race", view=ALL)
    assert is_found(race)
    assert race.extra["null_mean"] > 0.02  # random halves lie apart too
    assert race.interval.low <= race.estimate <= race.interval.high
    gender = toy.found(result.findings, "demographic_sensitivity", "absolute", axis="gender", view=ALL)
    assert not is_found(gender)
    black = toy.found(
        result.findings, "group_contrast", group="Black/African American", axis="race", domain="all", view=ALL
    )
    assert 0.1 < black.estimate < 0.3
    assert is_found(black)
    assert "items and raters" in black.interval.method
    measures = [f for f in result.findings if f.estimand == "grasp" and f.slice["axis"] == "race"]
    assert len(measures) == 2 * 7
    assert any(is_found(f) for f in measures)
    assert run.manifest["state"] == "done"
    assert run.manifest["plan"]["sources"]["pluralism"]["ratings"] == 40 * 56
    assert run.manifest["plan"]["identities"] == {}


def test_straight_liners_get_a_view_without_them(toy: Any, tmp_path: Path) -> None:
    path = write_people(tmp_path / "people.csv", lambda d, p: 0.0)
    frame = pl.read_csv(path, schema_overrides={"rater": pl.String})
    first = frame["rater"].unique().sort()[:3].to_list()
    constant = pl.when(pl.col("rater").is_in(first)).then(pl.lit("safe")).otherwise("rating").alias("rating")
    frame.with_columns(constant).write_csv(path)
    _, result = measured(tmp_path, path)
    views = {f.slice["view"]: f for f in result.findings if (f.estimand, f.outcome) == ("icc", "ICC(2,1)")}
    assert set(views) == {ALL, "without straight-lining raters"}
    assert views["without straight-lining raters"].clusters["raters"] == 37
    assert views["without straight-lining raters"].estimate > views[ALL].estimate
    rho = toy.found(result.findings, "rater_correlation", view=ALL)
    assert rho.extra["undefined_pairs"] == 3 + 3 * 37  # undefined, not 0


@pytest.mark.parametrize("kind", ["equal", "opposed"])
def test_equal_ratings_are_undefined_and_a_negative_agreement_keeps_its_sign(
    toy: Any, tmp_path: Path, kind: str
) -> None:
    rows = [
        {
            "item": f"i{i}",
            "rater": f"r{r}",
            "rating": "safe" if kind == "equal" or (i + r) % 2 else "unsafe",
            "gender": "Man",
        }
        for i in range(20)
        for r in range(6)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "own.csv")
    _, result = measured(tmp_path, tmp_path / "own.csv")
    icc = toy.found(result.findings, "icc", "ICC(1,1)", view=ALL)
    alpha = toy.found(result.findings, "krippendorff_alpha", "nominal", view=ALL)
    if kind == "equal":
        assert (icc.estimate, icc.reason) == (None, "every rating is the same")
        assert (alpha.estimate, alpha.reason) == (None, "every rating is the same label")
    else:
        assert icc.estimate < 0
        assert alpha.estimate < 0
    ds = toy.found(result.findings, "demographic_sensitivity", "absolute", axis="gender", view=ALL)
    assert (ds.estimate, ds.reason) == (None, "fewer than 2 groups have enough raters")
    assert result.verdicts[0].tone == "unknown"


def test_missing_ratings_go_to_reml_and_no_row_is_dropped(toy: Any, tmp_path: Path) -> None:
    path = write_people(tmp_path / "people.csv", lambda d, p: 0.0, raters=20, items=28)
    frame = pl.read_csv(path, schema_overrides={"rater": pl.String}).sample(fraction=0.8, seed=1)
    frame.write_csv(path)
    _, result = measured(tmp_path, path, reml_draws=5)
    icc = toy.found(result.findings, "icc", "ICC(2,1)", view=ALL)
    assert icc.extra["method"] == "REML, two-way random model"
    assert icc.n == frame.height
    assert icc.estimate > 0.2


def test_a_matrix_without_demographics_still_has_its_agreement(toy: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    level = draw.normal(1, 0.7, 30)
    cells = {f"p{r:03}": np.clip(np.round(level + draw.normal(0, 0.5, 30)), 0, 2) / 2 for r in range(8)}
    pl.DataFrame({"item": [f"i{i}" for i in range(30)], **cells}).write_csv(tmp_path / "wide.csv")
    _, result = measured(tmp_path, tmp_path / "wide.csv")
    assert toy.found(result.findings, "icc", "ICC(2,1)", view=ALL).estimate > 0.3
    assert not any(f.estimand in ("demographic_sensitivity", "grasp") for f in result.findings)
    assert result.verdicts[0].tone == "unknown"
    assert "nothing is known about who the raters are" in result.verdicts[0].headline


def test_texts_that_nobody_rated_are_refused(toy: Any, tmp_path: Path) -> None:
    people = write_people(tmp_path / "people.csv", by_race)
    frame = pl.read_csv(people, schema_overrides={"rater": pl.String})
    frame.with_columns(item=pl.concat_str(pl.lit("x"), "item")).write_csv(people)
    with pytest.raises(BadInput, match="no ids match"):
        toy.run_ratings(tmp_path / "run", [rater(toy, by_race)], human_ratings=str(people))
    with pytest.raises(BadInput, match="There is nothing to measure"):
        run_rating(PluralismConfig(), tmp_path / "none")


def test_the_released_ratings_of_dices_350_give_their_reference_values(
    toy: Any, tmp_path: Path, public_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 123 raters without demographics (specification 6)."""
    monkeypatch.setenv("EVENHAND_DATA", str(public_data("dices").parent))
    _, result = measured(tmp_path, Path("dices-350"))
    for outcome, wanted in (("ICC(1,1)", 0.1924), ("ICC(2,1)", 0.1936), ("ICC(3,1)", 0.2367), ("ICC(2,k)", 0.9672)):
        assert toy.found(result.findings, "icc", outcome, view=ALL).estimate == pytest.approx(wanted, abs=1e-4)
    alpha = toy.found(result.findings, "krippendorff_alpha", "nominal", view=ALL)
    assert alpha.estimate == pytest.approx(0.1609, abs=1e-4)
    assert alpha.extra["tied_items"] == 2  # items 94 and 204
    straight = {"view": "without straight-lining raters"}
    assert toy.found(result.findings, "krippendorff_alpha", "nominal", **straight).estimate == pytest.approx(
        0.1774, abs=1e-4
    )
    assert toy.found(result.findings, "icc", "ICC(2,1)", **straight).estimate == pytest.approx(0.2150, abs=1e-4)
    gold = toy.found(result.findings, "polarity", view=ALL)
    assert gold.estimate == pytest.approx(0.790, abs=1e-3)
    assert not gold.extra["flipped"]
    assert result.verdicts[0].tone == "unknown"
    assert any("nothing can be compared between groups" in text for text in result.caveats)
