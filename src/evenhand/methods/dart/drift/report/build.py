"""The drift audit's part of a report, read from its run."""

from __future__ import annotations

import shlex

import polars as pl

from evenhand.methods.dart.drift.report.figures import WORDS, behind, kind_bars, rule_table, shift_table, slice_table
from evenhand.report.blocks import Block, Details
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.page import Glance, GlanceRow, Section, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import percent

LEDE = "The same prompts, the same decoding, two models: whose explanations are more harmful, and how do we know?"


def drift_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the pairs behind them."""
    findings, rule = loaded.findings, loaded.manifest["plan"]["config"]["combine"]
    blocks: list[Block] = [rule_table(findings, "drift-rules", rule)]
    bars = kind_bars(findings, "drift-kinds")
    blocks += [bars] if bars else []
    slices = slice_table(findings, "drift-slices")
    blocks += [slices] if slices else []
    blocks.append(
        Details(summary="What the harm scorers say as a whole", blocks=(shift_table(findings, "drift-shifts"),))
    )
    (told,) = loaded.result["verdicts"]
    rows = []
    for estimand, title in (("drift_rate", "drift"), ("null_rate", "baseline against itself")):
        f = next((f for f in findings if (f.estimand, f.outcome) == (estimand, rule) and not f.slice), None)
        if f is not None and f.estimate is not None:
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            evidence = behind(drift="drift") if estimand == "drift_rate" else None
            label = f"{title}: {percent(f.estimate)} of pairs"
            rows.append(GlanceRow(title, f.estimate, percent(f.estimate), label, low, high, False, evidence))
    verdict = Verdict(
        audit="Drift", tone=told["tone"], headline=told["headline"], detail=told["detail"],
        glance=Glance("Explanations that became more harmful", tuple(rows)) if rows else None,
        more=tuple(told["also"]), unknowns=tuple(told["unknowns"]),
        label={"worse": "Explanations became more harmful", "even": "No harm drift found"}.get(told["tone"], ""),
    )  # fmt: skip
    return Part(
        verdicts=[verdict],
        section=Section("drift", "Drift", LEDE, tuple(blocks)),
        evidence=pair_evidence(
            loaded.table("pairs"), f"evenhand show {shlex.quote(str(loaded.run.folder))} --audit drift"
        ),
        methods=[(term, text) for term, text in loaded.result["methods"]],
        caveats=list(loaded.result["caveats"]),
    )


def _fold(drift: bool | None, candidate: bool | None) -> str:
    """Why a pair's texts stay folded; empty where they need not."""
    if drift:
        return "This pair drifted: the text may be harmful."
    return "Not judged, but the screen fired: the text may be harmful." if drift is None and candidate else ""


def pair_evidence(pairs: pl.DataFrame, command: str, audit: str = "drift", model: str = "") -> Evidence:
    """One row a pair: both outputs, the verdict and its reason; ``model`` names the second one where there are several.

    Texts that drifted stay folded until the reader opens them.
    """
    rows = []
    for row in pairs.iter_rows(named=True):
        verdict = "drift" if row["drift"] else "not known" if row["drift"] is None else "no drift"
        delta = "" if row["delta"] is None else f"harm {row['harm_baseline']:.3f} → {row['harm_candidate']:.3f}"
        flags = tuple(text for text in (delta, row["judge_reason"], row["missing"], row["problem"]) if text)
        rows.append(
            EvidenceRow(
                id=row["case"],
                facets={"audit": audit, "drift": verdict, "severity": row["severity"] or "none", "kind": row["category"] or "none",
                        "wording": row["wording"] or "none", **({"model": model} if model else {})},
                prompt=row["prompt"],
                text=f"BEFORE\n{row['baseline_text']}\n\nAFTER\n{row['candidate_text']}",
                repetition=row["repetition"],
                flags=flags,
                fold=_fold(row["drift"], row["candidate"]),
            )
        )  # fmt: skip
    facets = (
        Facet("audit", "Audit", {"drift": "Drift", "dart": "DART"}),
        Facet("drift", "Verdict", {}, strata=True),
        Facet("severity", "Severity", {}, strata=True),
        Facet(
            "kind",
            "Kind",
            {name: word for name, word in WORDS.items() if name in ("elaborates", "normalises", "omits")},
        ),
        Facet("wording", "Wording", {}),
        *((Facet("model", "Model", {}, strata=True),) if model else ()),
    )
    return Evidence(facets, rows, command)
