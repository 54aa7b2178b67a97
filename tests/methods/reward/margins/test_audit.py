"""The reward audit on a toy model whose rewards are known, with everything that can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from evenhand.config import AuditConfig, make_config
from evenhand.errors import BadInput, EngineError
from evenhand.methods.reward.margins.audit import RewardAudit
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration
from evenhand.runs.run import Run

BAD = [f"bad{n}" for n in range(12)]
NICE = [f"nice{n}" for n in range(6)]


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("reward_toy")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two groups, reds and blues, against greens: 12 harmful and 6 neutral predicates in two frames."""
    rows = [
        f"{group}-{word}-{frame},{word},{frame} say the,{group} are {word},greens are {word},{group},greens,{kind},{frame}"
        for group in ("reds", "blues")
        for kind, words in (("harm", BAD), ("neutral", NICE))
        for word in words
        for frame in ("some", "many")
    ]
    file = tmp_path / "pairs.csv"
    head = "pair_id,cluster_id,context,harmful,comparison,group,comparison_group,kind,template\n"
    # The predicate follows the group directly, so that a bigram model can tell whom it is about.
    file.write_text(head + "\n".join(row.replace(" are ", " ") for row in rows) + "\n", encoding="utf-8")
    return file


def audit(
    toy: ModuleType, tmp_path: Path, table: Path, engines: Mapping[str, Any], *, resume: bool = False, **settings: Any
) -> AuditResult:
    """Run the audit with these engines, by spec."""
    config: AuditConfig = make_config(
        data=table, only=("reward",), draws=500, models=(next(iter(engines)),), **settings
    )
    run = Run.start(tmp_path / "run", {"plan": 1}, resume=resume)
    try:
        made = RewardAudit()
        assert not made.unfit(config)
        made.inputs(config)
        first = next(iter(engines))
        context = Context(
            config, [Configuration(first, engines[first])], None, run, lambda what, done, total: None, engines
        )
        return made.run(context)
    finally:
        run.release()


def stages(toy: ModuleType, **about: Mapping[str, float]) -> dict[str, Any]:
    """base, sft, dpo and sft-dpo, each with its own extra nats for bad words after a group."""
    made = {}
    for number, name in enumerate(("base", "sft", "dpo", "sft-dpo")):
        weight = toy.shifted(toy.jittered(number), about.get(name.replace("-", "_"), {}), BAD)
        made[name] = toy.ToyEngine(name, weight)
    return made


FOUR = {"base": "base", "sft": "sft", "dpo": "dpo", "sft-dpo": "sft-dpo"}


def rows_of(tmp_path: Path) -> pl.DataFrame:
    return pl.read_parquet(tmp_path / "run" / "reward" / "pairs.parquet")


def test_the_right_stage_is_named_for_each_planted_effect(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    engines = stages(
        toy,
        base={"blues": 0.5},
        sft={"reds": 1.0, "blues": 0.5},
        dpo={"blues": 1.5},
        sft_dpo={"reds": 1.0, "blues": 1.5},
    )
    result = audit(toy, tmp_path, table, engines, stages=FOUR, beta=0.1)
    named = {(n["stage"], n["group"]): n["fate"] for n in result.facts["named"] if not n["total"]}
    assert named["sft", "reds"] == "introduced"
    assert named["dpo", "reds"] == "none"
    assert named["sft-dpo", "reds"] == "preserved"
    assert named["sft", "blues"] == "preserved"
    assert named["dpo", "blues"] == named["sft-dpo", "blues"] == "amplified"
    totals = {
        n["group"]: (n["fate"], n["stage"])
        for n in result.facts["named"]
        if n["total"] and n["stage"] in ("sft", "dpo")
    }
    assert totals["reds"] == ("introduced", "sft")
    assert totals["blues"] == ("amplified", "dpo")
    assert result.verdicts[0].tone == "worse"
    assert all(rec["findings"] for rec in result.facts["recommendations"])
    known = {f.id for f in result.findings}
    assert {f for rec in result.facts["recommendations"] for f in rec["findings"]} <= known
    families = {f.test.family_size for f in result.findings if f.estimand == "net_shift" and f.test}
    assert families == {4 * 3}  # four comparisons, two groups and both together


def test_rows_hold_the_record_and_the_algebra(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    result = audit(toy, tmp_path, table, stages(toy, sft={"reds": 1.0}, sft_dpo={"reds": 2.0}), stages=FOUR, beta=0.1)
    rows = rows_of(tmp_path)
    for column in [
        "pair_id",
        "cluster_id",
        "group",
        "comparison_group",
        "template",
        "theme",
        "policy",
        "reference",
        "beta",
        "scope",
        "n_h",
        "n_c",
        "ll_pi_h",
        "ll_pi_c",
        "ll_ref_h",
        "ll_ref_c",
        "m_pi",
        "m_ref",
        "delta",
        "class",
        "status",
        "reason",
    ]:
        assert column in rows.columns
    assert ((rows["m_pi"] - rows["m_ref"] - rows["delta_nats"]).abs() < 1e-9).all()
    rewards = rows.filter(pl.col("ratio") == "reward")
    assert ((rewards["delta"] - 0.1 * rewards["delta_nats"]).abs() < 1e-12).all()
    assert (
        rows.filter(pl.col("ratio") != "reward")["delta"].null_count()
        == rows.filter(pl.col("ratio") != "reward").height
    )
    part = {ratio: rows.filter((pl.col("stage") == stage) & (pl.col("ratio") == ratio)).sort("pair_id")["delta_nats"]
            for stage, ratio in (("sft", "pseudo-reward"), ("sft-dpo", "reward"), ("sft-dpo", "total shift"))}  # fmt: skip
    assert ((part["pseudo-reward"] + part["reward"] - part["total shift"]).abs() < 1e-9).all()
    assert result.missing == 0
    assert {"top", "bottom", "random"} == set(pl.read_parquet(tmp_path / "run/reward/readings.parquet")["which"])


def test_mention_is_not_harm(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    """A stage that makes a group's name likelier in every sentence changes margins, but no net margin."""
    base = toy.ToyEngine("base", toy.flat)
    tuned = toy.ToyEngine("sft", lambda before, word: toy.flat(before, word) + (0.7 if word == "reds" else 0.0))
    result = audit(toy, tmp_path, table, {"base": base, "sft": tuned}, stages={"base": "base", "sft": "sft"})
    plain, net = (
        next(f for f in result.findings if f.estimand == name and f.group == "reds")
        for name in ("margin_shift", "net_shift")
    )
    assert plain.estimate == pytest.approx(0.7)
    assert net.estimate == pytest.approx(0.0, abs=1e-9)
    assert not any(n["found"] for n in result.facts["named"])


def test_a_policy_that_is_its_reference(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    one = toy.ToyEngine("base", toy.flat)
    result = audit(toy, tmp_path, table, {"base": one}, reference="base", beta=0.1)
    rows = rows_of(tmp_path)
    assert (rows["delta_nats"] == 0).all()
    rates = [f for f in result.findings if f.estimand == "selection_rate"]
    assert all(f.estimate == 0.5 and f.extra["tie_share"] == 1 for f in rates)
    assert any("its own reference" in text for text in result.caveats)


def test_the_same_weights_under_another_name_are_seen(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    one = toy.ToyEngine("new", toy.flat, weights="w")
    result = audit(toy, tmp_path, table, {"new": one, "old": toy.renamed(one, "old")}, reference="old")
    assert any("its own reference" in text for text in result.caveats)


def test_a_wrong_reference_is_a_total_shift(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    engines = {name: toy.ToyEngine(name, toy.flat, weights=name) for name in ("organism/aligned", "organism/base")}
    result = audit(toy, tmp_path, table, engines, reference="organism/base", beta=0.5)
    assert any("total shift over several stages, not a DPO reward" in text for text in result.caveats)
    assert rows_of(tmp_path)["ratio"].unique().to_list() == ["total shift"]
    assert len(result.verdicts) == 1
    assert rows_of(tmp_path)["delta"].null_count() == rows_of(tmp_path).height


def test_without_beta_there_are_nats_only(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    engines = {"new": toy.ToyEngine("new", toy.flat, weights="a"), "old": toy.ToyEngine("old", toy.flat, weights="b")}
    result = audit(toy, tmp_path, table, engines, reference="old")
    assert not [f for f in result.findings if f.estimand == "reward_margin"]
    assert any("beta unknown" in text for _, text in result.methods)
    assert rows_of(tmp_path)["delta"].null_count() == rows_of(tmp_path).height


def test_beta_scales_the_reward_and_nothing_else(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    found = []
    for number, beta in enumerate((0.1, 0.2)):
        engines = stages(toy, dpo={"reds": 0.5})
        folder = tmp_path / str(number)
        folder.mkdir()
        result = audit(toy, folder, table, engines, stages={"base": "base", "dpo": "dpo"}, beta=beta)
        found.append({(f.estimand, f.group): f.estimate for f in result.findings if "fate" not in f.slice})
    for key, value in found[0].items():
        factor = 2 if key[0] == "reward_margin" else 1
        assert found[1][key] == pytest.approx(factor * value) if value is not None else found[1][key] is None


def test_swapped_members_turn_every_margin(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    swapped = tmp_path / "swapped.csv"
    frame = pl.read_csv(table).rename({"harmful": "comparison", "comparison": "harmful"})
    frame.write_csv(swapped)
    shifts = []
    for number, file in enumerate((table, swapped)):
        (tmp_path / str(number)).mkdir()
        audit(toy, tmp_path / str(number), file, stages(toy, dpo={"reds": 0.5}), stages={"base": "base", "dpo": "dpo"})
        shifts.append(rows_of(tmp_path / str(number)).sort("pair_id")["delta_nats"])
    assert ((shifts[0] + shifts[1]).abs() < 1e-12).all()


def test_tokenizers_that_differ_are_refused(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    engines = {"new": toy.ToyEngine("new", toy.flat), "old": toy.ToyEngine("old", toy.flat, split=7)}
    with pytest.raises(EngineError, match="tokenizers of new and old split 72 pairs differently"):
        audit(toy, tmp_path, table, engines, reference="old")


def test_too_many_failed_pairs_stop_after_the_table(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    nan = toy.ToyEngine("new", lambda before, word: float("nan") if word == "bad3" else -1.0)
    with pytest.raises(EngineError, match=r"pairs could not be scored, more than 1 % .*logits that are not numbers"):
        audit(toy, tmp_path, table, {"new": nan, "old": toy.ToyEngine("old", toy.flat)}, reference="old")
    rows = rows_of(tmp_path)
    assert rows.filter(pl.col("status") == "failed").height == 4
    assert rows.filter(pl.col("status") == "failed")["reason"].unique().to_list() == [
        "the model returned logits that are not numbers"
    ]
    assert rows.filter(pl.col("status") == "scored").height == 68


def test_a_noise_floor_above_tau_is_an_error_caveat(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    engines = {
        "new": toy.ToyEngine("new", toy.flat, weights="a"),
        "old": toy.ToyEngine("old", toy.flat, weights="b", floor=0.3),
    }
    result = audit(toy, tmp_path, table, engines, reference="old")
    assert any(text.startswith("ERROR The noise floor") for text in result.caveats)


def test_models_that_are_loaded_differently_are_flagged(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    engines = {"new": toy.ToyEngine("new", toy.flat, dtype="bfloat16"), "old": toy.ToyEngine("old", toy.flat)}
    result = audit(toy, tmp_path, table, engines, reference="old")
    assert any("loaded differently (dtype)" in text for text in result.caveats)


def test_a_broken_run_goes_on_and_scores_nothing_twice(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    settings: dict[str, Any] = {"stages": {"base": "base", "dpo": "dpo"}}
    audit(toy, whole, table, stages(toy, dpo={"reds": 0.5}), **settings)
    engines = stages(toy, dpo={"reds": 0.5})
    engines["dpo"].stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        audit(toy, broken, table, engines, **settings)
    journal = broken / "run/reward/scores-sentence.journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"key": "cut')
    again = stages(toy, dpo={"reds": 0.5})
    audit(toy, broken, table, again, resume=True, **settings)
    assert again["base"].scored == []
    assert 0 < len(again["dpo"].scored) < len(set(engines["base"].scored))
    for name in ("pairs", "summary", "texts", "readings"):
        assert (whole / f"run/reward/{name}.parquet").read_bytes() == (
            broken / f"run/reward/{name}.parquet"
        ).read_bytes(), name


def test_equal_texts_are_scored_once(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    engines = stages(toy)
    audit(toy, tmp_path, table, engines, stages={"base": "base", "dpo": "dpo"})
    assert len(engines["base"].scored) == len(set(engines["base"].scored)) == 3 * 18 * 2


def test_scopes(toy: ModuleType, tmp_path: Path, table: Path) -> None:
    engines = stages(toy, dpo={"reds": 0.5})
    result = audit(
        toy,
        tmp_path,
        table,
        engines,
        stages={"base": "base", "dpo": "dpo"},
        scope=("sentence", "continuation", "shared"),
    )
    rows = rows_of(tmp_path)
    assert set(rows["scope"]) == {"sentence", "continuation"}
    tail = rows.filter((pl.col("scope") == "continuation") & (pl.col("pair_id") == "reds-bad1-some"))
    assert tail["n_h"].item() == tail["n_c"].item() == 1  # the predicate alone, each member in its own context
    assert {f.outcome for f in result.findings if f.estimand == "bias_rate"} == {"shared tokens", "whole sentence"}


def test_what_it_has_no_use_for(tmp_path: Path) -> None:
    made = RewardAudit()
    assert "needs --reference" in made.unfit(make_config(models=("hf/x",)))
    assert "labels are given" in made.unfit(make_config(labels=Path("x.csv")))
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt,group\nx,a\n", encoding="utf-8")
    assert "holds prompts" in made.unfit(make_config(data=prompts, reference="hf/y"))


def test_a_pair_with_two_contexts_is_refused_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("context,context_comparison,harmful,comparison,group\nx,y,A,B,a\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"row 1: .*different contexts"):
        RewardAudit().inputs(make_config(data=file, reference="hf/y"))
