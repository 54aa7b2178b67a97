"""Progress where standard error is no terminal: which lines are written, and when, by a clock that the test holds."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise

import pytest

from evenhand.config import AuditConfig
from evenhand.console import screens
from evenhand.console.progress import EVERY, Lines, audit_ways, forecast_lines, memory_words, span_words
from evenhand.engines.base import Estimate
from evenhand.methods.dart.commands import drift_ways
from evenhand.methods.dart.config import DriftConfig
from evenhand.methods.pluralism.rating.commands import rating_ways
from evenhand.methods.pluralism.rating.config import PluralismConfig


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(clock: Clock) -> tuple[Lines, list[str]]:
    said: list[str] = []
    return Lines(said.append, clock), said


def test_a_stage_has_a_first_line_few_in_between_and_a_last_one(clock: Clock) -> None:
    lines, said = made(clock)
    for done in range(0, 1201, 2):  # two rows a second, reported every second
        lines.report("organism/aligned", done, 1200)
        clock.now += 1.0
    assert said[0] == "organism/aligned: 0 of 1,200, started\n"
    assert said[1] == "organism/aligned: 60 of 1,200, 2.0/s, about 10 min left\n"
    assert said[-1] == "organism/aligned: 1,200 of 1,200, done in 10 min, 2.0/s\n"
    assert len(said) == 1 + 19 + 1


def test_at_most_one_line_every_thirty_seconds_however_often_it_is_reported(clock: Clock) -> None:
    lines, said = made(clock)
    times = []
    for done in range(4000):
        before = len(said)
        lines.report("m", done, 5000)
        lines.tick(64, 0.5)
        lines.beat()
        times += [clock.now] * (len(said) - before)
        clock.now += 0.125
    assert len(times) > 10
    assert min(b - a for a, b in pairwise(times)) >= EVERY


def test_a_slow_batch_shows_how_far_it_is_before_a_row_of_it_is_finished(clock: Clock) -> None:
    lines, said = made(clock)
    lines.report("hf/slow", 0, 640)
    clock.now += EVERY
    lines.tick(64, 0.25)
    assert said[1:] == ["hf/slow: 0 of 640, 0.5/s, about 20 min left (batch under way: 16 more)\n"]
    clock.now += EVERY
    lines.tick(64, 0.125)  # a part that was tried again never takes back what was shown
    assert said[-1].endswith("(batch under way: 16 more)\n")


def test_a_stage_that_reports_nothing_still_gets_its_line(clock: Clock) -> None:
    lines, said = made(clock)
    lines.report("training", 0, 1)
    clock.now += EVERY - 1
    lines.beat()
    assert len(said) == 1
    clock.now += 1
    lines.beat()
    assert said[1:] == ["training: 0 of 1, 30 s so far\n"]


def test_rows_of_a_resumed_run_are_no_part_of_its_rate(clock: Clock) -> None:
    lines, said = made(clock)
    lines.report("m", 900, 1000)
    clock.now += 50
    lines.report("m", 1000, 1000)
    assert said == [
        "m: 900 of 1,000, started (900 were there already)\n",
        "m: 1,000 of 1,000, done in 50 s, 2.0/s (900 were there already)\n",
    ]
    lines.report("m", 1000, 1000)
    lines.report("whole", 7, 7)
    assert said[2:] == ["whole: 7 of 7, done\n"]


def test_rows_from_the_cache_do_not_count_in_the_rate_for_ever(clock: Clock) -> None:
    lines, said = made(clock)
    lines.report("m", 0, 100_000)
    lines.report("m", 50_000, 100_000)
    for turn in range(1, 15):
        clock.now += EVERY
        lines.report("m", 50_000 + 30 * turn, 100_000)
    assert ", 1.0/s, about 13 h" in said[-1]


def test_what_a_model_is_called_cannot_break_a_line(clock: Clock) -> None:
    lines, said = made(clock)
    lines.report("a\nb\t\x1b[31mc\r\u2028d", 0, 1)
    assert said == ["a b c d: 0 of 1, started\n"]


def test_a_closed_pipe_ends_the_lines_and_not_the_run(clock: Clock) -> None:
    tried = []

    def write(line: str) -> None:
        tried.append(line)
        raise BrokenPipeError

    lines = Lines(write, clock)
    lines.report("m", 0, 2)
    lines.report("m", 2, 2)
    assert len(tried) == 1


def test_spans_of_time() -> None:
    spans = [span_words(s) for s in (0.4, 89, 90, 5390, 12_000, 200_000)]
    assert spans == ["0 s", "89 s", "2 min", "1 h 30 min", "3 h 20 min", "2 d 7 h"]


def test_lines_go_to_a_file_and_bars_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown: dict[type, str] = {}
    for kind in (io.StringIO, Terminal):
        monkeypatch.setattr("sys.stderr", stream := kind())
        monkeypatch.setenv("TERM", "xterm")
        with screens.progress_bars() as progress:
            progress("stage", 0, 3)
            progress("stage", 3, 3)
        shown[kind] = stream.getvalue()
    assert re.fullmatch(r"stage: 0 of 3, started\nstage: 3 of 3, done.*\n", shown[io.StringIO])
    assert "\x1b" in shown[Terminal]
    assert "started" not in shown[Terminal]


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
