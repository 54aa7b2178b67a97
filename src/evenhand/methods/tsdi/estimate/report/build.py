"""An estimated bias as a part of a report: the first-screen sentence, the shift by position, the tokens, and how to use it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import polars as pl

from evenhand.methods.tsdi.estimate.report.figures import opener_plot, token_blocks
from evenhand.report.blocks import Block, Cell, Column, Note, Table
from evenhand.report.build import Part
from evenhand.report.evidence import Evidence
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Section, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import count, nats, nats_range, number, percent

LEDE = (
    "Alignment can make refusal openers likelier whatever the prompt says. How far did it shift each token of the beginning of an "
    "answer, measured on random prompts that ask for nothing?"
)
LABELS = {
    "raised": "Refusal openers are raised",
    "not raised": "No shift found",
    "lowered": "Refusal openers are lowered",
    "unknown": "We cannot tell",
}
CHECKS = {
    "raised": "Sign check: refusal openers are raised at the first token, as a shift towards refusals would have it.",
    "not raised": "Sign check: refusal openers are not raised at the first token. There may be nothing to take off.",
    "lowered": "Sign check: refusal openers are lowered at the first token. The two models may have been swapped; subtracting this "
    "bias would make the model refuse more.",
    "unknown": "Sign check: left out, since no refusal opener of the list is a token of this vocabulary.",
}


def tsdi_part(loaded: LoadedRun) -> Part:
    """Verdict, section and methods of an estimate. There are no responses: contexts are random."""
    result, facts = loaded.result, loaded.result["facts"]
    sign = str(facts["sign"])
    blocks: list[Block] = [Note(text=CHECKS[sign], tone="info" if sign == "raised" else "caution")]
    blocks += [Note(text=text, tone="caution") for text in result["verdicts"][0]["unknowns"]]
    blocks.append(opener_plot(loaded.findings, "tsdi-openers"))
    blocks += token_blocks(loaded.table("tokens"), "tsdi-tokens")
    blocks.append(_facts_table(loaded, facts))
    return Part(
        verdicts=[_verdict(loaded, sign)],
        section=Section("tsdi", "Context-free bias (TSDI)", LEDE, tuple(blocks)),
        evidence=Evidence((), [], f"evenhand show {shlex.quote(str(loaded.run.folder))} --audit tsdi"),
        methods=[(term, text) for term, text in result["methods"]],
        caveats=list(result["caveats"]),
    )


def spec_of(loaded: LoadedRun) -> str:
    """The engine spec of the corrected model."""
    facts = loaded.result["facts"]
    return f"{loaded.result['verdicts'][0]['config']}+tsdi:{loaded.run.folder / facts['artefact']}"


def _verdict(loaded: LoadedRun, sign: str) -> Verdict:
    (told,) = loaded.result["verdicts"]
    facts = loaded.result["facts"]
    positions = loaded.table("positions")
    first = positions.filter(pl.col("position") == 1).row(0, named=True)
    rows = []
    for title, column in (("reference", "opener_mass_reference"), (told["config"], "opener_mass_aligned")):
        share = float(first[column])
        label = f"{title}: refusal openers have {percent(share)} of the first token's probability"
        rows.append(
            GlanceRow(title, share, percent(share, 1), label, strong=column.endswith("aligned") and sign == "raised")
        )
    numbers = []
    found = [f for f in loaded.findings if f.estimand == "opener_shift" and f.slice["position"] == "1"]
    # As in the headline: the openers that are ever likely, or all of the list where none is.
    for shift in sorted(found, key=lambda f: f.outcome == "refusal openers"):
        if shift.estimate is not None and shift.interval is not None:
            ends = nats_range(shift.interval.low, shift.interval.high)
            numbers.append(KeyNumber(f"{nats(shift.estimate)} nats", f"{shift.outcome}, token 1", ends))
            break
    numbers.append(
        KeyNumber(
            count(facts["draws"]),
            "random contexts",
            f"largest standard error {number(facts['achieved_error'], 2)} nats",
        )
    )
    use = () if sign in ("lowered",) else (("Use the corrected model as:", spec_of(loaded)),)
    return Verdict(
        audit="Context-free bias (TSDI)",
        tone=told["tone"],
        headline=told["headline"],
        detail=told["detail"],
        numbers=tuple(numbers),
        glance=Glance("Probability of refusal openers as the first token, over random contexts", tuple(rows)),
        more=tuple(told["also"]),
        unknowns=tuple(told["unknowns"]),
        actions=use,
        label=LABELS[sign],
    )


def _facts_table(loaded: LoadedRun, facts: Mapping[str, Any]) -> Table:
    """What the artefact is."""
    told = [
        ("use it as", spec_of(loaded)),
        ("folder", str(loaded.run.folder / facts["artefact"])),
        ("digest", str(facts["digest"])),
        ("positions corrected (L)", count(facts["length"])),
        ("vocabulary", f"{count(facts['vocabulary'])} ids, {count(facts['excluded'])} of them left as they are"),
        (
            "random contexts",
            f"{count(facts['draws'])}, from the pool {facts['pool']} ({count(facts['pool_size'])} tokens)",
        ),
        ("special tokens taken out of the pool", count(facts["pool_removed"])),
        ("largest standard error", f"{number(facts['achieved_error'], 2)} nats"),
        (
            "the reference",
            "a surrogate: not what the model was tuned from" if facts["surrogate"] else "what the model was tuned from",
        ),
        ("opener shift left, token 1", f"{nats(facts['opener_shift_after'])} nats at α {facts['alpha']:g}"),
    ]
    return Table(
        id="tsdi-artefact",
        title="The artefact",
        columns=(Column("what"), Column("value", wide=True)),
        rows=tuple((Cell(what), Cell(value)) for what, value in told),
    )
