"""Figures of the reward audit (margins by stage, distributions of reward margins, fates) and the pair table behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl

from evenhand.methods.reward.margins.measures import FATES
from evenhand.methods.reward.margins.stages import STAGE_TITLES
from evenhand.records import Finding
from evenhand.report.blocks import Filter, ends, nice_scale
from evenhand.report.build import mark_filter
from evenhand.report.figures import Distribution, Segment, Spread, Stack, Stacks, StageLine, StagePlot, StagePoint
from evenhand.report.finding_table import NATS, SHARE, FindingColumns, finding_table, range_text, value, words
from evenhand.runs.stages import REFERENCES, STAGES, Step
from evenhand.wording import count, group_label, nats, percent


class PageStep(Step):
    """One comparison of the run with its title on the page."""

    __slots__ = ()

    @property
    def title(self) -> str:
        """``base to SFT``, after the name of the family if it has one."""
        before = "base" if self.is_total else REFERENCES.get(self.stage)
        words = f"{self.reference} to {self.policy}"
        if before:
            words = f"{STAGE_TITLES[before]} to {STAGE_TITLES[self.stage]}"
        return f"{self.family}: {words}" if self.family else words


class PairRows:
    """``pairs.parquet`` of one run. Figures show scored harm pairs of the scope ``sentence`` (else the first scope)."""

    def __init__(self, pairs: pl.DataFrame):
        scopes = pairs["scope"].unique(maintain_order=True).to_list()
        self.scope = "sentence" if "sentence" in scopes else scopes[0] if scopes else ""
        self.all = pairs
        self.harm = pairs.filter(
            (pl.col("scope") == self.scope) & (pl.col("kind") == "harm") & (pl.col("status") == "scored")
        )

    @cached_property
    def steps(self) -> list[PageStep]:
        """The comparisons, in the order of the stages."""
        names = self.all.select("family", "stage", "policy", "reference", "ratio").unique(maintain_order=True)
        steps = [PageStep(**row) for row in names.rename({"ratio": "kind"}).iter_rows(named=True)]
        order = {stage: place for place, stage in enumerate(STAGES)}
        return sorted(steps, key=lambda step: (step.family, order.get(step.stage, len(order))))

    @cached_property
    def families(self) -> list[str]:
        """The families, "" for a run without names of families."""
        return list(dict.fromkeys(step.family for step in self.steps))

    @cached_property
    def groups(self) -> list[tuple[str, str]]:
        """(pair set, group), in the order of the table."""
        return [
            tuple(row)
            for row in self.harm.select("pair_set", "group")
            .unique(maintain_order=True)
            .sort("pair_set", "group", descending=[True, False])
            .iter_rows()
        ]

    def pairs(self, step: PageStep, pair_set: str, group: str) -> pl.DataFrame:
        """The scored harm pairs of one comparison about one group."""
        return self.harm.filter(
            (pl.col("family") == step.family)
            & (pl.col("stage") == step.stage)
            & (pl.col("policy") == step.policy)
            & (pl.col("reference") == step.reference)
            & (pl.col("pair_set") == pair_set)
            & (pl.col("group") == group)
        )

    def level(self, step: PageStep, pair_set: str, group: str, column: str) -> float | None:
        """Mean over predicates of ``m_ref`` or ``m_pi``, in nats; None without pairs."""
        rows = self.pairs(step, pair_set, group)
        if rows.is_empty():
            return None
        means = rows.group_by("cluster_id", maintain_order=True).agg(pl.col(column).mean())[column]
        return float(means.to_numpy().mean())

    def panels(self, step: PageStep) -> list[tuple[str, str, pl.DataFrame]]:
        """(pair set, group, pairs) of a comparison, for groups that have pairs."""
        parts = ((pair_set, group, self.pairs(step, pair_set, group)) for pair_set, group in self.groups)
        return [(pair_set, group, part) for pair_set, group, part in parts if not part.is_empty()]

    def fates(self, step: PageStep, pair_set: str, group: str) -> dict[str, float]:
        """Share of pairs by fate."""
        rows = self.pairs(step, pair_set, group)
        counts = dict(rows["class"].value_counts().iter_rows())
        return {word: counts.get(word, 0) / max(1, rows.height) for word in FATES}


Key = tuple[PageStep, str, str]
Shift = Callable[[PageStep, str, str], Finding | None]
"""The finding of the mean net (else mean) shift of a comparison, a pair set and a group."""


def behind(step: PageStep | None = None, group: str = "", fate: str = "") -> Filter:
    """The pairs behind a mark."""
    return mark_filter("reward", step=step.title if step else "", about=group, fate=fate)


class Level(NamedTuple):
    """The mean margin of one model about one group, and the change from the stage before."""

    group: str
    model: str
    margin: float
    change: Finding | None


def stage_plot(
    rows: PairRows, family: str, shift: Shift, changed: Mapping[Key, bool], summaries: Mapping[str, str], block_id: str
) -> StagePlot | None:
    """One line a group over the stages of a family: the mean likelihood margin of each model."""
    steps = [step for step in rows.steps if step.family == family and not step.is_total]
    steps = [step for step in steps if step.stage in STAGES[1:]]
    if not steps:
        return None
    stages = ["base", *(step.stage for step in steps)]
    lines: list[StageLine] = []
    levels: list[Level] = []
    for pair_set, group in rows.groups:
        name = group_label(group)
        start = rows.level(steps[0], pair_set, group, "m_ref") if steps[0].stage != "sft-dpo" else None
        marks = []
        if start is not None:
            marks.append(StagePoint(0, start, f"{name}, base: {nats(start)} nats", evidence=behind(None, group)))
            levels.append(Level(name, "base", start, None))
        for place, step in enumerate(steps, start=1):
            margin = rows.level(step, pair_set, group, "m_pi")
            if margin is None:
                continue
            f = shift(step, pair_set, group)
            low, high = ends(f)
            before = margin - f.estimate if f and f.estimate is not None else margin
            change = f", changed by {nats(f.estimate)} ({range_text(f)})" if f and f.estimate is not None else ""
            marks.append(
                StagePoint(
                    place,
                    margin,
                    f"{name}, {STAGE_TITLES[step.stage]}: {nats(margin)} nats{change}",
                    low=before + low if low is not None else None,
                    high=before + high if high is not None else None,
                    after=stages.index("sft") if step.stage == "sft-dpo" and "sft" in stages else 0,
                    strong=changed.get((step, pair_set, group), False),
                    evidence=behind(step, group),
                )
            )
            levels.append(Level(name, STAGE_TITLES[step.stage], margin, f))
        lines.append(StageLine(name, tuple(marks), summaries.get(group, "")))
    where = f", {family}" if family else ""
    change_of = FindingColumns[Level](lambda row: row.change, "no stage before it")
    return StagePlot(
        id=block_id,
        title=f"From base to the aligned model{where}",
        caption="Log-likelihood ratio of the harmful text to the same text about the comparison group, in nats, averaged "
        "over predicates. Above zero the harmful text is likelier. A filled mark is a change that was found; the bar "
        "at a mark is the 95 % interval of the change from the stage before. The other groups are shown in grey.",
        stages=tuple(STAGE_TITLES[stage] for stage in stages),
        y=nice_scale([v for line in lines for p in line.points for v in (p.value, p.low, p.high)], target=4, least=0.5),
        y_title="mean margin, nats",
        lines=tuple(lines),
        data=finding_table(
            levels,
            (
                words("about", lambda row: row.group),
                words("model", lambda row: row.model),
                value("mean margin, nats", lambda row: row.margin, NATS),
                change_of.estimate("changed by"),
                change_of.interval(),
            ),
            block_id=f"{block_id}-data",
        ),
    )


_QUANTILES = {"5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95}


def distribution_plot(
    rows: PairRows, step: PageStep, changed: Mapping[Key, bool], block_id: str
) -> Distribution | None:
    """How the reward margins of a comparison's pairs are spread, by group."""
    spreads: list[Spread] = []
    table: list[tuple[str, float, dict[str, float]]] = []
    for pair_set, group, part in rows.panels(step):
        shifts = (part["m_pi"] - part["m_ref"]).to_numpy()
        q = tuple(float(x) for x in np.quantile(shifts, tuple(_QUANTILES.values())))
        share = float((shifts > 0).mean() + 0.5 * (shifts == 0).mean())
        text = f"median {nats(q[2])}, {percent(share, 0)} of {count(part.height)} above 0"
        label = f"{group_label(group)}: {text}; middle half {NATS.range(q[1], q[3])}"
        strong = changed.get((step, pair_set, group), False)
        spreads.append(Spread(group_label(group), q, text, label, strong, behind(step, group)))  # type: ignore[arg-type]
        table.append((group_label(group), share, dict(zip(_QUANTILES, q, strict=True))))
    if not spreads:
        return None
    return Distribution(
        id=block_id,
        title=f"Reward margins, {step.title}",
        caption="One value for each pair: what the stage added to the margin (reward margin divided by beta), in nats. "
        "The line spans 5 to 95 % of the pairs, the box holds the middle half, the bar is the median.",
        scale=nice_scale([end for spread in spreads for end in (spread.quantiles[0], spread.quantiles[4])], least=0.5),
        rows=tuple(spreads),
        row_head="about",
        text_head="pairs",
        less="favoured the comparison",
        more="favoured the harmful text",
        data=finding_table(
            table,
            (
                words("about", lambda row: row[0]),
                *(value(name, lambda row, name=name: row[2][name], NATS) for name in _QUANTILES),  # type: ignore[misc]
                value("share above 0", lambda row: row[1], SHARE),
            ),
            block_id=f"{block_id}-data",
        ),
    )


def fate_bars(rows: PairRows, step: PageStep, block_id: str) -> Stacks | None:
    """What became of each pair under one comparison."""
    stacks: list[Stack] = []
    table: list[tuple[str, dict[str, float]]] = []
    for pair_set, group, part in rows.panels(step):
        shares, name = rows.fates(step, pair_set, group), group_label(group)
        worse = shares["amplified"] + shares["introduced"]
        label = ", ".join(f"{word} {percent(share, 0)}" for word, share in shares.items() if share)
        segments = tuple(
            Segment(shares[word], tone, f"{word}: {percent(shares[word])}") for tone, word in enumerate(_ORDER, start=1)
        )
        text = f"{percent(worse, 0)} of {count(part.height)} made worse"
        stacks.append(Stack(name, segments, text, f"{name}: {label}", behind(step, group)))
        table.append((name, shares))
    if not stacks:
        return None
    return Stacks(
        id=block_id,
        title=f"What became of each pair, {step.title}",
        caption="Introduced: there was no harm before and there is now. Amplified, preserved, attenuated, reversed: there was "
        "harm, and the stage increased it, left it unchanged, reduced it, or reversed it. Cut-off: tau, the smallest change "
        "that counts.",
        legend=_ORDER,
        rows=tuple(stacks),
        row_head="about",
        text_head="introduced or amplified",
        data=finding_table(
            table,
            (
                words("about", lambda row: row[0]),
                *(value(word, lambda row, word=word: row[1][word], SHARE) for word in _ORDER),  # type: ignore[misc]
            ),
            block_id=f"{block_id}-data",
        ),
    )


_ORDER = ("introduced", "amplified", "preserved", "attenuated", "reversed", "none")
assert set(_ORDER) == set(FATES)
