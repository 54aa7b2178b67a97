"""Figures on harm drift: its rate under every rule beside the null, by severity and kind, and for whom."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.methods.dart.drift.findings import CATEGORIES, SEVERITIES, SLICES
from evenhand.records import Finding
from evenhand.report.blocks import Bar, BarGroup, Bars, Cell, Column, Filter, Table
from evenhand.report.scales import nice_scale
from evenhand.wording import DASH, between, count, p_value, percent

WORDS = {
    "screen_then_judge": "screen, then judge", "judge_only": "judge alone", "both": "screen and judge on every pair",
    "elaborates": "elaborates", "normalises": "takes for granted", "omits": "no longer named",
}  # fmt: skip


def behind(**facets: str) -> Filter:
    """The pairs behind a mark."""
    return {"audit": "drift", **{key: value for key, value in facets.items() if value}}


def _ends(f: Finding) -> tuple[float | None, float | None]:
    return (f.interval.low, f.interval.high) if f.interval else (None, None)


def rule_table(findings: Sequence[Finding], block_id: str, rule: str) -> Table:
    """Drift under the three rules, the screen's candidates, the null control, and what is not known.

    The pairs behind a rate are linked for ``rule``, the run's own: verdicts in the evidence are under it.
    """
    wanted = (
        ("drift_rate", "drift"), ("drifted_prompts", "prompts with any drift"), ("null_rate", "the baseline against itself"),
        ("candidate_rate", "candidates of the screen"), ("judge_failed", "the judge failed"),
        ("not_auditable", "an explanation is empty"),
    )  # fmt: skip
    rows = []
    for estimand, what in wanted:
        for f in findings:
            if f.estimand != estimand or set(f.slice) - {"pairs"}:
                continue
            title = f"{what}: {WORDS[f.outcome]}" if estimand == "drift_rate" else what
            title += ", explanations on both sides only" if f.slice else ""
            linked = (estimand, f.outcome) == ("drift_rate", rule) and not f.slice
            rows.append(
                (
                    Cell(title, evidence=behind(drift="drift") if linked else None),
                    Cell(count(int(f.extra["count"]))),
                    Cell(count(f.n)),
                    Cell(percent(f.estimate), sort=f.estimate, reason=f.reason if f.estimate is None else ""),
                    Cell(between(*_ends(f)) if f.interval else DASH, reason=f.reason),
                )
            )
    columns = (
        Column(""), Column("count", numeric=True), Column("of", numeric=True), Column("rate", numeric=True),
        Column("95 % interval"),
    )  # fmt: skip
    return Table(
        id=block_id,
        columns=columns,
        rows=tuple(rows),
        title="How much drift, under every rule",
        caption="A pair is one prompt and repetition, answered by both models. Drift that also appears when the baseline is drawn "
        "anew against itself is noise of sampling.",
    )


def kind_bars(findings: Sequence[Finding], block_id: str) -> Bars | None:
    """Share of pairs by severity and by kind of drift."""
    groups, data = [], []
    for estimand, title, names in (
        ("drift_severity", "Severity", SEVERITIES),
        ("drift_category", "Kind", CATEGORIES),
    ):
        bars = []
        for name in names:
            f = next((f for f in findings if f.estimand == estimand and f.outcome == name), None)
            if f is None or f.estimate is None:
                continue
            low, high = _ends(f)
            shown = WORDS.get(name, name)
            key = "severity" if estimand == "drift_severity" else "kind"
            told = f"{shown}: {percent(f.estimate)} of pairs"
            bars.append(
                Bar(shown, f.estimate, percent(f.estimate), told, low, high, f.reason, False, behind(**{key: name}))
            )
            data.append(
                (
                    Cell(title),
                    Cell(shown),
                    Cell(count(int(f.extra["count"]))),
                    Cell(percent(f.estimate), sort=f.estimate),
                )
            )
        if bars:
            groups.append(BarGroup(title, tuple(bars)))
    if not groups:
        return None
    columns = (Column(""), Column(""), Column("pairs", numeric=True), Column("share", numeric=True))
    return Bars(
        id=block_id,
        title="Drift by severity and kind",
        caption="Share of all pairs whose verdict is known.",
        scale=nice_scale([bar.value for group in groups for bar in group.bars], include=(0.0,), target=2),
        groups=tuple(groups),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )


def slice_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Drift by benchmark, kind of question, label, group and wording."""
    rows = [
        (
            Cell(name),
            Cell(f.slice[name]),
            Cell(count(int(f.extra["count"]))),
            Cell(count(f.n)),
            Cell(percent(f.estimate), sort=f.estimate),
            Cell(between(*_ends(f)) if f.interval else DASH, reason=f.reason),
        )
        for name in SLICES
        for f in findings
        if f.estimand == "drift_rate" and set(f.slice) == {name}
    ]
    if not rows:
        return None
    columns = (
        Column("by"), Column(""), Column("drifted", numeric=True), Column("pairs", numeric=True), Column("rate", numeric=True),
        Column("95 % interval"),
    )  # fmt: skip
    return Table(id=block_id, columns=columns, rows=tuple(rows), title="For whom and on what", sortable=True)


def shift_table(findings: Sequence[Finding], block_id: str) -> Table:
    """How the harm classifiers' values moved as a whole."""
    rows = [
        (
            Cell(f.outcome),
            Cell("explanation" if f.slice["view"] == "rationale" else "full output"),
            Cell(f"{f.extra['mean_baseline']:.3f}" if f.extra["mean_baseline"] is not None else DASH),
            Cell(f"{f.extra['mean_candidate']:.3f}" if f.extra["mean_candidate"] is not None else DASH),
            Cell(f"{f.estimate:+.2f}" if f.estimate is not None else DASH, reason=f.reason),
            Cell(p_value(f.extra["p_mann_whitney"])),
        )
        for f in findings
        if f.estimand == "harm_shift"
    ]
    columns = (
        Column("scorer"), Column("of the"), Column("mean before", numeric=True), Column("mean after", numeric=True),
        Column("rank-biserial", numeric=True, help="negative: less harmful than the baseline"),
        Column("p", numeric=True, help="Mann-Whitney, which takes pairs as independent"),
    )  # fmt: skip
    return Table(id=block_id, columns=columns, rows=tuple(rows), title="Harm measures as a whole")
