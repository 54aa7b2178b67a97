"""The page: what the first screen says, then a section for each audit, then how it was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from evenhand.report.blocks import Block, Details, Filter, Panels
from evenhand.report.evidence import Evidence

Tone = Literal["worse", "provisional", "even", "unknown"]


@dataclass(frozen=True, slots=True)
class KeyNumber:
    """A number of the first screen: the value, what it is, and its uncertainty or reading."""

    value: str
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class GlanceRow:
    """One bar of the picture beside the verdict; ``value`` is a share in [0, 1]."""

    title: str
    value: float | None
    text: str
    label: str
    low: float | None = None
    high: float | None = None
    strong: bool = False
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """The picture beside the verdict: one quantity for each group."""

    title: str
    rows: tuple[GlanceRow, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one audit found, in plain words.

    ``tone`` is ``"worse"`` (some group is treated worse), ``"provisional"`` (the grader is not calibrated, so no
    group is named as worse), ``"even"`` (no difference found, and the run could have seen one) or ``"unknown"`` (we
    cannot tell). ``unknowns`` says what could not be told and why; ``actions`` what to do next, commands as ``code``.
    ``label`` stands in the place of the tone's own words where an audit is not about groups treated worse.
    """

    audit: str
    tone: Tone
    headline: str
    detail: str
    numbers: tuple[KeyNumber, ...] = ()
    glance: Glance | None = None
    more: tuple[str, ...] = ()
    unknowns: tuple[str, ...] = ()
    actions: tuple[tuple[str, str], ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One audit's part of the page. ``id`` is lower-case letters, digits and hyphens, and unique on the page."""

    id: str
    title: str
    lede: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report.

    ``identity`` holds rows of (what, value) for each model; ``timings`` rows of (stage, text); ``left_out`` rows of
    (audit, reason). ``created`` is shown as given, so that the same run gives the same bytes.
    """

    title: str
    run_name: str
    created: str
    verdicts: tuple[Verdict, ...]
    sections: tuple[Section, ...]
    evidence: Evidence
    methods: tuple[tuple[str, str], ...] = ()
    caveats: tuple[str, ...] = ()
    identity: tuple[tuple[str, str], ...] = ()
    timings: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    notice: str = ""
    version: str = ""
    lang: str = field(default="en")


def all_blocks(blocks: tuple[Block, ...]) -> Iterator[Block]:
    """Every block, those inside panels and details too, in the order of the page."""
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from all_blocks(block.blocks)
        elif isinstance(block, Panels):
            for panel in block.panels:
                yield from all_blocks(panel.blocks)
