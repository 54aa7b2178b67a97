"""What the page section of every method repeats: cautions, verdicts as they are stored, folded blocks, links, evidence."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from evenhand.report.blocks import Block, Details, Filter, Note, Panel, Panels
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.page import Glance, KeyNumber, Section, Verdict
from evenhand.runs.load import LoadedRun

Stored = Mapping[str, Any]
"""A verdict as findings.json holds it."""

GRAVITY = ("worse", "provisional", "unknown", "even")
"""Tones from the gravest on."""

_ERROR = "ERROR"


def present(*blocks: Block | None) -> list[Block]:
    """The blocks that there are."""
    return [block for block in blocks if block is not None]


def folded(summary: str, *blocks: Block | None) -> list[Block]:
    """Blocks that open on demand, or nothing if there are none."""
    inside = present(*blocks)
    return [Details(summary=summary, blocks=tuple(inside))] if inside else []


def one_each(panels: Sequence[Panel], *, block_id: str, title: str, opened: int = 0) -> list[Block]:
    """The same figures for several things: as they are for one, as panels for several."""
    if len(panels) <= 1:
        return [block for panel in panels for block in panel.blocks]
    return [Panels(id=block_id, title=title, panels=tuple(panels), opened=opened)]


def mark_filter(audit: str, **facets: str | None) -> Filter:
    """The responses behind a mark: those of one audit with these facets; empty facets select nothing."""
    return {"audit": audit} | {key: value for key, value in facets.items() if value}


def cautions(loaded: LoadedRun) -> list[Block]:
    """The errors of a run, which come before its figures."""
    return [
        Note(text=text.removeprefix(_ERROR).lstrip(), tone="caution")
        for text in loaded.result["caveats"]
        if text.startswith(_ERROR)
    ]


def show_command(loaded: LoadedRun, audit: str = "") -> str:
    """The command that shows every row of a run."""
    return f"evenhand show {shlex.quote(str(loaded.run.folder))}" + (f" --audit {audit}" if audit else "")


def method_part(
    loaded: LoadedRun,
    *,
    section_id: str,
    title: str,
    lede: str,
    blocks: Iterable[Block],
    verdicts: Sequence[Verdict],
    evidence: Evidence,
    caveats: Iterable[str] = (),
) -> Part:
    """A method's part of the page, with the cautions, methods and caveats that its run holds; ``caveats`` are added."""
    result = loaded.result
    return Part(
        verdicts=verdicts,
        section=Section(section_id, title, lede, (*cautions(loaded), *blocks)),
        evidence=evidence,
        methods=[(term, text) for term, text in result["methods"]],
        caveats=[*(text for text in result["caveats"] if not text.startswith(_ERROR)), *caveats],
    )


def by_gravity(loaded: LoadedRun) -> list[Stored]:
    """The stored verdicts of a run, the gravest first."""
    return sorted(loaded.result["verdicts"], key=lambda verdict: GRAVITY.index(verdict["tone"]))


def stored_verdict(
    verdicts: Sequence[Stored],
    audit: str,
    *,
    numbers: Iterable[KeyNumber] = (),
    glance: Glance | None = None,
    also: Callable[[Stored], Sequence[str]] = lambda verdict: verdict["also"],
    actions: Sequence[tuple[str, str]] = (),
    labels: Mapping[str, str] | None = None,
) -> Verdict:
    """The first screen's words on an audit, as they are stored: the first verdict in full, the others in a sentence each.

    ``also`` gives the further sentences of a verdict; ``labels`` maps a tone to words in place of the page's own.
    """
    first, *others = verdicts
    return Verdict(
        audit=audit,
        tone=first["tone"],
        headline=first["headline"],
        detail=first["detail"],
        numbers=tuple(numbers),
        glance=glance if glance is not None and glance.rows else None,
        more=(*also(first), *(text for verdict in others for text in (verdict["headline"], *also(verdict)))),
        unknowns=tuple(text for verdict in verdicts for text in verdict["unknowns"]),
        actions=tuple(actions),
        label=(labels or {}).get(first["tone"], ""),
    )


def prompt_of(chat: str) -> str:
    """The messages of a stored chat as one text."""
    return "\n\n".join(content for _, content in json.loads(chat))


def answer_of(row: Mapping[str, Any]) -> str:
    """What a model returned: its text, else the provider's refusal, else the error."""
    return row["text"] or row["provider_refusal"] or row["error"] or ""


def evidence_of(
    loaded: LoadedRun, audit: str, title: str, facets: Sequence[Facet], rows: Iterable[EvidenceRow]
) -> Evidence:
    """The rows behind an audit's figures; each gets the facet ``audit``, by which the page tells audits apart."""
    return Evidence((Facet("audit", "Audit", {audit: title}), *facets), list(rows), show_command(loaded, audit))
