"""Figures of the affirmation audit: misgendering by family and stage, and what models find likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evenhand.findings.decide import is_found
from evenhand.records import Finding
from evenhand.report.blocks import Bar, BarGroup, Bars, Cell, Column, Filter, Table
from evenhand.report.scales import nice_scale
from evenhand.report.stage_blocks import StageLine, StagePlot, StagePoint
from evenhand.wording import between, count, nats, nats_range, p_value, percent, point_range, points

LIKELY = "What the models find likely, and what tuning rewarded"
KINDS = {"binary": "he or she", "they": "they", "neo": "neopronouns"}
_BEFORE = {"sft": "base", "dpo": "base", "sft-dpo": "sft"}
_TITLES = {"base": "base", "sft": "SFT", "dpo": "DPO", "sft-dpo": "SFT+DPO"}


def behind(config: str, declared: str = "", verdict: str = "") -> Filter:
    """The continuations behind a mark."""
    found = {"audit": "affirmation", "config": config, "declared": declared, "verdict": verdict}
    return {key: value for key, value in found.items() if value}


def _plain(findings: Sequence[Finding], estimand: str, level: str = "") -> list[Finding]:
    """Findings of one family or kind each, without any other part."""
    part = {"level": level} if level else {}
    return [f for f in findings if f.estimand == estimand and dict(f.slice) == part and f.group is not None]


def family_bars(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Bars | None:
    """Misgendering rate of each pronoun family, one panel a model."""
    found = {(f.config, f.group): f for f in _plain(findings, "misgendering_rate")}
    worse = {(f.config, f.group) for f in _plain(findings, "misgendering_excess") if f.decision == "worse"}
    groups, data = [], []
    for config in configs:
        bars = []
        for (model, family), f in found.items():
            if model != config or family is None:
                continue
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            told = f"{config}, {family}: misgendered in {percent(f.estimate)} of continuations with a pronoun"
            bars.append(
                Bar(family, f.estimate, percent(f.estimate, 0), told, low, high, f.reason, (config, family) in worse,
                    behind(config, family, "inconsistent"))
            )  # fmt: skip
            data.append(
                (
                    Cell(family),
                    Cell(config),
                    Cell(percent(f.estimate), sort=f.estimate),
                    Cell(between(low, high)),
                    Cell(count(f.n), sort=f.n),
                )
            )
        if bars:
            groups.append(BarGroup(config, tuple(bars)))
    if not groups:
        return None
    columns = (
        Column("declared"),
        Column("model"),
        Column("misgendered", numeric=True),
        Column("95 % interval"),
        Column("rows", numeric=True),
    )
    return Bars(
        id=block_id,
        title="Misgendering, by declared pronouns",
        caption="Share of continuations whose first third-person pronoun is of another family than the declared one, among those "
        "with a pronoun. A strong bar: more often than people who use he or she, found.",
        scale=nice_scale([bar.value for group in groups for bar in group.bars], include=(0.0, 1.0), target=2),
        groups=tuple(groups),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )


def stage_lines(findings: Sequence[Finding], stages: Mapping[str, str], family: str, block_id: str) -> StagePlot | None:
    """One line a kind of pronouns over the stages of one model family; ``stages`` maps a stage to its model."""
    order = [stage for stage in _TITLES if stage in stages]
    rates = {(f.config, f.group): f for f in _plain(findings, "misgendering_rate", "kind")}
    changes = {(f.config, f.reference, f.group): f for f in _plain(findings, "misgendering_change", "kind")}
    if len(order) < 2:
        return None
    lines = []
    for kind, title in KINDS.items():
        marks = []
        for place, stage in enumerate(order):
            f = rates.get((stages[stage], kind))
            if f is None or f.estimate is None:
                continue
            before = _BEFORE.get(stage)
            change = changes.get((stages[stage], stages.get(before or "", ""), kind))
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            ends = f", {points(change.estimate)} points from {before}" if change and change.estimate is not None else ""
            marks.append(
                StagePoint(
                    place, f.estimate, f"{title}, {_TITLES[stage]}: {percent(f.estimate)}{ends}", low, high,
                    order.index(before) if before in order else None, change is not None and is_found(change),
                    behind(stages[stage], "" if kind == "neo" else "they" if kind == "they" else "", "inconsistent"),
                )
            )  # fmt: skip
        if marks:
            lines.append(StageLine(title, tuple(marks)))
    if not lines:
        return None
    where = f", {family}" if family else ""
    return StagePlot(
        id=block_id,
        title=f"Misgendering from stage to stage{where}",
        caption="By kind of declared pronouns. The bar at a mark is the 95 % interval of the rate; a filled mark is a change from "
        "the stage before that was found.",
        stages=tuple(_TITLES[stage] for stage in order),
        y=nice_scale([0.0, 1.0], include=(0.0, 1.0)),
        y_title="misgendered, percent",
        lines=tuple(lines),
        tick_factor=100.0,
    )


def rate_table(findings: Sequence[Finding], block_id: str) -> Table:
    """Rates with and without the plural caution, and the share without a pronoun, by kind and model."""
    none = {(f.config, f.group): f for f in _plain(findings, "none_share", "kind")}
    lenient = {(f.config, f.group): f for f in _plain(findings, "misgendering_none_correct", "kind")}
    unmarked = {(f.config, f.group): f for f in findings if f.estimand == "misgendering_rate"
                and dict(f.slice) == {"level": "kind", "plural": "left out"}}  # fmt: skip
    excess = {(f.config, f.group): f for f in _plain(findings, "misgendering_excess", "kind")}
    rows = []
    for f in _plain(findings, "misgendering_rate", "kind"):
        key = (f.config, f.group)
        over = excess.get(key)
        ends = point_range(over.interval.low, over.interval.high) if over and over.interval else ""
        rows.append(
            (
                _kind(f), Cell(f.config), _share(f), _share(unmarked.get(key)), _share(none.get(key)), _share(lenient.get(key)),
                Cell(points(over.estimate) if over else "", sort=over.estimate if over else None), Cell(ends),
                Cell(p_value(over.test.p_holm) if over and over.test else ""), Cell(count(f.n), sort=f.n),
            )
        )  # fmt: skip
    columns = (
        Column("declared"), Column("model"), Column("misgendered", numeric=True),
        Column("without marked plurals", numeric=True, help="samples with a plural noun before “they” left out"),
        Column("no pronoun", numeric=True), Column("misgendered, none counts as right", numeric=True),
        Column("more than he or she, points", numeric=True), Column("95 % interval"), Column("adjusted p", numeric=True),
        Column("rows", numeric=True),
    )  # fmt: skip
    return Table(id=block_id, title="Rates by kind of pronouns", columns=columns, rows=tuple(rows), sortable=True)


def likelihood_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """How often the declared set is the likeliest, and what each stage rewarded instead."""
    shares = _plain(findings, "likelihood_accuracy", "kind")
    margins = _plain(findings, "pronoun_margin", "kind")
    if not shares and not margins:
        return None
    rows = [
        (
            _kind(f), Cell(f.config), Cell(f"declared pronouns likeliest, {f.outcome}"), _share(f),
            Cell(between(f.interval.low, f.interval.high) if f.interval else ""), Cell(count(f.n), sort=f.n),
        )
        for f in shares
    ] + [
        (
            _kind(f), Cell(f"{f.config} against {f.reference}"),
            Cell(f"{f.outcome} of other pronouns over the declared, nats"), Cell(nats(f.estimate), sort=f.estimate),
            Cell(nats_range(f.interval.low, f.interval.high) if f.interval else ""), Cell(count(f.n), sort=f.n),
        )
        for f in margins
    ]  # fmt: skip
    columns = (Column("declared"), Column("model"), Column("measure", wide=True), Column("value", numeric=True),
               Column("95 % interval"), Column("rows", numeric=True))  # fmt: skip
    return Table(
        id=block_id,
        title="What the models find likely, and what tuning rewarded",
        columns=columns,
        rows=tuple(rows),
        sortable=True,
    )


def _kind(f: Finding) -> Cell:
    return Cell(KINDS.get(f.group or "", f.group or ""))


def _share(f: Finding | None) -> Cell:
    if f is None or f.estimate is None:
        return Cell("—", reason=(f.reason if f else "") or "not measured")
    return Cell(percent(f.estimate), sort=f.estimate)
