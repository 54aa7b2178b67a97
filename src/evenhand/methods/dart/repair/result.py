"""What a repair achieved: accuracy on the same test questions, drift against M0, what reduced it, and the model card.

The reduction of the paper is 1 - N(M0 -> repaired) / N(M0 -> distilled). A pool chosen for drift shrinks when it is merely
drawn again, so the no-op repair (the distilled model drawn again) is reported alongside, and so is what exceeds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from evenhand.files import write_atomically
from evenhand.findings.builder import build, first
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import hold_family
from evenhand.methods.dart.difference.answers import judged, parsed_frame
from evenhand.methods.dart.difference.baselines import baselines
from evenhand.methods.dart.difference.cases import Cases
from evenhand.methods.dart.difference.findings import DifferenceBuilder, difference_findings
from evenhand.methods.dart.difference.items import ANALYSIS, items_of
from evenhand.methods.dart.difference.measures import ratio_interval
from evenhand.methods.dart.drift.audit import NULL_SEED
from evenhand.methods.dart.drift.findings import DriftBuilder, drift_findings
from evenhand.methods.dart.drift.measures import fates, reduction
from evenhand.methods.dart.drift.pairs import Output
from evenhand.methods.dart.repair.stages import AUDIT, DISTILLED, M0, Work, repaired_name
from evenhand.methods.dart.repair.verdict import dart_caveats, dart_headlines, dart_methods, dart_verdicts
from evenhand.records import Finding, FinishReason, Interval, Response
from evenhand.runs.method import AuditResult
from evenhand.runs.tables import items_frame, write_table
from evenhand.wording import percent

NOOP = "no-op repair"
_REDUCED = Rule(higher="better", p="none", otherwise="cannot tell")
RULES = dict.fromkeys(("drift_reduction", "noop_reduction", "reduction_beyond_noop", "second_reduction"), _REDUCED)
"""How reductions are decided: by the interval over scenarios alone."""


def systems_of(work: Work, states: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every trained or untrained model of the repair, in order."""
    return [M0, DISTILLED, *(repaired_name(p) for p in states if repaired_name(p) in work.adapters)]


def _reason(row: Output) -> FinishReason:
    return "error" if row.failed else "length" if row.finish_reason == "length" else "stop"


def _parsed(work: Work, names: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Answers of every system on the test split, read by both parsers; and the items."""
    items = items_of(work.splits["test"], (ANALYSIS,), policy=work.config.policy)
    place = {item.attributes["case"]: item.id for item in items}
    responses = [
        Response(name, place[case], repetition, row.text, _reason(row), error=row.failed)
        for name in names
        for (case, repetition), row in work.outputs(name, "test").rows.items()
    ]
    return parsed_frame(items, responses), items_frame(items)


def dart_result(work: Work, cases: Cases, distil: pl.DataFrame, states: dict[str, dict[str, Any]]) -> AuditResult:
    """The findings, verdicts and facts of a repair, reported on the test split."""
    config = work.config
    names = systems_of(work, states)
    parsed, items = _parsed(work, names)
    write_table(work.run.table(AUDIT, "parsed"), parsed)
    write_table(work.run.table(AUDIT, "items"), items)
    builder = DifferenceBuilder(parsed, config.draws, config.seed, AUDIT)
    trivial = baselines(cases.cases, work.splits["test"])
    findings = difference_findings(builder, [judged(parsed, name) for name in names], trivial, [], to_first=True)
    null = work.drift(M0, "test", NULL_SEED)
    for name in names[1:]:
        findings += _drift(work, name, name, work.drift(name, "test"), null)
    again = work.drift(DISTILLED, "test", NULL_SEED)
    findings += _drift(work, NOOP, "distilled-again", again, None)
    for protocol, state in states.items():
        if repaired_name(protocol) in work.adapters:
            findings += _reductions(work, protocol, state, again)
    findings += _teacher(distil)
    return AuditResult(
        audit=AUDIT,
        verdicts=dart_verdicts(config, findings, states),
        findings=findings,
        headlines=dart_headlines(findings, names),
        rows=parsed.height,
        missing=int(parsed["failed"].sum()),
        methods=dart_methods(config),
        caveats=dart_caveats(config, cases, own_judge=work.own_judge),
        facts={
            "protocols": states,
            "ablation": config.ablation,
            "distilled_rows": int(distil["accepted"].sum()),
            "dropped_by_teacher": int((~distil["accepted"]).sum()),
            "adapters": {
                name: str(path.relative_to(work.run.folder.resolve())) for name, path in work.adapters.items()
            },
        },
    )


def _drift(work: Work, name: str, table: str, pairs: pl.DataFrame, null: pl.DataFrame | None) -> list[Finding]:
    config = work.config
    builder = DriftBuilder(pairs, AUDIT, table, name, M0, config.combine, config.draws, config.seed)
    return drift_findings(builder, null)


def _reductions(work: Work, protocol: str, state: dict[str, Any], again: pl.DataFrame) -> list[Finding]:
    """The reduction of drift by a repair, by the no-op, and beyond it; also by the second grader and on held-out wordings."""
    config = work.config
    name = repaired_name(protocol)
    keys = ["case", "repetition"]
    joined = (
        work.drift(DISTILLED, "test")
        .select(*keys, "scenario", "wording", before="drift", second_before="second")
        .join(work.drift(name, "test").select(*keys, after="drift", second_after="second"), on=keys)
        .join(again.select(*keys, noop="drift"), on=keys)
    )
    builder = DriftBuilder(joined, AUDIT, name, name, M0, config.combine, config.draws, config.seed)
    out: list[Finding] = []

    def add_reduction(
        estimand: str, outcome: str, rows: pl.DataFrame, before: str, less: str, more: str = "", **extra: Any
    ) -> None:
        judged_pairs = rows.drop_nulls([column for column in (before, less, more) if column])
        base = judged_pairs[before].cast(pl.Float64).to_numpy()
        away = judged_pairs[less].cast(pl.Float64).to_numpy()
        top = (judged_pairs[more].cast(pl.Float64).to_numpy() if more else base) - away
        scenarios = judged_pairs["scenario"].to_list()
        whole = float(base.sum())
        estimate = float(top.sum() / whole) if whole else None
        interval: Interval | None = None
        if estimate is not None:
            interval = ratio_interval(top, base, scenarios, draws=config.draws, seed=config.seed)
        reason = "nothing drifted before the repair: undefined" if estimate is None else ""
        if estimate is not None and interval is None:
            reason = "too few scenarios drifted: no interval"
        part = extra.pop("part", None)
        out.append(
            builder.build(
                estimand, outcome, estimate, judged_pairs, "share of drift cases", part=part, interval=interval,
                reason=reason,
                clusters={"scenarios": len(set(scenarios))},
                extra={"before": int(whole), "after": int(away.sum()), "unknown": rows.height - judged_pairs.height, **extra},
            )
        )  # fmt: skip

    # A pair without a verdict on one side has no fate: it must not count as fixed.
    ids = joined.drop_nulls(["before", "after"]).with_columns(id=pl.concat_str("case", "repetition", separator="#"))
    case_fates = fates(*(ids.filter(pl.col(c))["id"].to_list() for c in ("before", "after")))
    persisting, fixed, created = case_fates.counts
    state["fates"] = {"persisting": persisting, "fixed": fixed, "created": created}
    add_reduction("drift_reduction", protocol, joined, "before", "after", fates=state["fates"])
    add_reduction("noop_reduction", protocol, joined, "before", "noop")
    add_reduction("reduction_beyond_noop", protocol, joined, "before", "after", "noop")
    if joined["second_before"].is_not_null().any():
        add_reduction("second_reduction", protocol, joined, "second_before", "second_after")
    for wording in sorted({w for w in joined["wording"] if w}):
        add_reduction(
            "drift_reduction",
            protocol,
            joined.filter(pl.col("wording") == wording),
            "before",
            "after",
            part={"wording": wording},
        )
    check = out[0]
    assert (
        check.estimate == reduction(check.extra["before"], check.extra["after"])
        or check.estimate is None
        or np.isclose(check.estimate, reduction(check.extra["before"], check.extra["after"]) or 0.0)
    )
    return decided(hold_family(out), RULES)


def _teacher(distil: pl.DataFrame) -> list[Finding]:
    """Share of training cases that the teacher's rules dropped, by benchmark and label: this unbalances training."""
    out = []
    for (benchmark, gold), rows in distil.group_by(["benchmark", "gold"], maintain_order=True):
        dropped = int((~rows["accepted"]).sum())
        part = {"benchmark": str(benchmark), "gold": str(gold)}
        out.append(
            build(
                AUDIT, "teacher_dropped", "distil", DISTILLED, dropped / rows.height, "probability", n=rows.height, part=part,
                id_parts=("teacher_dropped", *part.values()), extra={"count": dropped},
                evidence={"table": "teacher-distil", **part},
            )
        )  # fmt: skip
    return out


_ROWS = (
    ("accuracy", "tolerant", "right answers"),
    ("diff_accuracy", "tolerant", "right where groups differ"),
    ("equal_accuracy", "tolerant", "right where they are alike"),
    ("abstain_rate", "tolerant", "without a conclusion"),
    ("drift_rate", "", "explanations more harmful than before tuning"),
)


def write_card(work: Work, result: AuditResult) -> None:
    """Write ``card.md`` into the run folder and next to every adapter."""
    config = work.config
    names = ["M0", *work.adapters]
    lines = [
        "# Model card: a DART repair", "",
        f"Base model `{config.model}`, adapted by LoRA: distilled from explanations of `{config.teacher}` (given the right "
        f"labels), audited for harm drift by `{config.judge}`, repaired with weights by severity. Protocols: "
        f"{', '.join(config.protocols)}.", "",
        "## Before and after, on the test split", "",
        "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|",
    ]  # fmt: skip
    for estimand, outcome, what in _ROWS:
        cells = []
        for name in names:
            f = first(result.findings, estimand, name, outcome or config.combine, part={})
            ends = f" ({percent(f.interval.low, 0)} to {percent(f.interval.high, 0)})" if f and f.interval else ""
            cells.append(percent(f.estimate) + ends if f else "")
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "In brackets: 95 % intervals, scenarios as the unit. An inductive and a transductive repair are different claims.",
        "",
    ]
    lines += ["## Adapters", "", *(f"- {name}: `{path.name}`" for name, path in work.adapters.items()), ""]
    states = result.facts["protocols"].items()
    became = [f"- {protocol}: {state['status']}" for protocol, state in states] or ["- none was made"]
    lines += ["## What became of the repair", "", *became, ""]
    lines += ["## Limits", "", *(f"- {text.removeprefix('ERROR ')}" for text in result.caveats), ""]
    text = "\n".join(lines).encode("utf-8")
    write_atomically(work.run.folder / "card.md", text)
    for path in work.adapters.values():
        write_atomically(path / "card.md", text)
