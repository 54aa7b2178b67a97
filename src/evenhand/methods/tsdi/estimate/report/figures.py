"""Figures of an estimated bias: the shift of refusal openers by position, and the tokens that were raised and lowered most."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import polars as pl

from evenhand.records import Finding
from evenhand.report.blocks import Block, Cell, Column, Details, ForestPlot, ForestRow, Table
from evenhand.report.scales import nice_scale
from evenhand.wording import DASH, count, nats, nats_range, number

_SPACES = {" ": "␣", "\n": "␊", "\t": "␉", "\r": "␍"}
SMALLEST_TOLD = 0.0001


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
    if value < SMALLEST_TOLD / 100:
        return "<0.0001%"
    return f"{number(100 * value, 2)}%"


def opener_plot(findings: Sequence[Finding], block_id: str) -> ForestPlot:
    """Mean shift of the refusal openers by position with 95 % intervals; hollow: those among the likely tokens alone."""
    every = {
        f.slice["position"]: f for f in findings if f.estimand == "opener_shift" and f.outcome == "refusal openers"
    }
    likely = {
        f.slice["position"]: f for f in findings if f.estimand == "opener_shift" and f.outcome != "refusal openers"
    }
    rows, data, values = [], [], []
    for position, f in every.items():
        low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
        other = likely.get(position)
        second = None
        if other is not None and other.estimate is not None:
            ends = (other.interval.low, other.interval.high) if other.interval else (None, None)
            second = (other.estimate, *ends)
            values += [other.estimate, *(end for end in ends if end is not None)]
        values += [value for value in (f.estimate, low, high) if value is not None]
        found = low is not None and high is not None and (low > 0 or high < 0)
        told = f"position {position}: {nats(f.estimate)} nats, {nats_range(low, high)}"
        rows.append(
            ForestRow(
                title=f"token {position}",
                estimate=f.estimate,
                low=low,
                high=high,
                text=f"{nats(f.estimate)} nats",
                note=nats_range(low, high),
                label=told,
                state="undefined" if f.estimate is None else "found" if found else "not found",
                reason=f.reason,
                second=second,
            )
        )
        shown = nats(other.estimate) if other is not None else DASH
        data.append(
            (
                Cell(position, sort=int(position)), Cell(nats(f.estimate), sort=f.estimate, reason=f.reason),
                Cell(nats_range(low, high)), Cell(count(f.extra["tokens"])), Cell(shown, reason=other.reason if other else ""),
                Cell(count(other.extra["tokens"]) if other else DASH),
            )
        )  # fmt: skip
    columns = (
        Column("position", numeric=True), Column("shift, nats", numeric=True), Column("95 % interval"),
        Column("openers", numeric=True), Column("shift of likely openers", numeric=True), Column("likely openers", numeric=True),
    )  # fmt: skip
    return ForestPlot(
        id=block_id,
        title="How far refusal openers are shifted, token by token",
        caption="Mean over random contexts of ln p(aligned) − ln p(reference), against the median token, averaged over the first "
        "tokens of refusal openers; lines are 95 % intervals over contexts. Nothing in these contexts asks for a refusal.",
        scale=nice_scale(values, include=(0.0,), least=0.2),
        rows=tuple(rows),
        row_head="token of the answer",
        text_head="shift (95 % interval)",
        less="lowered",
        more="raised",
        axis="nats",
        second_label="openers with a mean probability above 0.0001 alone",
        unknown_label="not known",
        tick_factor=1.0,
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )


def token_table(tokens: pl.DataFrame, position: int, among: str, block_id: str, *, title: str = "") -> Table:
    """The tokens raised and lowered most at one position, side by side. Token texts are a model's: white space is made visible."""
    own = tokens.filter((pl.col("position") == position) & (pl.col("among") == among))
    sides = {
        direction: list(own.filter(pl.col("direction") == direction).sort("rank").iter_rows(named=True))
        for direction in ("raised", "lowered")
    }
    rows = []
    for rank in range(max(map(len, sides.values()), default=0)):
        cells = [Cell(str(rank + 1), sort=rank + 1)]
        for found in sides.values():
            cells += _cells(found[rank]) if rank < len(found) else [Cell(""), Cell(""), Cell("")]
        rows.append(tuple(cells))
    columns = (
        Column("rank", numeric=True), Column("raised"), Column("nats ± s.e.", numeric=True),
        Column("probability, reference → aligned"), Column("lowered"), Column("nats ± s.e.", numeric=True),
        Column("probability, reference → aligned"),
    )  # fmt: skip
    caption = "" if rows else "No token of this kind was moved."
    return Table(id=block_id, columns=columns, rows=tuple(rows), title=title, caption=caption)


def _cells(row: dict[str, object]) -> list[Cell]:
    told = visible(str(row["token"])) + (" (refusal opener)" if row["opener"] else "")
    bias, error = float(str(row["bias"])), float(str(row["standard_error"]))
    before, after = float(str(row["p_reference"])), float(str(row["p_aligned"]))
    return [
        Cell(told), Cell(f"{nats(bias)} ± {error:.2f}", sort=bias), Cell(f"{probability(before)} → {probability(after)}"),
    ]  # fmt: skip


def token_blocks(tokens: pl.DataFrame, block_id: str) -> list[Block]:
    """Position 1 open, every other position folded; rare tokens, which are hardly ever said, are folded too."""
    positions = sorted(tokens["position"].unique().to_list())
    if not positions:
        return []
    first, *others = positions
    open_table = token_table(
        tokens, first, "likely", f"{block_id}-{first}", title="Raised and lowered most at the first token of the answer"
    )
    every = token_table(tokens, first, "all", f"{block_id}-{first}-all")
    out: list[Block] = [open_table, Details(summary="The first token: rare tokens too", blocks=(every,))]
    for position in others:
        tables = (
            token_table(
                tokens,
                position,
                "likely",
                f"{block_id}-{position}",
                title="Tokens with a mean probability above 0.0001",
            ),
            token_table(tokens, position, "all", f"{block_id}-{position}-all", title="Rare tokens too"),
        )
        out.append(Details(summary=f"Token {position} of the answer", blocks=tables))
    return out
