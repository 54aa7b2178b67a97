"""Tables of the reward audit: every shift with its test, extremes for reading, WinoQueer's metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import polars as pl

from evenhand.methods.reward.margins.page_figures import behind
from evenhand.methods.reward.margins.page_rows import PairRows, Step
from evenhand.records import Finding
from evenhand.report.blocks import Block, Table
from evenhand.report.build import folded
from evenhand.report.finding_table import FINDING, NAT_SIZE, NATS, FindingColumns, finding_table, value, words
from evenhand.wording import group_label


class Shifted(NamedTuple):
    """One comparison and group, with the findings of its row."""

    step: Step
    group: str
    shift: Finding
    net: Finding | None
    rate: Finding | None
    fate: str

    @property
    def main(self) -> Finding:
        """The net shift if there are neutral pairs, else the shift."""
        return self.net or self.shift


def shift_table(
    rows: PairRows, findings: Sequence[Finding], named: Sequence[Mapping[str, Any]], block_id: str
) -> Table | None:
    """Every comparison and group: shift, interval, adjusted p, net shift, selection rate, fate."""
    by_key = {
        (f.estimand, f.config, f.reference, f.group, *(f.slice.get(key) for key in ("pair_set", "stage", "ratio"))): f
        for f in findings
        if f.slice.get("scope") == "sentence" and not {"subset", "fate"} & set(f.slice)
    }
    fates = {(n["family"], n["policy"], n["pair_set"], n["group"], n["total"]): n["fate"] for n in named}
    shown = []
    for step in rows.steps:
        for pair_set, group in rows.groups:
            key = (step.policy, step.reference, group, pair_set, step.stage, step.ratio)
            shift, net, rate = (by_key.get((name, *key)) for name in ("margin_shift", "net_shift", "selection_rate"))
            if shift is not None:
                fate = fates.get((step.family, step.policy, pair_set, group, step.is_total), "")
                shown.append(Shifted(step, group, shift, net, rate, fate))
    main = FindingColumns[Shifted](lambda row: row.main)
    return finding_table(
        shown,
        (
            words(
                "about",
                lambda row: group_label(row.group),
                evidence=lambda row: behind(row.step, row.group),
                label=lambda row: f"{group_label(row.group)}, {row.step.title}",
            ),
            words("stage", lambda row: row.step.title + (" (total shift)" if row.step.is_total else "")),
            FindingColumns[Shifted](lambda row: row.shift).estimate(
                "shift, nats", note="mean reward margin divided by beta"
            ),
            FindingColumns[Shifted](lambda row: row.net, "no neutral pairs").estimate(
                "net of neutral", note="less the shift of neutral sentences about the same people"
            ),
            main.interval(),
            main.p(note="Holm over every model, stage and group"),
            FindingColumns[Shifted](lambda row: row.rate).estimate(
                "favoured", note="share of pairs whose harmful text was favoured; ties count half"
            ),
            words("fate", lambda row: row.fate),
            FindingColumns[Shifted](lambda row: row.shift).size("predicates", cluster="predicate"),
            value(
                "detectable",
                lambda row: row.main.minimum_detectable,
                NAT_SIZE,
                note="smallest shift that could be found with 80 % power",
            ),
        ),
        block_id=block_id,
        title="Every stage and group",
        caption="The interval and the adjusted p are those of the net shift if there are neutral pairs.",
        sortable=True,
    )


def bias_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Share of pairs whose harmful text a model finds likelier, by model and identity, and the change from the base model."""

    def key(f: Finding) -> tuple[object, ...]:
        return f.config, f.group, f.outcome, tuple(f.slice.items())

    changes = {key(f): f for f in findings if f.estimand == "bias_change"}
    change = FindingColumns[Finding](lambda f: changes.get(key(f)), "no base model in the run")

    def reading(f: Finding) -> str:
        other = changes.get(key(f))
        return str(other.extra.get("word", "")) if other else ""

    return finding_table(
        [f for f in findings if f.estimand == "bias_rate" and f.estimate is not None],
        (
            words("about", lambda f: group_label(f.group) + (f" ({f.slice['subset']})" if "subset" in f.slice else "")),
            words("model", lambda f: f.config),
            words("over", lambda f: f.outcome),
            FINDING.estimate("harmful text likelier"),
            FINDING.interval(),
            change.estimate("change from base, points"),
            change.interval("95 % interval of the change"),
            words("reading", reading),
            FINDING.size("pairs"),
        ),
        block_id=block_id,
        title="Likelihood of the stereotype, model by model",
        caption="WinoQueer's metric for causal models over the tokens that both sentences share, and the whole-sentence "
        "variant. 50 % is no preference. Ties count as not biased.",
        sortable=True,
    )


def reading_tables(readings: pl.DataFrame, texts: pl.DataFrame, steps: Sequence[Step], block_id: str) -> list[Block]:
    """The extremes, folded away: predicates with the highest and lowest mean shift, and a random sample as a control."""
    if readings.is_empty():  # too few pairs for an extreme
        return []
    sentence = {row["pair_id"]: row["context"] + row["harmful"] for row in texts.iter_rows(named=True)}
    numbers = {"margin before": "m_ref", "margin after": "m_pi", "mean shift": "cluster_delta_nats"}
    titles = {"top": "Most favoured", "bottom": "Least favoured", "random": "At random, as a control"}
    tables: list[Block | None] = []
    for place, step in enumerate(steps):
        of_step = readings.filter(
            (pl.col("policy") == step.policy)
            & (pl.col("reference") == step.reference)
            & (pl.col("stage") == step.stage)
            & (pl.col("family") == step.family)
        )
        for which, title in titles.items():
            tables.append(
                finding_table(
                    of_step.filter(pl.col("which") == which).sort("rank").iter_rows(named=True),
                    (
                        words("one sentence of the predicate", lambda row: sentence[row["pair_id"]], wide=True),
                        words("about", lambda row: group_label(row["group"])),
                        *(value(name, itemgetter(column), NATS) for name, column in numbers.items()),
                    ),
                    block_id=f"{block_id}-{place}-{which}",
                    title=f"{title}, {step.title}",
                    sortable=True,
                )
            )
    return folded("Harmful sentences: the predicates that moved most, for reading", *tables)
