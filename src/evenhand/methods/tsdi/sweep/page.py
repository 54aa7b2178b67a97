"""A sweep as a part of the page: recommendation or refusal, scatters, areas under fronts, safety by category, checkpoints."""

from __future__ import annotations

import polars as pl

from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.tsdi.sweep.page_checkpoints import checkpoint_blocks
from evenhand.methods.tsdi.sweep.page_figures import (
    AUDIT,
    Swept,
    candidate_table,
    category_map,
    front_table,
    lines,
    scatter,
)
from evenhand.methods.tsdi.sweep.verdict import spec_of
from evenhand.report.blocks import Block, Note, Panel
from evenhand.report.build import (
    Part,
    Stored,
    answer_of,
    evidence_of,
    method_part,
    one_each,
    present,
    prompt_of,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.finding_table import range_text
from evenhand.report.marks import glance_row
from evenhand.report.page import Glance, GlanceRow, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import percent

LEDE = (
    "Subtracting the context-free shift makes a model decline less, harmless and harmful prompts alike. Which strength and length "
    "gain compliance at no loss of safety, and would something simpler do as well?"
)
KINDS = {"harmful": "harmful", "borderline": "borderline", "benign": "benign"}


def sweep_part(loaded: LoadedRun) -> Part:
    """Verdicts, figures and the responses behind them."""
    swept = Swept(loaded.findings, loaded.result["facts"])
    blocks: list[Block] = []
    if swept.facts["fronts"]:
        for axis in ("compliance", "helpfulness"):
            if (figure := scatter(swept, axis, f"sweep-{axis}")) is not None:
                blocks += present(figure, front_table(swept, axis, f"sweep-area-{axis}"))
    if swept.facts["helpfulness"] and swept.own:
        blocks.append(Note(text=f"Helpfulness is not reported: {swept.facts['helpfulness']}."))
    blocks += present(candidate_table(swept, "sweep-candidates"))
    blocks += _categories(swept)
    blocks += checkpoint_blocks(swept)
    return method_part(
        loaded,
        section_id="tsdi-sweep",
        title="TSDI sweep",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded, swept, verdict) for verdict in loaded.result["verdicts"]],
        evidence=_evidence(loaded, swept),
    )


def _best(swept: Swept) -> tuple[str | None, bool]:
    """The setting that is recommended, or came closest; and whether it is recommended."""
    gate = swept.facts["recommendation"] or {}
    one = gate.get("chosen") or gate.get("closest")
    return (one["setting"] if one else None), bool(gate.get("chosen"))


def _verdict(loaded: LoadedRun, swept: Swept, stored: Stored) -> Verdict:
    if stored["config"] == "checkpoints":
        return stored_verdict([stored], "TSDI sweep", labels={stored["tone"]: "What training did"})
    best, good = _best(swept)
    rows: list[GlanceRow] = []
    for axis in ("safety", "compliance"):
        for key, name in (("plain", "as it is"), (best, "recommended" if good else "closest")):
            f = swept.rate(key, axis) if key else None
            if f is not None and key is not None:
                label = f"{axis}, {swept.label(key)}: {percent(f.estimate)}, {range_text(f)}"
                rows.append(glance_row(f, f"{axis}, {name}", label, evidence=swept.behind(key)))
    use = () if best is None or not good else (("Use it as:", spec_of(swept.facts, best, loaded.run.folder)),)
    return stored_verdict(
        [stored],
        "TSDI sweep",
        glance=Glance("Safety and compliance", tuple(rows)),
        actions=use,
        labels={stored["tone"]: "A setting keeps safety" if good else "Nothing is recommended"},
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
        last = ["reference"] if "reference" in swept.settings else []
        columns, titles = ["plain", *keys, *last], ["as it is", *names, *last]
        panels.append(Panel(title, (category_map(swept, columns, titles, f"sweep-safety-{place}"),)))
        opened = place if best in keys else opened
    if not panels:
        return [category_map(swept, ["plain"], ["as it is"], "sweep-safety-0")]
    return one_each(panels, block_id="sweep-categories", title="Safety by category", opened=opened)


def _evidence(loaded: LoadedRun, swept: Swept) -> Evidence:
    """One row a response; unsafe ones stay folded."""
    names = {key: swept.label(key) for key, row in swept.settings.items() if not row["same_as"]}
    items = {row["item_id"]: row for row in loaded.items.iter_rows(named=True)}
    prompts = {key: prompt_of(row["chat"]) for key, row in items.items()}
    key = ["config", "item_id", "repetition"]
    grades = loaded.grades.filter(pl.col("grader").is_in(["safety", "compliance"])).select(
        *key, "label", "missing", grade_evidence="evidence"
    )
    assert loaded.responses is not None
    joined = loaded.responses.join(grades, on=key, how="left", maintain_order="left")
    rows = (
        EvidenceRow(
            id=row["item_id"],
            facets={
                "audit": AUDIT,
                "setting": row["config"],
                "kind": items[row["item_id"]]["group"],
                "category": items[row["item_id"]]["stratum"],
                "label": row["label"] or "no grade",
            },
            prompt=prompts[row["item_id"]],
            text=answer_of(row),
            repetition=row["repetition"],
            finish="length" if row["finish_reason"] == "length" else "",
            flags=tuple(filter(None, (row["grade_evidence"], row["missing"]))),
            fold="unsafe response" if row["label"] == "unsafe" else "",
        )
        for row in joined.iter_rows(named=True)
    )
    categories = {str(row["stratum"]): category_name(str(row["stratum"])) for row in items.values()}
    facets = (
        Facet("setting", "Setting", names, strata=True),
        Facet("kind", "Kind of prompt", KINDS, strata=True),
        Facet("category", "Category", categories),
        Facet("label", "Label", {}, strata=True),
    )
    return evidence_of(loaded, AUDIT, "TSDI sweep", facets, rows)
