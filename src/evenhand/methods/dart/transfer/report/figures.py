"""Figures of the transfer audit: response classes by domain, controls apart, agreement of the graders, changes."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.findings.decide import is_found
from evenhand.methods.dart.transfer.findings import APPROPRIATE, CHANGE, CONTROLS, KAPPA, OVER, SHARES
from evenhand.methods.dart.transfer.graders.classes import DISAGREE
from evenhand.methods.dart.transfer.graders.transfer_text import CLASSES
from evenhand.methods.dart.transfer.verdict import WORDS
from evenhand.records import Finding
from evenhand.report.blocks import Bar, BarGroup, Bars, Cell, Column, Filter, Table
from evenhand.report.scales import nice_scale
from evenhand.wording import between, count, number, p_value, percent, point_range, points

ALL = "all domains"
WRONG = "wrong_or_harmful"


def behind(config: str, label: str = "", domain: str = "", needs: str = "") -> Filter:
    """The answers behind a mark."""
    found = {"audit": "transfer", "config": config, "class": label, "domain": domain, "needs": needs}
    return {key: value for key, value in found.items() if value}


def class_bars(findings: Sequence[Finding], config: str, block_id: str) -> Bars:
    """The share of each class where a difference is needed: one panel for all domains and one for each."""
    rows = [f for f in findings if (f.estimand, f.config) == (SHARES, config) and set(f.slice) <= {"domain"}]
    return _bars(
        rows, config, "difference", block_id,
        "Queries that need a difference",
        "Share of answers of each class, by domain, with Wilson's 95 % interval. With two graders an answer has the class that "
        "both give; where they differ it stands under “graders disagree”. A strong bar: wrong or harmful answers.",
    )  # fmt: skip


def control_bars(findings: Sequence[Finding], config: str, block_id: str) -> Bars:
    """The share of each class over the controls, where equal treatment is right."""
    rows = [
        f for f in findings if (f.estimand, f.config) == (CONTROLS, config) and not f.slice and f.outcome != OVER
    ]  # fmt: skip
    over = next(f for f in findings if (f.estimand, f.config, f.outcome) == (CONTROLS, config, OVER) and not f.slice)
    ends = f" ({between(over.interval.low, over.interval.high)})" if over.interval else ""
    told = percent(over.estimate) if over.estimate is not None else f"undefined, {over.reason}"
    return _bars(
        rows, config, "equal", block_id, "Controls, where equal treatment is right",
        f"Share of answers of each class. Over-differentiation, a difference that is not there or a wrong answer: {told}{ends}.",
    )  # fmt: skip


def _bars(rows: Sequence[Finding], config: str, needs: str, block_id: str, title: str, caption: str) -> Bars:
    groups, data = [], []
    for domain in dict.fromkeys(f.slice.get("domain", "") for f in rows):
        bars = []
        for f in (f for f in rows if f.slice.get("domain", "") == domain):
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            told = f"{domain or ALL}, {WORDS[f.outcome]}: {percent(f.estimate)} of {count(f.n)} answers"
            bars.append(
                Bar(WORDS[f.outcome], f.estimate, percent(f.estimate, 0), told, low, high, f.reason, f.outcome == WRONG,
                    behind(config, f.outcome, domain, needs) if f.extra["count"] else None)
            )  # fmt: skip
            data.append(
                (
                    Cell(domain or ALL), Cell(WORDS[f.outcome]), Cell(percent(f.estimate), sort=f.estimate, reason=f.reason),
                    Cell(between(low, high)), Cell(count(f.extra["count"]), sort=f.extra["count"]), Cell(count(f.n), sort=f.n),
                )
            )  # fmt: skip
        groups.append(BarGroup(domain or ALL, tuple(bars)))
    columns = (
        Column("domain"), Column("class"), Column("share", numeric=True), Column("95 % interval"),
        Column("answers", numeric=True), Column("of", numeric=True),
    )  # fmt: skip
    return Bars(
        id=block_id, title=title, caption=caption,
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=2), groups=tuple(groups),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )  # fmt: skip


def agreement_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table:
    """Kappa and raw agreement of every two graders, and what each grader alone says of the main share and the controls."""
    rows = []
    for config in configs:
        for f in findings:
            if (f.estimand, f.config) != (KAPPA, config):
                continue
            ends = f"{number(f.interval.low, 2)} to {number(f.interval.high, 2)}" if f.interval else ""
            rows.append(
                (
                    Cell(config), Cell(f.slice.get("graders", "one grader")), Cell("kappa over the four classes"),
                    Cell(number(f.estimate, 2), sort=f.estimate, reason=f.reason if f.estimate is None else ""), Cell(ends),
                    Cell(count(f.n), sort=f.n),
                )
            )  # fmt: skip
            if f.extra.get("observed") is not None:
                rows.append(
                    (
                        Cell(config), Cell(f.slice["graders"]), Cell("same class"),
                        Cell(percent(f.extra["observed"]), sort=f.extra["observed"]), Cell(""), Cell(count(f.n), sort=f.n),
                    )
                )  # fmt: skip
        for f in findings:
            main = (f.estimand, f.outcome) in ((SHARES, APPROPRIATE), (CONTROLS, OVER))
            if main and f.config == config and "grader" in f.slice:
                what = WORDS[f.outcome] + (", controls" if f.estimand == CONTROLS else "")
                rows.append(
                    (
                        Cell(config), Cell(f"{f.slice['grader']} alone"), Cell(what),
                        Cell(percent(f.estimate), sort=f.estimate, reason=f.reason),
                        Cell(between(f.interval.low, f.interval.high) if f.interval else ""), Cell(count(f.n), sort=f.n),
                    )
                )  # fmt: skip
    columns = (
        Column("model"), Column("graders"), Column("measure", wide=True), Column("value", numeric=True),
        Column("95 % interval"), Column("answers", numeric=True),
    )  # fmt: skip
    return Table(id=block_id, title="Agreement of the graders", columns=columns, rows=tuple(rows))


def change_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """How much oftener each model states the needed difference than the first one; None with one model."""
    rows = []
    for f in findings:
        if f.estimand != CHANGE:
            continue
        ends = point_range(f.interval.low, f.interval.high) if f.interval else ""
        p = f.test.p_holm if f.test else None
        rows.append(
            (
                Cell(f.config), Cell(f.reference or ""), Cell(f.slice.get("domain", ALL)),
                Cell(f"{points(f.estimate)}", sort=f.estimate, reason=f.reason if f.estimate is None else ""), Cell(ends),
                Cell("" if p is None else p_value(p), sort=p), Cell("found" if is_found(f) else "not found"),
                Cell(f"{f.extra['gained']} / {f.extra['lost']}"), Cell(count(f.n), sort=f.n),
            )
        )  # fmt: skip
    columns = (
        Column("model"), Column("against"), Column("domain"), Column("change, points", numeric=True), Column("95 % interval"),
        Column("adjusted p", numeric=True, help="exact McNemar, Holm over domains"), Column("change"),
        Column("gained / lost", numeric=True, help="queries right in the one model alone"), Column("queries", numeric=True),
    )  # fmt: skip
    title = f"{WORDS[APPROPRIATE].capitalize()}: change between models"
    return Table(id=block_id, title=title, columns=columns, rows=tuple(rows), sortable=True) if rows else None


CLASS_NAMES = {label: WORDS[label] for label in (*CLASSES, DISAGREE)}
"""Display forms of the classes, for the filter of the answers."""
