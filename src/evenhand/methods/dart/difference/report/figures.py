"""Figures of the difference audit: right answers by label, every model beside its baselines, benchmarks, comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.records import Finding
from evenhand.report.blocks import Bar, BarGroup, Bars, Cell, Column, Filter, Table
from evenhand.report.scales import nice_scale
from evenhand.wording import DASH, between, count, p_value, percent, point_range, points

LABELS = (("diff_accuracy", "groups differ", "YES"), ("equal_accuracy", "groups are alike", "NO"))
REASONS = {
    "empty": "empty", "refusal": "refusal", "truncated": "cut at the token limit", "conflict": "says both",
    "format": "no conclusion line",
}  # fmt: skip


def behind(config: str, gold: str = "", said: str = "", benchmark: str = "") -> Filter:
    """The analyses behind a mark."""
    found = {
        "audit": "difference",
        "config": config,
        "form": "analysis",
        "gold": gold,
        "said": said,
        "benchmark": benchmark,
    }
    return {key: value for key, value in found.items() if value}


def _of(
    findings: Sequence[Finding], estimand: str, config: str = "", outcome: str = "tolerant", benchmark: str = ""
) -> Finding | None:
    part = {"benchmark": benchmark} if benchmark else {}
    for f in findings:
        if f.estimand == estimand and f.outcome == outcome and dict(f.slice) == part and config in ("", f.config):
            return f
    return None


def _ends(f: Finding | None) -> tuple[float | None, float | None]:
    return (f.interval.low, f.interval.high) if f and f.interval else (None, None)


def label_bars(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Bars | None:
    """Right answers where groups differ and where they do not, one panel a model."""
    groups, data = [], []
    for config in configs:
        bars = []
        for estimand, title, gold in LABELS:
            f = _of(findings, estimand, config)
            if f is None:
                continue
            low, high = _ends(f)
            told = f"{config}, {title}: right in {percent(f.estimate)}"
            bars.append(
                Bar(title, f.estimate, percent(f.estimate, 0), told, low, high, f.reason, False, behind(config, gold))
            )
            data.append(
                (
                    Cell(config),
                    Cell(title),
                    Cell(percent(f.estimate), sort=f.estimate),
                    Cell(between(low, high)),
                    Cell(count(f.n)),
                )
            )
        if bars:
            groups.append(BarGroup(config, tuple(bars)))
    if not groups:
        return None
    columns = (
        Column("model"), Column("where"), Column("right", numeric=True), Column("95 % interval"), Column("questions", numeric=True),
    )  # fmt: skip
    return Bars(
        id=block_id,
        title="Right answers, where groups differ and where they are alike",
        caption="A model that is blind to the question is right in one row and wrong in the other. An answer without a "
        "conclusion counts as wrong.",
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=2),
        groups=tuple(groups),
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )


def beside_table(findings: Sequence[Finding], config: str, block_id: str) -> Table:
    """One model under both parsers, and every baseline beside it."""
    rows = []
    for parser in ("tolerant", "strict"):
        found = {name: _of(findings, name, config, parser) for name in _COLUMNS}
        accuracy = found["accuracy"]
        if accuracy is None:
            continue
        cells = [
            Cell(percent(f.estimate), sort=f.estimate, reason=f.reason) if f else Cell(DASH) for f in found.values()
        ]
        shown = Cell(f"the model, {parser} parser", evidence=behind(config))
        rows.append((shown, *cells[:1], Cell(between(*_ends(accuracy))), *cells[1:], Cell(DASH), Cell(DASH)))
    for f in findings:
        if f.estimand != "baseline_accuracy" or f.config != config:
            continue
        over = next(
            (
                x
                for x in findings
                if x.estimand == "accuracy_over_baseline" and x.config == config and x.outcome == f.outcome
            ),
            None,
        )
        test = over.test if over else None
        rows.append(
            (
                Cell(f.outcome),
                Cell(percent(f.estimate), sort=f.estimate, reason=f.reason),
                Cell(between(*_ends(f))),
                Cell(percent(f.extra.get("diff_accuracy"))),
                Cell(percent(f.extra.get("equal_accuracy"))),
                Cell(DASH),
                Cell(DASH),
                Cell(f"{points(over.estimate)} ({point_range(*_ends(over))})" if over else DASH,
                     reason="" if over else "it answers other questions"),
                Cell(p_value(test.p_holm) if test else DASH),
            )
        )  # fmt: skip
    columns = (
        Column(""), Column("right", numeric=True), Column("95 % interval"), Column("groups differ", numeric=True),
        Column("groups alike", numeric=True), Column("no conclusion", numeric=True),
        Column("says YES", numeric=True, help="among answers with a conclusion"),
        Column("model minus this, points", numeric=True),
        Column("p (Holm)", numeric=True, help="sign flips of scenario means, held over the baselines"),
    )  # fmt: skip
    return Table(
        id=block_id,
        columns=columns,
        rows=tuple(rows),
        title=f"{config}, and what takes no understanding",
        caption="Surface cues: a linear classifier on single words and word pairs, trained on the training questions. In the "
        "scenario split its test questions come from scenarios that it has not seen.",
    )


_COLUMNS = ("accuracy", "diff_accuracy", "equal_accuracy", "abstain_rate", "yes_rate")


def benchmark_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Accuracy, and DiffAware and CtxtAware of the multiple-choice form, by benchmark."""
    names = sorted({f.slice["benchmark"] for f in findings if "benchmark" in f.slice})
    rows = []
    for config in configs:
        for name in ["", *names]:
            analysis, choice = _of(findings, "accuracy", config, "tolerant", name), []
            for estimand in ("diff_aware", "ctxt_aware"):
                f = _of(findings, estimand, config, "choice", name)
                low, high = _ends(f)
                told = f"{f.estimate:.2f}" if f and f.estimate is not None else DASH
                choice += [Cell(told, sort=f.estimate if f else None, reason=f.reason if f else ""),
                           Cell(f"{low:.2f} to {high:.2f}" if low is not None and high is not None else DASH)]  # fmt: skip
            if analysis is None and choice[0].text == DASH:
                continue
            rows.append(
                (
                    Cell(config),
                    Cell(name or "all", evidence=behind(config, benchmark=name)),
                    Cell(
                        percent(analysis.estimate if analysis else None), sort=analysis.estimate if analysis else None
                    ),
                    Cell(between(*_ends(analysis))),
                    *choice,
                    Cell(count(analysis.n) if analysis else DASH),
                )
            )
    if not rows:
        return None
    columns = (
        Column("model"), Column("benchmark"), Column("right", numeric=True), Column("95 % interval"),
        Column("DiffAware", numeric=True, help="right group among answers where groups differ; guessing gives 0.33"),
        Column("95 % interval"),
        Column("CtxtAware", numeric=True, help="groups named where they differ, among groups named at all"),
        Column("95 % interval"), Column("questions", numeric=True),
    )  # fmt: skip
    return Table(id=block_id, columns=columns, rows=tuple(rows), title="By benchmark")


def reason_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table:
    """Why analyses hold no conclusion."""
    rows = [
        (
            Cell(f.config),
            Cell(REASONS[f.outcome], evidence=behind(f.config, said=REASONS[f.outcome])),
            Cell(percent(f.estimate), sort=f.estimate),
            Cell(between(*_ends(f))),
        )
        for config in configs
        for f in findings
        if f.estimand == "unparseable" and f.config == config
    ]
    columns = (Column("model"), Column("reason"), Column("share of answers", numeric=True), Column("95 % interval"))
    return Table(
        id=block_id, columns=columns, rows=tuple(rows), title="Analyses without a conclusion (tolerant parser)"
    )


def pair_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Models in pairs on the same questions."""
    rows = []
    for f in findings:
        if f.estimand != "accuracy_difference":
            continue
        mc, test = f.extra["mcnemar"], f.test
        rows.append(
            (
                Cell(f"{f.config} minus {f.reference}"),
                Cell(f.slice.get("benchmark", "all")),
                Cell(points(f.estimate), sort=f.estimate),
                Cell(point_range(*_ends(f))),
                Cell(p_value(test.p_holm) if test else DASH, reason=f.reason),
                Cell(f"{mc['gained']} / {mc['lost']}"),
                Cell(p_value(mc["p"]), reason="" if mc["p"] is not None else "no question is right in one model alone"),
            )
        )
    if not rows:
        return None
    columns = (
        Column("models"), Column("benchmark"), Column("points", numeric=True), Column("95 % interval"),
        Column("p (Holm)", numeric=True, help="sign flips of scenario means; held over the benchmarks"),
        Column("gained / lost", help="questions right in the first alone, in the second alone"),
        Column("McNemar p", numeric=True, help="exact; takes questions as independent"),
    )  # fmt: skip
    return Table(id=block_id, columns=columns, rows=tuple(rows), title="Models compared on the same questions")
