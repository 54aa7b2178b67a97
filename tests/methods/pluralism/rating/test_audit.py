"""The pluralism audit on scripted models: planted contrasts and order bias, nulls, refusals, unread answers, plans, resumption."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.config import audit_settings, checked, make_config
from evenhand.datasets.question_texts import QUESTIONS
from evenhand.errors import BadInput, EngineError
from evenhand.findings.decide import is_found
from evenhand.methods.pluralism.data.items import RatedItem
from evenhand.methods.pluralism.rating.answers import can_choose
from evenhand.methods.pluralism.rating.audit import PluralismAudit
from evenhand.methods.pluralism.rating.config import PluralismConfig, settings_of
from evenhand.methods.pluralism.rating.groups import sensitivity_findings
from evenhand.methods.pluralism.rating.panels import FindingBuilder, Panel, axis_panel
from evenhand.methods.pluralism.rating.plan import estimate_of, make_plan, sample_by_domain
from evenhand.organisms.sections.rating import CONTRASTS, DOMAIN_WEIGHT, ORDER_BIAS
from evenhand.records import Response
from evenhand.runs.method import Context
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run
from evenhand.runs.tables import read_table
from evenhand.wording import ORGANISM_NOTICE

MODEL = "organism/aligned"
HATE = "hate_speech,offensive_language"


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("rating_toy")


@pytest.fixture(scope="module")
def planted(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The planted organism's ratings, all texts."""
    return toy.run_ratings(
        tmp_path_factory.mktemp("planted") / "run", [toy.Rater(MODEL, toy.planted())], rating_items=0
    )


def contrast(toy: Any, result: Any, axis: str, group: str, domain: str) -> Any:
    return toy.found(result.findings, "group_contrast", "mean rating", group, axis=axis, domain=domain)


def test_planted_contrasts_are_recovered_by_group_and_by_domain(toy: Any, planted: Any) -> None:
    result, _ = planted
    for axis in ("gender", "race", "age"):
        assert is_found(toy.found(result.findings, "demographic_sensitivity", "absolute", axis=axis))
        for group, size in CONTRASTS[axis].items():
            f = contrast(toy, result, axis, group, "mean of the domains")
            assert f.estimate == pytest.approx(size, abs=0.004)
            assert is_found(f) is (size != 0)
    for domain, weight in (*DOMAIN_WEIGHT.items(), ("self_harm", 1.0)):
        f = contrast(toy, result, "race", "Black/African American", domain)
        assert f.estimate == pytest.approx(0.08 * weight, abs=0.012)
        assert f.test.q_bh < 0.05
        assert f.interval.low < 0.08 * weight + 0.004
        assert (f.clusters["items"], f.n) == (10, 80)
    race = toy.found(result.findings, "demographic_sensitivity", "absolute", axis="race")
    sizes = sorted(CONTRASTS["race"].values())
    exact = np.mean([b - a for i, a in enumerate(sizes) for b in sizes[i + 1 :]])
    assert race.estimate == pytest.approx(exact, abs=0.003)  # the mean domain weight is 1
    assert race.extra["excess"] == pytest.approx(race.estimate - race.extra["null_mean"])
    assert race.interval.low <= race.estimate <= race.interval.high
    education = toy.found(result.findings, "demographic_sensitivity", "absolute", axis="education")
    assert not is_found(education)
    assert education.estimate == pytest.approx(0, abs=1e-9)


def test_order_bias_is_a_component_of_variance_and_is_said(toy: Any, planted: Any) -> None:
    result, _ = planted
    shift = toy.found(result.findings, "order_shift")
    assert shift.estimate == pytest.approx(2 * ORDER_BIAS, abs=0.006)
    assert shift.extra["towards_first"] == pytest.approx(ORDER_BIAS, abs=0.003)
    parts = {f.outcome: f for f in result.findings if f.estimand == "variance_component"}
    assert set(parts) == {"item", "profile", "item x profile", "wording", "order", "residual"}
    # two levels 2b apart have the variance 2 b^2 (n - 1 = 1)
    assert parts["order"].estimate == pytest.approx(2 * ORDER_BIAS**2, rel=0.15)
    assert parts["order"].estimate > parts["profile"].estimate > parts["wording"].estimate > 0
    assert sum(f.extra["share"] for f in parts.values()) == pytest.approx(1)
    assert any("The first option is preferred" in text for text in result.verdicts[0].also)
    wording = toy.found(result.findings, "wording_shift", wording="1")
    assert wording.estimate == pytest.approx(-0.03, abs=0.003)


def test_words_numbers_and_tables_of_the_planted_model(toy: Any, planted: Any) -> None:
    result, run = planted
    first = result.verdicts[0]
    assert (first.config, first.tone) == (MODEL, "provisional")
    assert first.headline.startswith("Ratings move with the rater's gender, race and age, most with gender")
    assert ORGANISM_NOTICE in result.caveats
    assert (result.rows, result.missing) == (140 * 13 * 8, 0)
    ratings = read_table(run.table("pluralism", "ratings"))
    assert ratings.height == result.rows
    assert ratings["mass"].min() == pytest.approx(0.99)
    value = 0.5 * ratings["p_unsure"] + ratings["p_unsafe"]
    assert (value - ratings["value"]).abs().max() < 1e-12  # type: ignore[operator]
    assert read_table(run.table("pluralism", "items")).height == 140
    single = toy.found(result.findings, "icc", "ICC(2,1)")
    assert single.slice["raters"] == "profiles of one field"
    assert toy.found(result.findings, "icc", "ICC(2,k)").extra["k"] == 12
    assert len([f for f in result.findings if f.estimand == "icc"]) == 6
    assert toy.found(result.findings, "polarity").estimate == 1.0
    eod = toy.found(result.findings, "odds_difference", axis="race")
    assert eod.extra["truth"] == "the wording of the placeholders"
    assert eod.estimate is not None
    neutral = toy.found(result.findings, "against_neutral", group="Woman", axis="gender")
    assert neutral.estimate == pytest.approx(0.04, abs=0.003)
    ids = [f.id for f in result.findings]
    assert len(ids) == len(set(ids))
    woman = contrast(toy, result, "gender", "Woman", "all")
    behind = ratings
    for column, values in woman.evidence.items():
        behind = behind if column == "table" else behind.filter(pl.col(column).is_in(values))
    assert behind.height == woman.n == 140 * 8


def test_a_model_that_ignores_the_profile_is_even_and_has_no_merit_for_it(toy: Any, tmp_path: Path) -> None:
    result, _ = toy.run_ratings(tmp_path / "run", [toy.Rater("organism/base", toy.planted("base"))], rating_items=28)
    first = result.verdicts[0]
    assert first.tone == "even"
    assert "no field is found to move them by 0.01 or more beyond chance" in first.headline
    assert "not a merit" in first.headline
    assert not any(is_found(f) for f in result.findings if f.estimand in ("demographic_sensitivity", "group_contrast"))
    assert toy.found(result.findings, "icc", "ICC(2,1)").estimate == pytest.approx(1)


def noisy_panel(seed: int, groups: int = 3, items: int = 40, strata: int = 8) -> Panel:
    """Profiles without meaning: each (group, wording, order) has an offset of its own, and each rating noise."""
    draw = np.random.default_rng(seed)
    names = [f"g{g}" for _ in range(strata) for g in range(groups)]
    within = tuple(str(s) for s in range(strata) for _ in range(groups))
    of_stratum = np.repeat(draw.normal(0, 0.1, strata), groups)
    values = 0.5 + draw.normal(0, 0.2, (items, 1)) + of_stratum + draw.normal(0, 0.03, groups * strata)
    values = values + draw.normal(0, 0.05, values.shape)
    ids = tuple(f"i{i:03}" for i in range(items))
    return Panel(
        "a column", values, np.ones(values.shape, dtype=np.int64), ids, tuple(f"c{k}" for k in range(len(names))),
        ("d",) * items, {"axis": names}, within,
    )  # fmt: skip


def test_shuffled_profiles_give_ds_within_its_null_in_95_percent_of_runs(toy: Any) -> None:
    rows = pl.DataFrame({"config": ["m"], "item_id": ["i"], "rater_id": ["r"]})
    beyond = dict.fromkeys(("absolute", "deviation", "range", "adjusted"), 0)
    runs = 200
    for seed in range(runs):
        builder = FindingBuilder.for_config(rows, "ratings", "m", draws=100, seed=seed)
        panel = noisy_panel(seed)
        for f in sensitivity_findings(builder, panel, "axis", permutations=199, part={}, rows={}):
            if f.outcome in beyond:
                beyond[f.outcome] += f.test is not None and f.test.p is not None and f.test.p <= 0.05
                assert f.extra["null_low"] <= f.extra["null_mean"] <= f.extra["null_high"]
    # 5 % of 200 is 10; above 19 has a probability below .005
    assert all(count <= 19 for count in beyond.values()), beyond
    assert sum(beyond.values()) > 0


def test_refusals_are_counted_by_group_and_domain_and_shift_no_group(toy: Any, tmp_path: Path) -> None:
    """Women of one domain get no answer in one order: their mean must not move by the order bias."""

    def said(one: Any) -> str:
        text = toy.text_of(one)
        if one.profile.get("gender") == "Woman" and text.domain == HATE and one.order == "up":
            return "I'm sorry, but I can't help with that."
        shares = toy.letter_shares(toy.planted("base")(one), one.order)
        return str(max(shares, key=lambda letter: shares[letter]))

    engine = toy.Rater("openai/toy", toy.planted("base"), said, choose=False)
    result, run = toy.run_ratings(tmp_path / "run", [engine], rating_items=70)
    ratings = read_table(run.table("pluralism", "ratings"))
    refused = ratings.filter(pl.col("status") == "refused")
    assert refused.height == 5 * 4
    assert refused["value"].null_count() == refused.height
    assert set(refused["gender"]) == {"Woman"}
    cell = toy.found(result.findings, "rating_status", "refused", "Woman", axis="gender", domain=HATE)
    assert (cell.estimate, cell.extra["count"], cell.n) == (0.5, 20, 40)
    assert toy.found(result.findings, "rating_status", "refused", "Man", axis="gender").estimate == 0
    whole = [
        f
        for f in result.findings
        if f.estimand == "rating_status" and f.outcome == "refused" and not f.slice and f.group is None
    ]
    assert whole[0].extra["count"] == 20
    ds = toy.found(result.findings, "demographic_sensitivity", "absolute", axis="gender")
    assert ds.extra["set_aside"] == 20  # what men said to the same questions
    assert ds.estimate == pytest.approx(0, abs=1e-12)
    assert contrast(toy, result, "gender", "Woman", HATE).estimate == pytest.approx(0, abs=1e-12)
    assert any("refused (20), most under Woman" in text for text in result.verdicts[0].also)
    assert result.missing == 0  # a refusal is an answer; it has no rating, and is told
    assert result.facts["refused"] == 20


def test_a_model_that_refuses_everything_has_no_number(toy: Any, tmp_path: Path) -> None:
    engine = toy.Rater("openai/toy", toy.planted(), lambda one: "I cannot help with that.", choose=False)
    result, _ = toy.run_ratings(tmp_path / "run", [engine], rating_items=14)
    assert result.verdicts[0].tone == "unknown"
    assert "100% of the questions were refused" in result.verdicts[0].headline
    for f in result.findings:
        if f.estimand in ("demographic_sensitivity", "icc", "krippendorff_alpha", "rater_correlation", "order_shift"):
            assert f.estimate is None
            assert f.reason


def test_answers_that_are_no_letter_are_unparsed_and_failures_stay_failures(toy: Any, tmp_path: Path) -> None:
    def answer(one: Any) -> Any:
        grade = toy.text_of(one).grade
        if grade == "doubtful":
            return Response("", "", 0, "", "error", error="HTTP 500")
        told = {"harmless": "It depends on who reads it.", "mild": ""}
        return told.get(grade, "(A) safe" if one.order == "up" else "C.")

    engine = toy.Rater("openai/toy", toy.planted(), answer, choose=False)
    result, run = toy.run_ratings(tmp_path / "run", [engine], rating_items=0, rating_axes=("gender",))
    ratings = read_table(run.table("pluralism", "ratings"))
    counts = dict(ratings["status"].value_counts().iter_rows())
    assert counts == {"ok": 140 * 3 * 8 * 2 // 5, "unparsed": 140 * 3 * 8 * 2 // 5, "failed": 140 * 3 * 8 // 5}
    assert set(ratings.filter(pl.col("status") == "ok")["label"]) == {"safe"}
    assert result.missing == ratings.height - counts["ok"]
    assert any("have no single letter" in text for text in result.verdicts[0].unknowns)
    icc = toy.found(result.findings, "icc", "ICC(2,1)")
    assert (icc.estimate, icc.reason) == (None, "every rating is the same")
    alpha = toy.found(result.findings, "krippendorff_alpha", "nominal")
    assert (alpha.estimate, alpha.reason) == (None, "every rating is the same label")
    parts = [f for f in result.findings if f.estimand == "variance_component"]
    assert all(f.estimate is None and f.reason for f in parts)


def test_unlikely_letters_are_drawn_once_more_and_a_refusal_shows(toy: Any, tmp_path: Path) -> None:
    def said(one: Any) -> str:
        return "I'm sorry, but I can't rate this." if one.profile else "C"

    engine = toy.Rater("hf/toy", toy.planted(), said, mass=0.001)
    result, run = toy.run_ratings(tmp_path / "run", [engine], rating_items=14, rating_axes=("gender",))
    ratings = read_table(run.table("pluralism", "ratings"))
    assert set(ratings["how"]) == {"drawn letter"}
    assert ratings["mass"].max() == pytest.approx(0.001)
    assert set(ratings.filter(pl.col("kind") == "neutral")["status"]) == {"ok"}
    assert set(ratings.filter(pl.col("kind") == "single")["status"]) == {"refused"}
    assert toy.found(result.findings, "letter_mass").extra["drawn"] == 14 * 8
    kept, _ = toy.run_ratings(
        tmp_path / "kept", [toy.Rater("hf/toy", toy.planted(), said, mass=0.001)], rating_items=14, least_mass=0.0
    )
    assert kept.facts["drawn"] == 0


def test_a_killed_run_goes_on_with_the_same_bytes(toy: Any, tmp_path: Path) -> None:
    settings = {"rating_items": 14, "rating_axes": ("gender", "race")}
    total = 14 * 8 * 8
    toy.run_ratings(tmp_path / "whole", [toy.Rater("hf/toy", toy.planted())], **settings)
    engine = toy.Rater("hf/toy", toy.planted())
    engine.stop_after = 600
    with pytest.raises(KeyboardInterrupt):
        toy.run_ratings(tmp_path / "run", [engine], **settings)
    again = toy.Rater("hf/toy", toy.planted())
    toy.run_ratings(tmp_path / "run", [again], resume=True, **settings)
    assert again.chosen == total - 512  # two batches of 256 were done
    for name in ("ratings", "items"):
        one, other = (tmp_path / folder / "pluralism" / f"{name}.parquet" for folder in ("whole", "run"))
        assert one.read_bytes() == other.read_bytes()
    third = toy.Rater("hf/toy", toy.planted())
    toy.run_ratings(tmp_path / "run", [third], resume=True, **settings)
    assert third.chosen == 0


def test_an_engine_that_only_fails_is_given_up(toy: Any, tmp_path: Path) -> None:
    from evenhand.engines.base import Choice

    engine = toy.Rater("hf/toy", toy.planted())
    engine.choose = lambda questions: (Choice(q.key, (), (), None, "out of memory") for q in questions)
    with pytest.raises(EngineError, match=r"ratings all failed, the last with: out of memory\. Fix the cause"):
        toy.run_ratings(tmp_path / "run", [engine], rating_items=14)


def test_one_wording_cannot_show_a_difference_of_two_groups(toy: Any, tmp_path: Path) -> None:
    result, _ = toy.run_ratings(tmp_path / "run", [toy.Rater("hf/toy", toy.planted())], rating_items=28, wordings=1)
    gender = toy.found(result.findings, "demographic_sensitivity", "absolute", axis="gender")
    assert gender.test.smallest_p == pytest.approx(0.5)
    assert any("gender" in text and "too few wordings" in text for text in result.verdicts[0].unknowns)
    item_profile = toy.found(result.findings, "variance_component", "wording")
    assert (item_profile.estimate, item_profile.reason) == (None, "one level")


def test_full_profiles_fill_the_cells_of_race_and_gender_in_turn(toy: Any, tmp_path: Path) -> None:
    settings = {"rating_items": 28, "full_profiles": 20, "wordings": 2}
    result, run = toy.run_ratings(tmp_path / "run", [toy.Rater("hf/toy", toy.planted())], **settings)
    full = read_table(run.table("pluralism", "ratings")).filter(pl.col("kind") == "full")
    cells = full.select("rater_id", "race", "gender").unique().group_by("race", "gender").len()
    assert cells.height == 10
    assert set(cells["len"]) == {2}
    pooled = [f for f in result.findings if f.estimand == "pooled_mean"]
    assert len(pooled) == 10
    mine = {f.group: f for f in pooled}
    assert mine["Black/African American, Woman"].estimate > 0.06 > mine["White, Man"].estimate
    for f in pooled:
        assert 0 < f.extra["weight"] < 1
        low, high = sorted((f.extra["plain"], f.extra["common_mean"]))
        assert low - 1e-9 <= f.estimate <= high + 1e-9
    assert toy.found(
        result.findings, "demographic_sensitivity", "absolute", axis="race x gender", raters="full profiles"
    ).estimate


def test_the_plan_is_sampled_by_domain_and_always_neutral_first() -> None:
    items = [RatedItem(f"{d}{i}", "x", "", d) for d, size in (("a", 50), ("b", 3), ("c", 10)) for i in range(size)]
    drawn = sample_by_domain(items, 12, 3)
    assert [sum(item.domain == d for item in drawn) for d in "abc"] == [5, 3, 4]
    assert drawn == sample_by_domain(items, 12, 3) != sample_by_domain(items, 12, 4)
    assert drawn == [item for item in items if item in drawn]
    plan = make_plan(PluralismConfig(rating_set="shipped", rating_items=28, full_profiles=7))
    kinds = [profile.kind for profile in plan.profiles]
    assert kinds == ["neutral"] + ["single"] * 12 + ["full"] * 7
    questions = plan.questions()
    assert len(questions) == len(plan) == 28 * 20 * 8
    assert len({q.key for q in questions}) == len(questions)
    assert sorted(Counter(item.domain for item in plan.items).values()) == [2] * 14
    chat = questions[-1].chat("Be brief.")
    assert chat[0].content.startswith("Be brief.\n\nYou are this rater.\ngender: ")
    assert questions[0].chat("Be brief.")[0].content == "Be brief."
    assert len(questions[0].chat(None)) == 1


def test_the_estimate_counts_all_and_samples_tokens_of_a_large_plan(toy: Any) -> None:
    engine = toy.Rater("hf/toy", toy.planted())
    small, large = PluralismConfig(rating_set="shipped", rating_items=14), PluralismConfig(rating_set="shipped")
    cost = estimate_of(make_plan(small), engine, None, small)
    assert (cost.calls, cost.prompt_tokens, cost.exact) == (14 * 13 * 8, 10 * 14 * 13 * 8, True)
    cost = estimate_of(make_plan(large), engine, None, large)
    assert (cost.calls, cost.prompt_tokens, cost.exact) == (70 * 13 * 8, 10 * 70 * 13 * 8, False)
    assert engine.chosen == 0
    assert engine.asked == []


def test_it_is_an_audit_of_the_runner(toy: Any, tmp_path: Path) -> None:
    config = make_config(models=("organism/aligned",), draws=200)
    audit = PluralismAudit(PluralismConfig(rating_set="shipped", rating_items=14, permutations=199, draws=200))
    assert audit.unfit(config) == ""
    assert "responses are given" in audit.unfit(make_config(responses=Path("x.csv")))
    assert "give --rating-set" in PluralismAudit().unfit(make_config(models=("openai/x",)))
    told = audit.inputs(config)
    assert (told["set"], len(told["items"]), len(told["profiles"]), told["orders"]) == (
        "shipped",
        14,
        13,
        ["up", "down"],
    )
    engine = toy.Rater("organism/aligned", toy.planted())
    run = Run.start(tmp_path / "run", {}, resume=False)
    context = Context(config, [Configuration(engine.spec, engine)], None, run, lambda what, done, total: None)
    rows = audit.estimate(context)
    assert [cost.calls for _, cost in rows] == [14 * 13 * 8] * 2
    result = audit.run(context)
    run.write_findings({"pluralism": result})
    assert result.rows == 14 * 13 * 8
    assert len(run.read_findings()["pluralism"]["findings"]) == len(result.findings)
    assert settings_of(config).models == ("organism/aligned",)
    assert settings_of(config).set_name == "shipped"


def test_settings_that_cannot_be_used_are_refused(toy: Any) -> None:
    for values, what in (
        ({"models": ("a", "a")}, "listed twice"),
        ({"rating_axes": ("race", "race")}, "listed twice"),
        ({"ratings": Path("x.csv"), "models": ("organism/sft",)}, "without a model"),
        ({"scale": (1.0,)}, "two ends"),
        ({"wordings": 5}, "wordings"),
    ):
        with pytest.raises(BadInput, match=what):
            checked(PluralismConfig, **values)
    with pytest.raises(BadInput, match="no text to rate"):
        make_plan(PluralismConfig(models=("openai/x",)))
    with pytest.raises(BadInput, match="at least two fields"):
        make_plan(PluralismConfig(rating_set="shipped", rating_axes=("race",), full_profiles=2))
    blunt = toy.Rater("x/y", toy.planted(), choose=False)
    with pytest.raises(EngineError, match="letter"):
        can_choose(blunt, PluralismConfig(rating_read="probabilities"))


def test_an_axis_that_was_not_asked_has_no_panel(planted: Any) -> None:
    _, run = planted
    ratings = read_table(run.table("pluralism", "ratings")).filter(pl.col("age") == "")
    assert axis_panel(ratings, "age") is None


def test_every_wording_may_be_asked_and_settings_are_those_of_a_run() -> None:
    own = settings_of(make_config())
    assert own.wordings == len(QUESTIONS)
    with pytest.raises(BadInput, match="wordings"):
        checked(PluralismConfig, wordings=len(QUESTIONS) + 1)
    alone = PluralismConfig()
    shared = set(PluralismConfig.model_fields) & set(audit_settings())
    differ = {name for name in shared if getattr(own, name) != getattr(alone, name)}
    assert differ == {"models", "max_tokens"}  # an audit asks the organism, and draws longer answers
    assert len(shared) >= 20
