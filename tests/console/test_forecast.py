"""What a run will take, in words, with numbers for every way to make a long one shorter."""

from __future__ import annotations

import json

import pytest

from evenhand.config import AuditConfig
from evenhand.console import screens
from evenhand.console.forecast import audit_ways, forecast_lines, memory_words
from evenhand.engines.base import Estimate
from evenhand.methods.dart.commands import drift_ways
from evenhand.methods.dart.config import DriftConfig
from evenhand.methods.pluralism.rating.commands import rating_ways
from evenhand.methods.pluralism.rating.config import PluralismConfig

LONG = Estimate(4000, 90_000, 4000 * 256, True, seconds=7200.0, memory_bytes=3 << 30, probed_rows=64, at_most=True)
SHORT = Estimate(500, 9_000, 0, False, seconds=600.0, memory_bytes=2 << 30, probed_rows=128)
SERVED = Estimate(10, 100, 100, False, not_probed="no request is sent for an estimate")
FIRST = (
    "Expected: at most 2 h 10 min and 3.0 GiB of memory for the models "
    "(estimated from a probe of 192 rows on this machine)."
)


def test_a_run_of_over_an_hour_is_told_what_makes_it_shorter() -> None:
    rows = [("m", LONG), ("m: texts scored", SHORT)]
    config = AuditConfig(device="cpu", repetitions=5, max_tokens=256)
    assert forecast_lines(rows, audit_ways(config, rows)) == [
        FIRST,
        "To shorten the run: --repetitions 2 instead of 5 (58 min in all); --limit 200 of 800 items (40 min in all); "
        "half the stems (--stems FILE) (70 min in all); --max-tokens 128 instead of 256 (70 min in all); "
        "a machine with a GPU (--device cuda), not probed here.",
    ]


def test_a_short_run_gets_no_advice() -> None:
    rows = [("m", SHORT)]
    (line,) = forecast_lines(rows, audit_ways(AuditConfig(), rows))
    assert line.startswith("Expected: about 10 min and 2.0 GiB")


def test_a_rating_is_shortened_by_wordings_and_texts() -> None:
    rows = [("m", LONG)]
    ways = rating_ways(PluralismConfig(wordings=4, rating_items=70, device="cuda"), rows)
    assert [(way.words, way.seconds) for way in ways] == [
        ("--wordings 1 instead of 4", 1800.0),
        ("--rating-items 35 instead of 70", 3600.0),
    ]


def test_a_drift_audit_is_shortened_by_repetitions_and_cases() -> None:
    config = DriftConfig(baseline="organism/sft", candidate="organism/aligned", device="cuda", repetitions=4)
    ways = drift_ways(config, [("m", LONG)])
    assert [(way.words, way.seconds) for way in ways] == [
        ("--repetitions 2 instead of 4", 3600.0),
        ("--limit 250 of 1,000 items", 1800.0),
        ("--max-tokens 128 instead of 256", 3600.0),
    ]


def test_what_is_not_probed_is_named_with_its_reason() -> None:
    assert forecast_lines([("judge", SERVED), ("x", Estimate(1, 1, 1, False)), ("y", Estimate(0, 0, 0, True))]) == [
        "Not probed: judge (no request is sent for an estimate); x (it has no probe)."
    ]


def test_a_run_that_the_cache_holds_is_said_to_need_nothing() -> None:
    done = Estimate(0, 0, 0, True, seconds=0.0)
    (line,) = forecast_lines([("m", done)])
    assert line.startswith("Expected: every response and score is in the cache")


def test_the_table_and_the_json_show_time_and_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    rows = [("m", LONG), ("judge", SERVED)]
    screens.print_estimate(rows, as_json=False)
    table = capsys.readouterr().out
    assert "at most 2 h 0 min" in table
    assert "not probed" in table
    assert "Not probed: judge (no request is sent for an estimate)." in table
    screens.print_estimate(rows, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert (first["what"], first["seconds"], first["memory_bytes"], first["probed_rows"]) == ("m", 7200.0, 3 << 30, 64)
    assert (second["seconds"], second["not_probed"]) == (None, "no request is sent for an estimate")


def test_amounts_of_memory() -> None:
    assert [memory_words(n << 20) for n in (1, 640, 1023, 1024, 15_360)] == [
        "1 MiB", "640 MiB", "1,023 MiB", "1.0 GiB", "15.0 GiB",
    ]  # fmt: skip
