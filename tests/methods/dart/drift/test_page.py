"""The drift audit's part of the report: all rules, links under the run's own rule, folded texts, hostile text inert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evenhand.methods.dart.drift.page import drift_part
from evenhand.report.blocks import Bars, Table
from evenhand.report.build import Part, build_report, compose
from evenhand.report.page import all_blocks
from evenhand.runs.load import load
from evenhand.wording import DASH

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def toy(toy_engines: Any) -> Any:
    return toy_engines


def part_of(toy: Any, folder: Path, candidate: Any, **settings: Any) -> Part:
    toy.run_toy_drift(folder, toy.RIGHT, candidate, **{"judge": "rule", **settings})
    return drift_part(load(folder / "run", "drift"))


def tables(part: Part) -> dict[str, Table]:
    return {block.id: block for block in all_blocks(part.section.blocks) if isinstance(block, Table)}


def hits(part: Part, wanted: Any) -> int:
    """Pairs that a link finds."""
    return sum(all(row.facets[key] == value for key, value in wanted.items()) for row in part.evidence.rows)


def test_all_rules_the_null_and_what_is_not_known(toy: Any, tmp_path: Path) -> None:
    def curt(request: Any, sampling: Any) -> Any:
        return "Conclusion: NO" if "-002-" in request.item_id else toy.drifting()(request, sampling)

    judge = toy.judging(fails=lambda request: "village x3," in request.chat[1].content)
    part = part_of(toy, tmp_path, curt, judge=judge)
    rows = {row[0].text: [cell.text for cell in row[1:4]] for row in tables(part)["drift-rules"].rows}
    assert rows == {
        "drift: screen, then judge": ["6", "20", "30.0%"],
        "drift: judge alone": ["6", "20", "30.0%"],
        "drift: screen and judge on every pair": ["6", "20", "30.0%"],
        "drift: screen, then judge, explanations on both sides only": ["6", "20", "30.0%"],
        "prompts with any drift": ["6", "20", "30.0%"],
        "the baseline against itself": ["0", "24", "0.0%"],
        "candidates of the screen": ["8", "22", "36.4%"],
        "the judge failed": ["2", "24", "8.3%"],
        "an explanation is empty": ["2", "24", "8.3%"],
    }


@pytest.mark.parametrize(
    ("rule", "title"), [("screen_then_judge", "screen, then judge"), ("judge_only", "judge alone")]
)
def test_the_runs_own_rule_is_linked_and_glanced_at(toy: Any, tmp_path: Path, rule: str, title: str) -> None:
    def praise(request: Any, sampling: Any) -> str:
        said = "They are marvellous." if "-001-" in request.item_id else toy.FAIR
        return f"{said}\nConclusion: {toy.gold_of(request)}"

    part = part_of(toy, tmp_path, praise, judge=toy.judging("marvellous"), combine=rule)
    linked = [row[0] for row in tables(part)["drift-rules"].rows if row[0].evidence]
    assert [cell.text for cell in linked] == [f"drift: {title}"]
    count = 2 if rule == "judge_only" else 0
    assert hits(part, linked[0].evidence) == count
    assert part.verdicts[0].glance is not None
    drift, null = part.verdicts[0].glance.rows
    assert (drift.value, null.value) == (count / 24, 0)


def test_every_bar_finds_its_pairs(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, toy.drifting())
    (bars,) = [block for block in part.section.blocks if isinstance(block, Bars)]
    assert [group.title for group in bars.groups] == ["Severity", "Kind"]
    counts = {bar.title: hits(part, bar.evidence) for group in bars.groups for bar in group.bars}
    assert counts["extreme"] == counts["elaborates"] == 8
    assert sum(counts.values()) == 16
    for group in bars.groups:
        assert all(hits(part, bar.evidence) == round((bar.value or 0) * 24) for bar in group.bars)


def test_drifted_texts_are_folded_and_the_others_are_not(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, toy.drifting())
    folded = [row for row in part.evidence.rows if row.fold]
    assert len(folded) == 8
    assert all(toy.UNFAIR in row.text for row in folded)
    assert not any(toy.UNFAIR in row.text for row in part.evidence.rows if not row.fold)
    assert all(row.text.startswith("BEFORE\n") and "\n\nAFTER\n" in row.text for row in part.evidence.rows)
    flags = folded[0].flags
    assert flags[0].startswith("harm 0.000 → ")
    assert flags[1].startswith("calls to act: ")


def test_unknown_pairs_say_why(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, toy.drifting(), judge=toy.judging(fails=lambda request: True))
    unknown = [row for row in part.evidence.rows if row.facets["drift"] == "not known"]
    assert len(unknown) == 8
    assert all("judge_failed" in row.flags[-1] for row in unknown)
    assert {row.fold for row in unknown} == {"Not judged, but the screen fired: the text may be harmful."}
    assert part.verdicts[0].tone == "unknown"


def test_without_a_judge_the_page_says_what_to_do(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, toy.drifting(), judge=None)
    assert part.verdicts[0].tone == "provisional"
    assert part.verdicts[0].unknowns == ("confirm them with a judge (--judge)",)
    (rule,) = [row for row in tables(part)["drift-rules"].rows if row[0].text == "drift: judge alone"]
    assert (rule[3].text, rule[3].reason) == (DASH, "no pair has a verdict")


def test_slices_and_shifts_have_their_rows(toy: Any, tmp_path: Path) -> None:
    rows = toy.toy_rows({"x": 12, "y": 6}, split="test")
    part = part_of(toy, tmp_path, toy.drifting(), rows=rows)
    found = tables(part)
    shown = [[cell.text for cell in row[:4]] for row in found["drift-slices"].rows]
    assert shown == [
        ["benchmark", "x", "8", "24"], ["benchmark", "y", "4", "12"], ["gold", "NO", "6", "18"], ["gold", "YES", "6", "18"],
        ["group", "lake people", "12", "36"],
    ]  # fmt: skip
    assert [row[1].text for row in found["drift-shifts"].rows] == ["explanation", "full output"]


def test_nothing_to_compare_makes_a_page_all_the_same(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, lambda request, sampling: toy.failed(), null=False)
    assert part.verdicts[0].glance is None
    assert not [block for block in part.section.blocks if isinstance(block, Bars)]
    assert list(part.evidence.rows) == []
    assert build_report(tmp_path / "run").stat().st_size > 0


def test_hostile_prompts_and_outputs_are_inert(toy: Any, tmp_path: Path, inert: Any) -> None:
    rows = toy.toy_rows({"x": 6, HOSTILE: 4}, split="test")
    for row in rows:
        row["prompt"], row["group"] = HOSTILE + row["prompt"], HOSTILE

    def hostile(request: Any, sampling: Any) -> str:
        return f"{HOSTILE} {toy.UNFAIR} \x1b[31m\u202e\nConclusion: {toy.gold_of(request)}"

    part_of(toy, tmp_path, hostile, rows=rows)
    assert [section.id for section in compose(tmp_path / "run").sections] == ["drift"]
    text = build_report(tmp_path / "run").read_text(encoding="utf-8")
    inert(text, "drift-rules", "drift-kinds", "drift-slices", "drift-shifts")
