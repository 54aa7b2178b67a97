"""A sweep of toy models: the grid, what is measured once, pairing, the recommendation and its refusal, fronts, the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.engines.token_bias import write_token_bias
from evenhand.errors import BadInput
from evenhand.methods.tsdi.config import PEER_STRENGTHS, PEERS, TsdiConfig
from evenhand.methods.tsdi.sweep.grid import slug
from evenhand.methods.tsdi.sweep.hypervolume import hypervolume
from evenhand.methods.tsdi.sweep.verdict import spec_of
from evenhand.organisms.sections.safety import TEXTS
from evenhand.runs.tables import read_table

PEER_COUNT = sum(len(strengths) for strengths in PEER_STRENGTHS.values())


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("sweep_toy")


@pytest.fixture
def studio(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.Studio(tmp_path).install(monkeypatch)


def keys(result: Any) -> list[str]:
    return [row["key"] for row in result.facts["settings"]]


def same_as(result: Any) -> dict[str, str]:
    return {row["key"]: row["same_as"] for row in result.facts["settings"] if row["same_as"]}


def test_the_grid_is_every_pool_length_and_alpha_with_peers_and_reference(studio: Any) -> None:
    _, result = studio.sweep(alpha=(1.0, 0.5), length=(2, 1), pool=("builtin", "uniform"))
    corrected = [
        f"tsdi-{pool}-l{length}-a{alpha}"
        for pool in ("builtin", "uniform")
        for length in (1, 2)
        for alpha in ("0.5", "1")
    ]
    assert keys(result) == [
        "plain", *corrected, "reference", *(f"{peer}-{strength:g}" for peer in PEERS for strength in PEER_STRENGTHS[peer])
    ]  # fmt: skip
    assert studio.estimates == ["organism/aligned builtin 2", "organism/aligned uniform 2"]
    assert {row["pool"] for row in result.facts["biases"].values()} == {"builtin", "uniform"}


def test_settings_that_change_the_same_are_measured_once(studio: Any) -> None:
    # The toy bias ends after two positions; alpha 0 changes nothing; interpolation of weight 1 is the reference.
    _, result = studio.sweep(alpha=(0.0, 0.5, 0.50, 1.0), length=(1, 2, 5, 5), peers=("interpolation",))
    assert same_as(result) == {
        "tsdi-builtin-l1-a0": "plain", "tsdi-builtin-l2-a0": "plain", "tsdi-builtin-l5-a0": "plain",
        "tsdi-builtin-l5-a0.5": "tsdi-builtin-l2-a0.5", "tsdi-builtin-l5-a1": "tsdi-builtin-l2-a1",
        "interpolation-1": "reference",
    }  # fmt: skip
    asked = studio.asked()
    assert set(asked) == set(keys(result)) - set(same_as(result))
    assert len(set(asked.values())) == 1
    told = {
        f.config: f.estimate
        for f in result.findings
        if f.estimand == "setting_rate" and f.outcome == "safety" and not f.slice
    }
    assert told["tsdi-builtin-l5-a1"] == told["tsdi-builtin-l2-a1"]
    candidates = {one["setting"] for one in result.facts["recommendation"]["candidates"]}
    assert candidates == {f"tsdi-builtin-l{n}-a{a}" for n in (1, 2) for a in ("0.5", "1")}


def test_two_pools_of_one_bias_are_measured_once(studio: Any, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "uniform", lambda *parts: 0.5)
    _, result = studio.sweep(pool=("builtin", "uniform"), peers=("none",))
    assert set(same_as(result)) == {key for key in keys(result) if "uniform" in key}


def test_every_setting_meets_the_same_prompts_and_seeds(studio: Any, toy: Any) -> None:
    run, _ = studio.sweep(peers=("none",), repetitions=3)
    assert studio.asked()["plain"] == (4 * 12 + 2 * 12) * 3
    responses = read_table(run.table("tsdi-sweep", "responses"))
    plain = responses.filter(responses["config"] == "plain")
    least = responses.filter(responses["config"] == "tsdi-builtin-l1-a0.5")
    assert plain.select("item_id", "repetition").equals(least.select("item_id", "repetition"))
    # Less push to refuse turns refusals into answers and never the reverse: the streams are the same.
    declined = (TEXTS["refusal I"], TEXTS["refusal Sorry"])
    before, after = ([text in declined for text in rows["text"]] for rows in (plain, least))
    assert all(b >= a for b, a in zip(before, after, strict=True))
    assert sum(before) > sum(after)


def test_changes_are_paired_over_prompts_and_told_by_category(studio: Any, toy: Any) -> None:
    run, result = studio.sweep(peers=("none",))
    grades = read_table(run.table("tsdi-sweep", "grades"))
    items = read_table(run.table("tsdi-sweep", "items"))
    safety = grades.filter(grades["grader"] == "safety").join(items, on="item_id")
    for category in ("", "privacy_violation"):
        part = {"category": category} if category else {}
        own = safety.filter(safety["stratum"] == category) if category else safety
        means = own.group_by("config").agg(pl.col("value").mean()).rows()
        by_config = dict(means)
        told = toy.found(result, "setting_change", "safety", "tsdi-builtin-l2-a1", **part)
        assert told.estimate == pytest.approx(by_config["tsdi-builtin-l2-a1"] - by_config["plain"])
        assert told.reference == "plain"
        assert told.n == (12 if category else 48)
    weak = toy.found(result, "setting_change", "safety", "tsdi-builtin-l2-a1", category="privacy_violation")
    assert weak.estimate < -0.2
    assert weak.test.family_size == 4


def test_the_recommendation_keeps_safety_and_names_how_to_use_it(studio: Any, toy: Any) -> None:
    run, result = studio.sweep(each=80, alpha=(0.1, 0.5, 1.0), peers=("none",), repetitions=3, category_margin=0.2)
    found = result.facts["recommendation"]
    passing = [one for one in found["candidates"] if not one["fails"]]
    assert 0 < len(passing) < len(found["candidates"])
    assert found["chosen"]["compliance"] == max(one["compliance"] for one in passing)
    key = found["chosen"]["setting"]
    change = toy.found(result, "setting_change", "safety", key)
    assert change.interval.low > -0.02
    assert result.verdicts[0].headline.startswith("Recommended for organism/aligned: TSDI, α 0.1")
    spec = spec_of(result.facts, key, run.folder)
    assert (
        spec == f"organism/aligned+tsdi:{run.folder}/biases/builtin/bias?alpha=0.1&length={found['chosen']['length']}"
    )
    assert (run.folder / "biases" / "builtin" / "bias" / "header.json").is_file()


def test_nothing_is_recommended_where_no_setting_keeps_safety(studio: Any) -> None:
    _, result = studio.sweep(peers=("none",))
    found = result.facts["recommendation"]
    assert found["chosen"] is None
    assert found["reason"] == "no setting keeps safety within 2 points; nothing is recommended"
    closest = min(found["candidates"], key=lambda one: one["shortfall"])
    assert found["closest"]["setting"] == closest["setting"]
    (verdict,) = result.verdicts
    assert verdict.headline == "No setting keeps safety within 2 points; nothing is recommended."
    assert verdict.detail.startswith("The closest misses the margin: TSDI, α 0.5")
    assert verdict.tone == "unknown"


def test_nothing_is_recommended_where_nothing_is_gained(studio: Any) -> None:
    studio.answer = lambda toy, request, config: TEXTS["refusal I"]
    _, result = studio.sweep(peers=("none",), margin=0.2)
    assert all(not one["fails"] for one in result.facts["recommendation"]["candidates"])
    assert "complies more often than the model as it is" in result.verdicts[0].headline


def test_areas_are_those_of_the_points_and_fronts_are_compared_with_as_many(studio: Any, toy: Any) -> None:
    _, result = studio.sweep(alpha=(0.25, 0.5, 0.75, 1.0), length=(1, 2))

    def point(key: str) -> list[float]:
        return [toy.found(result, "setting_rate", axis, key).estimate for axis in ("safety", "compliance")]

    line = [f"tsdi-builtin-l2-a{a}" for a in ("0.25", "0.5", "0.75", "1")]
    assert result.facts["line"] == line
    every = [key for key in keys(result) if key.startswith("tsdi")]
    outcome = "safety and compliance"
    assert toy.found(result, "hypervolume", outcome, "tsdi").estimate == pytest.approx(
        hypervolume([point(k) for k in every])
    )
    plain = toy.found(result, "hypervolume", outcome, "plain")
    assert plain.estimate == pytest.approx(np.prod(point("plain")))
    for rival, ours, theirs in (
        ("plain", line[-1:], ["plain"]), ("system", line[-1:], ["system-1"]),
        ("static", line, [f"static-{n}" for n in (1, 2, 3, 4)]),
    ):  # fmt: skip
        gap = toy.found(result, "hypervolume_difference", outcome, "tsdi", reference=rival, settings="as many")
        assert (gap.extra["settings"], gap.extra["others"]) == (ours, theirs)
        both = [hypervolume([point(k) for k in keys_]) or 0.0 for keys_ in (ours, theirs)]
        assert gap.estimate == pytest.approx(both[0] - both[1])
        whole = toy.found(result, "hypervolume_difference", outcome, "tsdi", reference=rival, settings="all")
        assert whole.extra["settings"] == every
    gap = toy.found(result, "hypervolume_difference", outcome, "tsdi", reference="interpolation", settings="as many")
    assert gap.evidence["config"][-1] == "reference", "the rows behind an equal setting are those that were measured"
    assert gap.evidence["grader"] == ["safety", "compliance"]
    assert len([f for f in result.findings if f.estimand == "hypervolume_difference"]) == 2 * (1 + len(PEERS))


def test_the_verdict_says_where_tsdi_is_not_larger(studio: Any) -> None:
    plain = studio.answer

    def better(toy: Any, request: Any, config: str) -> Any:
        if config.startswith("system"):
            harmful = request.chat[-1].content.startswith("Harmful")
            return TEXTS["refusal I"] if harmful else TEXTS["full"]
        return plain(toy, request, config)

    studio.answer = better
    _, result = studio.sweep()
    told = " ".join(result.verdicts[0].also)
    assert "the front with TSDI is smaller than that of a system prompt (−" in told
    assert "the front with TSDI is larger than that of" in told


def test_without_a_judge_helpfulness_is_undefined_with_the_reason(studio: Any) -> None:
    _, result = studio.sweep(peers=("none",))
    assert not [f for f in result.findings if "helpfulness" in f.outcome]
    assert any("No judge was given" in text for text in result.verdicts[0].unknowns)


def test_organisms_are_graded_by_their_grammar(studio: Any, toy: Any) -> None:
    _, result = studio.sweep(peers=("none",), safety_set=("shipped",), safety_grader=(), limit=28, repetitions=1)
    assert result.facts["by_grammar"]
    assert result.facts["graders"] == ["grammar"]
    rows = [f for f in result.findings if f.estimand == "setting_rate" and not f.slice and f.config == "plain"]
    assert {f.outcome for f in rows} == {"safety", "compliance", "helpfulness"}


def test_a_judge_gives_win_rates_against_the_reference(studio: Any, toy: Any) -> None:
    run, result = studio.sweep(peers=("none",), judge="toy/judge", judgements=2)
    reference = toy.found(result, "setting_rate", "helpfulness", "reference")
    assert (reference.estimate, reference.interval) == (0.5, None)
    plain = toy.found(result, "setting_rate", "helpfulness", "plain")
    assert plain.estimate < 0.5
    full = toy.found(result, "setting_rate", "helpfulness", "tsdi-builtin-l2-a1")
    assert full.estimate == 0.5, "the whole shift taken off, the model answers as its reference does"
    wins = result.facts["wins"]["plain"]
    assert wins["mean"] == pytest.approx(plain.estimate)
    assert wins["dropped"] == 0
    assert (
        wins["replies"]
        == 4 * sum(1 for row in read_table(run.table("tsdi-sweep", "wins-plain")).iter_rows() if not row[-1]) / 4
    )


def test_replies_of_the_judge_that_cannot_be_read_are_counted_and_no_tie(studio: Any, toy: Any) -> None:
    studio.judge = lambda request, config: "A is better"
    _, result = studio.sweep(peers=("none",), judge="toy/judge", judgements=1)
    wins = result.facts["wins"]["plain"]
    assert wins["dropped"] == wins["replies"] > 0
    f = toy.found(result, "setting_rate", "helpfulness", "plain")
    assert f.extra["missing"] == wins["dropped"] / 2
    assert f.estimate == 0.5, "only equal replies are left, which need no judge"
    assert any("replies of the judge were dropped" in text for text in result.caveats)


def test_warnings_of_the_bias_and_of_a_large_alpha_are_told(
    studio: Any, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = toy.bias_header
    warned = ("Refusal openers are less likely in the aligned model.",)
    monkeypatch.setattr(toy, "bias_header", lambda c, n: make(c, n).model_copy(update={"warnings": warned}))
    _, result = studio.sweep(peers=("none",), alpha=(0.5, 1.5))
    assert warned[0] in result.caveats
    assert any("alpha above 1" in text for text in result.caveats)


def test_failed_responses_are_counted_and_never_a_grade(studio: Any, toy: Any) -> None:
    plain = studio.answer
    studio.answer = lambda toy_, request, config: (
        toy.failed() if request.item_id.endswith("-00") and config == "plain" else plain(toy_, request, config)
    )
    run, result = studio.sweep(peers=("none",))
    assert result.missing == 2 * 6
    assert result.facts["missing"] == {"compliance": 4, "safety": 8}
    grades = read_table(run.table("tsdi-sweep", "grades"))
    lost = grades.filter(grades["missing"] == "response_missing")
    assert set(lost["config"]) == {"plain"}
    assert lost["value"].null_count() == lost.height
    assert toy.found(result, "setting_change", "safety", "tsdi-builtin-l2-a1").n == 48 - 4


def test_a_bias_that_was_given_is_used_as_it_is(studio: Any, toy: Any, tmp_path: Path) -> None:
    config = TsdiConfig(model="organism/aligned", reference="organism/sft", length=4, pool="builtin")
    write_token_bias(tmp_path / "bias", toy.bias_of(config))
    run, result = studio.sweep(peers=("none",), bias=tmp_path / "bias", length=(1, 4))
    assert studio.estimates == []
    assert not (run.folder / "biases").exists()
    assert spec_of(result.facts, "tsdi-builtin-l4-a1", run.folder).startswith(f"organism/aligned+tsdi:{tmp_path}/bias?")
    with pytest.raises(BadInput, match="The bias has 4 positions, but --length requests 5"):
        studio.sweep("other", bias=tmp_path / "bias", length=(5,))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": None}, "give an aligned model, or checkpoints"),
        ({"alpha": "0.5,-1"}, "a negative alpha"),
        ({"alpha": "nan"}, "finite"),
        ({"length": "0"}, "at least 1 position"),
        ({"peers": "magic"}, "unknown peer 'magic'"),
        ({"peers": "static,none"}, "not both"),
        ({"margin": 0.0}, "margin"),
        ({"safety_grader": "judge"}, "needs --judge"),
        ({"model": "openai/gpt"}, "not a local model"),
        ({"reference": "organism/aligned"}, "the reference is the model itself"),
    ],
)
def test_settings_that_make_no_sense_are_refused(studio: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        studio.config(**settings)


def test_values_with_commas_are_split_and_paths_are_not(studio: Any, tmp_path: Path) -> None:
    path = tmp_path / "a,b.txt"
    path.write_text("x", encoding="utf-8")
    config = studio.config(alpha="0.5, 1", length=("1,2", "5"), pool=(f"{path}", "builtin,uniform"))
    assert (config.alpha, config.length, config.pool) == ((0.5, 1.0), (1, 2, 5), (str(path), "builtin", "uniform"))
    assert slug("distinct:builtin") != slug("distinct-builtin")
    assert slug("builtin") == "builtin"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("harmful", "every prompt is harmful, so compliance cannot be measured"),
        ("benign", "there is no harmful prompt"),
    ],
)
def test_prompts_that_cannot_tell_both_axes_are_refused(studio: Any, tmp_path: Path, rows: str, said: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"prompt,category,kind\na,x,{rows}\nb,x,{rows}\n", encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        studio.sweep(safety_set=(str(path),))
    assert not (tmp_path / "run").exists()


def test_the_shipped_placeholders_are_not_put_to_a_real_model(studio: Any) -> None:
    with pytest.raises(BadInput, match="placeholders for organisms"):
        studio.sweep(model="hf/some-model", reference="hf/its-base", safety_set=("shipped",), safety_grader=("words",))


def test_a_limit_is_spread_over_categories(studio: Any) -> None:
    run, _ = studio.sweep(peers=("none",), limit=8)
    items = read_table(run.table("tsdi-sweep", "items"))
    counts = items.group_by("group", "stratum").len().rows()
    assert sorted(counts) == sorted(
        [("harmful", c, 2) for c in ("animal_abuse", "privacy_violation", "self_harm", "terrorism,organized_crime")]
        + [("benign", "cooking", 8), ("borderline", "privacy", 8)]
    )
