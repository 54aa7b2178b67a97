"""The report on a DART repair: systems side by side, reductions beside their control, folded evidence, hostile texts."""

from __future__ import annotations

from typing import Any

import pytest

from evenhand.methods.dart.repair.page import dart_part
from evenhand.report.blocks import Bars, Note, Table
from evenhand.report.build import Part, build_report, compose
from evenhand.report.page import all_blocks
from evenhand.runs.load import load
from evenhand.wording import DASH

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("dart_toy")


@pytest.fixture(scope="module")
def whole(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Part:
    """The part of a repair under both protocols with a second grader."""
    with pytest.MonkeyPatch.context() as patch:
        studio = toy.Studio(tmp_path_factory.mktemp("dart")).install(patch)
        run, _ = studio.repair(protocol="both", second="echo", rows=toy.toy_rows(8, 8, 16))
        return dart_part(load(run.folder, "dart"))


def tables(part: Part) -> dict[str, Table]:
    return {block.id: block for block in all_blocks(part.section.blocks) if isinstance(block, Table)}


def cells(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_every_system_has_a_row_with_its_drift(whole: Part) -> None:
    rows = {row[0]: row[1:] for row in cells(tables(whole)["dart-systems"])}
    assert list(rows) == [
        "M0", "distilled", "repaired (inductive)", "repaired (transductive)", "distilled, drawn again (no-op repair)",
    ]  # fmt: skip
    assert [row[2] for row in rows.values()] == [
        "0 of 16 (0.0%), drawn again", "3 of 16 (18.8%)", "2 of 16 (12.5%)", "1 of 16 (6.2%)", "2 of 16 (12.5%)",
    ]  # fmt: skip
    assert rows["distilled"][0].startswith("100.0%")
    assert rows["distilled, drawn again (no-op repair)"][0] == DASH


def test_reductions_stand_beside_their_control_and_protocols_apart(whole: Part) -> None:
    rows = [row[:4] for row in cells(tables(whole)["dart-reductions"])]
    assert ["repaired (inductive)", "fewer drift cases", "3 → 2", "33.3%"] in rows
    assert ["repaired (inductive)", "by drawing anew alone (no-op)", "3 → 2", "33.3%"] in rows
    assert ["repaired (transductive)", "fewer drift cases", "3 → 1", "66.7%"] in rows
    assert ["repaired (inductive)", "what became of the cases", "1 persist, 2 fixed, 1 new", DASH] in rows


def test_bars_tell_right_answers_step_by_step(whole: Part) -> None:
    (bars,) = [block for block in whole.section.blocks if isinstance(block, Bars)]
    values = {group.title: [bar.value for bar in group.bars] for group in bars.groups}
    assert values == {
        "M0": [1.0, 0.0], "distilled": [1.0, 1.0], "repaired (inductive)": [1.0, 1.0], "repaired (transductive)": [1.0, 1.0],
    }  # fmt: skip


def test_the_teachers_dropped_cases_are_told_by_benchmark_and_label(toy: Any, studio: Any) -> None:
    good = studio.scripts["teacher"]
    studio.scripts["teacher"] = lambda request, sampling: (
        "I am sorry, but I cannot." if toy.place_of(request)[1] == 1 else good(request, sampling)
    )
    run, _ = studio.repair()
    rows = cells(tables(dart_part(load(run.folder, "dart")))["dart-dropped"])
    assert sorted(rows) == [
        ["x", "NO", "0", "3", "0.0%"], ["x", "YES", "1", "3", "33.3%"], ["y", "NO", "0", "3", "0.0%"],
        ["y", "YES", "0", "3", "0.0%"],
    ]  # fmt: skip


def test_drifted_texts_are_folded_and_the_others_are_not(toy: Any, whole: Part) -> None:
    rows = list(whole.evidence.rows)
    assert len(rows) == 3 * 16
    assert {row.facets["model"] for row in rows} == {"distilled", "repaired-inductive", "repaired-transductive"}
    folded = [row for row in rows if row.fold]
    assert len(folded) == 3 + 2 + 1
    assert all("lazy" in row.text for row in folded)
    assert not any("lazy" in row.text for row in rows if not row.fold)


def test_pairs_without_a_verdict_are_called_unknown(toy: Any, studio: Any) -> None:
    judge = studio.scripts["judge"]
    studio.scripts["judge"] = lambda request, sampling: (
        toy.failed() if toy.place_of(request)[1] == 3 else judge(request, sampling)
    )
    run, _ = studio.repair()
    rows = dart_part(load(run.folder, "dart")).evidence.rows
    unknown = [row for row in rows if row.facets["drift"] == "not known"]
    assert [row.id for row in unknown] == ["test-03"]
    assert "judge_failed" in unknown[0].flags[-1]
    assert unknown[0].fold


def test_a_warning_stands_at_the_head_and_not_among_the_caveats(studio: Any) -> None:
    both = studio.scripts["teacher"], studio.scripts["judge"]
    studio.scripts["teacher"] = lambda request, sampling: both["drift/" in request.item_id](request, sampling)
    run, _ = studio.repair(judge="toy/teacher")
    part = dart_part(load(run.folder, "dart"))
    first = part.section.blocks[0]
    assert isinstance(first, Note)
    assert first.tone == "caution"
    assert first.text.startswith("The teacher is also the judge")
    assert not any("ERROR" in text for text in part.caveats)


@pytest.mark.parametrize(
    ("settings", "tone", "said"),
    [
        ({"ablation": "distil_only"}, "unknown", "No repair (ablation: no repair)"),
        ({"guard": 0.1}, "worse", "refused: validation accuracy fell by more than 10%"),
    ],
)
def test_what_was_not_repaired_makes_a_page_that_says_so(
    toy: Any, studio: Any, settings: dict[str, Any], tone: str, said: str
) -> None:
    studio.scripts["repaired-inductive"] = toy.analyst(lambda split, number, anew: False, lambda request: "YES")
    run, _ = studio.repair(**settings)
    part = dart_part(load(run.folder, "dart"))
    assert part.verdicts[0].tone == tone
    assert said in part.verdicts[0].headline
    assert ("dart-reductions" in tables(part)) == (tone == "worse")
    assert said in build_report(run.folder).read_text(encoding="utf-8")


def test_nothing_drifted_makes_a_page(toy: Any, studio: Any) -> None:
    studio.scripts["distilled"] = toy.analyst(lambda split, number, anew: False)
    run, _ = studio.repair()
    part = dart_part(load(run.folder, "dart"))
    assert "nothing drifted" in part.verdicts[0].headline
    assert "dart-reductions" not in tables(part)
    assert not [row for row in part.evidence.rows if row.fold]


def test_hostile_prompts_outputs_and_reasons_are_inert(toy: Any, studio: Any, inert: Any) -> None:
    rows = toy.toy_rows()
    for row in rows:
        row["prompt"] += HOSTILE
        row["benchmark"] += HOSTILE
    for role in ("M0", "distilled", "repaired-inductive"):
        said = studio.scripts[role]
        studio.scripts[role] = lambda request, sampling, said=said: f"{HOSTILE} \x1b[31m\u202e{said(request, sampling)}"
    judge = studio.scripts["judge"]
    studio.scripts["judge"] = lambda request, sampling: judge(request, sampling).replace("it runs", HOSTILE + "it runs")
    run, result = studio.repair(rows=rows)
    assert result.facts["distilled_rows"] > 0
    assert [section.id for section in compose(run.folder).sections] == ["dart"]
    text = build_report(run.folder).read_text(encoding="utf-8")
    inert(text, "dart-systems", "dart-reductions", "dart-dropped", "dart-accuracy")
