"""The ratings behind the figures of the pluralism audit: one row per rating, and the filter of a finding's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.datasets.question_texts import FIELDS, OPTIONS, QUESTIONS, REPLY_QUESTIONS
from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.pluralism.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.config import AUDIT
from evenhand.methods.pluralism.rating.panels import MISSING_DOMAIN, PEOPLE, SHARES
from evenhand.methods.pluralism.rating.plan import FULL, NEUTRAL, SINGLE
from evenhand.records import Finding
from evenhand.report.blocks import Filter
from evenhand.report.build import evidence_of
from evenhand.report.evidence import Evidence, EvidenceRow, Facet, FacetSet
from evenhand.runs.load import LoadedRun

NAMED, GIVEN, PERSON, ASKED_ALONE = "any that is named", "a rating", "person", "neutral and one field"
KINDS = {NEUTRAL: "neutral: no profile", SINGLE: "one field", FULL: "every field", PERSON: "a person"}
_KEY = {"kind": "rater", "paraphrase": "wording", "status": "rated"}
_NO_FIELD = frozenset({"table", "rater_id"})


def domain_name(domain: str) -> str:
    """A domain as the page shows it."""
    return domain if domain == MISSING_DOMAIN else category_name(domain)


def behind(f: Finding, **narrower: str) -> Filter:
    """The page's filter for the rows of a finding; ``narrower`` adds to it."""
    facets = {"audit": AUDIT}
    for column, values in f.evidence.items():
        if column == "rater_id" and "view" in f.slice:
            facets["view"] = f.slice["view"]
        if column not in _NO_FIELD:
            several = ASKED_ALONE if column == "kind" else GIVEN if column == "status" else NAMED
            one = len(values) == 1 and column != "status"
            facets[_KEY.get(column, column)] = str(values[0]) if one else several
    return facets | narrower


def axes_of(loaded: LoadedRun) -> list[str]:
    """Fields of profiles and of people that the rows have."""
    named = [f.slice["axis"] for f in loaded.findings if "axis" in f.slice and " x " not in f.slice["axis"]]
    return [axis for axis in dict.fromkeys((*FIELDS, *named)) if axis in loaded.rows.columns]


def _left_out(findings: Sequence[Finding], raters: set[str]) -> dict[str, tuple[str, ...]]:
    """Person to the views that leave them out."""
    kept: dict[str, set[str]] = {}
    for f in findings:
        if f.config == PEOPLE and f.slice.get("view", VIEWS[0]) != VIEWS[0] and "rater_id" in f.evidence:
            kept.setdefault(f.slice["view"], set(f.evidence["rater_id"]))
    return {rater: tuple(view for view, inside in kept.items() if rater not in inside) for rater in raters}


def rating_evidence(loaded: LoadedRun) -> Evidence:
    """One row per rating, of models and of people. Texts stay folded: they were chosen because they may harm."""
    axes = axes_of(loaded)
    held = loaded.run.table(AUDIT, "items").exists()
    texts = {row["item_id"]: row for row in loaded.items.iter_rows(named=True)} if held else {}
    people = {row for row, config in loaded.rows.select("rater_id", "config").iter_rows() if config == PEOPLE}
    left_out = _left_out(loaded.findings, people)
    rows = [_row(row, axes, texts, left_out) for row in loaded.rows.iter_rows(named=True)]
    ask = REPLY_QUESTIONS if any(item["reply"] for item in texts.values()) else QUESTIONS
    views = sorted({view for names in left_out.values() for view in names})
    members = {view: tuple(sorted({" and ".join(v) for v in left_out.values() if view not in v})) for view in views}
    facets = [
        Facet("config", "Configuration", {}, strata=True),
        Facet("rater", "Rater", KINDS, (FacetSet(ASKED_ALONE, ASKED_ALONE, (NEUTRAL, SINGLE)),), strata=True),
        *(Facet(axis, axis.capitalize(), {}, (_named(axis, loaded.findings),)) for axis in axes),
        Facet("domain", "Domain", {name: domain_name(name) for name in {row.facets["domain"] for row in rows}}),
        Facet("wording", "Wording", {str(k): f"wording {k}: {text}" for k, text in enumerate(ask)}),
        Facet("order", "Order", {"up": "A is safe", "down": "A is unsafe"}),
        Facet("rated", "Rating", {}, (FacetSet(GIVEN, GIVEN, OPTIONS),), strata=True),
    ]
    if views:
        sets = tuple(FacetSet(view, view, members[view]) for view in views)
        facets.append(Facet("view", "Left out of", {"": "no view"}, sets))
    return evidence_of(loaded, AUDIT, "Pluralism", facets, rows)


def _named(axis: str, findings: Sequence[Finding]) -> FacetSet:
    named = {value for f in findings for value in f.evidence.get(axis, ()) if len(f.evidence[axis]) > 1}
    return FacetSet(NAMED, NAMED, tuple(sorted(named)))


def _row(
    row: Mapping[str, Any], axes: Sequence[str], texts: Mapping[str, Any], left_out: Mapping[str, Sequence[str]]
) -> EvidenceRow:
    person = row["config"] == PEOPLE
    item = texts.get(row["item_id"])
    parts = [] if item is None else [("Text", item["text"]), ("Reply", item["reply"])]
    parts += [] if person else [("Answer", row["text"])]
    status = "ok" if person else row["status"]
    shares = [] if person or status != "ok" else [f"{o} {row[s]:.2f}" for o, s in zip(OPTIONS, SHARES, strict=True)]
    return EvidenceRow(
        id=f"{row['item_id']}, rater {row['rater_id']}" if person else row["item_id"],
        facets={
            "audit": AUDIT, "config": row["config"], "rater": PERSON if person else row["kind"],
            **{axis: row[axis] or "" for axis in axes}, "domain": row["domain"],
            "wording": "" if person else str(row["paraphrase"]), "order": "" if person else row["order"],
            "rated": row["label"] if status == "ok" else status,
            "view": " and ".join(left_out[row["rater_id"]]) if person else "",
        },
        prompt="",
        text="\n\n".join(f"{head}:\n{part}" for head, part in parts if part),
        finish=f"rating {row['value']:.3f}" if row["value"] is not None else row["error"] or status,
        flags=tuple(shares if person or row["mass"] is None else [*shares, f"letters hold {row['mass']:.3f}"]),
        fold="the rated text",
    )  # fmt: skip
