"""What every section shares: marks of findings, stored verdicts, cautions, links, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from evenhand.records import Finding, Interval
from evenhand.report.blocks import Details, Note, Panel, Panels, Paragraph
from evenhand.report.build import (
    answer_of,
    by_gravity,
    cautions,
    evidence_of,
    folded,
    mark_filter,
    method_part,
    one_each,
    present,
    prompt_of,
    show_command,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.finding_table import POINTS, SHARE
from evenhand.report.marks import finding_bar, forest_row, forest_values, glance_row, key_number, second_mark
from evenhand.report.page import Glance
from evenhand.runs.load import LoadedRun

TEXT = Paragraph(text="a")


def made(estimate: float | None = 0.25, unit: str = "probability", reason: str = "") -> Finding:
    """A finding with an interval, or none."""
    interval = None if estimate is None else Interval(estimate - 0.05, estimate + 0.05, 0.95, "t")
    return Finding("f", "a", "rate", "x", "m", None, None, estimate, unit, interval=interval, reason=reason)


def verdict(config: str, tone: str, **more: Any) -> Mapping[str, Any]:
    """A verdict as findings.json holds it."""
    empty = {"detail": "", "group": None, "also": [], "unknowns": [], "advice": ""}
    return {"config": config, "tone": tone, "headline": f"{config} is {tone}.", **empty, **more}


def loaded(*verdicts: Mapping[str, Any], caveats: tuple[str, ...] = ()) -> LoadedRun:
    """A run of which only the result is read."""
    result = {"verdicts": list(verdicts), "caveats": list(caveats), "methods": [["Unit", "names"]]}
    return cast(LoadedRun, SimpleNamespace(result=result, run=SimpleNamespace(folder=Path("/runs/a b"))))


def test_marks_carry_estimate_interval_and_link() -> None:
    bar = finding_bar(made(), "Ann", "Ann: 25%", strong=True, evidence={"a": "b"})
    assert (bar.value, bar.text, bar.low, bar.high, bar.strong) == (0.25, "25%", 0.2, 0.3, True)
    row = glance_row(made(), "Ann", "Ann: 25%", unit=SHARE)
    assert (row.value, row.text, row.evidence) == (0.25, "25.0%", None)
    nothing = finding_bar(made(None, reason="no rows"), "Ann", "Ann")
    assert (nothing.value, nothing.text, nothing.low, nothing.reason) == (None, "—", None, "no rows")


def test_a_forest_row_without_an_estimate_is_undefined_whatever_its_state() -> None:
    row = forest_row(made(0.1, "difference of probabilities"), "Ann", "Ann", "found", second=second_mark(made(0.2)))
    assert (row.text, row.note, row.state, row.reason) == ("+10.0", "+5.0 to +15.0", "found", "")
    assert row.second is not None
    assert row.second[0] == 0.2
    assert forest_values([row]) == [0.1, row.low, row.high, *row.second]
    undefined = forest_row(made(None, reason="no rows"), "Ann", "Ann", "found", note="")
    assert (undefined.text, undefined.note, undefined.state, undefined.reason) == ("—", "", "undefined", "no rows")
    assert second_mark(None) is second_mark(made(None)) is None


def test_key_numbers_leave_out_what_is_undefined() -> None:
    (number,) = key_number(made(0.1, "difference of probabilities"), "apart")
    assert (number.value, number.title, number.note) == ("+10.0 points", "apart", "+5.0 to +15.0")
    assert key_number(made(0.1), "apart", unit=POINTS, note="")[0].note == ""
    assert key_number(None, "apart") == key_number(made(None), "apart") == []


def test_blocks_that_are_not_there_leave_no_trace() -> None:
    assert present(None, TEXT, None) == [TEXT]
    assert folded("more", None) == []
    assert folded("more", None, TEXT) == [Details(summary="more", blocks=(TEXT,))]
    one, two = Panel("one", (TEXT,)), Panel("two", (TEXT,))
    assert one_each([], block_id="p", title="Which") == []
    assert one_each([one], block_id="p", title="Which") == [TEXT]
    assert one_each([one, two], block_id="p", title="Which", opened=1) == [
        Panels(id="p", title="Which", panels=(one, two), opened=1)
    ]


def test_the_gravest_stored_verdict_comes_first_and_the_others_in_their_own_words() -> None:
    run = loaded(
        verdict("m0", "even", also=["m0 also"], unknowns=["m0 unknown"]),
        verdict("m1", "worse", detail="much", also=["m1 also"]),
        verdict("m2", "unknown"),
    )
    shown = stored_verdict(by_gravity(run), "Drift", glance=Glance("none", ()), labels={"worse": "Drifted"})
    assert (shown.tone, shown.headline, shown.detail, shown.label) == ("worse", "m1 is worse.", "much", "Drifted")
    assert shown.more == ("m1 also", "m2 is unknown.", "m0 is even.", "m0 also")
    assert shown.unknowns == ("m0 unknown",)
    assert shown.glance is None
    assert stored_verdict([verdict("m", "even")], "Drift").label == ""


def test_errors_become_cautions_before_the_figures_and_no_caveats() -> None:
    run = loaded(verdict("m", "even"), caveats=("ERROR half of the rows failed", "names are proxies"))
    assert cautions(run) == [Note(text="half of the rows failed", tone="caution")]
    part = method_part(
        run,
        section_id="s",
        title="S",
        lede="Why?",
        blocks=[TEXT],
        verdicts=[],
        evidence=Evidence((), []),
        caveats=["more"],
    )
    assert part.section.blocks == (Note(text="half of the rows failed", tone="caution"), TEXT)
    assert list(part.caveats) == ["names are proxies", "more"]
    assert list(part.methods) == [("Unit", "names")]


def test_links_and_commands() -> None:
    assert mark_filter("drift", config="m", kind="", group=None) == {"audit": "drift", "config": "m"}
    assert show_command(loaded()) == "evenhand show '/runs/a b'"
    assert show_command(loaded(), "drift") == "evenhand show '/runs/a b' --audit drift"


def test_evidence_tells_audits_apart() -> None:
    row = EvidenceRow("1", {"audit": "drift"}, "p", "t")
    evidence = evidence_of(loaded(), "drift", "Drift", [Facet("config", "Configuration", {})], iter([row]))
    assert [facet.key for facet in evidence.facets] == ["audit", "config"]
    assert evidence.facets[0].names == {"drift": "Drift"}
    assert evidence.rows == [row]
    assert evidence.command.endswith("--audit drift")


def test_texts_of_rows() -> None:
    assert prompt_of('[["system", "a"], ["user", "b"]]') == "a\n\nb"
    empty = {"text": "", "provider_refusal": "", "error": ""}
    assert answer_of({**empty, "text": "t", "error": "e"}) == "t"
    assert answer_of({**empty, "provider_refusal": "filtered", "error": "e"}) == "filtered"
    assert answer_of({**empty, "error": "e"}) == "e"
    assert answer_of({**empty, "text": None, "error": None}) == ""
