"""From a run folder to its report: every audit's part, composed into one page.

Also what the sections of methods have in common: cautions, stored verdicts, folded blocks, links and evidence.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evenhand.registry import METHODS, load_target
from evenhand.report.blocks import Block, Details, Filter, Note, Panel, Panels
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.page import Glance, KeyNumber, Page, Section, Verdict, write
from evenhand.runs.check import readable
from evenhand.runs.load import LoadedRun, load
from evenhand.runs.run import Run
from evenhand.wording import ORGANISM_NOTICE, count, is_organism

GENERIC = "evenhand.report.generic:generic_part"
"""The section of a method that declares none."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one method gives to the page. A declared section is a function from a `LoadedRun` to a Part."""

    verdicts: Sequence[Verdict]
    section: Section
    evidence: Evidence
    methods: Sequence[tuple[str, str]] = ()
    caveats: Sequence[str] = ()


def part_of(loaded: LoadedRun) -> Part:
    """What one audit of a run gives to the page: by its method's section, or by the generic one."""
    part: Part = load_target(METHODS.of_run(loaded.audit).section or GENERIC)(loaded)
    return part


def build_report(folder: Path) -> Path:
    """Write ``report.html`` of a finished run and return its path. Raises BadInput where the run is not finished."""
    return write(compose(folder), folder / "report.html")


def compose(folder: Path) -> Page:
    """The page of a run, methods in the order of their declarations, then those of plug-ins that are not installed."""
    run = Run.open(folder)
    with readable(folder, run.manifest):
        return _composed(run, folder)


def _composed(run: Run, folder: Path) -> Page:
    findings = run.read_findings()
    declared = [method.name for method in METHODS if method.name in findings]
    names = [*declared, *(name for name in run.audits if name in findings and name not in declared)]
    parts = [part_of(load(folder, name)) for name in names]
    manifest = run.manifest
    plan = manifest["plan"]
    return Page(
        title="Evenhand report",
        run_name=folder.name,
        created=manifest["created"],
        verdicts=tuple(verdict for part in parts for verdict in part.verdicts),
        sections=tuple(part.section for part in parts),
        evidence=_joined([part.evidence for part in parts]),
        methods=tuple(row for part in parts for row in part.methods),
        caveats=tuple(text for part in parts for text in part.caveats),
        identity=tuple(_identity(plan["identities"])),
        timings=tuple((name, f"{seconds:.1f} s") for name, seconds in manifest["timings"].items()),
        left_out=tuple(manifest.get("left_out", {}).items()),
        notice=ORGANISM_NOTICE if is_organism(row["spec"] for row in plan["identities"].values()) else "",
        version=manifest["versions"].get("evenhand", ""),
    )


def _identity(identities: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of (model, what it is): enough to distinguish checkpoints of the same name."""
    rows = []
    for role, identity in identities.items():
        parts = [
            f"{word} {identity[key]}"
            for key, word in (
                ("weights", "weights"), ("adapter", "adapter"), ("dtype", "in"), ("chat_template", "chat template"),
                ("tokenizer", "tokenizer"), ("quantisation", "quantised"), ("processors", "processors"), ("engine", "run by"),
            )
            if identity.get(key)
        ]  # fmt: skip
        name = role if role == identity["spec"] else f"{role} ({identity['spec']})"
        rows.append((name, "; ".join([*parts, f"identity {identity['digest']}"])))
    return rows


def _joined(evidence: Sequence[Evidence]) -> Evidence:
    """One store for the page. Each audit brings its own rows; facets of one name are one, with the names of both."""
    if len(evidence) == 1:
        return evidence[0]
    facets: dict[str, Facet] = {}
    for facet in (facet for part in evidence for facet in part.facets):
        held = facets.get(facet.key)
        facets[facet.key] = replace(held, names={**held.names, **facet.names}) if held else facet
    rows = [row for part in evidence for row in part.rows]
    command = evidence[0].command if evidence else f"evenhand show RUN ({count(0)} rows)"
    return Evidence(tuple(facets.values()), rows, command)


Stored = Mapping[str, Any]
"""A verdict as findings.json holds it."""

GRAVITY = ("worse", "provisional", "unknown", "even")
"""Tones from the gravest on."""

_ERROR = "ERROR"


def present(*blocks: Block | None) -> list[Block]:
    """The blocks that are not None."""
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
    return f"evenhand show {shlex.quote(str(loaded.run.folder))}" + (f" --audit {shlex.quote(audit)}" if audit else "")


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
    """The rows behind an audit's figures; each gets the facet ``audit``, by which the page distinguishes audits."""
    return Evidence((Facet("audit", "Audit", {audit: title}), *facets), list(rows), show_command(loaded, audit))
