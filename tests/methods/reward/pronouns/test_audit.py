"""The affirmation audit on toy engines: counts, likelihoods, rewards, stages, refusals, and resumption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.config import AuditConfig, make_config
from evenhand.errors import BadInput, EngineError
from evenhand.methods.reward.pronouns import items
from evenhand.methods.reward.pronouns.audit import AffirmationAudit
from evenhand.methods.reward.pronouns.items import AffirmationSet
from evenhand.methods.reward.pronouns.likelihood import scorer_lack
from evenhand.records import Finding
from evenhand.runs.check import finding_from
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run

from .affirmation_toy import FAMILIES, ToyEngine, toy_set

BASE = {"he": 0.95, "she": 0.95, "they": 0.8, "xe": 0.7}
TUNED = {"he": 0.95, "she": 0.95, "they": 0.75, "xe": 0.2}
SMALL: dict[str, Any] = {"draws": 200, "repetitions": 4}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``use(toy)`` makes the audit read this set."""

    def swap(toy: AffirmationSet) -> None:
        monkeypatch.setattr(items, "open_affirmation", lambda config: toy)

    swap(toy_set())
    return swap


def context_of(folder: Path, engines: dict[str, ToyEngine], **settings: Any) -> Context:
    """A context in which every spec of the settings is a toy."""
    config = make_config(**{**SMALL, "models": tuple(engines)[-1:], **settings})
    configurations = [Configuration(spec, engines[spec]) for spec in config.models]  # type: ignore[arg-type]
    run = Run.start(folder, {"toy": 1}, resume=True)
    return Context(config, configurations, None, run, lambda what, done, total: None, engines)  # type: ignore[arg-type]


def stages(**more: Any) -> dict[str, ToyEngine]:
    return {
        "toy/base": ToyEngine("toy/base", BASE, {"he": 1.0, "she": 1.0, "they": 1.0, "xe": 1.0}, **more),
        "toy/dpo": ToyEngine("toy/dpo", TUNED, {"he": 1.0, "she": 1.0, "they": 1.0, "xe": -2.0}, **more),
    }


STAGES = {"base": "toy/base", "dpo": "toy/dpo"}


def audit(folder: Path, engines: dict[str, ToyEngine], **settings: Any) -> AuditResult:
    context = context_of(folder, engines, **settings)
    try:
        one = AffirmationAudit()
        one.inputs(context.config)
        return one.run(context)
    finally:
        context.run.release()


def pick(result: AuditResult, estimand: str, config: str, group: str | None, **where: Any) -> Finding:
    found = [
        f for f in result.findings
        if (f.estimand, f.config, f.group, dict(f.slice)) == (estimand, config, group, where.get("slice", {}))
        and where.get("outcome", f.outcome) == f.outcome
    ]  # fmt: skip
    assert len(found) == 1, [f.id for f in found]
    return found[0]


KIND = {"level": "kind"}


@pytest.fixture
def planted(use: Any, tmp_path: Path) -> tuple[AuditResult, Path]:
    return audit(
        tmp_path / "run", stages(none=0.2), stages=STAGES, beta=0.5, repetitions=12
    ), tmp_path / "run" / "affirmation"


def test_rates_are_those_of_the_rows(planted: tuple[AuditResult, Path]) -> None:
    result, folder = planted
    rows = pl.read_parquet(folder / "pronouns.parquet")
    assert rows.height == 2 * 64 * 12 == pl.read_parquet(folder / "responses.parquet").height
    for group in FAMILIES:
        mine = rows.filter((pl.col("config") == "toy/dpo") & (pl.col("declared") == group))
        counts = dict(mine["verdict"].value_counts().iter_rows())
        wrong, right, none = (counts.get(word, 0) for word in ("inconsistent", "consistent", "none"))
        rate = pick(result, "misgendering_rate", "toy/dpo", group)
        assert rate.estimate == pytest.approx(wrong / (wrong + right))
        assert rate.n == wrong + right
        assert rate.interval is not None
        assert pick(result, "none_share", "toy/dpo", group).estimate == pytest.approx(none / mine.height)
        assert pick(result, "misgendering_none_correct", "toy/dpo", group).estimate == pytest.approx(
            wrong / mine.height
        )
    long = pick(result, "misgendering_rate", "toy/dpo", "xe", slice={"antecedent_type": "long"})
    assert long.extra["consistent"] + long.extra["inconsistent"] + long.extra["none"] == 96


def test_the_worse_treated_are_named(planted: tuple[AuditResult, Path]) -> None:
    result, _ = planted
    (verdict,) = result.verdicts
    assert (verdict.config, verdict.tone, verdict.group) == ("toy/dpo", "worse", "neo")
    rate = pick(result, "misgendering_rate", "toy/dpo", "neo", slice=KIND)
    assert rate.estimate is not None
    assert f"Misgenders people who use neopronouns in {100 * rate.estimate:.1f}%" in verdict.headline
    assert any("From toy/base to toy/dpo, people who use neopronouns" in line for line in verdict.also)
    excess = pick(result, "misgendering_excess", "toy/dpo", "neo", slice=KIND)
    assert excess.test is not None
    assert excess.test.family_size == 4  # two kinds in two models
    assert excess.test.exact
    assert excess.clusters == {"templates": 8}
    assert not [
        f for f in result.findings if f.estimand == "misgendering_excess" and f.group in ("he", "she", "binary")
    ]


def test_stage_change_is_paired_by_item(planted: tuple[AuditResult, Path]) -> None:
    result, folder = planted
    rows = pl.read_parquet(folder / "pronouns.parquet").filter(
        (pl.col("declared") == "xe") & (pl.col("verdict") != "none")
    )
    wide = (
        rows.group_by("config", "item_id", "template").agg((pl.col("verdict") == "inconsistent").mean())
        .pivot(on="config", index=["item_id", "template"], values="verdict").drop_nulls()
    )  # fmt: skip
    by_template = wide.group_by("template").agg((pl.col("toy/dpo") - pl.col("toy/base")).mean().alias("change"))
    change = pick(result, "misgendering_change", "toy/dpo", "xe")
    assert change.estimate == pytest.approx(by_template["change"].mean())
    assert (change.reference, change.extra["word"], change.extra["stage"]) == ("toy/base", "amplifies", "dpo")
    assert pick(result, "misgendering_change", "toy/dpo", "he").extra["word"] == "no detectable change"


def test_declared_pronouns_win_and_lose(planted: tuple[AuditResult, Path]) -> None:
    result, folder = planted
    mean = {"outcome": "mean token loss"}
    assert pick(result, "likelihood_accuracy", "toy/base", "xe", **mean).estimate == 1
    assert pick(result, "likelihood_accuracy", "toy/dpo", "xe", **mean).estimate == 0
    assert pick(result, "likelihood_accuracy", "toy/dpo", None, slice={"level": "all"}, **mean).estimate == 0.75
    assert pick(result, "likelihood_accuracy", "toy/dpo", "neo", slice={**KIND, "form": "acc"}).estimate == 0
    assert pick(result, "likelihood_change", "toy/dpo", "neo", slice=KIND).estimate == -1
    blanks = pl.read_parquet(folder / "blanks.parquet")
    assert blanks.height == 2 * 64 * 4
    np.testing.assert_allclose(blanks["ll_mean"] * blanks["n"], blanks["ll_sum"])


def test_rewards_are_differences_of_log_ratios(planted: tuple[AuditResult, Path]) -> None:
    result, _ = planted
    assert pick(result, "affirmation_accuracy", "toy/dpo", "xe").estimate == 0
    margin = pick(result, "pronoun_margin", "toy/dpo", "xe")
    assert margin.estimate == pytest.approx(3.0)
    assert margin.unit == "nats"
    assert margin.extra["reward_margin"] == pytest.approx(1.5)
    assert margin.outcome == "reward"
    # Neither set is favoured: all four tie, and each gets a quarter.
    tied = pick(result, "affirmation_accuracy", "toy/dpo", "he")
    assert (tied.estimate, tied.extra["tie_share"], tied.extra["chance"]) == (0.25, 1.0, 0.25)
    assert not pick(result, "pronoun_margin", "toy/dpo", "he").estimate


def test_evidence_selects_its_rows(planted: tuple[AuditResult, Path]) -> None:
    result, folder = planted
    for finding in result.findings:
        selector = dict(finding.evidence)
        rows = pl.read_parquet(folder / f"{selector.pop('table')}.parquet")
        for column, value in selector.items():
            rows = rows.filter(pl.col(column).is_in([value] if isinstance(value, str) else value))
        assert rows.height or finding.estimate is None, finding.id
        if finding.estimand == "misgendering_rate":
            assert rows.height == finding.n
    ids = [finding.id for finding in result.findings]
    assert len(set(ids)) == len(ids)
    assert pl.read_parquet(folder / "summary.parquet")["finding"].to_list() == sorted(ids)


def test_findings_can_be_written_and_read(planted: tuple[AuditResult, Path]) -> None:
    result, folder = planted
    run = Run.open(folder.parent)
    run.write_findings({"affirmation": result})
    back = [finding_from(row) for row in run.read_findings()["affirmation"]["findings"]]
    assert [f.estimate for f in back] == [f.estimate for f in result.findings]


def test_what_was_left_out_is_said(use: Any, tmp_path: Path) -> None:
    result = audit(tmp_path / "run", stages(verbs=frozenset({"generate"})), stages=STAGES)
    assert result.facts["left_out"] == {
        "likelihood of toy/base": "toy/base gives no log-probability scores",
        "likelihood of toy/dpo": "toy/dpo gives no log-probability scores",
        "disclosures": "no regard classifier is given (--regard hf/FOLDER#LABEL)",
    }
    assert any("toy/dpo gives no log-probability scores" in line for line in result.caveats)
    assert {finding.outcome for finding in result.findings} == {"first pronoun"}
    assert result.missing == 0


def test_even_models_are_not_called_worse(use: Any, tmp_path: Path) -> None:
    same = dict.fromkeys(FAMILIES, 0.9)
    engines = {"toy/even": ToyEngine("toy/even", same)}
    (verdict,) = audit(tmp_path / "run", engines, repetitions=40).verdicts
    assert verdict.tone == "even"
    (unsure,) = audit(tmp_path / "few", {"toy/even": ToyEngine("toy/even", same)}, repetitions=1).verdicts
    assert unsure.tone == "unknown"
    assert any("can only see gaps" in line for line in unsure.unknowns)


def test_nothing_but_none(use: Any, tmp_path: Path) -> None:
    result = audit(tmp_path / "run", {"toy/mute": ToyEngine("toy/mute", BASE, none=1.1)})
    rate = pick(result, "misgendering_rate", "toy/mute", "xe")
    assert (rate.estimate, rate.interval, rate.reason) == (None, None, "no continuation has a pronoun")
    assert pick(result, "none_share", "toy/mute", "xe").estimate == 1
    assert pick(result, "misgendering_none_correct", "toy/mute", "xe").estimate == 0
    assert result.verdicts[0].tone == "unknown"


def test_failed_rows_are_counted_and_withhold_the_number(use: Any, tmp_path: Path) -> None:
    engines = {"toy/base": ToyEngine("toy/base", BASE, failing="Sam")}
    result = audit(tmp_path / "run", engines)
    assert result.missing == 4 * 32 + 32 * 4
    rows = pl.read_parquet(tmp_path / "run" / "affirmation" / "pronouns.parquet").filter(pl.col("verdict").is_null())
    assert rows.height == 4 * 32
    assert set(rows["missing"]) == {"refused by the toy"}
    found = pick(result, "likelihood_accuracy", "toy/base", "xe", outcome="mean token loss")
    assert found.estimate is None
    assert "32 of 64 blanks could not be scored (the first: it does not fit)" in found.reason
    blanks = pl.read_parquet(tmp_path / "run" / "affirmation" / "blanks.parquet")
    assert blanks.filter(pl.col("status") == "failed")["ll_sum"].null_count() == 128


def test_different_tokens_give_no_reward(use: Any, tmp_path: Path) -> None:
    engines = stages()
    engines["toy/dpo"].offset = 1
    result = audit(tmp_path / "run", engines, stages=STAGES)
    margin = pick(result, "pronoun_margin", "toy/dpo", "xe")
    assert margin.estimate is None
    assert margin.test is None
    assert "into different tokens" in margin.reason
    assert pick(result, "likelihood_accuracy", "toy/dpo", "xe", outcome="mean token loss").estimate == 0


def test_a_reference_of_ones_own_is_a_pseudo_reward_without_beta(use: Any, tmp_path: Path) -> None:
    result = audit(tmp_path / "run", stages(), reference="toy/base")
    margin = pick(result, "pronoun_margin", "toy/dpo", "xe")
    assert (margin.outcome, margin.extra["reward_margin"]) == ("pseudo-reward", None)


def test_a_model_against_its_own_copy(use: Any, tmp_path: Path) -> None:
    engines = stages()
    engines["toy/dpo"].favour = engines["toy/base"].favour
    result = audit(tmp_path / "run", engines, stages=STAGES)
    margin = pick(result, "pronoun_margin", "toy/dpo", "xe")
    assert (margin.estimate, margin.interval) == (0.0, None)
    assert margin.reason == "policy and reference give equal scores"
    assert pick(result, "affirmation_accuracy", "toy/dpo", "xe").estimate == 0.25


def test_chat_format_is_a_condition_of_its_own(use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evenhand.methods.reward.pronouns.audit.formats_of", lambda config: ("plain", "chat"))
    engines = stages()
    result = audit(tmp_path / "run", engines, stages=STAGES)
    assert engines["toy/dpo"].plain == {True, False}
    assert pick(result, "misgendering_change", "toy/dpo · chat", "xe").reference == "toy/base · chat"
    assert "chat format" not in result.verdicts[0].headline


def test_plain_text_is_the_rule(use: Any, tmp_path: Path) -> None:
    engines = stages()
    audit(tmp_path / "run", engines, stages=STAGES)
    assert engines["toy/dpo"].plain == {True}


@pytest.mark.parametrize("after", [0, 3, 9])
def test_a_broken_run_is_resumed_to_the_same_bytes(use: Any, tmp_path: Path, after: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    audit(whole, stages(), stages=STAGES)
    attempts = 0
    while True:
        attempts += 1
        try:
            audit(broken, stages(after=after + attempts), stages=STAGES)
            break
        except EngineError:
            continue
    assert attempts > 1
    for name in ("items", "responses", "pronouns", "blanks", "summary"):
        path = Path("affirmation") / f"{name}.parquet"
        assert (whole / path).read_bytes() == (broken / path).read_bytes(), name
    audit(broken, stages(after=0), stages=STAGES)  # would break down if anything were asked again


def test_estimate_counts_both_verbs(use: Any, tmp_path: Path) -> None:
    context = context_of(tmp_path / "run", stages(), stages=STAGES)
    rows = dict(AffirmationAudit().estimate(context))
    context.run.release()
    assert rows["toy/base: continuations"].calls == 64 * 4
    assert rows["toy/base: continuations"].max_completion_tokens == 64 * 4 * 50
    assert rows["toy/dpo: pronoun scores"].calls == 64 * 4


def test_inputs_tell_sources_and_decoding(use: Any) -> None:
    told = AffirmationAudit().inputs(make_config())
    assert (told["toy"], told["prompts"], told["blanks"], told["disclosures"]) == ("1", 64, 64, 0)
    assert told["decoding"]["max_tokens"] == 50
    assert AffirmationAudit().inputs(make_config(max_tokens=256))["decoding"]["max_tokens"] == 256


def test_limit_keeps_whole_blocks(use: Any) -> None:
    audited = AffirmationAudit()
    told = audited.inputs(make_config(limit=35))
    assert (told["prompts"], told["blanks"]) == (32, 32)  # eight templates, one person each, four families
    assert audited._read is not None
    assert {item.clusters["template"] for item in audited._read[0].prompts} == {f"A{n}" for n in range(8)}
    assert AffirmationAudit().inputs(make_config(limit=1))["prompts"] == 4


def test_unfit_entries() -> None:
    one = AffirmationAudit()
    assert "responses are given" in one.unfit(make_config(responses=Path("r.csv")))
    assert "labels are given" in one.unfit(make_config(labels=Path("r.csv")))
    assert one.unfit(AuditConfig()) == ""
    assert one.verbs(AuditConfig()) == {"generate"}


def test_sets_that_cannot_be_used_are_refused(use: Any) -> None:
    toy = toy_set()

    def refused(message: str, **change: Any) -> None:
        use(replace(toy, **change))
        with pytest.raises(BadInput, match=message):
            AffirmationAudit().inputs(make_config())

    prompt, blank = toy.prompts[0], toy.blanks[0]
    refused("holds neither prompts nor blanks", prompts=[], blanks=[])
    refused("declares the unknown pronoun family 'thon'", prompts=[replace(prompt, group="thon")])
    refused("has no template", prompts=[replace(prompt, clusters={})])
    refused("names the unknown pronoun set 'thon'", blanks=[replace(blank, options={"he": " him", "thon": " thon"})])
    refused("does not offer its declared pronouns", blanks=[replace(blank, options={"she": " her", "xe": " xem"})])
    shared = {**FAMILIES, "xe": replace(FAMILIES["xe"], acc="them")}
    refused(r"share forms: 'them' \(they, xe\)", families=shared)


def test_disclosures_without_a_classifier_are_refused(use: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no regard classifier"):
        AffirmationAudit().inputs(make_config(disclosures=tmp_path / "d.csv"))


def test_stage_steps() -> None:
    from evenhand.runs.stages import steps_of

    keys = {"base": "b", "sft": "s", "dpo": "d", "sft-dpo": "sd"}
    config = make_config(stages={f"f/{k}": v for k, v in keys.items()}, models=tuple(keys.values()))
    engines = {spec: SimpleNamespace(spec=spec) for spec in keys.values()}
    context: Any = SimpleNamespace(config=config, open=engines.__getitem__)
    found = {(s.policy, s.reference): (s.kind, s.family) for s in steps_of(context)}
    assert found == {
        ("s", "b"): ("pseudo-reward", "f"),
        ("d", "b"): ("reward", "f"),
        ("sd", "s"): ("reward", "f"),
        ("sd", "b"): ("total shift", "f"),
    }


def test_endpoints_say_themselves_why_they_cannot_score() -> None:
    class Endpoint:
        spec, verbs = "http://x/v1#m", frozenset({"generate"})

        def why_not(self, verb: str) -> str:
            return f"the endpoint cannot {verb}: it gives no echo"

    engine: Any = Endpoint()
    assert scorer_lack(engine) == "the endpoint cannot score: it gives no echo"


def test_a_run_with_disclosures(use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Length:
        name, unit, identity = "length", "probability", "length"

        def measure(self, texts: Sequence[str]) -> list[float]:
            return [float("him" in text) for text in texts]

    monkeypatch.setattr("evenhand.graders.content.open_classifier", lambda spec: Length())
    result = audit(tmp_path / "run", stages(), stages=STAGES, regard="hf/x#negative", repetitions=1)
    assert "disclosures" not in result.facts["left_out"]
    folder = tmp_path / "run" / "affirmation"
    rows = pl.read_parquet(folder / "disclosures.parquet")
    assert rows.height == 2 * 288
    assert pl.read_parquet(folder / "pronouns.parquet").height == 2 * 64
    found = [f for f in result.findings if f.outcome == "disclosure"]
    assert {f.estimand for f in found} == {"regard_difference", "regard_change"}
    assert all(f.evidence["table"] == "disclosures" for f in found)
