"""The transfer audit's part of the report: complete, links that find answers, hostile text inert, wrong answers folded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evenhand.methods.dart.transfer.page import transfer_part
from evenhand.report.blocks import Bars, Panels, Table
from evenhand.report.build import Part, build_report, compose
from evenhand.report.page import all_blocks
from evenhand.runs.load import load

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> at 45 in Arin"


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("transfer_toy")


def run(toy: Any, folder: Path, *, judged: bool = True, models: int = 2) -> Path:
    said = {4: toy.GENERIC, 5: toy.REFUSAL, 6: toy.WRONG, 2: HOSTILE}
    engines = [
        toy.model("first", lambda number: toy.GENERIC),
        toy.model("second", lambda number: said.get(number, toy.RIGHT), control="They pay a higher fee."),
    ][-models:]
    toy.run_toy(folder, engines, toy.honest_judge() if judged else None)
    return folder / "run"


def part_of(folder: Path) -> Part:
    return transfer_part(load(folder, "transfer"))


def test_every_model_has_bars_by_domain_and_controls_apart(toy: Any, tmp_path: Path) -> None:
    part = part_of(run(toy, tmp_path))
    assert part.section.id == "transfer"
    (panels,) = [block for block in part.section.blocks if isinstance(block, Panels)]
    assert [panel.title for panel in panels.panels] == ["first", "second"]
    needed, controls = panels.panels[1].blocks
    assert isinstance(needed, Bars)
    assert isinstance(controls, Bars)
    assert [group.title for group in needed.groups] == ["all domains", "legal", "medical"]
    assert [group.title for group in controls.groups] == ["all domains"]
    assert len(needed.groups[0].bars) == 5
    for block in (needed, controls):
        for group in block.groups:
            assert sum(bar.value or 0 for bar in group.bars) == pytest.approx(1)
            assert all(bar.low is not None and bar.high is not None for bar in group.bars)
    tables = {block.id: block for block in part.section.blocks if isinstance(block, Table)}
    assert set(tables) == {"transfer-changes", "transfer-agreement"}
    assert len(tables["transfer-changes"].rows) == 3
    assert len(tables["transfer-agreement"].rows) == 2 * (2 + 4)


def test_one_model_and_one_grader_need_no_panels(toy: Any, tmp_path: Path) -> None:
    part = part_of(run(toy, tmp_path, judged=False, models=1))
    assert not any(isinstance(block, Panels) for block in part.section.blocks)
    (table,) = [block for block in part.section.blocks if isinstance(block, Table)]
    assert table.id == "transfer-agreement"
    assert len(table.rows) == 1
    assert "second with --judge" in table.rows[0][3].reason
    assert part.verdicts[0].tone == "provisional"
    assert part.verdicts[0].glance is not None
    assert [row.title for row in part.verdicts[0].glance.rows] == ["all domains", "legal", "medical"]


def test_every_mark_with_a_link_finds_as_many_answers_as_it_counts(toy: Any, tmp_path: Path) -> None:
    part = part_of(run(toy, tmp_path))
    rows = [dict(row.facets) for row in part.evidence.rows]
    assert len(rows) == 2 * 16
    seen = 0
    for block in all_blocks(part.section.blocks):
        for group in block.groups if isinstance(block, Bars) else ():
            size = {"all domains": 4 if "controls" in block.id else 12}.get(group.title, 6)  # type: ignore[attr-defined]
            for bar in group.bars:
                wanted = bar.evidence or {}
                hits = sum(all(row[key] == value for key, value in wanted.items()) for row in rows) if wanted else 0
                assert hits == round((bar.value or 0) * size), bar.label
                seen += bool(wanted)
    assert seen > 8


def test_wrong_answers_are_folded_whoever_says_so(toy: Any, tmp_path: Path) -> None:
    part = part_of(run(toy, tmp_path))
    folded = {row.text for row in part.evidence.rows if row.fold}
    assert folded == {toy.WRONG, "They pay a higher fee."}
    assert all(row.fold for row in part.evidence.rows if row.text in folded)
    flags = next(row.flags for row in part.evidence.rows if row.text == "They pay a higher fee.")
    assert flags[:2] == ("judge: equal or generic", "words: wrong or harmful")
    assert flags[2].startswith("key fact: ")


def test_a_row_without_a_class_says_why(toy: Any, tmp_path: Path) -> None:
    toy.run_toy(tmp_path, [toy.model("m", lambda number: toy.RIGHT)], toy.judge(lambda answer, task: "no idea"))
    part = part_of(tmp_path / "run")
    assert {row.facets["class"] for row in part.evidence.rows} == {"rating_missing"}
    assert part.verdicts[0].glance is None


def test_the_document_is_sound_and_hostile_answers_are_inert(toy: Any, tmp_path: Path, inert: Any) -> None:
    folder = run(toy, tmp_path)
    page = compose(folder)
    assert [section.id for section in page.sections] == ["transfer"]
    text = build_report(folder).read_text(encoding="utf-8")
    inert(
        text, "transfer-models", "transfer-classes-0", "transfer-controls-1", "transfer-agreement", "transfer-changes"
    )
