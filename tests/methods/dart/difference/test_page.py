"""The difference audit's part of the report: figures, baselines beside every model, links that find answers, hostile text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evenhand.methods.dart.difference.page import difference_part
from evenhand.report.blocks import Bars, Details, Table
from evenhand.report.build import Part, build_report, compose
from evenhand.report.page import all_blocks
from evenhand.runs.load import load

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("difference_toy")


def part_of(toy: Any, folder: Path, models: dict[str, Any], rows: Any = None, **settings: Any) -> Part:
    toy.run_difference(folder, models, rows, **settings)
    return difference_part(load(folder / "run", "difference"))


def tables(part: Part) -> dict[str, Table]:
    return {block.id: block for block in all_blocks(part.section.blocks) if isinstance(block, Table)}


def cells(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_every_model_stands_beside_its_baselines_under_both_parsers(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, {"right": toy.RIGHT, "yes": toy.ALWAYS_YES})
    found = tables(part)
    for number, config in enumerate(("right", "yes")):
        beside = found[f"difference-beside-{number}"]
        assert beside.title == f"{config} compared with trivial baselines"
        assert [row[0] for row in cells(beside)] == [
            "the model, tolerant parser", "the model, strict parser", "majority (NO)", "always YES",
            "surface cues, row split", "surface cues, scenario split",
        ]  # fmt: skip
        assert all(len(row) == len(beside.columns) for row in beside.rows)
    assert cells(found["difference-beside-0"])[0][1] == "100.0%"
    assert cells(found["difference-beside-1"])[0][6] == "100.0%", "it says YES to everything"
    rows = found["difference-beside-0"].rows
    assert rows[-1][-2].reason == "it answers other questions"
    assert rows[0][-2].reason == "this is the model itself"
    pairs = cells(found["difference-pairs"])
    assert pairs[0][:3] == ["yes minus right", "all", "−50.0"]
    assert [row[1] for row in pairs] == ["all", "x", "y"]


def test_the_bars_show_both_labels_of_every_model(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, {"right": toy.RIGHT, "yes": toy.ALWAYS_YES})
    (bars,) = [block for block in part.section.blocks if isinstance(block, Bars)]
    assert [group.title for group in bars.groups] == ["right", "yes"]
    assert [[bar.value for bar in group.bars] for group in bars.groups] == [[1, 1], [1, 0]]
    assert part.verdicts[0].tone == "worse", "the gravest verdict leads"
    assert part.verdicts[0].headline.startswith("yes: the model does not know")
    assert any(text.startswith("right: the model recognises where groups differ") for text in part.verdicts[0].more)
    assert part.verdicts[0].glance is not None
    assert [row.value for row in part.verdicts[0].glance.rows] == [1, 0]


def test_every_link_finds_as_many_answers_as_it_stands_for(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, {"m": toy.BLIND}, toy.toy_rows({"x": 10, "y": 4}, split="test"))
    rows = [dict(row.facets) for row in part.evidence.rows]
    assert len(rows) == 2 * 28

    def hits(wanted: Any) -> int:
        return sum(all(row[key] == value for key, value in wanted.items()) for row in rows)

    (bars,) = [block for block in part.section.blocks if isinstance(block, Bars)]
    assert [hits(bar.evidence) for bar in bars.groups[0].bars] == [14, 14]
    benchmarks = {row[1].text: hits(row[1].evidence) for row in tables(part)["difference-benchmarks"].rows}
    assert benchmarks == {"all": 28, "x": 20, "y": 8}
    assert {facet.key for facet in part.evidence.facets} == set(rows[0])


def test_reasons_count_the_answers_that_they_link(toy: Any, tmp_path: Path) -> None:
    said = ["", "I'm sorry, but I cannot help.", "Perhaps.", "Conclusion: YES and NO", "Fine.\nConclusion: YES"]

    def answer(request: Any, sampling: Any) -> str:
        return said[int(request.item_id.rsplit("-", 2)[1]) % 5]

    part = part_of(toy, tmp_path, {"m": answer}, toy.toy_rows({"x": 10}, split="test"), form=("analysis",))
    rows = [dict(row.facets) for row in part.evidence.rows]
    for row in tables(part)["difference-reasons"].rows:
        wanted = row[1].evidence or {}
        hits = sum(all(other[key] == value for key, value in wanted.items()) for other in rows)
        assert row[2].text == f"{100 * hits / 20:.1f}%", row[1].text
    assert {row["said"] for row in rows} == {"empty", "refusal", "no conclusion line", "says both", "YES"}


def test_where_the_parsers_part_an_answer_says_so(toy: Any, tmp_path: Path) -> None:
    def marked(request: Any, sampling: Any) -> str:
        return f"Reasons.\n**Conclusion:** {toy.gold_of(request)}"

    part = part_of(toy, tmp_path, {"m": marked}, toy.toy_rows({"x": 4}, split="test"), form=("analysis",))
    assert {row.flags for row in part.evidence.rows} == {("strict parser: nothing",)}


def test_a_failed_answer_is_shown_as_failed(toy: Any, tmp_path: Path) -> None:
    def gone(request: Any, sampling: Any) -> Any:
        return toy.failed() if "-001-" in request.item_id else toy.RIGHT(request, sampling)

    part = part_of(toy, tmp_path, {"m": gone}, toy.toy_rows({"x": 4}, split="test"), form=("analysis",))
    assert [row.facets["said"] for row in part.evidence.rows].count("failed") == 2


def test_choices_alone_have_no_table_of_baselines(toy: Any, tmp_path: Path) -> None:
    part = part_of(toy, tmp_path, {"m": toy.CLEVER}, toy.toy_rows({"x": 8}, split="test"), form=("choice",))
    assert not [block for block in part.section.blocks if isinstance(block, Bars)]
    (details,) = [block for block in part.section.blocks if isinstance(block, Details)]
    (table,) = details.blocks
    assert isinstance(table, Table)
    assert cells(table)[0][4] == "1.00"
    assert part.verdicts[0].glance is None


def test_cases_without_labels_make_a_page_without_figures(toy: Any, tmp_path: Path) -> None:
    rows = [{"prompt": row["prompt"]} for row in toy.toy_rows({"x": 4}, split="test")]
    part = part_of(toy, tmp_path, {"m": toy.RIGHT}, rows)
    assert part.section.blocks == ()
    assert {row.facets["gold"] for row in part.evidence.rows} == {"no label"}
    assert "8 cases have no usable label" in " ".join(part.caveats)
    assert build_report(tmp_path / "run").stat().st_size > 0


def test_hostile_prompts_answers_and_names_are_inert(toy: Any, tmp_path: Path, inert: Any) -> None:
    rows = toy.toy_rows({"x": 40, HOSTILE: 6}, split="test")
    for row in rows:
        row["group"] = row["group"] + HOSTILE
        row["prompt"] = HOSTILE + row["prompt"]
    spoken = toy.concluding(toy.gold_of, rationale=HOSTILE)
    toy.run_difference(tmp_path, {"m" + HOSTILE: spoken, "other": toy.BLIND}, rows)
    assert [section.id for section in compose(tmp_path / "run").sections] == ["difference"]
    text = build_report(tmp_path / "run").read_text(encoding="utf-8")
    inert(text, "difference-labels", "difference-beside-0", "difference-beside-1", "difference-pairs")
