"""How long a run takes, in words: the forecast before it starts, and its progress as plain lines.

The forecast comes from a probe and lists what would make a long run shorter. The lines are for standard error that is not a
terminal, such as a log file or a scheduler: few of them, one at a time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evenhand.safe_text import terminal_safe
from evenhand.wording import count

if TYPE_CHECKING:
    from evenhand.config import AuditConfig
    from evenhand.engines.base import Estimate


EVERY = 30.0
"""Seconds between two lines of a stage that goes on."""

_WINDOW = 10


def span_words(seconds: float) -> str:
    """A span of time in the two units that matter: ``48 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


@dataclass(slots=True)
class _Stage:
    """One stage: what was finished when it was first reported, and when; ``marks`` are (time, work done) at its lines."""

    what: str
    began: float
    first: float
    done: int
    total: int
    running: float = 0.0
    over: bool = False
    marks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    @property
    def work(self) -> float:
        """Rows finished, and the part of the batch under way."""
        return min(float(self.total), self.done + self.running)


class Lines:
    """Writes a line at the start of each stage, at most one line every ``EVERY`` seconds after that, and a last line.

    Parameters
    ----------
    write : takes one whole line, with its end; where it raises OSError or ValueError (a closed pipe), no more is written.
    clock : seconds from any start, never going back.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic):
        self._write, self._clock = write, clock
        self._lock = threading.RLock()
        self._stages: dict[str, _Stage] = {}
        self._current: _Stage | None = None
        self._last = -EVERY
        self._lost = False

    def report(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` rows of the stage ``what`` are finished."""
        with self._lock:
            now, stage = self._clock(), self._stages.get(what)
            begins = stage is None or (stage.over and done < total)
            if begins or stage is None:
                stage = self._stages[what] = _Stage(" ".join(terminal_safe(what).split()), now, done, done, total)
                stage.marks.append((now, float(done)))
            if done != stage.done:
                stage.done, stage.running = done, 0.0
            stage.total, self._current = total, stage
            if done >= total:
                if not stage.over:
                    stage.over = True
                    self._say(stage, now, self._end(stage, now))
            elif begins:
                self._say(stage, now, f"started{self._kept(stage)}")
            else:
                self._sometimes(stage, now)

    def tick(self, rows: int, share: float) -> None:
        """Of the batch under way, which has ``rows`` rows, ``share`` is done."""
        with self._lock:
            stage = self._current
            if stage is not None and not stage.over:
                stage.running = max(stage.running, rows * share)
                self._sometimes(stage, self._clock())

    def beat(self) -> None:
        """Called now and then, so that a stage that reports nothing still gets its line."""
        with self._lock:
            if self._current is not None and not self._current.over:
                self._sometimes(self._current, self._clock())

    def _sometimes(self, stage: _Stage, now: float) -> None:
        if now - self._last >= EVERY:
            self._say(stage, now, self._middle(stage, now))
            stage.marks.append((now, stage.work))

    def _say(self, stage: _Stage, now: float, rest: str) -> None:
        self._last = now
        if self._lost:
            return
        try:
            self._write(f"{stage.what}: {count(stage.done)} of {count(stage.total)}, {rest}\n")
        except (OSError, ValueError):
            self._lost = True

    @staticmethod
    def _kept(stage: _Stage) -> str:
        return f" ({count(int(stage.first))} were there already)" if stage.first else ""

    @staticmethod
    def _rate(amount: float, seconds: float) -> str:
        if seconds <= 0 or amount <= 0:
            return ""
        rate = amount / seconds
        return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 0.1 else f"{60 * rate:.2g}/min"

    def _middle(self, stage: _Stage, now: float) -> str:
        """Rate over the last lines, so that rows from the cache do not count for ever, and the time left at that rate."""
        then, before = stage.marks[0]
        made, spent = stage.work - before, now - then
        rate = self._rate(made, spent)
        if not rate:
            return f"{span_words(now - stage.began)} so far"
        left = (stage.total - stage.work) * spent / made
        inside = f" (batch under way: {count(int(stage.running))} more)" if 1 <= stage.running < stage.total else ""
        return f"{rate}, about {span_words(left)} left{inside}"

    def _end(self, stage: _Stage, now: float) -> str:
        spent = now - stage.began
        rate = self._rate(stage.total - stage.first, spent)
        if not rate or stage.first >= stage.total:
            return "done"
        return f"done in {span_words(spent)}, {rate}{self._kept(stage)}"


@contextmanager
def line_progress(write: Callable[[str], object]) -> Iterator[Callable[[str, int, int], None]]:
    """`Lines.report` for the time of the block, with the engines' ticks and a beat every 2 seconds."""
    from evenhand.engines import ticks

    lines, over = Lines(write), threading.Event()

    def beats() -> None:
        while not over.wait(EVERY / 15):
            lines.beat()

    thread = threading.Thread(target=beats, name="progress", daemon=True)
    thread.start()
    try:
        with ticks.listening(lines.tick):
            yield lines.report
    finally:
        over.set()
        thread.join()


LONG = 3600.0
"""Seconds of an expected run beyond which ways to shorten it are listed."""

Rows = Sequence[tuple[str, "Estimate"]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make a run shorter: in words, and the seconds that remain (None if unknown)."""

    words: str
    seconds: float | None


def memory_words(size: int) -> str:
    """``640 MiB``, ``3.4 GiB``."""
    return f"{size / 2**20:,.0f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"


def time_words(seconds: float, *, at_most: bool) -> str:
    """``about 12 min``, or ``at most 12 min`` where responses may well end before their limit."""
    return f"{'at most' if at_most else 'about'} {span_words(seconds)}"


def forecast_lines(rows: Rows, ways: Sequence[Way] = ()) -> list[str]:
    """Sentences on the whole run; an empty list if nothing was probed although something is left to do."""
    probed_costs = [cost for _, cost in rows if cost.seconds is not None]
    probed = sum(cost.probed_rows for cost in probed_costs)
    lines = []
    if probed_costs and not probed:
        lines.append("Expected: every response and score is in the cache; nothing is left for a model to do.")
    elif probed_costs:
        seconds, at_most = sum(cost.seconds or 0.0 for cost in probed_costs), any(cost.at_most for cost in probed_costs)
        memory = max(((c.memory_bytes, c.memory_on) for c in probed_costs if c.memory_bytes is not None), default=None)
        held = (
            "" if memory is None else f" and {memory_words(memory[0])} of {memory[1] + ' ' if memory[1] else ''}memory"
        )
        lines.append(
            f"Expected: {time_words(seconds, at_most=at_most)}{held} for the models "
            f"(estimated from a probe of {count(probed)} rows on this machine)."
        )
        if seconds > LONG and ways:
            shorter = [
                way.words + ("" if way.seconds is None else f" ({span_words(way.seconds)} in all)") for way in ways
            ]
            lines.append("To shorten the run: " + "; ".join(shorter) + ".")
    left = [(what, cost.not_probed or "it has no probe") for what, cost in rows if cost.seconds is None and cost.calls]
    if left:
        lines.append("Not probed: " + "; ".join(f"{what} ({why})" for what, why in left) + ".")
    return lines


def _drawn(rows: Rows) -> float:
    """Seconds of the stages that draw text."""
    return sum(cost.seconds or 0.0 for _, cost in rows if cost.max_completion_tokens)


def all_seconds(rows: Rows) -> float:
    """Seconds of every stage."""
    return sum(cost.seconds or 0.0 for _, cost in rows)


def gpu_way(device: str, rows: Rows) -> list[Way]:
    """A GPU, where the run has none."""
    on_gpu = any(cost.memory_on for _, cost in rows)
    return (
        []
        if on_gpu or device.startswith("cuda")
        else [Way("a machine with a GPU (--device cuda), not probed here", None)]
    )


def audit_ways(config: AuditConfig, rows: Rows) -> list[Way]:
    """What would make an audit shorter."""
    stems = "stems" in config.own_prompts or config.dataset == "names-and-stems"
    return ways_of(rows, config.draws_per_item, config.max_tokens, config.device, stems=stems)


def ways_of(rows: Rows, repetitions: int, max_tokens: int, device: str, *, stems: bool) -> list[Way]:
    """Fewer repetitions and items (and stems), shorter responses, a GPU; seconds are in proportion."""
    whole, drawn = all_seconds(rows), _drawn(rows)
    ways: list[Way] = []
    if drawn and repetitions > 1:
        fewer = max(1, repetitions // 2)
        ways.append(
            Way(f"--repetitions {fewer} instead of {repetitions}", whole - drawn * (1 - fewer / repetitions)),
        )
    items = max((cost.calls // repetitions for _, cost in rows if cost.max_completion_tokens), default=0)
    if items >= 8:
        ways.append(Way(f"--limit {count(items // 4).replace(',', '')} of {count(items)} items", whole - drawn * 3 / 4))
        if stems:
            ways.append(Way("half the stems (--stems FILE)", whole - drawn / 2))
    if any(cost.at_most for _, cost in rows) and max_tokens >= 2:
        ways.append(Way(f"--max-tokens {max_tokens // 2} instead of {max_tokens}", whole - drawn / 2))
    return ways + gpu_way(device, rows)
