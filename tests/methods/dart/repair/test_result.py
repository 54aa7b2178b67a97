"""What a repair is said to have achieved: reductions on made-up tables, fates, controls, verdicts and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.methods.dart.config import DartConfig
from evenhand.methods.dart.drift.measures import beyond_noop, reduction
from evenhand.methods.dart.repair.result import NOOP, _reductions
from evenhand.records import Finding

Drift = Sequence[bool | None]


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("dart_toy")


def pairs(drift: Drift, second: Drift | None = None, wording: Sequence[str] | None = None) -> pl.DataFrame:
    count = len(drift)
    return pl.DataFrame(
        {
            "case": [f"c{k:04}" for k in range(count)], "repetition": [0] * count,
            "scenario": [f"s{k:04}" for k in range(count)], "wording": list(wording or [""] * count),
            "drift": list(drift), "second": list(second or [None] * count),
        },
        schema={"case": pl.String, "repetition": pl.Int32, "scenario": pl.String, "wording": pl.String,
                "drift": pl.Boolean, "second": pl.Boolean},
    )  # fmt: skip


def reduced(before: pl.DataFrame, after: pl.DataFrame, noop: pl.DataFrame, **changes: Any) -> tuple[list[Finding], Any]:
    """The reductions by a repair, from made-up tables of pairs."""
    config = DartConfig(model="organism/aligned", teacher="scripted", judge="rule", draws=200, **changes)
    tables = {"distilled": before, "repaired (inductive)": after}
    work: Any = SimpleNamespace(config=config, drift=lambda name, split: tables[name])
    state: dict[str, Any] = {}
    return _reductions(work, "inductive", state, noop), state


def one(findings: Sequence[Finding], estimand: str, **part: str) -> Finding:
    (found,) = [f for f in findings if f.estimand == estimand and dict(f.slice) == part]
    return found


def test_the_specifications_example() -> None:
    before = [True] * 100 + [False] * 100
    after = [True] * 20 + [False] * 80 + [True] * 7 + [False] * 93
    noop = [True] * 90 + [False] * 110
    findings, state = reduced(pairs(before), pairs(after), pairs(noop))
    cut = one(findings, "drift_reduction")
    assert cut.estimate == pytest.approx(0.73)
    assert cut.extra["fates"] == state["fates"] == {"persisting": 20, "fixed": 80, "created": 7}
    assert (cut.extra["before"], cut.extra["after"]) == (100, 27)
    assert cut.interval is not None
    assert cut.interval.low < 0.73 < cut.interval.high
    assert one(findings, "noop_reduction").estimate == pytest.approx(0.10)
    assert one(findings, "reduction_beyond_noop").estimate == pytest.approx(0.63)
    assert not [f for f in findings if f.estimand == "second_reduction"]


def test_without_drift_before_a_reduction_is_undefined_and_says_why() -> None:
    findings, _ = reduced(pairs([False] * 9), pairs([True] + [False] * 8), pairs([False] * 9))
    for estimand in ("drift_reduction", "noop_reduction", "reduction_beyond_noop"):
        found = one(findings, estimand)
        assert (found.estimate, found.interval) == (None, None)
        assert found.reason == "nothing drifted before the repair: undefined"


def test_more_drift_than_before_is_a_negative_reduction() -> None:
    findings, _ = reduced(pairs([True] * 4 + [False] * 8), pairs([True] * 6 + [False] * 6), pairs([True] * 12))
    assert one(findings, "drift_reduction").estimate == pytest.approx(-0.5)


def test_a_pair_without_a_verdict_is_neither_fixed_nor_counted() -> None:
    before: Drift = [True, True, True, None, False, False]
    after: Drift = [True, None, False, True, None, True]
    findings, state = reduced(pairs(before), pairs(after), pairs(before))
    cut = one(findings, "drift_reduction")
    assert state["fates"] == {"persisting": 1, "fixed": 1, "created": 1}
    assert (cut.extra["before"], cut.extra["after"], cut.extra["unknown"]) == (2, 2, 3)
    assert (cut.estimate, cut.n) == (0.0, 3)


def test_few_scenarios_have_no_interval_and_a_reason() -> None:
    findings, _ = reduced(pairs([True] + [False] * 5), pairs([False] * 6), pairs([True] + [False] * 5))
    cut = one(findings, "drift_reduction")
    assert (cut.estimate, cut.interval, cut.reason) == (1.0, None, "too few scenarios drifted: no interval")


def test_held_out_wordings_and_the_second_grader_are_told_apart() -> None:
    before = pairs([True] * 8, [True] * 4 + [None] * 4, ["seen", "held out"] * 4)
    after = pairs([True, False] * 4, [False] * 2 + [True] * 6, ["seen", "held out"] * 4)
    findings, _ = reduced(before, after, before)
    assert one(findings, "drift_reduction", wording="seen").estimate == 0.0
    assert one(findings, "drift_reduction", wording="held out").estimate == 1.0
    second = one(findings, "second_reduction")
    assert (second.estimate, second.extra["unknown"]) == (0.5, 4)


def test_whole_scenarios_are_redrawn() -> None:
    drift = [True] * 40 + [False] * 40
    cured = [k % 2 == 0 for k in range(40)] + [False] * 40
    apart, _ = reduced(pairs(drift), pairs(cured), pairs(drift))
    joined = [frame.with_columns(scenario=pl.lit("s") + (pl.int_range(80) // 8).cast(pl.String)) for frame in
              (pairs(drift), pairs(cured), pairs(drift))]  # fmt: skip
    together, _ = reduced(*joined)
    assert one(apart, "drift_reduction").clusters == {"scenarios": 80}
    assert one(together, "drift_reduction").clusters == {"scenarios": 10}
    assert one(together, "drift_reduction").estimate == one(apart, "drift_reduction").estimate == 0.5


VERDICT = st.sampled_from([True, False, None])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(VERDICT, VERDICT, VERDICT), min_size=1, max_size=30))
def test_reductions_are_those_of_the_counts_over_pairs_that_are_known(rows: list[tuple[bool | None, ...]]) -> None:
    before, after, noop = ([row[k] for row in rows] for k in range(3))
    findings, _ = reduced(pairs(before), pairs(after), pairs(noop))
    known = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    expected = reduction(sum(a for a, _ in known), sum(b for _, b in known))
    cut = one(findings, "drift_reduction")
    assert (cut.estimate is None) == (expected is None)
    if expected is not None:
        assert cut.estimate == pytest.approx(expected)
    fates = cut.extra["fates"]
    assert fates["persisting"] + fates["fixed"] == cut.extra["before"]
    assert fates["persisting"] + fates["created"] == cut.extra["after"]
    if None not in before + after + noop:
        parts = one(findings, "drift_reduction").estimate, one(findings, "noop_reduction").estimate
        told = one(findings, "reduction_beyond_noop").estimate
        assert (told is None) == (beyond_noop(*parts) is None)
        assert told is None or told == pytest.approx(beyond_noop(*parts))


@pytest.fixture(scope="module")
def done(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One repair of toy models under both protocols, with a second grader."""
    with pytest.MonkeyPatch.context() as patch:
        studio = toy.Studio(tmp_path_factory.mktemp("dart")).install(patch)
        return studio.repair(protocol="both", second="echo", rows=toy.toy_rows(8, 8, 16))


def test_every_system_stands_beside_the_baselines(toy: Any, done: Any) -> None:
    _, result = done
    systems = ["M0", "distilled", "repaired (inductive)", "repaired (transductive)"]
    told = {name: toy.found(result, "accuracy", name, "tolerant").estimate for name in systems}
    assert told == dict(zip(systems, (0.5, 1.0, 1.0, 1.0), strict=True))
    for name in systems:
        toy.found(result, "accuracy", name, "strict")
        beside = {f.outcome for f in result.findings if f.estimand == "baseline_accuracy" and f.config == name}
        assert "always YES" in beside


def test_drift_of_every_system_and_of_the_controls(toy: Any, done: Any) -> None:
    _, result = done
    rates = {
        f.config: f.extra["count"]
        for f in result.findings
        if f.estimand == "drift_rate" and f.outcome == "screen_then_judge" and not f.slice
    }
    assert rates == {"distilled": 3, "repaired (inductive)": 2, "repaired (transductive)": 1, NOOP: 2}
    assert toy.found(result, "null_rate", "distilled").estimate == 0.0
    assert toy.found(result, "noop_reduction", "repaired (inductive)").estimate == pytest.approx(1 / 3)
    assert toy.found(result, "reduction_beyond_noop", "repaired (inductive)").estimate == pytest.approx(0.0)


def test_ids_of_findings_are_unique_and_estimates_that_are_missing_have_a_reason(done: Any) -> None:
    _, result = done
    ids = [f.id for f in result.findings]
    assert len(ids) == len(set(ids))
    assert [f.id for f in result.findings if f.estimate is None and not f.reason] == []


def test_verdicts_say_what_persists_and_what_is_new(done: Any) -> None:
    _, result = done
    inductive, transductive = result.verdicts
    assert inductive.config == "repaired (inductive)"
    assert "33% fewer" in inductive.headline
    assert inductive.tone == "unknown", "an interval that is missing shows no reduction"
    assert "1 drift cases persist, 2 are fixed, 1 are new." in inductive.also
    assert "67% fewer" in transductive.headline


def test_the_card_has_before_and_after_adapters_and_limits(done: Any) -> None:
    run, result = done
    card = (run.folder / "card.md").read_text(encoding="utf-8")
    lines = card.splitlines()
    assert "| | M0 | distilled | repaired (inductive) | repaired (transductive) |" in lines
    (right,) = [line for line in lines if line.startswith("| right answers |")]
    assert [cell.split()[0] for cell in right.strip("|").split("|")[1:]] == ["50.0%", "100.0%", "100.0%", "100.0%"]
    assert "- repaired (inductive): `adapter-repaired-inductive`" in lines
    assert "- transductive: repaired" in lines
    for caveat in result.caveats:
        assert caveat.removeprefix("ERROR ") in card
    for folder in result.facts["adapters"].values():
        assert (run.folder / folder / "card.md").read_text(encoding="utf-8") == card


def test_a_second_grader_that_is_no_echo_is_not_called_independent(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, result = toy.Studio(tmp_path).install(monkeypatch).repair(second="toy/second")
    told = " ".join(result.verdicts[0].also)
    assert "A second grader (toy/second) sees 33% less" in told
    assert "shares no string" not in told
    assert toy.found(result, "second_grader", "distilled").extra["count"] == 3
