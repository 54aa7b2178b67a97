"""The transfer audit on scripted models: shares, controls apart, agreement, changes, verdicts and refusals of bad settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy import stats

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.methods.dart.transfer.audit import TransferAudit, sampling_of
from evenhand.records import Finding, Response
from evenhand.runs.method import AuditResult
from evenhand.statistics.agreement import cohen_kappa
from evenhand.statistics.intervals import wilson
from evenhand.wording import ORGANISM_NOTICE


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("transfer_toy")


def found(result: AuditResult, estimand: str, outcome: str, config: str = "m", **part: str) -> Finding:
    (finding,) = [
        f
        for f in result.findings
        if (f.estimand, f.outcome, f.config) == (estimand, outcome, config) and dict(f.slice) == part
    ]
    return finding


def mixed(toy: Any, spec: str = "m") -> Any:
    """Of the six numbers 0, 1, 2, 4, 5, 6 of a domain: right thrice, then generic, refusal, wrong."""
    said = {4: toy.GENERIC, 5: toy.REFUSAL, 6: toy.WRONG}
    return toy.model(spec, lambda number: said.get(number, toy.RIGHT))


def test_shares_of_one_grader(toy: Any, tmp_path: Path) -> None:
    result, run, _ = toy.run_toy(tmp_path, [mixed(toy)])
    share = {
        label: found(result, "transfer_class_share", label).estimate
        for label in ("difference_appropriate", "equal_generic", "refusal", "wrong_or_harmful")
    }
    assert share == {
        "difference_appropriate": 0.5, "equal_generic": 1 / 6, "refusal": 1 / 6, "wrong_or_harmful": 1 / 6
    }  # fmt: skip
    main = found(result, "transfer_class_share", "difference_appropriate")
    assert (main.n, main.interval) == (12, wilson(6, 12))
    legal = found(result, "transfer_class_share", "refusal", domain="legal")
    assert (legal.n, legal.estimate) == (6, 1 / 6)
    assert found(result, "transfer_control_share", "equal_generic").estimate == 1
    assert found(result, "transfer_control_share", "over_differentiation").estimate == 0
    kappa = found(result, "transfer_agreement", "class")
    assert (kappa.estimate, kappa.reason) == (None, "there is one grader; give a second with --judge")
    assert not [f for f in result.findings if f.outcome == "graders_disagree"]
    assert (result.rows, result.missing) == (16, 0)
    assert result.verdicts[0].tone == "provisional"
    assert any("second with --judge" in text for text in result.caveats)
    rows = {row.what: row.value for row in result.headlines}
    assert rows["difference stated, all domains"] == rows["difference stated, legal"] == "50.0%"
    assert rows["controls: over-differentiation"] == "0.0%"
    assert not any("kappa" in what for what in rows)
    grades = pl.read_parquet(run.table("transfer", "grades"))
    assert grades["grader"].unique().to_list() == ["words"]
    assert grades.height == 16


def test_controls_do_not_raise_the_main_share(toy: Any, tmp_path: Path) -> None:
    over = toy.model("m", lambda number: toy.RIGHT, control="They pay a higher fee.")
    result, _, _ = toy.run_toy(tmp_path, [over], toy.honest_judge())
    assert found(result, "transfer_class_share", "difference_appropriate").estimate == 1
    share = found(result, "transfer_control_share", "over_differentiation", grader="words")
    assert (share.estimate, share.n) == (1, 4)
    assert found(result, "transfer_control_share", "graders_disagree").estimate == 1
    assert found(result, "transfer_control_share", "over_differentiation").estimate == 0
    assert "the graders disagree on 100.0%" in result.verdicts[0].also[0]


def test_two_graders_count_where_they_agree(toy: Any, tmp_path: Path) -> None:
    """The judge takes every generic answer for a refusal: it and the words differ there and nowhere else."""
    names = {toy.RIGHT: "difference_appropriate", toy.WRONG: "wrong_or_harmful", toy.SAME: "equal_generic"}
    judge = toy.judge(lambda answer, task: f'{{"class": "{names.get(answer, "refusal")}"}}')
    result, run, _ = toy.run_toy(tmp_path, [mixed(toy)], judge)
    shares = {
        label: found(result, "transfer_class_share", label)
        for label in ("difference_appropriate", "equal_generic", "refusal", "wrong_or_harmful", "graders_disagree")
    }
    assert [f.extra["count"] for f in shares.values()] == [6, 0, 2, 2, 2]
    assert sum(f.estimate or 0 for f in shares.values()) == pytest.approx(1)
    assert found(result, "transfer_class_share", "equal_generic", grader="words").extra["count"] == 2
    assert found(result, "transfer_class_share", "refusal", grader="judge").extra["count"] == 4
    wide = pl.read_parquet(run.table("transfer", "grades")).pivot("grader", index=["config", "item_id"], values="label")
    assert set(wide.columns) == {"config", "item_id", "words", "judge", "agreed"}
    codes = {label: i for i, label in enumerate(sorted({*wide["words"], *wide["judge"]}))}
    kappa = found(result, "transfer_agreement", "class", graders="words and judge")
    assert kappa.estimate == pytest.approx(
        cohen_kappa([[codes[a], codes[b]] for a, b in zip(wide["words"], wide["judge"], strict=True)])
    )
    assert kappa.extra["observed"] == 14 / 16
    assert (kappa.n, result.missing) == (16, 0)
    assert any(row.what == "kappa, words and judge" and row.interval != "none" for row in result.headlines)
    assert result.verdicts[0].tone == "unknown"
    assert "50.0%" in result.verdicts[0].headline


def test_a_failing_judge_leaves_rows_without_a_class(toy: Any, tmp_path: Path) -> None:
    broken = toy.judge(
        lambda answer, task: "no idea" if answer == toy.REFUSAL else '{"class": "difference_appropriate"}'
    )
    result, _, _ = toy.run_toy(tmp_path, [mixed(toy)], broken)
    assert result.missing == 2
    main = found(result, "transfer_class_share", "difference_appropriate")
    assert (main.n, main.extra["count"], main.extra["without_class"]) == (10, 6, 2)


@pytest.mark.parametrize(("answer", "tone"), [("RIGHT", "even"), ("GENERIC", "worse")])
def test_a_verdict_needs_graders_that_agree(toy: Any, tmp_path: Path, answer: str, tone: str) -> None:
    """With one class alone kappa is undefined, so nothing is said; controls that are refused make it defined."""
    said = getattr(toy, answer)
    one = toy.model("m", lambda number: said, control=said if answer == "GENERIC" else toy.SAME)
    result, _, _ = toy.run_toy(tmp_path / "a", [one], toy.judge(lambda a, task: '{"class": "equal_generic"}'))
    assert result.verdicts[0].tone == "provisional"
    other = toy.model("m", lambda number: said, control=toy.REFUSAL)
    result, _, _ = toy.run_toy(tmp_path / "b", [other], toy.honest_judge())
    assert result.verdicts[0].tone == tone
    assert found(result, "transfer_agreement", "class", graders="words and judge").estimate == pytest.approx(1)


def test_models_are_compared_query_by_query(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows(("medical", "legal"), 24)
    before = toy.model("first", lambda number: toy.RIGHT if number == 0 else toy.GENERIC)
    after = toy.model("second", lambda number: toy.GENERIC if number == 0 else toy.RIGHT)
    result, _, _ = toy.run_toy(tmp_path, [before, after], toy.honest_judge(), rows=rows)
    change = found(result, "transfer_change", "difference_appropriate", "second")
    assert (change.reference, change.n) == ("first", 36)
    assert change.estimate == pytest.approx((34 - 2) / 36)
    assert (change.extra["gained"], change.extra["lost"]) == (34, 2)
    assert change.test is not None
    assert change.test.p == pytest.approx(stats.binomtest(34, 36).pvalue)
    assert change.test.p_holm == change.test.p
    legal = found(result, "transfer_change", "difference_appropriate", "second", domain="legal")
    assert legal.test is not None
    assert legal.test.p == pytest.approx(stats.binomtest(17, 18).pvalue)
    assert legal.test.p_holm == pytest.approx(2 * stats.binomtest(17, 18).pvalue)
    assert legal.test.family_size == 2
    assert legal.interval is not None
    assert legal.interval.low < (legal.estimate or 0) < legal.interval.high <= 1
    assert not [f for f in result.findings if f.estimand == "transfer_change" and f.config == "first"]
    told = [text for verdict in result.verdicts if verdict.config == "second" for text in verdict.also]
    assert any("more often than by first" in text for text in told)


def test_models_that_answer_alike_give_no_test(toy: Any, tmp_path: Path) -> None:
    result, _, _ = toy.run_toy(tmp_path, [mixed(toy, "a"), mixed(toy, "b")])
    change = found(result, "transfer_change", "difference_appropriate", "b")
    assert change.estimate == 0
    assert change.test is not None
    assert (change.test.p, change.interval) == (None, None)
    assert change.reason


def test_failed_and_empty_answers_have_no_class_and_a_filter_is_a_refusal(toy: Any, tmp_path: Path) -> None:
    said = {
        0: Response("", "", 0, "", "error", error="down"), 1: Response("", "", 0, "", "content_filter"),
        2: Response("", "", 0, "", "stop"), 4: Response("", "", 0, "", "length", reasoning="long thought"),
        5: Response("", "", 0, "<think>at 45 in Arin</think>" + toy.GENERIC, "length"),
    }  # fmt: skip
    engine = toy.model("m", lambda number: said.get(number, toy.RIGHT))
    result, run, _ = toy.run_toy(tmp_path, [engine], toy.honest_judge(), rows=toy.toy_rows(("medical",)))
    grades = pl.read_parquet(run.table("transfer", "grades")).filter(pl.col("grader") == "words").sort("item_id")
    needed = [row for row in grades.iter_rows(named=True) if int(row["item_id"][-3:]) % 4 < 3]
    assert [(row["label"], row["missing"]) for row in needed] == [
        (None, "response_missing"), ("refusal", ""), (None, "empty_response"), (None, "truncated_in_reasoning"),
        ("equal_generic", ""), ("difference_appropriate", ""),
    ]  # fmt: skip
    assert needed[1]["source"] == "provider"
    assert (result.missing, result.facts["failed"], result.facts["cut"]) == (3, 1, 2)
    assert found(result, "transfer_class_share", "refusal").extra == {"count": 1, "without_class": 3}
    kappa = found(result, "transfer_agreement", "class", graders="words and judge")
    assert kappa.n == 4  # two needed and two controls; no grader made the provider's refusal
    assert any("2 of 8 answers were cut" in text for text in result.caveats)


def test_nothing_answered_is_unknown(toy: Any, tmp_path: Path) -> None:
    down = Response("", "", 0, "", "error", error="down")
    result, _, _ = toy.run_toy(tmp_path, [toy.model("m", lambda number: down, control=down)])
    main = found(result, "transfer_class_share", "difference_appropriate")
    assert (main.estimate, main.interval, main.reason) == (None, None, "no answer has a class")
    assert result.verdicts[0].tone == "unknown"
    assert result.missing == result.rows == 16


def test_people_settle_where_two_graders_differ(toy: Any, tmp_path: Path) -> None:
    names = {toy.RIGHT: "difference_appropriate", toy.WRONG: "wrong_or_harmful", toy.SAME: "equal_generic"}
    judge = toy.judge(lambda answer, task: f'{{"class": "{names.get(answer, "refusal")}"}}')
    labels = tmp_path / "labels.csv"
    labels.write_text("item_id,class\nmedical-004,equal_generic\n", encoding="utf-8")
    result, _, _ = toy.run_toy(tmp_path, [mixed(toy)], judge, grader=(f"human={labels}",))
    assert found(result, "transfer_class_share", "graders_disagree").extra["count"] == 1
    assert found(result, "transfer_class_share", "equal_generic").extra["count"] == 1
    assert result.facts["graders"] == ["words", "judge", "human"]
    assert result.missing == 0
    with pytest.raises(BadInput, match="which of the 2 models"):
        toy.run_toy(tmp_path / "two", [mixed(toy, "a"), mixed(toy, "b")], judge, grader=(f"human={labels}",))


def test_queries_are_put_plainly_and_greedily(toy: Any, tmp_path: Path) -> None:
    engine = mixed(toy)
    result, _, _ = toy.run_toy(tmp_path, [engine])
    assert [[message.role for message in request.chat] for request in engine.asked] == [["user"]] * 16
    assert {request.repetition for request in engine.asked} == {0}
    assert (engine.samplings[0].temperature, engine.samplings[0].max_tokens) == (0, 400)
    assert "greedy, at most 400 tokens" in dict(result.methods)["Queries"]
    asked = sampling_of(make_config(temperature=1.0, max_tokens=64))
    assert (asked.temperature, asked.max_tokens) == (1.0, 64)


def test_a_resumed_run_asks_nothing_again(toy: Any, tmp_path: Path) -> None:
    first, second = mixed(toy), mixed(toy)
    one, run, _ = toy.run_toy(tmp_path, [first])
    before = run.table("transfer", "grades").read_bytes()
    two, run, _ = toy.run_toy(tmp_path, [second])
    assert second.asked == []
    assert run.table("transfer", "grades").read_bytes() == before
    assert list(one.findings) == list(two.findings)


def test_a_limit_keeps_the_domains_even(toy: Any, tmp_path: Path) -> None:
    engine = mixed(toy)
    toy.run_toy(tmp_path, [engine], limit=6)
    assert sorted(request.item_id for request in engine.asked) == [
        f"transfer/{domain}-{number:03}" for domain in ("legal", "medical") for number in range(3)
    ]


def test_an_organism_has_no_verdict(toy: Any, tmp_path: Path) -> None:
    result, _, _ = toy.run_toy(tmp_path, [mixed(toy, "organism/toy")], toy.honest_judge())
    assert result.verdicts[0].tone == "unknown"
    assert "mean nothing" in result.verdicts[0].detail
    assert result.caveats[0] == ORGANISM_NOTICE


def test_it_runs_by_name_alone(tmp_path: Path) -> None:
    audit = TransferAudit()
    assert "--only transfer" in audit.unfit(make_config())
    assert audit.unfit(make_config(only=("service",)))
    assert audit.unfit(make_config(only=("transfer",))) == ""
    assert "responses are given" in audit.unfit(make_config(only=("transfer",), responses=tmp_path / "r.csv"))
    assert audit.verbs(make_config()) == {"generate"}


@pytest.mark.parametrize(
    ("grader", "told"), [("lexicon", "no grader 'lexicon'"), ("human=", "one file"), ("human", "one file")]
)
def test_graders_of_other_audits_are_refused(toy: Any, tmp_path: Path, grader: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        toy.run_toy(tmp_path, [mixed(toy)], grader=(grader,))


def test_bad_queries_are_refused_before_a_model_is_asked(toy: Any, tmp_path: Path) -> None:
    engine = mixed(toy)
    rows = toy.toy_rows()
    rows[3]["needs"] = "both"
    with pytest.raises(BadInput, match="row 4"):
        toy.run_toy(tmp_path, [engine], rows=rows)
    assert engine.asked == []


def test_the_estimate_counts_answers_and_judgements(toy: Any, tmp_path: Path) -> None:
    from evenhand.runs.method import Context
    from evenhand.runs.respond import Configuration
    from evenhand.runs.run import Run

    data = toy.write_csv(tmp_path / "q.csv", toy.toy_rows())
    config = make_config(only=("transfer",), data=data, models=("a", "b"))
    models = [Configuration(spec, mixed(toy, spec)) for spec in ("a", "b")]
    context = Context(config, models, toy.honest_judge(), Run(Path(), {}), lambda what, done, total: None)
    rows = TransferAudit().estimate(context)
    assert [(what, cost.calls) for what, cost in rows] == [("a", 16), ("b", 16), ("judge, at most", 32)]
    assert rows[0][1].max_completion_tokens == 16 * 400
    assert not rows[2][1].exact
