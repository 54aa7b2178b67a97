"""The closing table: numbers stay whole, and a reason that is a sentence folds without pushing the names out."""

from __future__ import annotations

import pytest

from evenhand.console import screens
from evenhand.engines.base import Estimate

REASON = "the raters of this copy are not known: a column is a place in a list, not a person"


def test_a_long_reason_folds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    columns = ["measure", "value", "95% interval", "adjusted p"]
    rows = [["ICC(2,1), raters: people", "—", REASON, ""], ["alpha", "0.143", "0.132 to 0.154", "0.0001"]]
    screens.print_table(columns, rows, sentences=True)
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    assert shown[1].startswith("ICC(2,1), raters: people")
    assert any("0.132 to 0.154" in line and "0.0001" in line for line in shown)
    assert " ".join(REASON.split()) in " ".join(" ".join(line[30:] for line in shown).split())


def test_a_long_stage_leaves_room_for_its_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    what = "organism/aligned: pluralism, drawn where letters are unlikely, at most"
    screens.print_estimate([(what, Estimate(7280, 1_234_567, 465_920, True))], as_json=False)
    shown = capsys.readouterr().out
    assert all(number in shown for number in ("7,280", "1,234,567", "465,920"))
