"""A sweep as a part of a report: recommendation or refusal, scatters, areas under fronts, safety by category, checkpoints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.tsdi.sweep.report.checkpoints import checkpoint_blocks
from evenhand.methods.tsdi.sweep.report.sweep_figures import AUDIT, Swept, front_table, lines, scatter
from evenhand.methods.tsdi.sweep.report.sweep_tables import candidate_table, category_map
from evenhand.methods.tsdi.sweep.verdict import spec_of
from evenhand.report.blocks import Block, Note, Panel, Panels
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.page import Glance, GlanceRow, Section, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import between, percent

LEDE = (
    "Taking off the context-free shift makes a model decline less, harmless and harmful prompts alike. Which strength and length "
    "buy compliance at no loss of safety, and would something simpler do as well?"
)
KINDS = {"harmful": "harmful", "borderline": "borderline", "benign": "benign"}
_GRAVITY = ("worse", "provisional", "unknown", "even")


def sweep_part(loaded: LoadedRun) -> Part:
    """Verdicts, figures and the responses behind them."""
    swept = Swept(loaded.findings, loaded.result["facts"])
    blocks: list[Block] = []
    if swept.facts["fronts"]:
        for axis in ("compliance", "helpfulness"):
            figure = scatter(swept, axis, f"sweep-{axis}")
            if figure is not None:
                blocks += [figure, front_table(swept, axis, f"sweep-area-{axis}")]
    if swept.facts["helpfulness"] and swept.own:
        blocks.append(Note(text=f"Helpfulness is not told: {swept.facts['helpfulness']}."))
    table = candidate_table(swept, "sweep-candidates")
    blocks += [table] if table is not None else []
    blocks += _categories(swept)
    blocks += checkpoint_blocks(swept)
    return Part(
        verdicts=[_verdict(loaded, swept, verdict) for verdict in loaded.result["verdicts"]],
        section=Section("tsdi-sweep", "TSDI sweep", LEDE, tuple(blocks)),
        evidence=_evidence(loaded, swept),
        methods=[(term, text) for term, text in loaded.result["methods"]],
        caveats=list(loaded.result["caveats"]),
    )


def _best(swept: Swept) -> tuple[str | None, bool]:
    """The setting that is recommended, or came closest; and whether it is recommended."""
    found = swept.facts["recommendation"] or {}
    one = found.get("chosen") or found.get("closest")
    return (one["setting"] if one else None), bool(found.get("chosen"))


def _verdict(loaded: LoadedRun, swept: Swept, told: Mapping[str, Any]) -> Verdict:
    ours = told["config"] != "checkpoints"
    best, good = _best(swept)
    rows: list[GlanceRow] = []
    if ours:
        for axis in ("safety", "compliance"):
            for key, name in (("plain", "as it is"), (best, "recommended" if good else "closest")):
                f = swept.rate(key, axis) if key else None
                if f is None or key is None:
                    continue
                low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
                label = f"{axis}, {swept.label(key)}: {percent(f.estimate)}, {between(low, high)}"
                rows.append(
                    GlanceRow(
                        f"{axis}, {name}",
                        f.estimate,
                        percent(f.estimate, 0),
                        label,
                        low,
                        high,
                        evidence=swept.behind(key),
                    )
                )
    use: tuple[tuple[str, str], ...] = ()
    if ours and good and best is not None:
        use = (("Use it as:", spec_of(swept.facts, best, loaded.run.folder)),)
    label = ("A setting keeps safety" if good else "Nothing is recommended") if ours else "What training did"
    return Verdict(
        audit="TSDI sweep",
        tone=told["tone"],
        headline=told["headline"],
        detail=told["detail"],
        glance=Glance("Safety and compliance", tuple(rows)) if rows else None,
        more=tuple(told["also"]),
        unknowns=tuple(told["unknowns"]),
        actions=use,
        label=label,
    )


def _categories(swept: Swept) -> list[Block]:
    """A heat map a line; the line of the recommended setting is shown first."""
    if not swept.own or swept.rate("plain", "safety") is None:
        return []
    best, _ = _best(swept)
    panels, opened = [], 0
    for place, (title, keys) in enumerate(lines(swept)):
        rows = [swept.settings[key] for key in keys]
        names = [f"α {row['alpha']:g}" if row["method"] == "tsdi" else f"{row['strength']:g}" for row in rows]
        columns = ["plain", *keys, *(["reference"] if "reference" in swept.settings else [])]
        titles = ["as it is", *names, *(["reference"] if "reference" in swept.settings else [])]
        panels.append(Panel(title, (category_map(swept, columns, titles, f"sweep-safety-{place}"),)))
        opened = place if best in keys else opened
    if not panels:
        return [category_map(swept, ["plain"], ["as it is"], "sweep-safety-0")]
    if len(panels) == 1:
        return list(panels[0].blocks)
    return [Panels(id="sweep-categories", title="Safety by category", panels=tuple(panels), opened=opened)]


def _evidence(loaded: LoadedRun, swept: Swept) -> Evidence:
    """One row a response; unsafe ones stay folded."""
    names = {key: swept.label(key) for key, row in swept.settings.items() if not row["same_as"]}
    items = {row["item_id"]: row for row in loaded.items.iter_rows(named=True)}
    prompts = {key: "\n\n".join(content for _, content in json.loads(row["chat"])) for key, row in items.items()}
    key = ["config", "item_id", "repetition"]
    grades = loaded.grades.filter(pl.col("grader").is_in(["safety", "compliance"])).select(
        *key, "label", "missing", grade_evidence="evidence"
    )
    assert loaded.responses is not None
    joined = loaded.responses.join(grades, on=key, how="left", maintain_order="left")
    rows: Sequence[EvidenceRow] = [
        EvidenceRow(
            id=row["item_id"],
            facets={"audit": AUDIT, "setting": row["config"], "kind": items[row["item_id"]]["group"],
                    "category": items[row["item_id"]]["stratum"], "label": row["label"] or "no grade"},
            prompt=prompts[row["item_id"]],
            text=row["text"] or row["provider_refusal"] or row["error"],
            repetition=row["repetition"],
            finish="length" if row["finish_reason"] == "length" else "",
            flags=tuple(filter(None, (row["grade_evidence"], row["missing"]))),
            fold="unsafe response" if row["label"] == "unsafe" else "",
        )
        for row in joined.iter_rows(named=True)
    ]  # fmt: skip
    categories = {str(row["stratum"]): category_name(str(row["stratum"])) for row in items.values()}
    facets = (
        Facet("audit", "Audit", {AUDIT: "TSDI sweep"}),
        Facet("setting", "Setting", names, strata=True),
        Facet("kind", "Kind of prompt", KINDS, strata=True),
        Facet("category", "Category", categories),
        Facet("label", "Label", {}, strata=True),
    )
    return Evidence(facets, rows, f"evenhand show {shlex.quote(str(loaded.run.folder))} --audit {AUDIT}")
