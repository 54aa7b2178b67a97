"""The report on TSDI: the estimate with its tokens, the sweep with its scatter, fronts, gate and checkpoints; hostile texts."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.engines.token_bias import TokenBias, write_token_bias
from evenhand.methods.tsdi.config import TsdiConfig
from evenhand.methods.tsdi.estimate.findings import tokens_frame
from evenhand.methods.tsdi.estimate.page import probability, tsdi_part, visible
from evenhand.methods.tsdi.estimate.verdict import tsdi_result
from evenhand.methods.tsdi.sweep.page import sweep_part
from evenhand.organisms.sections.safety import TEXTS
from evenhand.report.blocks import Details, ForestPlot, HeatMap, Note, Table, TradeOff
from evenhand.report.build import Part, build_report
from evenhand.report.figures import StagePlot
from evenhand.report.page import all_blocks
from evenhand.runs.load import load
from evenhand.runs.run import Run
from evenhand.runs.tables import write_table

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
TOKENS = ["<s>", "Sorry", " I", "\n\t", HOSTILE, "\x1b[31m\u202egnp\u200b"]


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("sweep_toy")


class Tokenizer:
    """Six tokens."""

    def decode(self, ids: list[int]) -> str:
        return TOKENS[ids[0]]

    def convert_ids_to_tokens(self, token: int) -> str:
        return TOKENS[token]


@pytest.fixture
def estimated(toy: Any, tmp_path: Path) -> Callable[..., Path]:
    """``estimated(shift=0.9)`` is the folder of an estimate whose openers are shifted by so much, of two positions."""

    def make(shift: float | None = 0.9, error: float = 0.1, warnings: tuple[str, ...] = ()) -> Path:
        config = TsdiConfig(model="organism/aligned", reference="organism/sft", length=2)
        table = np.zeros((2, 6), dtype=np.float32)
        table[:, 1:] = [[shift or 0.0, 0.4, -0.2, 0.3, -0.6], [0.1, 0.0, -0.1, 0.2, -0.3]]
        rest = np.full_like(table, 0.1)
        header = toy.bias_header(config, 2).model_copy(
            update={"excluded": (0,), "openers": (1,), "achieved_error": 0.04, "warnings": warnings}
        )
        bias = TokenBias(header, table, rest * 0.2, rest, rest * 1.5)
        run = Run.start(
            tmp_path / "run",
            {"config": {}, "audits": ["tsdi"], "identities": {"aligned": {"spec": "organism/aligned", "digest": "d"}}},
            resume=False,
        )  # fmt: skip
        write_token_bias(run.folder / "bias", bias)
        tokens = tokens_frame(bias, Tokenizer())
        positions = pl.DataFrame(
            [
                {
                    "position": i + 1, "opener_shift": shift if i == 0 else 0.05, "opener_error": None if shift is None else error,
                    "openers": 0 if shift is None else 1, "likely_shift": None, "likely_error": None, "likely_openers": 0,
                    "opener_mass_aligned": 0.4, "opener_mass_reference": 0.1, "achieved_error": 0.04, "largest_bias": 0.9,
                    "likely_tokens": 5, "moved_mass": 0.2, "draws": 64,
                }
                for i in range(2)
            ]
        )  # fmt: skip
        if shift is None:
            positions = positions.with_columns(
                opener_shift=pl.lit(None, pl.Float64), opener_error=pl.lit(None, pl.Float64)
            )
        write_table(run.table("tsdi", "tokens"), tokens)
        write_table(run.table("tsdi", "positions"), positions)
        result = tsdi_result(config, bias, positions, tokens, run.folder / "bias")
        run.manifest["timings"]["tsdi"] = 1.0
        run.manifest["audits"]["tsdi"] = {"rows": result.rows, "missing": result.missing, **result.facts}
        run.write_findings({"tsdi": result})
        run.manifest["state"] = "done"
        run.save()
        run.release()
        return run.folder

    return make


def blocks(part: Part, kind: type) -> list[Any]:
    return [block for block in all_blocks(part.section.blocks) if isinstance(block, kind)]


def cells(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_the_first_screen_tells_the_shift_and_how_to_use_the_artefact(estimated: Callable[..., Path]) -> None:
    folder = estimated()
    part = tsdi_part(load(folder, "tsdi"))
    (verdict,) = part.verdicts
    assert "raises refusal openers by +0.90 nats" in verdict.headline
    assert verdict.label == "Refusal openers are raised"
    assert verdict.numbers[0].value == "+0.90 nats"
    assert verdict.actions == (("Use the corrected model as:", f"organism/aligned+tsdi:{folder}/bias"),)
    assert [row.value for row in verdict.glance.rows] == [0.1, 0.4]


def test_the_figure_has_every_position_with_its_interval(estimated: Callable[..., Path]) -> None:
    (plot,) = blocks(tsdi_part(load(estimated(), "tsdi")), ForestPlot)
    assert [row.title for row in plot.rows] == ["token 1", "token 2"]
    assert [row.state for row in plot.rows] == ["found", "not found"]
    first = plot.rows[0]
    assert (first.estimate, first.low, first.high) == (
        0.9,
        pytest.approx(0.9 - 0.196, abs=1e-3),
        pytest.approx(1.096, abs=1e-3),
    )
    assert plot.tick_factor == 1.0


def test_the_first_position_is_open_and_the_others_are_folded(estimated: Callable[..., Path]) -> None:
    part = tsdi_part(load(estimated(), "tsdi"))
    open_ids = [block.id for block in part.section.blocks if isinstance(block, Table)]
    assert "tsdi-tokens-1" in open_ids
    assert "tsdi-tokens-2" not in open_ids
    folded = [block.summary for block in blocks(part, Details)]
    assert folded == ["First token, rare tokens included", "Token 2 of the answer"]
    table = next(block for block in blocks(part, Table) if block.id == "tsdi-tokens-1")
    assert cells(table)[0][:2] == ["1", "“Sorry” (refusal opener)"]
    assert cells(table)[0][4].startswith("“⟨U+001B⟩[31m⟨U+202E⟩gnp⟨U+200B⟩”")
    assert "“␣I”" in [row[1] for row in cells(table)]
    assert "“␊␉”" in [row[4] for row in cells(table)]


@pytest.mark.parametrize(
    ("shift", "sign", "said"),
    [
        (-0.9, "Refusal openers are lowered", "The two models may have been swapped"),
        (0.01, "No shift found", "There may be nothing to correct"),
        (None, "We cannot tell", "no refusal opener of the list is a token of this vocabulary"),
    ],
)
def test_the_sign_check_is_told_with_its_caution(
    estimated: Callable[..., Path], shift: float | None, sign: str, said: str
) -> None:
    folder = estimated(shift, warnings=("Give more --draws.",))
    part = tsdi_part(load(folder, "tsdi"))
    notes = blocks(part, Note)
    assert said in notes[0].text
    assert notes[0].tone == "caution"
    assert notes[1].text == "Give more --draws."
    assert part.verdicts[0].label == sign
    assert (part.verdicts[0].actions == ()) == (shift is not None and shift < 0)
    assert said in build_report(folder).read_text(encoding="utf-8")


def test_the_facts_of_the_artefact(estimated: Callable[..., Path]) -> None:
    part = tsdi_part(load(estimated(), "tsdi"))
    told = dict(cells(next(block for block in blocks(part, Table) if block.id == "tsdi-artefact")))
    assert told["positions corrected (L)"] == "2"
    assert told["vocabulary"] == "6 ids, 1 of them not corrected"
    assert told["largest standard error"] == "0.04 nats"
    assert told["opener shift left, token 1"] == "0.00 nats at α 1"


@pytest.mark.parametrize(
    ("token", "seen"),
    [
        (" a b", "“␣a␣b”"), ("", "“”"), ("\u00a0", "“⟨U+00A0⟩”"), ("é", "“é”"), ("e\u0301", "“e⟨U+0301⟩”"),
        ("\ud800", "“⟨U+D800⟩”"), ("<b>", "“<b>”"), ("\u2028", "“⟨U+2028⟩”"),
    ],
)  # fmt: skip
def test_tokens_are_made_visible(token: str, seen: str) -> None:
    assert visible(token) == seen


def test_small_probabilities_are_not_zero() -> None:
    assert [probability(p) for p in (0.5, 0.00012, 1e-9)] == ["50%", "0.012%", "<0.0001%"]


class Page(HTMLParser):
    """Ids, images and active attributes of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.found += [tag] if tag == "img" else []
        self.found += [name for name in told if name == "style" or name.startswith("on")]
        if told.get("id"):
            self.ids.append(str(told["id"]))


def harmless(text: str) -> None:
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    page = Page(text)
    assert page.found == []
    assert len(page.ids) == len(set(page.ids))


def test_hostile_tokens_and_warnings_are_inert(estimated: Callable[..., Path]) -> None:
    folder = estimated(warnings=(HOSTILE,))
    harmless(build_report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A sweep with peers, a judge and four checkpoints: (folder, its part, its result)."""
    with pytest.MonkeyPatch.context() as patch:
        studio = toy.Studio(tmp_path_factory.mktemp("sweep")).install(patch)
        lines = ["spec,beta,steps,cleansing,reference"]
        for i, beta in enumerate((0.1, 0.05)):
            for k, cleansing in enumerate(("", "0.25")):
                lines.append(f"organism/c{i}{k},{beta},100,{cleansing},organism/sft")
                studio.push[f"organism/c{i}{k}"] = 0.5 + i
        (studio.folder / "models.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        run, result = studio.sweep(
            models=studio.folder / "models.csv", judge="toy/judge", judgements=1, alpha=(0.1, 1.0)
        )
        return run.folder, sweep_part(load(run.folder, "tsdi-sweep")), result


def test_the_scatter_has_a_line_a_way_and_points_that_open_their_responses(whole: Any) -> None:
    _, part, result = whole
    figures = {block.id: block for block in blocks(part, TradeOff)}
    assert {"sweep-compliance", "sweep-helpfulness", "checkpoints-fronts-compliance"} <= set(figures)
    figure = figures["sweep-compliance"]
    titles = [series.title for series in figure.series]
    assert titles == [
        "The front of all", "TSDI, L 1", "TSDI, L 2", "Static bias", "System prompt", "Self-CD", "Interpolation", "The reference",
    ]  # fmt: skip
    line = figure.series[1].points
    assert [point.mark for point in line] == ["0", "1", "2"]
    assert [point.evidence["setting"] for point in line] == ["plain", "tsdi-builtin-l1-a0.1", "tsdi-builtin-l1-a1"]
    mixed = figure.series[6].points[-1]
    assert mixed.evidence["setting"] == "reference", "a setting that was not measured itself opens the equal one"
    assert figures["sweep-helpfulness"].y_title.startswith("helpfulness (win rate against the reference)")
    settings = {row.facets["setting"] for row in part.evidence.rows}
    assert settings == {row["key"] for row in result.facts["settings"] if not row["same_as"]}


def test_areas_stand_with_intervals_and_a_reading(whole: Any) -> None:
    _, part, _ = whole
    table = next(block for block in blocks(part, Table) if block.id == "sweep-area-compliance")
    rows = {row[0]: row for row in cells(table)}
    assert list(rows) == [
        "The model as it is", "TSDI", "A static bias against refusal openers", "A system prompt", "Self-CD",
        "Interpolation with the reference",
    ]  # fmt: skip
    assert rows["The model as it is"][-1] == "TSDI is larger"
    assert " to " in rows["TSDI"][3]


def test_the_gate_tells_why_each_setting_fails(whole: Any) -> None:
    _, part, result = whole
    table = next(block for block in blocks(part, Table) if block.id == "sweep-candidates")
    gates = [row[-1] for row in cells(table)]
    assert len(gates) == len(result.facts["recommendation"]["candidates"])
    assert any("the margin is 2" in gate for gate in gates)
    assert any(gate.startswith(("safety could fall", "recommended", "keeps")) for gate in gates)


def test_safety_by_category_for_every_line_and_checkpoint(whole: Any) -> None:
    _, part, _ = whole
    maps = blocks(part, HeatMap)
    assert len(maps) == 6
    assert [row.title for row in maps[0].rows][:2] == ["All categories", "Animal abuse"]
    assert [column.title for column in maps[0].columns] == ["as it is", "α 0.1", "α 1", "reference"]
    assert maps[0].rows[0].cells[0].evidence == {"audit": "tsdi-sweep", "setting": "plain", "kind": "harmful"}
    plots = blocks(part, StagePlot)
    assert [plot.title for plot in plots] == [
        f"Safety by category, {data}, {how}"
        for data in ("all data", "cleansed at 0.25")
        for how in ("without TSDI", "with TSDI")
    ]
    assert plots[0].lines[0].points[1].after == 0


def test_unsafe_responses_are_folded_and_the_others_are_not(whole: Any) -> None:
    _, part, _ = whole
    folded = {row.text for row in part.evidence.rows if row.fold}
    assert folded == {TEXTS["unsafe"]}
    assert TEXTS["unsafe"] not in {row.text for row in part.evidence.rows if not row.fold}


def test_the_page_of_a_sweep(whole: Any) -> None:
    folder, _, _ = whole
    text = build_report(folder).read_text(encoding="utf-8")
    assert "Nothing is recommended" in text or "A setting keeps safety" in text
    assert "What training did" in text
    assert 'href="#responses?audit=tsdi-sweep&amp;setting=plain' in text
    harmless(text)


@pytest.mark.browser
def test_points_open_their_responses_by_mouse_and_keyboard(whole: Any, open_file: Callable[..., Any]) -> None:
    folder, _, _ = whole
    watched = open_file(build_report(folder))
    page = watched.page
    point = page.locator("#sweep-compliance a.mark[href*='setting=tsdi-builtin-l1-a1']").first
    point.focus()
    page.keyboard.press("Enter")
    assert page.locator("#responses").is_visible()
    assert int(page.get_attribute("#responses-count", "data-count")) == (4 * 12 + 2 * 12) * 2
    page.keyboard.press("Escape")
    page.locator("#sweep-safety-0 tbody tr:first-child a").first.click()
    assert int(page.get_attribute("#responses-count", "data-count")) == 4 * 12 * 2
    watched.clean((folder / "report.html").as_uri())


def test_hostile_categories_responses_and_settings_are_inert(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = toy.Studio(tmp_path).install(monkeypatch)
    toy.write_prompts(tmp_path / "prompts.csv", categories=(HOSTILE, "x\u202e"), each=4)
    said = studio.answer
    studio.answer = lambda toy_, request, config: f"{HOSTILE}\x1b[31m\u202e {said(toy_, request, config)}"
    run, result = studio.sweep(safety_grader=("words",), peers=("static",))
    assert result.verdicts[0].tone == "unknown"
    harmless(build_report(run.folder).read_text(encoding="utf-8"))


def test_a_sweep_of_checkpoints_alone_makes_a_page(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = toy.Studio(tmp_path).install(monkeypatch)
    (tmp_path / "m.csv").write_text(
        "spec,steps,reference\norganism/a,1,organism/sft\norganism/b,2,organism/sft\n", encoding="utf-8"
    )
    run, _ = studio.sweep(model=None, models=tmp_path / "m.csv", repetitions=1)
    part = sweep_part(load(run.folder, "tsdi-sweep"))
    assert not blocks(part, HeatMap)
    assert [verdict.label for verdict in part.verdicts] == ["What training did"]
    harmless(build_report(run.folder).read_text(encoding="utf-8"))
