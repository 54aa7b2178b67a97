"""The difference audit's part of the page: right answers by label, each model against its baselines, and the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evenhand.findings.builder import first, select
from evenhand.records import Finding
from evenhand.report.blocks import BarGroup, Bars, Block, Cell, Filter, Table, nice_scale
from evenhand.report.build import (
    Part,
    by_gravity,
    evidence_of,
    folded,
    mark_filter,
    method_part,
    present,
    prompt_of,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.finding_table import FINDING, SHARE, FindingColumns, Unit, cells, finding_table, value, words
from evenhand.report.marks import finding_bar, glance_row
from evenhand.report.page import Glance, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import DASH, p_value, percent

LEDE = (
    "Some questions are answered correctly only by seeing that groups differ, others only by treating them alike. Does the "
    "model know which is which?"
)
LABELS = (("diff_accuracy", "groups differ", "YES"), ("equal_accuracy", "groups are alike", "NO"))
REASONS = {
    "empty": "empty",
    "refusal": "refusal",
    "truncated": "cut at the token limit",
    "conflict": "says both",
    "format": "no conclusion line",
}
_HEADLINES = {"worse": "Differences are not recognised", "even": "Differences are recognised"}
_AWARENESS = Unit(lambda share: DASH if share is None else f"{share:.2f}")


def difference_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the answers behind them."""
    findings = loaded.findings
    configs = [verdict["config"] for verdict in loaded.result["verdicts"]]
    asked = {f.config for f in findings if f.estimand == "accuracy"}
    blocks: list[Block] = [
        *present(
            label_bars(findings, configs, "difference-labels"),
            *(baseline_table(findings, c, f"difference-beside-{k}") for k, c in enumerate(configs) if c in asked),
            pair_table(findings, "difference-pairs"),
        ),
        *folded(
            "By benchmark, and why some answers have no conclusion",
            benchmark_table(findings, configs, "difference-benchmarks"),
            reason_table(findings, configs, "difference-reasons"),
        ),
    ]
    return method_part(
        loaded,
        section_id="difference",
        title="Difference",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded)],
        evidence=_evidence(loaded),
    )


def _verdict(loaded: LoadedRun) -> Verdict:
    verdicts = by_gravity(loaded)
    config = verdicts[0]["config"]
    rows = [
        glance_row(f, title, f"{title}: right in {percent(f.estimate)}", evidence=behind(config, gold))
        for estimand, title, gold in LABELS
        if (f := finding_of(loaded.findings, estimand, config)) is not None
    ]
    return stored_verdict(verdicts, "Difference", glance=Glance("Right answers", tuple(rows)), labels=_HEADLINES)


def behind(config: str, gold: str = "", answer: str = "", benchmark: str = "") -> Filter:
    """The analyses behind a mark."""
    return mark_filter("difference", config=config, form="analysis", gold=gold, said=answer, benchmark=benchmark)


def finding_of(
    findings: Sequence[Finding], estimand: str, config: str, outcome: str = "tolerant", benchmark: str = ""
) -> Finding | None:
    """The finding of a model under one parser, over all questions or those of a benchmark."""
    return first(findings, estimand, config, outcome, part={"benchmark": benchmark} if benchmark else {})


def label_bars(
    findings: Sequence[Finding],
    configs: Sequence[str],
    block_id: str,
    *,
    title: str = "Right answers, where groups differ and where they are alike",
    caption: str = "A model that is blind to the question is right in one row and wrong in the other. An answer without a "
    "conclusion counts as wrong.",
    linked: bool = True,
) -> Bars | None:
    """Right answers where groups differ and where they do not, one panel a model."""
    groups, shown = [], []
    for config in configs:
        bars = []
        for estimand, where, gold in LABELS:
            f = finding_of(findings, estimand, config)
            if f is None:
                continue
            label = f"{config}, {where}: right in {percent(f.estimate)}"
            bars.append(finding_bar(f, where, label, evidence=behind(config, gold) if linked else None))
            shown.append((f, where))
        if bars:
            groups.append(BarGroup(config, tuple(bars)))
    if not groups:
        return None
    right = FindingColumns[tuple[Finding, str]](lambda row: row[0])
    return Bars(
        id=block_id,
        title=title,
        caption=caption,
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=2),
        groups=tuple(groups),
        data=finding_table(
            shown,
            (
                words("model", lambda row: row[0].config),
                words("where", lambda row: row[1]),
                right.estimate("right"),
                right.interval(),
                right.size("questions"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


class Against(NamedTuple):
    """A row of the table of baselines: the model under a parser, or a baseline with the model's difference from it."""

    title: str
    accuracy: Finding
    by_label: Sequence[float | None]
    rest: Sequence[Finding | None]
    over: Finding | None
    evidence: Filter | None


def _against(findings: Sequence[Finding], config: str) -> list[Against]:
    rows = []
    for parser in ("tolerant", "strict"):
        accuracy = finding_of(findings, "accuracy", config, parser)
        if accuracy is None:
            continue
        by_label = [finding_of(findings, name, config, parser) for name, *_ in LABELS]
        rest = [finding_of(findings, name, config, parser) for name in ("abstain_rate", "yes_rate")]
        shares = [f.estimate if f else None for f in by_label]
        rows.append(Against(f"the model, {parser} parser", accuracy, shares, rest, None, behind(config)))
    for f in select(findings, "baseline_accuracy", config):
        shares = [f.extra.get(name) for name, *_ in LABELS]
        over = first(findings, "accuracy_over_baseline", config, f.outcome)
        rows.append(Against(f.outcome, f, shares, (None, None), over, None))
    return rows


def _no_comparison(row: Against) -> str:
    return "this is the model itself" if row.evidence else "it answers other questions"


def baseline_table(findings: Sequence[Finding], config: str, block_id: str) -> Table | None:
    """One model under both parsers, and every baseline below it."""
    accuracy = FindingColumns[Against](lambda row: row.accuracy)
    over = FindingColumns[Against](lambda row: row.over, _no_comparison)
    return finding_table(
        _against(findings, config),
        (
            words("", lambda row: row.title, evidence=lambda row: row.evidence),
            accuracy.estimate("right"),
            accuracy.interval(),
            value("groups differ", lambda row: row.by_label[0], SHARE),
            value("groups alike", lambda row: row.by_label[1], SHARE),
            FindingColumns[Against](lambda row: row.rest[0]).estimate("no conclusion"),
            FindingColumns[Against](lambda row: row.rest[1]).estimate(
                "says YES", note="among answers with a conclusion"
            ),
            over.estimate("model minus this, points", interval=True),
            over.p("p (Holm)", note="sign flips of scenario means, adjusted over the baselines"),
        ),
        block_id=block_id,
        title=f"{config} compared with trivial baselines",
        caption="Surface cues: a linear classifier on single words and word pairs, trained on the training questions. In "
        "the scenario split its test questions come from scenarios that it has not seen.",
    )


def benchmark_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Accuracy, and DiffAware and CtxtAware of the multiple-choice form, by benchmark."""
    names = ["", *sorted({f.slice["benchmark"] for f in findings if "benchmark" in f.slice})]
    wanted = (("accuracy", "tolerant"), ("diff_aware", "choice"), ("ctxt_aware", "choice"))
    rows = [
        (config, name, [finding_of(findings, estimand, config, outcome, name) for estimand, outcome in wanted])
        for config in configs
        for name in names
    ]
    right, diff, context = (
        FindingColumns[tuple[str, str, list[Finding | None]]](lambda row, k=k: row[2][k])  # type: ignore[misc]
        for k in range(3)
    )
    return finding_table(
        [row for row in rows if row[2][0] or (row[2][1] and row[2][1].estimate is not None)],
        (
            words("model", lambda row: row[0]),
            words("benchmark", lambda row: row[1] or "all", evidence=lambda row: behind(row[0], benchmark=row[1])),
            right.estimate("right"),
            right.interval(),
            diff.estimate(
                "DiffAware", unit=_AWARENESS, note="right group among answers where groups differ; guessing gives 0.33"
            ),
            diff.interval(unit=_AWARENESS),
            context.estimate(
                "CtxtAware", unit=_AWARENESS, note="groups named where they differ, among groups named at all"
            ),
            context.interval(unit=_AWARENESS),
            right.size("questions"),
        ),
        block_id=block_id,
        title="By benchmark",
    )


def reason_table(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Table | None:
    """Why analyses have no conclusion."""
    return finding_table(
        [f for config in configs for f in select(findings, "unparseable", config)],
        (
            words("model", lambda f: f.config),
            words(
                "reason", lambda f: REASONS[f.outcome], evidence=lambda f: behind(f.config, answer=REASONS[f.outcome])
            ),
            FINDING.estimate("share of answers"),
            FINDING.interval(),
        ),
        block_id=block_id,
        title="Analyses without a conclusion (tolerant parser)",
    )


def pair_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Models in pairs on the same questions."""

    def mcnemar(f: Finding) -> Cell:
        p = f.extra["mcnemar"]["p"]
        return Cell(p_value(p), sort=p, reason="" if p is not None else "no question is right in one model alone")

    return finding_table(
        select(findings, "accuracy_difference"),
        (
            words("models", lambda f: f"{f.config} minus {f.reference}"),
            words("benchmark", lambda f: f.slice.get("benchmark", "all")),
            FINDING.estimate("points"),
            FINDING.interval(),
            FINDING.p("p (Holm)", note="sign flips of scenario means, adjusted over the benchmarks"),
            words(
                "gained / lost",
                lambda f: f"{f.extra['mcnemar']['gained']} / {f.extra['mcnemar']['lost']}",
                note="questions right in the first alone, in the second alone",
            ),
            cells("McNemar p", mcnemar, numeric=True, note="exact; treats questions as independent"),
        ),
        block_id=block_id,
        title="Models compared on the same questions",
    )


def _evidence(loaded: LoadedRun) -> Evidence:
    """One row an answer, with what was read from it."""
    items = {row["item_id"]: row for row in loaded.items.iter_rows(named=True)}
    facets = (
        Facet("config", "Configuration", {}, strata=True),
        Facet("form", "Form", {"analysis": "analysis", "choice": "multiple choice"}, strata=True),
        Facet("gold", "Label", {"YES": "groups differ", "NO": "groups alike"}, strata=True),
        Facet("said", "Answer", {}, strata=True),
        Facet("benchmark", "Benchmark", {}),
    )
    rows = (
        EvidenceRow(
            id=row["item_id"],
            facets={
                "audit": "difference",
                "config": row["config"],
                "form": row["form"],
                "gold": row["gold"] or "no label",
                "said": _answer(row),
                "benchmark": row["benchmark"] or "none",
            },
            prompt=prompt_of(items[row["item_id"]]["chat"]),
            text=row["text"] or "",
            repetition=row["repetition"],
            flags=_flags(row),
        )
        for row in loaded.rows.iter_rows(named=True)
    )
    return evidence_of(loaded, "difference", "Difference", facets, rows)


def _answer(row: Mapping[str, Any]) -> str:
    if row["failed"]:
        return "failed"
    return str(row["tolerant"] or row["option"] or REASONS[row["reason"]])


def _flags(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The strict parser's reading if it differs from the tolerant one."""
    strict = row["strict"] or "nothing"
    differs = row["form"] == "analysis" and strict != (row["tolerant"] or "nothing")
    return (f"strict parser: {strict}",) if differs else ()
