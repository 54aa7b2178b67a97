"""The safety audit's part of the report: complete, links that find answers, hostile text inert, harmful texts folded."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.methods.tsdi.safety import audit as safety
from evenhand.methods.tsdi.safety.opener_shift import Measured
from evenhand.methods.tsdi.safety.page import safety_part
from evenhand.methods.tsdi.safety.page_figures import corrected_of, in_order
from evenhand.report.blocks import Bars, ForestPlot, Panels, Table
from evenhand.report.build import Part, build_report
from evenhand.report.page import all_blocks
from evenhand.runs.load import load
from evenhand.wording import ORGANISM_NOTICE

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
PLAIN, CORRECTED = "organism/aligned", "organism/aligned+tsdi:./bias"


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("safety_toy")


def shift(context: Any, configuration: Any, progress: Any) -> Measured:
    """A measured shift of 2.1 nats at the first token; none for the corrected model."""
    if "+tsdi" in configuration.label:
        return Measured(
            configuration.label, reason="the model is already corrected by a bias; see the model without it"
        )
    rows = [
        {"position": i, "opener_shift": 1.0 if i == 1 else 0.0, "opener_error": 0.05, "openers": 20,
         "likely_shift": 2.1 if i == 1 else None, "likely_error": 0.06 if i == 1 else None, "likely_openers": int(i == 1),
         "opener_mass_aligned": 0.1, "opener_mass_reference": 0.02}
        for i in range(1, 11)
    ]  # fmt: skip
    return Measured(configuration.label, "organism/sft", pl.DataFrame(rows), ((HOSTILE, 2.1, 0.06, 0.1),), 256)


@pytest.fixture(scope="module")
def run(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("safety")
    models = {PLAIN: toy.scripted({"privacy_violation": 0.2}, 0.43), CORRECTED: toy.scripted({}, 0.9, seed=1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safety, "measure", shift)
        toy.run_safety(folder, models, repetitions=2, bias_draws=256)
    return folder / "run"


def part_of(folder: Path) -> Part:
    return safety_part(load(folder, "safety"))


def plots(part: Part) -> dict[str, ForestPlot]:
    return {block.id: block for block in all_blocks(part.section.blocks) if isinstance(block, ForestPlot)}


def test_plain_and_corrected_stand_side_by_side(run: Path) -> None:
    part = part_of(run)
    (panels,) = [block for block in part.section.blocks if isinstance(block, Panels)]
    assert [panel.title for panel in panels.panels] == [PLAIN, CORRECTED]
    drawn = plots(part)
    first, second = drawn["safety-categories-0"], drawn["safety-categories-1"]
    assert len(first.rows) == 2 + 14
    assert all(row.second is not None for row in first.rows)
    assert not any(row.second for row in second.rows)
    marked = {row.title for row in first.rows if row.state == "found"}
    assert marked == {"Privacy violation"}
    assert first.rows[2].title == "Animal abuse"  # the published order, whatever was measured
    (bars,) = [block for block in part.section.blocks if isinstance(block, Bars)]
    assert [[bar.title for bar in group.bars] for group in bars.groups] == [["benign", "borderline"]] * 2
    assert all(bar.low is not None and bar.high is not None for group in bars.groups for bar in group.bars)


def test_the_shift_of_the_openers_is_drawn_where_it_was_measured(run: Path) -> None:
    part = part_of(run)
    drawn = plots(part)
    assert "safety-openers-1" not in drawn
    rows = drawn["safety-openers-0"].rows
    assert [row.state for row in rows] == ["found"] + ["not found"] * 9
    assert rows[0].text == "+2.10"
    assert rows[1].estimate == 0.0  # where no opener is likely, all of them stand in
    assert "refusal openers are raised by 2.1 nats whatever the prompt" in part.verdicts[0].headline
    assert any(number.value == "+2.10 nats" for number in part.verdicts[0].numbers)


def test_every_table_is_there(run: Path) -> None:
    tables = {block.id: block for block in all_blocks(part_of(run).section.blocks) if isinstance(block, Table)}
    assert set(tables) == {
        "safety-changes", "safety-changes-categories", "safety-agreement", "safety-agreement-categories", "safety-harmless",
        "safety-opener-tokens-0", "safety-unlabelled",
    }  # fmt: skip
    assert len(tables["safety-changes"].rows) == 3
    assert len(tables["safety-changes-categories"].rows) == 14
    assert len(tables["safety-harmless"].rows) == 2 * (14 + 7)
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)


def test_every_mark_finds_the_answers_it_counts(run: Path) -> None:
    part = part_of(run)
    rows = [dict(row.facets) for row in part.evidence.rows]
    assert len(rows) == 2 * 2 * 560

    def hits(wanted: Any) -> list[dict[str, str]]:
        return [row for row in rows if all(row[key] == value for key, value in wanted.items())]

    for name, drawn in plots(part).items():
        for row in drawn.rows if name.startswith("safety-categories") else ():
            behind = hits(row.evidence)
            assert len(behind) == (40 if "category" in (row.evidence or {}) else 560)
            if "category" in (row.evidence or {}):
                assert sum(one["said"] == "safe" for one in behind) / 40 == pytest.approx(row.estimate)


def test_requests_that_may_harm_are_folded_with_their_answers(run: Path) -> None:
    rows = part_of(run).evidence.rows
    for row in rows:
        harmless = row.facets["kind"] == "benign"
        assert bool(row.fold) is not harmless
        assert bool(row.prompt) is harmless
        assert harmless or row.text.startswith("Request:\n")


def test_without_a_verdict_no_category_is_marked(toy: Any, tmp_path: Path) -> None:
    data = toy.write_csv(tmp_path / "own.csv", toy.own_rows({"alpha": 20, "beta": 20}, 4, 4))
    say = lambda request: toy.UNSAFE if "alpha" in request.chat[-1].content else toy.REFUSAL  # noqa: E731
    toy.run_safety(tmp_path, {"openai/m": say}, safety_set=(str(data),))
    part = part_of(tmp_path / "run")
    (drawn,) = plots(part).values()
    assert {row.state for row in drawn.rows[2:]} == {"unknown"}
    assert part.verdicts[0].tone == "provisional"
    assert part.verdicts[0].glance is not None
    assert not any(row.strong for row in part.verdicts[0].glance.rows)
    assert ORGANISM_NOTICE not in part.caveats


def test_the_document_is_sound_and_hostile_text_is_inert(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safety, "measure", shift)
    rows = [{**row, "prompt": f"{row['prompt']} {HOSTILE}"} for row in toy.own_rows({f"alpha{HOSTILE}": 6}, 2, 2)]
    data = toy.write_csv(tmp_path / "own.csv", rows)
    toy.run_safety(tmp_path, {"openai/m": lambda request: HOSTILE}, safety_set=(str(data),), bias_draws=256)
    text = build_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "<script>alert" not in text

    class Page(HTMLParser):
        ids: list[str] = []
        bad = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found = dict(attrs)
            Page.bad += tag == "img" or "style" in found or "onerror" in found
            Page.ids += [str(found["id"])] if found.get("id") else []

    Page().feed(text)
    assert Page.bad == 0
    assert len(Page.ids) == len(set(Page.ids))
    assert {"safety", "safety-categories-0", "safety-compliance", "safety-openers-0"} <= set(Page.ids)


@pytest.mark.parametrize(
    ("config", "found"),
    [("a", "a+tsdi:./b"), ("a · careful", "a+tsdi:./b · careful"), ("c", None), ("a+tsdi:./b", None)],
)
def test_which_configuration_is_the_corrected_one(config: str, found: str | None) -> None:
    assert corrected_of(config, ["a", "a · careful", "a+tsdi:./b", "a+tsdi:./b · careful", "c"]) == found


def test_categories_stand_in_their_published_order() -> None:
    assert in_order(["zeta", "self_harm", "animal_abuse", "alpha"]) == ["animal_abuse", "self_harm", "alpha", "zeta"]
