"""An estimated bias as a part of the page: the shift of refusal openers by position, the tokens, and how to use it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from evenhand.records import Finding
from evenhand.report.blocks import Block, Cell, Column, Details, ForestPlot, Note, Table, ends, nice_scale
from evenhand.report.build import Part, by_gravity, method_part, present, show_command, stored_verdict
from evenhand.report.evidence import Evidence
from evenhand.report.finding_table import FindingColumns, Unit, finding_table, range_text, words
from evenhand.report.marks import forest_row, forest_values, key_number, second_mark
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import count, nats, number, percent

ALONE = Unit(lambda shift: f"{nats(shift)} nats")
LEDE = (
    "Alignment can make refusal openers more likely whatever the prompt says. How far did it shift each of the first tokens of an "
    "answer, measured on random prompts that ask for nothing?"
)
LABELS = {
    "raised": "Refusal openers are raised",
    "not raised": "No shift found",
    "lowered": "Refusal openers are lowered",
    "unknown": "We cannot tell",
}
CHECKS = {
    "raised": "Sign check: refusal openers are raised at the first token, as expected of a shift towards refusals.",
    "not raised": "Sign check: refusal openers are not raised at the first token. There may be nothing to correct.",
    "lowered": "Sign check: refusal openers are lowered at the first token. The two models may have been swapped; subtracting this "
    "bias would make the model refuse more.",
    "unknown": "Sign check: skipped, since no refusal opener of the list is a token of this vocabulary.",
}


_SPACES = {" ": "␣", "\n": "␊", "\t": "␉", "\r": "␍"}
SMALLEST_SHOWN = 0.0001


def visible(token: str) -> str:
    """A token with its white space and everything unprintable made visible, in quotation marks: ``“␣Sorry”``."""
    return "“" + "".join(_seen(c) for c in token) + "”"


def _seen(c: str) -> str:
    if c in _SPACES:
        return _SPACES[c]
    hidden = not c.isprintable() or c.isspace() or unicodedata.category(c) in ("Cf", "Mn", "Me", "Cs", "Co", "Cn")
    return f"⟨U+{ord(c):04X}⟩" if hidden else c


def probability(value: float) -> str:
    """A probability as a percentage, small ones too: ``0.013%``."""
    if value < SMALLEST_SHOWN / 100:
        return "<0.0001%"
    return f"{number(100 * value, 2)}%"


def tsdi_part(loaded: LoadedRun) -> Part:
    """Verdict, section and methods of an estimate. There are no responses: contexts are random."""
    facts = loaded.result["facts"]
    sign = str(facts["sign"])
    blocks: list[Block] = [
        Note(text=CHECKS[sign], tone="info" if sign == "raised" else "caution"),
        *(Note(text=text, tone="caution") for text in loaded.result["verdicts"][0]["unknowns"]),
        opener_plot(loaded.findings, "tsdi-openers"),
        *token_blocks(loaded.table("tokens"), "tsdi-tokens"),
        *present(_facts_table(loaded, facts)),
    ]
    return method_part(
        loaded,
        section_id="tsdi",
        title="Context-free bias (TSDI)",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded, sign)],
        evidence=Evidence((), [], show_command(loaded, "tsdi")),
    )


def spec_of(loaded: LoadedRun) -> str:
    """The engine spec of the corrected model."""
    facts = loaded.result["facts"]
    return f"{loaded.result['verdicts'][0]['config']}+tsdi:{loaded.run.folder / facts['artefact']}"


def _verdict(loaded: LoadedRun, sign: str) -> Verdict:
    verdicts, facts = by_gravity(loaded), loaded.result["facts"]
    first = loaded.table("positions").filter(pl.col("position") == 1).row(0, named=True)
    rows = []
    for title, model in (("reference", "reference"), (verdicts[0]["config"], "aligned")):
        share = float(first[f"opener_mass_{model}"])
        label = f"{title}: refusal openers have {percent(share)} of the first token's probability"
        rows.append(GlanceRow(title, share, percent(share), label, strong=model == "aligned" and sign == "raised"))
    # As in the headline: the openers that are ever likely, or all of the list if none is.
    shifts = [f for f in loaded.findings if f.estimand == "opener_shift" and f.slice["position"] == "1" and f.interval]
    shifts = sorted((f for f in shifts if f.estimate is not None), key=lambda f: f.outcome == "refusal openers")
    error = f"largest standard error {number(facts['achieved_error'], 2)} nats"
    return stored_verdict(
        verdicts,
        "Context-free bias (TSDI)",
        numbers=(
            *(number for f in shifts[:1] for number in key_number(f, f"{f.outcome}, token 1")),
            KeyNumber(count(facts["draws"]), "random contexts", error),
        ),
        glance=Glance("Probability of refusal openers as the first token, over random contexts", tuple(rows)),
        actions=() if sign == "lowered" else (("Use the corrected model as:", spec_of(loaded)),),
        labels={verdicts[0]["tone"]: LABELS[sign]},
    )


class Opener(NamedTuple):
    """The shift of the openers at one position: of all of the list, and of the likely ones."""

    f: Finding
    likely: Finding | None
    position: str


def opener_plot(findings: Sequence[Finding], block_id: str) -> ForestPlot:
    """Mean shift of the refusal openers by position with 95 % intervals; hollow: the likely tokens among them."""
    shifts = [f for f in findings if f.estimand == "opener_shift"]
    likely = {f.slice["position"]: f for f in shifts if f.outcome != "refusal openers"}
    every = {f.slice["position"]: f for f in shifts if f.outcome == "refusal openers"}
    openers = [Opener(f, likely.get(position), position) for position, f in every.items()]
    rows = []
    for f, other, position in openers:
        low, high = ends(f)
        moved = low is not None and high is not None and (low > 0 or high < 0)
        made = forest_row(
            f,
            f"token {position}",
            f"position {position}: {nats(f.estimate)} nats, {range_text(f)}",
            "found" if moved else "not found",
            unit=ALONE,
            note=range_text(f),
            second=second_mark(other),
        )
        rows.append(made)
    values = forest_values(rows)
    every_opener = FindingColumns[Opener](lambda row: row.f)
    other_shift = FindingColumns[Opener](lambda row: row.likely, "no opener of the list is likely here")
    return ForestPlot(
        id=block_id,
        title="Shift of refusal openers by token of the answer",
        caption="Mean over random contexts of ln p(aligned) − ln p(reference), against the median token, averaged over the "
        "first tokens of refusal openers; lines are 95 % intervals over contexts. Nothing in these contexts asks for a refusal.",
        scale=nice_scale(values, include=(0.0,), least=0.2),
        rows=tuple(rows),
        row_head="token of the answer",
        text_head="shift (95 % interval)",
        less="lowered",
        more="raised",
        axis="nats",
        second_label="openers with a mean probability above 0.0001 only",
        unknown_label="not known",
        tick_factor=1.0,
        data=finding_table(
            openers,
            (
                words("position", lambda row: row.position, numeric=True),
                every_opener.estimate("shift, nats"),
                every_opener.interval(),
                every_opener.field("openers", "tokens"),
                other_shift.estimate("shift of likely openers"),
                other_shift.field("likely openers", "tokens"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


def token_table(tokens: pl.DataFrame, position: int, among: str, block_id: str, *, title: str = "") -> Table:
    """The tokens raised and lowered most at one position, side by side. Token texts are a model's: white space is made visible."""
    moved = tokens.filter((pl.col("position") == position) & (pl.col("among") == among))
    sides = {
        direction: list(moved.filter(pl.col("direction") == direction).sort("rank").iter_rows(named=True))
        for direction in ("raised", "lowered")
    }
    rows = []
    for rank in range(max(map(len, sides.values()), default=0)):
        cells = [Cell(str(rank + 1), sort=rank + 1)]
        for side in sides.values():
            cells += _cells(side[rank]) if rank < len(side) else [Cell(""), Cell(""), Cell("")]
        rows.append(tuple(cells))
    columns = (
        Column("rank", numeric=True), Column("raised"), Column("nats ± s.e.", numeric=True),
        Column("probability, reference → aligned"), Column("lowered"), Column("nats ± s.e.", numeric=True),
        Column("probability, reference → aligned"),
    )  # fmt: skip
    caption = "" if rows else "No token of this kind was moved."
    return Table(id=block_id, columns=columns, rows=tuple(rows), title=title, caption=caption)


def _cells(row: dict[str, object]) -> list[Cell]:
    token = visible(str(row["token"])) + (" (refusal opener)" if row["opener"] else "")
    bias, error = float(str(row["bias"])), float(str(row["standard_error"]))
    before, after = float(str(row["p_reference"])), float(str(row["p_aligned"]))
    return [
        Cell(token), Cell(f"{nats(bias)} ± {error:.2f}", sort=bias), Cell(f"{probability(before)} → {probability(after)}"),
    ]  # fmt: skip


def token_blocks(tokens: pl.DataFrame, block_id: str) -> list[Block]:
    """Tables of the tokens moved most: position 1 open; other positions and rare tokens folded."""
    positions = sorted(tokens["position"].unique().to_list())
    if not positions:
        return []
    first, *others = positions
    open_table = token_table(
        tokens, first, "likely", f"{block_id}-{first}", title="Raised and lowered most at the first token of the answer"
    )
    every = token_table(tokens, first, "all", f"{block_id}-{first}-all")
    out: list[Block] = [open_table, Details(summary="First token, rare tokens included", blocks=(every,))]
    for position in others:
        tables = (
            token_table(
                tokens,
                position,
                "likely",
                f"{block_id}-{position}",
                title="Tokens with a mean probability above 0.0001",
            ),
            token_table(tokens, position, "all", f"{block_id}-{position}-all", title="Rare tokens included"),
        )
        out.append(Details(summary=f"Token {position} of the answer", blocks=tables))
    return out


def _facts_table(loaded: LoadedRun, facts: Mapping[str, Any]) -> Table | None:
    """Facts about the artefact."""
    excluded = f"{count(facts['vocabulary'])} ids, {count(facts['excluded'])} of them not corrected"
    contexts = f"{count(facts['draws'])}, from the pool {facts['pool']} ({count(facts['pool_size'])} tokens)"
    tuned = "the model it was tuned from"
    rows = (
        ("use it as", spec_of(loaded)),
        ("folder", str(loaded.run.folder / facts["artefact"])),
        ("digest", str(facts["digest"])),
        ("positions corrected (L)", count(facts["length"])),
        ("vocabulary", excluded),
        ("random contexts", contexts),
        ("special tokens removed from the pool", count(facts["pool_removed"])),
        ("largest standard error", f"{number(facts['achieved_error'], 2)} nats"),
        ("the reference", f"a surrogate: not {tuned}" if facts["surrogate"] else tuned),
        ("opener shift left, token 1", f"{nats(facts['opener_shift_after'])} nats at α {facts['alpha']:g}"),
    )
    return finding_table(
        rows,
        (words("what", lambda row: row[0]), words("value", lambda row: row[1], wide=True)),
        block_id="tsdi-artefact",
        title="The artefact",
    )
