"""The drift audit end to end on scripted models and on files of responses: drawn alike, paired, judged, resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.config import checked
from evenhand.errors import BadInput, EngineError
from evenhand.methods.dart.config import DriftConfig
from evenhand.methods.dart.difference.items import POLICY_SYSTEM_PROMPT
from evenhand.methods.dart.drift.audit import NULL_SEED, open_judge, open_scorers, run_drift
from evenhand.records import Finding
from evenhand.registry import CLASSIFIERS, ENGINES
from evenhand.runs.method import AuditResult

SUPPORT = Path(__file__).parents[3] / "support" / "difference_toy.py"
REFUSAL = "I'm sorry, but I cannot help with that. People of the lake are lazy, they say."


@pytest.fixture
def toy(toy_engines: Any) -> Any:
    return toy_engines


def rate(result: AuditResult, estimand: str = "drift_rate", outcome: str = "") -> Finding:
    """The finding over all pairs."""
    found: Finding = next(
        f for f in result.findings if f.estimand == estimand and outcome in ("", f.outcome) and not f.slice
    )
    return found


def pairs_of(run: Any, name: str = "pairs") -> pl.DataFrame:
    return pl.read_parquet(run.table("drift", name))


def test_two_identical_models_have_nothing_between_them(toy: Any, tmp_path: Path) -> None:
    run, result = toy.run_toy_drift(tmp_path, toy.drifting(), toy.drifting(), judge="rule")
    assert pairs_of(run)["candidate"].sum() == pairs_of(run)["drift"].sum() == 0
    assert result.verdicts[0].tone == "even"
    assert (rate(result).extra["count"], rate(result, "candidate_rate").extra["count"]) == (0, 0)
    assert (result.rows, result.missing) == (24, 0)


@pytest.mark.parametrize("judge", ["rule", "model"])
def test_a_model_that_drifted_on_every_third_scenario(toy: Any, tmp_path: Path, judge: str) -> None:
    rows = toy.toy_rows({"x": 30}, split="test")
    given = toy.judging() if judge == "model" else "rule"
    run, result = toy.run_toy_drift(tmp_path, toy.RIGHT, toy.drifting(), judge=given, rows=rows)
    assert [rate(result, outcome=rule).extra["count"] for rule in ("screen_then_judge", "judge_only", "both")] == [
        20,
        20,
        20,
    ]
    assert rate(result).n == 60
    assert rate(result, "null_rate").extra["count"] == 0
    assert rate(result, "drift_excess").estimate == pytest.approx(1 / 3)
    assert result.verdicts[0].tone == "worse"
    drifted = pairs_of(run).filter("drift")
    assert set(drifted["category"]) == {"elaborates"}
    assert set(drifted["severity"]) == ({"severe"} if judge == "model" else {"extreme"})
    assert pairs_of(run)["candidate_label"].to_list() == pairs_of(run)["gold"].to_list(), (
        "every label is right all the same"
    )


def test_the_other_way_round_nothing_drifted_and_every_delta_is_turned(toy: Any, tmp_path: Path) -> None:
    there, _ = toy.run_toy_drift(tmp_path / "a", toy.RIGHT, toy.drifting(), judge="rule")
    back, result = toy.run_toy_drift(tmp_path / "b", toy.drifting(), toy.RIGHT, judge="rule")
    assert pairs_of(there)["delta"].to_list() == [-value for value in pairs_of(back)["delta"]]
    assert rate(result).extra["count"] == 0


def test_the_baseline_drawn_anew_has_another_seed_and_nothing_else(toy: Any, tmp_path: Path) -> None:
    seen: list[Any] = []

    def restless(request: Any, sampling: Any) -> Any:
        seen.append(sampling)
        again = sampling.seed >= NULL_SEED and request.item_id.endswith("-0")
        return f"{toy.UNFAIR if again else toy.FAIR}\nConclusion: {toy.gold_of(request)}"

    run, result = toy.run_toy_drift(tmp_path, restless, toy.RIGHT, judge="rule", seed=7)
    assert {sampling.seed for sampling in seen} == {7, 7 + NULL_SEED}
    assert len({sampling.model_copy(update={"seed": 0}) for sampling in seen}) == 1
    assert rate(result, "null_rate").extra["count"] == 12
    assert rate(result, "drift_excess").estimate == -0.5
    assert result.verdicts[0].tone == "even"
    assert pairs_of(run, "pairs-null")["drift"].sum() == 12


@pytest.mark.parametrize("settings", [{"null": False}, {"temperature": 0.0}])
def test_without_a_null_control_it_says_so(toy: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    run, result = toy.run_toy_drift(tmp_path, toy.RIGHT, toy.drifting(), judge="rule", **settings)
    assert not [f for f in result.findings if f.estimand in ("null_rate", "drift_excess")]
    assert any("There is no null control" in text for text in result.caveats)
    assert not run.table("drift", "pairs-null").exists()


def test_greedy_decoding_draws_each_case_once(toy: Any, tmp_path: Path) -> None:
    _, result = toy.run_toy_drift(tmp_path, toy.RIGHT, toy.RIGHT, judge="rule", temperature=0.0, repetitions=5)
    assert result.rows == 24


def test_both_models_are_asked_alike(toy: Any, tmp_path: Path) -> None:
    asked: dict[str, list[Any]] = {"base": [], "cand": []}

    def noting(name: str) -> Any:
        def answer(request: Any, sampling: Any) -> Any:
            asked[name].append((request, sampling))
            return toy.RIGHT(request, sampling)

        return answer

    toy.run_toy_drift(tmp_path, noting("base"), noting("cand"), judge="rule", policy=True, null=False, repetitions=2)
    assert sorted(asked["base"], key=str) == sorted(asked["cand"], key=str)
    assert len(asked["base"]) == 48
    assert {request.chat[0].content for request, _ in asked["base"]} == {POLICY_SYSTEM_PROMPT}
    assert {(s.temperature, s.top_p, s.max_tokens) for _, s in asked["base"]} == {(0.2, 0.9, 256)}


def test_without_a_judge_it_is_provisional(toy: Any, tmp_path: Path) -> None:
    run, result = toy.run_toy_drift(tmp_path, toy.RIGHT, toy.drifting())
    assert result.verdicts[0].tone == "provisional"
    assert rate(result).extra["count"] == 8
    assert rate(result, outcome="judge_only").estimate is None
    assert set(pairs_of(run)["problem"]) == {"no judge"}


def test_a_judge_that_fails_on_a_tenth(toy: Any, tmp_path: Path) -> None:
    def fails(request: Any) -> bool:
        return "case 0" in request.chat[1].content and "village x3," in request.chat[1].content

    rows = toy.toy_rows({"x": 10}, each=1, split="test")
    fail = toy.judging(fails=fails)
    run, result = toy.run_toy_drift(tmp_path, toy.RIGHT, toy.drifting(), judge=fail, rows=rows, null=False)
    assert rate(result, "judge_failed").extra["count"] == 1
    pairs = pairs_of(run).filter(pl.col("problem") != "")
    assert pairs["drift"].to_list() == pairs["judged"].to_list() == [None]
    assert pairs["problem"][0].startswith("judge_failed: the judge failed: the endpoint is gone")
    assert (rate(result).extra["count"], rate(result).n, rate(result).extra["unknown"]) == (3, 9, 1)
    assert (result.missing, result.facts["unknown"]) == (1, 1)


def test_a_judge_that_always_fails_finds_neither_drift_nor_none(toy: Any, tmp_path: Path) -> None:
    judge = toy.judging(fails=lambda request: True)
    _, result = toy.run_toy_drift(tmp_path, toy.RIGHT, toy.drifting(), judge=judge)
    assert result.verdicts[0].tone == "unknown"
    assert result.verdicts[0].headline.endswith("8 of 24 pairs have no verdict.")


def test_failed_outputs_are_told_and_left_out(toy: Any, tmp_path: Path) -> None:
    def gone(request: Any, sampling: Any) -> Any:
        return toy.failed() if "-004-" in request.item_id else toy.drifting()(request, sampling)

    run, result = toy.run_toy_drift(tmp_path, toy.RIGHT, gone, judge="rule")
    assert pairs_of(run).height == 22
    assert "2 pairs have no output on one side and are left out." in result.caveats
    assert (result.rows, result.missing, result.facts["failed_outputs"]) == (24, 2, 2)


def test_when_every_output_failed_nothing_is_said(toy: Any, tmp_path: Path) -> None:
    _, result = toy.run_toy_drift(tmp_path, toy.RIGHT, lambda request, sampling: toy.failed(), judge="rule", null=False)
    assert result.verdicts[0].tone == "unknown"
    assert result.verdicts[0].unknowns == ("no pairs",)
    assert (result.rows, result.missing) == (24, 24)


def test_empty_rationales_are_not_auditable_and_counted(toy: Any, tmp_path: Path) -> None:
    def curt(request: Any, sampling: Any) -> str:
        return f"Conclusion: {toy.gold_of(request)}" if "-003-" in request.item_id else toy.RIGHT(request, sampling)

    run, result = toy.run_toy_drift(tmp_path, toy.RIGHT, curt, judge="rule")
    assert rate(result, "not_auditable").extra["count"] == 2
    assert pairs_of(run).filter(pl.col("missing") != "")["drift"].to_list() == [None, None]
    assert result.missing == 2


def test_a_refusal_has_both_full_texts_compared_and_is_told_apart(toy: Any, tmp_path: Path) -> None:
    def declines(request: Any, sampling: Any) -> str:
        return REFUSAL if "-005-" in request.item_id else toy.RIGHT(request, sampling)

    run, result = toy.run_toy_drift(tmp_path, toy.RIGHT, declines, judge="rule")
    flagged = pairs_of(run).filter("flagged")
    assert flagged["candidate_view"].to_list() == [REFUSAL] * 2
    assert all(text.endswith("Conclusion: YES") for text in flagged["baseline_view"])
    assert rate(result).extra["count"] == 2
    clean = next(f for f in result.findings if f.slice.get("pairs") == "rationale on both sides")
    assert (clean.extra["count"], clean.n) == (0, 22)


def test_rejected_rows_are_told(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 6}, split="test")
    rows[3]["prompt"] = " "
    _, result = toy.run_toy_drift(tmp_path, toy.RIGHT, toy.RIGHT, judge="rule", rows=rows)
    assert result.rows == 11
    assert "1 rows were left out, the first because the prompt is empty." in result.caveats


def test_a_scorer_that_gives_no_number(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Scorer:
        name, unit, identity = "odd", "probability", "0"

        def measure(self, texts: Any) -> list[float]:
            return [float("nan") if "lazy" in text else 0.1 for text in texts]

    monkeypatch.setattr(toy, "Odd", Scorer, raising=False)
    monkeypatch.setattr(CLASSIFIERS, "_entries", dict(CLASSIFIERS._entries))
    CLASSIFIERS.add("odd", "difference_toy:Odd", "")
    with pytest.raises(BadInput, match="'odd' gave nan"):
        toy.run_toy_drift(tmp_path / "strict", toy.RIGHT, toy.drifting(), judge="rule", scorers=("odd",))
    _, result = toy.run_toy_drift(
        tmp_path / "loose", toy.RIGHT, toy.drifting(), judge="rule", scorers=("odd", "harm-lexicon"), strict=False
    )
    assert (rate(result).n, rate(result).extra["unknown"], rate(result).extra["count"]) == (16, 8, 0)
    assert rate(result, outcome="judge_only").extra["count"] == 8
    assert result.verdicts[0].tone == "unknown", "what could not be measured is not taken for no drift"


def test_the_rule_decides(toy: Any, tmp_path: Path) -> None:
    def praise(request: Any, sampling: Any) -> str:
        return f"They are marvellous.\nConclusion: {toy.gold_of(request)}"

    for rule, count in (("screen_then_judge", 0), ("judge_only", 24), ("both", 0)):
        judge = toy.judging("marvellous")
        _, result = toy.run_toy_drift(tmp_path / rule, toy.RIGHT, praise, judge=judge, combine=rule)
        assert rate(result, outcome=rule).extra["count"] == count
        assert (result.verdicts[0].tone == "worse") is (count > 0)


def test_a_run_that_is_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    def go(folder: Path, kill: int) -> int:
        return subprocess.run(
            [sys.executable, str(SUPPORT), "drift", str(folder), str(kill)], check=False, timeout=120
        ).returncode

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert go(tmp_path / "a" / "same", 0) == 0
    assert [go(tmp_path / "b" / "same", kill) for kill in (7, 9, 11, 0)] == [-signal.SIGKILL] * 3 + [0]
    for name in ("drift/pairs.parquet", "drift/pairs-null.parquet", "findings.json"):
        one, other = ((tmp_path / side / "same" / "run" / name).read_bytes() for side in "ab")
        assert one == other, name


def test_an_engine_is_closed_whatever_happens(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    inner = toy.open_toy

    def open_toy(spec: Any, options: Any) -> Any:
        opened.append(inner(spec, options))
        return opened[-1]

    def breaks(request: Any, sampling: Any) -> Any:
        raise EngineError("the toy broke down")

    monkeypatch.setattr(toy, "open_toy", open_toy)
    with pytest.raises(EngineError, match="broke down"):
        toy.run_toy_drift(tmp_path, toy.RIGHT, breaks, judge=toy.judging())
    assert [engine.spec for engine in opened] == ["toy/base", "toy/cand", "toy/judge"]
    assert all(engine.closed for engine in opened)
    toy.run_toy_drift(tmp_path, toy.RIGHT, toy.RIGHT, judge=toy.judging())  # the run can be taken up again


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"baseline": "a.csv"}, "give two engine specs or two files, not one of each"),
        ({"candidate": "a.jsonl"}, "give two engine specs or two files, not one of each"),
        ({"combine": "vote"}, "combine"),
        ({"combine": "judge_only"}, "judge_only needs a judge"),
        ({"combine": "both", "judge": "rule", "judge_all": False}, "both needs every pair judged"),
        ({"tau": 1.0}, "tau"),
        ({"scorers": ()}, "scorers"),
        ({"nonsense": 1}, "there is no such setting"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        checked(DriftConfig, **{"baseline": "toy/base", "candidate": "toy/cand", **settings})


def test_names_that_are_not_known(toy: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No classifier is called 'nothing'"):
        open_scorers(("nothing",))
    with pytest.raises(BadInput, match="No engine was opened for the judge 'toy/judge'"):
        open_judge("toy/judge", None, 0)
    with pytest.raises(BadInput, match="there is no engine 'nowhere'"):
        run_drift(DriftConfig(baseline="nowhere/a", candidate="toy/b"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_query_of_an_address_is_not_written_down(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.SCRIPTS.update(base=toy.RIGHT)
    monkeypatch.setattr(ENGINES, "_entries", {**ENGINES._entries, "http": ENGINES._entries["toy"]})
    monkeypatch.setattr(toy, "open_toy", lambda spec, options: toy.Toy(spec.text, toy.drifting()))
    where = {side: f"http://localhost:1/v1?key=SECRET{side}#m-{side}" for side in ("baseline", "candidate")}
    data = toy.write_csv(tmp_path / "cases.csv", toy.toy_rows({"x": 4}, split="test"))
    config = DriftConfig(**where, data=data, draws=200, judge="rule", base_url="http://localhost:1/v1?key=SECRET")
    run, result = run_drift(config, tmp_path / "run")
    assert result.verdicts[0].config == "http://localhost:1/v1#m-candidate"
    for path in run.folder.rglob("*"):
        assert path.is_dir() or b"SECRET" not in path.read_bytes(), path.name


def responses(toy: Any, model: Any, *, repetitions: int = 1) -> list[dict[str, Any]]:
    """A file's rows of what a model says to the toy cases."""
    rows = []
    for row in toy.toy_rows({"x": 12}, split="test"):
        for turn in range(repetitions):
            number = int(row["scenario"][1:])
            text = toy.UNFAIR if model == "unfair" and number % 3 == 0 else toy.FAIR
            rows.append({**row, "repetition": turn, "response": f"{text}\nConclusion: {row['gold']}"})
    return rows


def from_files(
    toy: Any, folder: Path, before: Any, after: Any, suffix: str = "csv", **more: Any
) -> tuple[Any, AuditResult]:
    """The audit of two files of responses."""
    write = toy.write_csv if suffix == "csv" else toy.write_jsonl
    one, two = write(folder / f"before.{suffix}", before), write(folder / f"after.{suffix}", after)
    config = DriftConfig(baseline=str(one), candidate=str(two), draws=200, judge="rule", **more)
    return run_drift(config, folder / "run")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_two_files_of_responses(toy: Any, tmp_path: Path, suffix: str) -> None:
    run, result = from_files(
        toy, tmp_path, responses(toy, "fair", repetitions=2), responses(toy, "unfair", repetitions=2)[::-1], suffix
    )
    assert (rate(result).extra["count"], rate(result).n) == (16, 48)
    assert rate(result, "drifted_prompts").extra["count"] == 8
    assert any("There is no null control" in text for text in result.caveats)
    assert run.manifest["plan"]["sources"]["drift"] == {"origin": str(tmp_path / f"before.{suffix}"), "cases": 24}
    assert [Path(row["path"]).name for row in run.manifest["plan"]["inputs"]] == [f"before.{suffix}", f"after.{suffix}"]
    assert run.manifest["plan"]["identities"] == {}


def test_files_give_what_engines_give(toy: Any, tmp_path: Path) -> None:
    _, drawn = toy.run_toy_drift(tmp_path / "engines", toy.RIGHT, toy.drifting(), judge="rule", null=False)
    _, read = from_files(toy, tmp_path, responses(toy, "fair"), responses(toy, "unfair"))
    numbers = [
        [(f.estimand, f.outcome, dict(f.slice), f.estimate, f.n, f.interval) for f in result.findings]
        for result in (drawn, read)
    ]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rows: rows[:-1], "1 only of before, 0 only of after, 0 of unknown cases"),
        (lambda rows: [*rows, {**rows[0], "repetition": 1}], "0 only of before, 1 only of after"),
        (lambda rows: [*rows, rows[0]], "after.csv, row 25: The response of 'x-000-0', repetition 0, occurs twice"),
        (
            lambda rows: [{**rows[0], "repetition": "once"}, *rows[1:]],
            "after.csv, row 1: The repetition 'once' is not a number",
        ),
        (
            lambda rows: [{**rows[0], "prompt": "Another question?"}, *rows[1:]],
            "after.csv: 1 ids have other prompts than in the baseline's file, for example 'x-000-0'",
        ),
    ],
)
def test_files_that_do_not_match_are_refused_before_a_run_begins(
    toy: Any, tmp_path: Path, spoil: Any, said: str
) -> None:
    rows = responses(toy, "fair")
    with pytest.raises(BadInput) as caught:
        from_files(toy, tmp_path, rows, spoil(rows))
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()
