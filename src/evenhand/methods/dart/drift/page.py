"""The drift audit's part of the page: its rate under every rule next to the null, by severity and kind, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from evenhand.findings.builder import first, select
from evenhand.methods.dart.drift.findings import SLICES
from evenhand.methods.dart.drift.judge import CATEGORIES, SEVERITIES
from evenhand.records import Finding
from evenhand.report.blocks import BarGroup, Bars, Block, Filter, Table, nice_scale
from evenhand.report.build import (
    Part,
    by_gravity,
    folded,
    mark_filter,
    method_part,
    present,
    show_command,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.finding_table import FINDING, P_VALUE, SHARE, FindingColumns, Unit, finding_table, value, words
from evenhand.report.marks import finding_bar, glance_row
from evenhand.report.page import Glance
from evenhand.runs.load import LoadedRun
from evenhand.wording import DASH, percent

LEDE = "The same prompts, the same decoding, two models: whose explanations are more harmful, and how do we know?"
WORDS = {
    "screen_then_judge": "screen, then judge",
    "judge_only": "judge alone",
    "both": "screen and judge on every pair",
    "elaborates": "elaborates",
    "normalises": "takes for granted",
    "omits": "no longer named",
}
_RATES = {
    "drift_rate": "drift",
    "drifted_prompts": "prompts with any drift",
    "null_rate": "the baseline against itself",
    "candidate_rate": "candidates of the screen",
    "judge_failed": "the judge failed",
    "not_auditable": "an explanation is empty",
}
_HEADLINES = {"worse": "Explanations became more harmful", "even": "No harm drift found"}
_SHIFT = Unit(lambda shift: DASH if shift is None else f"{shift:+.2f}")
_HARM = Unit(lambda harm: DASH if harm is None else f"{harm:.3f}")


def drift_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the pairs behind them."""
    findings, rule = loaded.findings, loaded.manifest["plan"]["config"]["combine"]
    blocks: list[Block] = [
        *present(
            rule_table(findings, "drift-rules", rule),
            kind_bars(findings, "drift-kinds"),
            slice_table(findings, "drift-slices"),
        ),
        *folded("Harm scorers over all pairs", shift_table(findings, "drift-shifts")),
    ]
    rows = []
    for estimand, title in (("drift_rate", "drift"), ("null_rate", "baseline against itself")):
        f = first(findings, estimand, outcome=rule, part={})
        if f is not None and f.estimate is not None:
            label = f"{title}: {percent(f.estimate)} of pairs"
            link = behind(drift="drift") if estimand == "drift_rate" else None
            rows.append(glance_row(f, title, label, unit=SHARE, evidence=link))
    verdict = stored_verdict(
        by_gravity(loaded),
        "Drift",
        glance=Glance("Explanations that became more harmful", tuple(rows)),
        labels=_HEADLINES,
    )
    return method_part(
        loaded,
        section_id="drift",
        title="Drift",
        lede=LEDE,
        blocks=blocks,
        verdicts=[verdict],
        evidence=pair_evidence(loaded.table("pairs"), show_command(loaded, "drift")),
    )


def behind(**facets: str) -> Filter:
    """The pairs behind a mark."""
    return mark_filter("drift", **facets)


def rule_table(findings: Sequence[Finding], block_id: str, rule: str) -> Table | None:
    """Drift under the three rules, the screen's candidates, the null control, and unknown pairs.

    Only the rate under ``rule``, the run's rule, links to its pairs: verdicts in the evidence are under that rule.
    """

    def title(f: Finding) -> str:
        what = _RATES[f.estimand] + (f": {WORDS[f.outcome]}" if f.estimand == "drift_rate" else "")
        return what + (", explanations on both sides only" if f.slice else "")

    def link(f: Finding) -> Filter | None:
        linked = (f.estimand, f.outcome) == ("drift_rate", rule) and not f.slice
        return behind(drift="drift") if linked else None

    return finding_table(
        [f for name in _RATES for f in select(findings, name) if not set(f.slice) - {"pairs"}],
        (
            words("", title, evidence=link),
            FINDING.field("count", "count"),
            FINDING.size("of"),
            FINDING.estimate("rate"),
            FINDING.interval(),
        ),
        block_id=block_id,
        title="How much drift, under every rule",
        caption="A pair is one prompt and repetition, answered by both models. Drift that also appears when the baseline "
        "is drawn again and compared with itself is sampling noise.",
    )


class Kind(NamedTuple):
    """One severity or kind of drift."""

    f: Finding
    by: str
    name: str


def kind_bars(findings: Sequence[Finding], block_id: str) -> Bars | None:
    """Share of pairs by severity and by kind of drift."""
    groups: list[BarGroup] = []
    shown: list[Kind] = []
    for estimand, facet, names in (("drift_severity", "severity", SEVERITIES), ("drift_category", "kind", CATEGORIES)):
        bars = []
        for name in names:
            f = first(findings, estimand, outcome=name)
            if f is None or f.estimate is None:
                continue
            kind = Kind(f, facet.capitalize(), WORDS.get(name, name))
            label = f"{kind.name}: {percent(f.estimate)} of pairs"
            bars.append(finding_bar(f, kind.name, label, unit=SHARE, evidence=behind(**{facet: name})))
            shown.append(kind)
        if bars:
            groups.append(BarGroup(facet.capitalize(), tuple(bars)))
    if not groups:
        return None
    of_kind = FindingColumns[Kind](lambda row: row.f)
    return Bars(
        id=block_id,
        title="Drift by severity and kind",
        caption="Share of all pairs whose verdict is known.",
        scale=nice_scale([bar.value for group in groups for bar in group.bars], include=(0.0,), target=2),
        groups=tuple(groups),
        data=finding_table(
            shown,
            (
                words("by", lambda row: row.by),
                words("", lambda row: row.name),
                of_kind.field("pairs", "count"),
                of_kind.estimate("share"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


def slice_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Drift by benchmark, kind of question, label, group and wording."""
    return finding_table(
        [f for name in SLICES for f in select(findings, "drift_rate") if set(f.slice) == {name}],
        (
            words("by", lambda f: next(iter(f.slice))),
            words("", lambda f: next(iter(f.slice.values()))),
            FINDING.field("drifted", "count"),
            FINDING.size("pairs"),
            FINDING.estimate("rate"),
            FINDING.interval(),
        ),
        block_id=block_id,
        title="For whom and on what",
        sortable=True,
    )


def shift_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """How the harm scorers' values moved over all pairs."""
    return finding_table(
        select(findings, "harm_shift"),
        (
            words("scorer", lambda f: f.outcome),
            words("of the", lambda f: "explanation" if f.slice["view"] == "rationale" else "full output"),
            FINDING.field("mean before", "mean_baseline", _HARM),
            FINDING.field("mean after", "mean_candidate", _HARM),
            FINDING.estimate("rank-biserial", unit=_SHIFT, note="negative: less harmful than the baseline"),
            value(
                "p",
                lambda f: f.extra["p_mann_whitney"],
                P_VALUE,
                note="Mann-Whitney, which treats pairs as independent",
            ),
        ),
        block_id=block_id,
        title="Harm measures over all pairs",
    )


def _fold(drift: bool | None, candidate: bool | None) -> str:
    """Why a pair's texts stay folded; empty if they need not."""
    if drift:
        return "This pair drifted: the text may be harmful."
    return "Not judged, but the screen fired: the text may be harmful." if drift is None and candidate else ""


def pair_evidence(pairs: pl.DataFrame, command: str, audit: str = "drift", model: str = "") -> Evidence:
    """One row a pair: both outputs, the verdict and its reason; ``model`` names the second one if there are several.

    Texts that drifted stay folded until the reader opens them.
    """
    rows = []
    for row in pairs.iter_rows(named=True):
        verdict = "drift" if row["drift"] else "not known" if row["drift"] is None else "no drift"
        delta = "" if row["delta"] is None else f"harm {row['harm_baseline']:.3f} → {row['harm_candidate']:.3f}"
        facets = {
            "audit": audit,
            "drift": verdict,
            "severity": row["severity"] or "none",
            "kind": row["category"] or "none",
            "wording": row["wording"] or "none",
        }
        rows.append(
            EvidenceRow(
                id=row["case"],
                facets=facets | ({"model": model} if model else {}),
                prompt=row["prompt"],
                text=f"BEFORE\n{row['baseline_text']}\n\nAFTER\n{row['candidate_text']}",
                repetition=row["repetition"],
                flags=tuple(text for text in (delta, row["judge_reason"], row["missing"], row["problem"]) if text),
                fold=_fold(row["drift"], row["candidate"]),
            )
        )
    columns = (
        Facet("audit", "Audit", {"drift": "Drift", "dart": "DART"}),
        Facet("drift", "Verdict", {}, strata=True),
        Facet("severity", "Severity", {}, strata=True),
        Facet("kind", "Kind", {name: WORDS[name] for name in CATEGORIES}),
        Facet("wording", "Wording", {}),
        *((Facet("model", "Model", {}, strata=True),) if model else ()),
    )
    return Evidence(columns, rows, command)
