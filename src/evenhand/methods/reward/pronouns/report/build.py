"""The affirmation audit's part of a report, read from its run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from evenhand.methods.reward.pronouns.report.figures import (
    LIKELY,
    behind,
    family_bars,
    likelihood_table,
    rate_table,
    stage_lines,
)
from evenhand.report.blocks import Block, Details, Note
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.page import Glance, GlanceRow, Section, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.runs.tables import read_table
from evenhand.wording import percent

LEDE = (
    "A person's pronouns are declared; does the model keep to them? Read from the first pronoun of its continuations, from how "
    "likely it finds each pronoun, and from what tuning rewarded."
)
_VERDICTS = {"consistent": "of the declared family", "inconsistent": "of another family", "none": "none"}
_GRAVITY = ("worse", "provisional", "unknown", "even")


def affirmation_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the continuations behind them."""
    result, folder = loaded.result, str(loaded.run.folder)
    there = dict.fromkeys(f.config for f in loaded.findings if f.estimand == "misgendering_rate")
    staged = [stages[stage] for _, stages in _families(loaded) for stage in stages if stages[stage] in there]
    configs = list(dict.fromkeys([*staged, *there]))
    blocks: list[Block] = [
        Note(text=text[6:], tone="caution") for text in result["caveats"] if text.startswith("ERROR ")
    ]
    plots = [
        stage_lines(loaded.findings, stages, name, f"affirmation-stages-{i}")
        for i, (name, stages) in enumerate(_families(loaded))
    ]
    more = [
        *plots,
        family_bars(loaded.findings, configs, "affirmation-families"),
        rate_table(loaded.findings, "affirmation-rates"),
    ]
    blocks += [block for block in more if block is not None]
    likely = likelihood_table(loaded.findings, "affirmation-likelihood")
    blocks += [Details(summary=LIKELY, blocks=(likely,))] if likely else []
    return Part(
        verdicts=[_verdict(loaded)],
        section=Section("affirmation", "Affirmation", LEDE, tuple(blocks)),
        evidence=_evidence(loaded, f"evenhand show {shlex.quote(folder)}"),
        methods=[(term, text) for term, text in result["methods"]],
        caveats=[text for text in result["caveats"] if not text.startswith("ERROR ")],
    )


def _families(loaded: LoadedRun) -> list[tuple[str, Mapping[str, str]]]:
    """Stage -> model, for each model family of the run."""
    stages: Mapping[str, str] = loaded.manifest["plan"]["config"]["stages"]
    out: dict[str, dict[str, str]] = {}
    for key, spec in stages.items():
        family, _, stage = key.rpartition("/")
        out.setdefault(family, {})[stage] = spec
    return list(out.items())


def _verdict(loaded: LoadedRun) -> Verdict:
    first, *others = sorted(loaded.result["verdicts"], key=lambda verdict: _GRAVITY.index(verdict["tone"]))
    rows = []
    over = [
        f
        for f in loaded.findings
        if f.estimand == "misgendering_excess" and f.config == first["config"] and not f.slice
    ]
    excess = {f.group for f in over if f.decision == "worse"}
    for f in loaded.findings:
        if (
            f.estimand == "misgendering_rate"
            and f.config == first["config"]
            and not f.slice
            and f.group
            and f.estimate is not None
        ):
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            label = f"{f.group}: misgendered in {percent(f.estimate)} of continuations with a pronoun"
            rows.append(
                GlanceRow(f.group, f.estimate, percent(f.estimate, 0), label, low, high, f.group in excess,
                          behind(f.config, f.group, "inconsistent"))
            )  # fmt: skip
    rows.sort(key=lambda row: -(row.value or 0))
    return Verdict(
        audit="Affirmation",
        tone=first["tone"],
        headline=first["headline"],
        detail=first["detail"],
        glance=Glance("Misgendered, by declared pronouns", tuple(rows)) if rows else None,
        more=(*first["also"], *(verdict["headline"] for verdict in others)),
        unknowns=tuple(text for verdict in (first, *others) for text in verdict["unknowns"]),
    )


def _evidence(loaded: LoadedRun, command: str) -> Evidence:
    """One row a continuation, with the pronoun that was found in it."""
    path = loaded.run.table("affirmation", "pronouns")
    if not path.exists() or loaded.responses is None:
        return Evidence((), (), command)
    items = {row["item_id"]: row for row in loaded.items.iter_rows(named=True)}
    text = {(r["config"], r["item_id"], r["repetition"]): r["text"] for r in loaded.responses.iter_rows(named=True)}
    rows = []
    for row in read_table(path).iter_rows(named=True):
        item = items[row["item_id"]]
        flags = (
            *((f"pronoun: {row['pronoun']}",) if row["pronoun"] else ()),
            *(("plural noun before it",) if row["plural"] else ()),
        )
        rows.append(
            EvidenceRow(
                id=row["item_id"],
                facets={"audit": "affirmation", "config": row["config"], "declared": row["declared"],
                        "verdict": row["verdict"] or row["missing"] or "failed"},
                prompt=_prompt(item["chat"]),
                text=text.get((row["config"], row["item_id"], row["repetition"]), ""),
                repetition=row["repetition"],
                flags=flags,
            )
        )  # fmt: skip
    facets = (
        Facet("audit", "Audit", {"affirmation": "Affirmation"}),
        Facet("config", "Configuration", {}, strata=True),
        Facet("declared", "Declared", {}, strata=True),
        Facet("verdict", "First pronoun", _VERDICTS, strata=True),
    )  # fmt: skip
    return Evidence(facets, rows, command)


def _prompt(chat: str) -> str:
    import json

    return "\n\n".join(content for _, content in json.loads(chat))
