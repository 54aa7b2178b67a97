"""The sections of the reward and affirmation audits, built from real runs: complete figures, well formed, hostile text inert."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evenhand.config import make_config
from evenhand.report.blocks import Scale
from evenhand.report.build import build_report, compose
from evenhand.report.figures import Distribution, Segment, Stack, Stacks, StageLine, StagePlot, StagePoint
from evenhand.report.page import all_blocks
from evenhand.runs.runner import run_audits

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "both"
    config = make_config(only=("reward", "affirmation"), limit=120, repetitions=1, draws=200)
    run_audits(config, folder)
    return folder


class Ids(HTMLParser):
    """Ids and links of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.styled = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.styled += "style" in found
        if found.get("id"):
            self.ids.append(str(found["id"]))


def test_the_page_holds_both_sections(run: Path) -> None:
    page = compose(run)
    assert [section.id for section in page.sections] == ["reward", "affirmation"]
    assert [verdict.audit for verdict in page.verdicts] == ["Implicit reward", "Affirmation"]
    assert page.notice
    reward, affirmation = (list(all_blocks(section.blocks)) for section in page.sections)
    assert sum(isinstance(block, StagePlot) for block in reward) == 1
    assert sum(isinstance(block, Distribution) for block in reward) == 3
    assert sum(isinstance(block, Stacks) for block in reward) == 3
    assert any(isinstance(block, StagePlot) for block in affirmation)
    plot = next(block for block in reward if isinstance(block, StagePlot))
    assert plot.stages == ("base", "SFT", "DPO", "SFT+DPO")
    for line in plot.lines:
        assert [point.after for point in line.points] == [None, 0, 0, 1]


def test_the_document_is_sound(run: Path) -> None:
    text = build_report(run).read_text(encoding="utf-8")
    found = Ids(text)
    assert len(found.ids) == len(set(found.ids))
    assert found.styled == 0  # the policy forbids style attributes
    for name in ("reward-stages-0", "reward-spread-0", "reward-fates-0", "reward-shifts", "affirmation-families"):
        assert name in found.ids
    evidence = json.loads(re.search(r'id="evidence">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert evidence["total"] == evidence["totals"] if isinstance(evidence["totals"], int) else evidence["total"] > 0


def test_every_link_from_a_mark_finds_rows(run: Path) -> None:
    page = compose(run)
    rows = [dict(row.facets) for row in page.evidence.rows]
    filters = []
    for section in page.sections:
        for block in all_blocks(section.blocks):
            if isinstance(block, StagePlot):
                filters += [p.evidence for line in block.lines for p in line.points if p.evidence]
            if isinstance(block, Distribution | Stacks):
                filters += [row.evidence for row in block.rows if row.evidence]
    assert filters
    for wanted in filters:
        assert any(all(row.get(key) == value for key, value in wanted.items()) for row in rows), wanted


def test_harmful_sentences_stay_folded(run: Path) -> None:
    page = compose(run)
    pairs = [row for row in page.evidence.rows if row.facets["audit"] == "reward"]
    assert pairs
    assert all(row.fold for row in pairs)
    shown = build_report(run).read_text(encoding="utf-8")
    body = shown[shown.index("<main>") : shown.index("</main>")]
    readings = body[body.index("Harmful sentences: the predicates that moved most") :]
    before = body[: body.index("Harmful sentences: the predicates that moved most")]
    predicates = {row.text.splitlines()[0] for row in pairs}
    assert not any(text in before for text in predicates)
    assert any(text in readings for text in predicates)


def test_hostile_pairs_are_inert(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    rows = [f'c{n},Some say that,"x{n} {HOSTILE} are late.","y{n} {HOSTILE} are late.","g {HOSTILE}"' for n in range(3)]
    file.write_text("cluster_id,context,harmful,comparison,group\n" + "\n".join(rows) + "\n", encoding="utf-8")
    config = make_config(models=("organism/sft",), reference="organism/base", only=("reward",), data=file, draws=100)
    run_audits(config, tmp_path / "run")
    text = build_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img" not in text


def test_stage_plots_place_their_stages_and_stacks_their_parts() -> None:
    points = (StagePoint(0, 0.0, "a"), StagePoint(1, 1.0, "b", after=0))
    plot = StagePlot(
        id="x",
        title="",
        caption="",
        stages=("base", "SFT"),
        y=Scale(0, 1, 1),
        y_title="",
        lines=(StageLine("g", points),),
    )
    assert [plot.across(stage) for stage in (0, 1)] == ["25%", "75%"]
    assert plot.lines[0].at(1) is points[1]
    assert plot.lines[0].at(2) is None
    stack = Stack("g", (Segment(0.25, 1, "a"), Segment(0.75, 2, "b")), "", "")
    assert stack.starts() == (0.0, 0.25)
