"""Tables of the reward section: every shift with its test, what was named, extremes for reading, WinoQueer's metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from evenhand.methods.reward.margins.report.figures import behind
from evenhand.methods.reward.margins.report.rows import PairRows, Step
from evenhand.records import Finding
from evenhand.report.blocks import Block, Cell, Column, Details, Table
from evenhand.wording import between, count, group_label, nats, nats_range, p_value, percent, point_range, points


def shift_table(
    rows: PairRows, findings: Sequence[Finding], named: Sequence[Mapping[str, Any]], block_id: str
) -> Table:
    """Every comparison and group: shift, interval, adjusted p, net shift, selection rate, fate."""
    found = {
        (f.estimand, f.config, f.reference, f.group, *(f.slice.get(key) for key in ("pair_set", "stage", "ratio"))): f
        for f in findings
        if f.slice.get("scope") == "sentence" and not {"subset", "fate"} & set(f.slice)
    }
    fates = {(n["family"], n["policy"], n["pair_set"], n["group"], n["total"]): n["fate"] for n in named}
    table = []
    for step in rows.steps:
        for pair_set, group in rows.groups:
            key = (step.policy, step.reference, group, pair_set, step.stage, step.ratio)
            shift, net, rate = (found.get((name, *key)) for name in ("margin_shift", "net_shift", "selection_rate"))
            if shift is None:
                continue
            main = net or shift
            fate = fates.get((step.family, step.policy, pair_set, group, step.is_total), "")
            table.append(
                (
                    Cell(group_label(group), evidence=behind(step, group), label=f"{group_label(group)}, {step.title}"),
                    Cell(step.title + (" (total shift)" if step.is_total else "")),
                    _nats(shift), _nats(net),
                    _range(main),
                    Cell(p_value(main.test.p_holm) if main.test else "", sort=main.test.p_holm if main.test else None),
                    Cell(percent(rate.estimate) if rate else "", sort=rate.estimate if rate else None),
                    Cell(fate),
                    Cell(count(shift.clusters.get("predicate", 0)), sort=shift.clusters.get("predicate", 0)),
                    Cell(nats(main.minimum_detectable).lstrip("+"), sort=main.minimum_detectable),
                )
            )  # fmt: skip
    columns = (
        Column("about"), Column("stage"), Column("shift, nats", numeric=True, help="mean reward margin divided by beta"),
        Column("net of neutral", numeric=True, help="less the shift of neutral sentences about the same people"),
        Column("95 % interval"), Column("adjusted p", numeric=True, help="Holm over every model, stage and group"),
        Column("favoured", numeric=True, help="share of pairs whose harmful text was favoured; ties count half"),
        Column("fate"), Column("predicates", numeric=True),
        Column("detectable", numeric=True, help="smallest shift that could be found with 80 % power"),
    )  # fmt: skip
    return Table(
        id=block_id, title="Every stage and group", columns=columns, rows=tuple(table), sortable=True,
        caption="The interval and the adjusted p are those of the net shift where there are neutral pairs.",
    )  # fmt: skip


def _range(f: Finding) -> Cell:
    return Cell(nats_range(f.interval.low, f.interval.high)) if f.interval else Cell("—", reason=f.reason or "none")


def _nats(f: Finding | None) -> Cell:
    if f is None or f.estimate is None:
        return Cell("—", reason=(f.reason if f else "") or "no neutral pairs")
    return Cell(nats(f.estimate), sort=f.estimate)


def bias_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Share of pairs whose harmful text a model finds likelier, by model and identity, and the change from the base model."""
    rates = [f for f in findings if f.estimand == "bias_rate" and f.estimate is not None]
    if not rates:
        return None
    changes = {
        (f.config, f.group, f.outcome, tuple(f.slice.items())): f for f in findings if f.estimand == "bias_change"
    }
    table = []
    for f in rates:
        change = changes.get((f.config, f.group, f.outcome, tuple(f.slice.items())))
        who = group_label(f.group) + (f" ({f.slice['subset']})" if "subset" in f.slice else "")
        ends = point_range(change.interval.low, change.interval.high) if change and change.interval else ""
        table.append(
            (
                Cell(who), Cell(f.config), Cell(f.outcome), Cell(percent(f.estimate), sort=f.estimate),
                Cell(between(f.interval.low, f.interval.high) if f.interval else ""),
                Cell(points(change.estimate) if change else "", sort=change.estimate if change else None), Cell(ends),
                Cell(change.extra.get("word", "") if change else ""), Cell(count(f.n), sort=f.n),
            )
        )  # fmt: skip
    columns = (
        Column("about"), Column("model"), Column("over"), Column("harmful text likelier", numeric=True), Column("95 % interval"),
        Column("change from base, points", numeric=True), Column("95 % interval of the change"), Column("reading"),
        Column("pairs", numeric=True),
    )  # fmt: skip
    return Table(
        id=block_id, title="Likelihood of the stereotype, model by model", columns=columns, rows=tuple(table), sortable=True,
        caption="WinoQueer's metric for causal models over the tokens that both sentences share, and the whole-sentence variant. "
        "50 % is no preference. Ties count as not biased.",
    )  # fmt: skip


def reading_tables(readings: pl.DataFrame, texts: pl.DataFrame, steps: Sequence[Step], block_id: str) -> Details | None:
    """The extremes, folded away: predicates with the highest and lowest mean shift, and some at random as a control."""
    if readings.is_empty():
        return None
    said = {row["pair_id"]: row for row in texts.iter_rows(named=True)}
    blocks: list[Block] = []
    titles = {"top": "Most favoured", "bottom": "Least favoured", "random": "At random, as a control"}
    for number, step in enumerate(steps):
        here = readings.filter((pl.col("policy") == step.policy) & (pl.col("reference") == step.reference))
        here = here.filter((pl.col("stage") == step.stage) & (pl.col("family") == step.family))
        for which, title in titles.items():
            part = here.filter(pl.col("which") == which).sort("rank")
            if part.is_empty():
                continue
            table = tuple(
                (
                    Cell(said[row["pair_id"]]["context"] + said[row["pair_id"]]["harmful"]),
                    Cell(group_label(row["group"])),
                    *(Cell(nats(row[name]), sort=row[name]) for name in ("m_ref", "m_pi", "cluster_delta_nats")),
                )
                for row in part.iter_rows(named=True)
            )
            columns = (Column("one sentence of the predicate", wide=True), Column("about"), Column("margin before", numeric=True),
                       Column("margin after", numeric=True), Column("mean shift", numeric=True))  # fmt: skip
            blocks.append(
                Table(
                    id=f"{block_id}-{number}-{which}",
                    title=f"{title}, {step.title}",
                    columns=columns,
                    rows=table,
                    sortable=True,
                )
            )
    return Details(summary="Harmful sentences: the predicates that moved most, for reading", blocks=tuple(blocks))
