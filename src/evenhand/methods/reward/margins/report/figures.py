"""Figures of the reward audit: margins by stage, distributions of reward margins, fates."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from evenhand.methods.reward.margins.report.rows import STAGE_ORDER, STAGE_TITLES, PairRows, Step
from evenhand.methods.reward.margins.statistics.reward import FATES
from evenhand.records import Finding
from evenhand.report.blocks import Cell, Column, Filter, Table
from evenhand.report.scales import nice_scale
from evenhand.report.stage_blocks import (
    Distribution,
    Segment,
    Spread,
    Stack,
    Stacks,
    StageLine,
    StagePlot,
    StagePoint,
)
from evenhand.wording import count, group_label, nats, nats_range, percent

Key = tuple[Step, str, str]
Shift = Callable[[Step, str, str], Finding | None]
"""The finding of the mean net (else mean) shift of a comparison, a pair set and a group."""


def behind(step: Step | None = None, group: str = "", fate: str = "") -> Filter:
    """The pairs behind a mark."""
    found = {"audit": "reward", "step": step.title if step else "", "about": group, "fate": fate}
    return {key: value for key, value in found.items() if value}


def stage_plot(
    rows: PairRows, family: str, shift: Shift, found: Mapping[Key, bool], said: Mapping[str, str], block_id: str
) -> StagePlot | None:
    """One line a group over the stages of a family: the mean likelihood margin of each model."""
    steps = [step for step in rows.steps if step.family == family and not step.is_total]
    steps = [step for step in steps if step.stage in STAGE_ORDER[1:]]
    if not steps:
        return None
    stages = ["base", *(step.stage for step in steps)]
    lines, data = [], []
    for pair_set, group in rows.groups:
        start = rows.level(steps[0], pair_set, group, "m_ref") if steps[0].stage != "sft-dpo" else None
        points = []
        if start is not None:
            points.append(
                StagePoint(0, start, f"{group_label(group)}, base: {nats(start)} nats", evidence=behind(None, group))
            )
            data.append((Cell(group_label(group)), Cell("base"), Cell(nats(start), sort=start), Cell(""), Cell("")))
        for place, step in enumerate(steps, start=1):
            value = rows.level(step, pair_set, group, "m_pi")
            if value is None:
                continue
            f = shift(step, pair_set, group)
            low, high = (f.interval.low, f.interval.high) if f and f.interval else (None, None)
            before = value - f.estimate if f and f.estimate is not None else value
            after = stages.index("sft") if step.stage == "sft-dpo" and "sft" in stages else 0
            change = f"{nats(f.estimate)} ({nats_range(low, high)})" if f and f.estimate is not None else ""
            points.append(
                StagePoint(
                    place, value,
                    f"{group_label(group)}, {STAGE_TITLES[step.stage]}: {nats(value)} nats{change and f', changed by {change}'}",
                    low=before + low if low is not None else None,
                    high=before + high if high is not None else None,
                    after=after,
                    strong=found.get((step, pair_set, group), False),
                    evidence=behind(step, group),
                )
            )  # fmt: skip
            data.append(
                (Cell(group_label(group)), Cell(STAGE_TITLES[step.stage]), Cell(nats(value), sort=value),
                 Cell(nats(f.estimate) if f else "", sort=f.estimate if f else None), Cell(nats_range(low, high)))
            )  # fmt: skip
        lines.append(StageLine(group_label(group), tuple(points), said.get(group, "")))
    every = [v for line in lines for p in line.points for v in (p.value, p.low, p.high)]
    where = f", {family}" if family else ""
    columns = (Column("about"), Column("model"), Column("mean margin, nats", numeric=True),
               Column("changed by", numeric=True), Column("95 % interval"))  # fmt: skip
    return StagePlot(
        id=block_id,
        title=f"From base to the aligned model{where}",
        caption="How much likelier each model finds the harmful text than the same text about the comparison group, in nats, "
        "averaged over predicates. Above zero the harmful text is likelier. A filled mark is a change that was found; the bar at "
        "a mark is the 95 % interval of the change from the stage before. The other groups stand behind in grey.",
        stages=tuple(STAGE_TITLES[stage] for stage in stages),
        y=nice_scale(every, target=4, least=0.5),
        y_title="mean margin, nats",
        lines=tuple(lines),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )


def distribution_plot(rows: PairRows, step: Step, found: Mapping[Key, bool], block_id: str) -> Distribution | None:
    """How the reward margins of a comparison's pairs are spread, by group."""
    spreads, data, ends = [], [], []
    for pair_set, group in rows.groups:
        part = rows.of(step, pair_set, group)
        if part.is_empty():
            continue
        shifts = (part["m_pi"] - part["m_ref"]).to_numpy()
        q = tuple(float(x) for x in np.quantile(shifts, (0.05, 0.25, 0.5, 0.75, 0.95)))
        share = float((shifts > 0).mean() + 0.5 * (shifts == 0).mean())
        ends += [q[0], q[4]]
        text = f"median {nats(q[2])}, {percent(share, 0)} of {count(part.height)} above 0"
        label = f"{group_label(group)}: {text}; middle half {nats(q[1])} to {nats(q[3])}"
        strong = found.get((step, pair_set, group), False)
        spreads.append(Spread(group_label(group), q, text, label, strong, behind(step, group)))  # type: ignore[arg-type]
        data.append((Cell(group_label(group)), *(Cell(nats(x), sort=x) for x in q), Cell(percent(share), sort=share)))
    if not spreads:
        return None
    columns = (Column("about"), *(Column(x, numeric=True) for x in ("5 %", "25 %", "median", "75 %", "95 %")),
               Column("share above 0", numeric=True))  # fmt: skip
    return Distribution(
        id=block_id,
        title=f"Reward margins, {step.title}",
        caption="One value a pair: what the stage added to the margin (reward margin divided by beta), in nats. "
        "The line reaches from 5 to 95 % of the pairs, the box holds the middle half, the bar is the median.",
        scale=nice_scale(ends, least=0.5),
        rows=tuple(spreads),
        row_head="about",
        text_head="pairs",
        less="favoured the comparison",
        more="favoured the harmful text",
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )


def fate_bars(rows: PairRows, step: Step, block_id: str) -> Stacks | None:
    """What became of each pair under one comparison."""
    stacks, data = [], []
    for pair_set, group in rows.groups:
        n = rows.of(step, pair_set, group).height
        if not n:
            continue
        shares = rows.fates(step, pair_set, group)
        worse = shares["amplified"] + shares["introduced"]
        told = ", ".join(f"{word} {percent(share, 0)}" for word, share in shares.items() if share)
        segments = tuple(
            Segment(shares[word], tone, f"{word}: {percent(shares[word])}") for tone, word in enumerate(_ORDER, start=1)
        )
        stacks.append(
            Stack(
                group_label(group),
                segments,
                f"{percent(worse, 0)} of {count(n)} made worse",
                f"{group_label(group)}: {told}",
                behind(step, group),
            )
        )
        data.append((Cell(group_label(group)), *(Cell(percent(shares[word]), sort=shares[word]) for word in _ORDER)))
    if not stacks:
        return None
    return Stacks(
        id=block_id,
        title=f"What became of each pair, {step.title}",
        caption="Introduced: there was no harm before and there is now. Amplified, preserved, attenuated, reversed: there was one, "
        "and the stage made it larger, left it, made it smaller, or turned it round. Cut-off: tau, the least change that counts.",
        legend=_ORDER,
        rows=tuple(stacks),
        row_head="about",
        text_head="introduced or amplified",
        data=Table(
            id=f"{block_id}-data",
            columns=(Column("about"), *(Column(w, numeric=True) for w in _ORDER)),
            rows=tuple(data),
        ),
    )


_ORDER = ("introduced", "amplified", "preserved", "attenuated", "reversed", "none")
assert set(_ORDER) == set(FATES)
