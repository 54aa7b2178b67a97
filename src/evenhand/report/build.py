"""From a run folder to its report: every audit's part, composed into one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evenhand.registry import METHODS, load_target
from evenhand.report.evidence import Evidence, Facet
from evenhand.report.page import Page, Section, Verdict
from evenhand.report.render import write
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
    found = run.read_findings()
    declared = [method.name for method in METHODS if method.name in found]
    names = [*declared, *(name for name in run.audits if name in found and name not in declared)]
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
    """Rows of (model, what it is): enough to tell one checkpoint from another of the same name."""
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
