"""What a run will take, in words: time and memory from a probe, and what would make a long run shorter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evenhand.console.progress import span_words
from evenhand.wording import count

if TYPE_CHECKING:
    from evenhand.config import AuditConfig
    from evenhand.engines.base import Estimate


LONG = 3600.0
"""Seconds of an expected run beyond which ways to shorten it are listed."""

Rows = Sequence[tuple[str, "Estimate"]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make a run shorter: in words, and the seconds that are left (None where they are not known)."""

    words: str
    seconds: float | None


def memory_words(size: int) -> str:
    """``640 MiB``, ``3.4 GiB``."""
    return f"{size / 2**20:,.0f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"


def time_words(seconds: float, *, at_most: bool) -> str:
    """``about 12 min``, or ``at most 12 min`` where responses may well end before their limit."""
    return f"{'at most' if at_most else 'about'} {span_words(seconds)}"


def forecast_lines(rows: Rows, ways: Sequence[Way] = ()) -> list[str]:
    """Sentences on the whole run; none where nothing was probed and nothing had to be."""
    known = [cost for _, cost in rows if cost.seconds is not None]
    probed = sum(cost.probed_rows for cost in known)
    lines = []
    if known and not probed:
        lines.append("Expected: every response and score is in the cache; nothing is left for a model to do.")
    elif known:
        seconds, at_most = sum(cost.seconds or 0.0 for cost in known), any(cost.at_most for cost in known)
        memory = max(((c.memory_bytes, c.memory_on) for c in known if c.memory_bytes is not None), default=None)
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
