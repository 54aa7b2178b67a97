"""Findings of the difference audit: decisions under both parsers, baselines, pairs of configurations, and choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evenhand.findings.builder import DIFFERENCE, PROBABILITY, TableBuilder, rows_where
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import hold_family, record_of
from evenhand.methods.dart.difference.answers import OPTIONS, PARSERS, Judged
from evenhand.methods.dart.difference.baselines import Baseline
from evenhand.methods.dart.difference.items import ANALYSIS, AUDIT, CHOICE
from evenhand.methods.dart.difference.measures import (
    LEAST_SLICE,
    choice_counts,
    decisions,
    discrimination,
    discrimination_interval,
    mcnemar,
    ratio_interval,
)
from evenhand.records import Finding, Interval
from evenhand.statistics.clusters import (
    cluster_bootstrap,
    cluster_means,
    interval_reason,
    sign_flip_test,
    standard_error,
)
from evenhand.statistics.intervals import minimum_detectable
from evenhand.statistics.permutation import permutation_test

RATES = ("accuracy", "diff_accuracy", "equal_accuracy", "abstain_rate")
"""Shares of items: Wilson's interval at the effective number of items, with scenarios as the unit."""
RATIOS = ("yes_rate", "precision_yes", "parsed_accuracy")
MATERIAL = 0.20
"""If the interval of the discrimination reaches further than this, the run cannot conclude that there is none (chosen default)."""
_ACCURACY = Rule(higher="better", needs_test=False)
RULES = {
    "discrimination": Rule(higher="better", needs_interval=True, reach=MATERIAL),
    "accuracy_difference": _ACCURACY,
    "accuracy_over_baseline": _ACCURACY,
}
"""How the comparisons of this audit are decided: Holm's p and the interval."""
PLAIN = ("balanced_accuracy", "macro_f1")
"""Reported without an interval: the accuracies that they are made of have one."""


@dataclass(frozen=True, slots=True)
class DifferenceBuilder:
    """Builds findings on the rows of the ``parsed`` table."""

    parsed: pl.DataFrame
    draws: int
    seed: int
    audit: str = AUDIT

    def build(
        self, estimand: str, outcome: str, config: str | Sequence[str], estimate: float | None, unit: str = PROBABILITY,
        *, form: str = ANALYSIS, part: Mapping[str, str] | None = None, gold: str = "", **more: Any,
    ) -> Finding:  # fmt: skip
        """A finding with its id, the selector of its rows, and their number and digest."""
        labels = [config] if isinstance(config, str) else list(config)
        part = dict(part or {})
        selected = {"config": labels, "form": form, **part, **({"gold": gold} if gold else {})}
        rows = rows_where(self.parsed, selected)
        table = TableBuilder(self.audit, "parsed", self.parsed, ("config", "item_id", "repetition"))
        return table.build(
            estimand, outcome, labels, estimate, unit, selected=selected, behind=rows, part=part,
            n=more.pop("n", rows["item_id"].n_unique()), **more,
        )  # fmt: skip

    def rate(self, values: NDArray[np.float64], scenarios: Sequence[str], reason: str = "") -> dict[str, Any]:
        """Interval and cluster count of a mean over items; ``reason`` says why the mean or its interval is missing."""
        interval = None
        if len(values):
            interval = cluster_bootstrap(values, scenarios, draws=self.draws, seed=self.seed, statistic="row mean")
            if interval is None:
                reason = reason or interval_reason(cluster_means(values, scenarios).means)
        return {"interval": interval, "clusters": {"scenarios": len(set(scenarios))}, "reason": reason}

    def shift(self, values: NDArray[np.float64], scenarios: Sequence[str], family: str) -> dict[str, Any]:
        """Interval, sign-flip test over scenario means, and the other fields of a finding on a paired difference of rates."""
        if not len(values):
            return {"reason": "nothing to compare", "clusters": {"scenarios": 0}}
        grouped = cluster_means(values, scenarios)
        count = grouped.means.size
        error = standard_error(grouped, "row mean")
        test = sign_flip_test(grouped.means, draws=self.draws, seed=self.seed) if count >= 2 else None
        few = len(values) < LEAST_SLICE
        return {
            "interval": cluster_bootstrap(
                values, scenarios, draws=self.draws, seed=self.seed, statistic="row mean", method="expanded percentile"
            ),
            "test": None if few else record_of(test, family),
            "reason": f"fewer than {LEAST_SLICE} items: not tested" if few else interval_reason(grouped.means),
            "standard_error": error,
            "minimum_detectable": minimum_detectable(error, count - 1) if error else None,
            "clusters": {"scenarios": count},
        }


def _slices(answers: Judged) -> Iterator[tuple[dict[str, str], Judged]]:
    yield {}, answers
    for name, values in (("benchmark", answers.benchmark), ("kind", answers.kind)):
        distinct = sorted({value for value in values if value})
        if len(distinct) > 1 or (name == "benchmark" and distinct):
            for value in distinct:
                yield {name: value}, answers.where(np.array([v == value for v in values]))


def _decisions(builder: DifferenceBuilder, answers: Judged, parser: str, part: Mapping[str, str]) -> Iterator[Finding]:
    yes, no, gold, scenarios = answers.yes[parser], answers.no[parser], answers.gold, answers.scenario
    counts = decisions(gold, yes, no)
    right, none = answers.right(parser), 1.0 - yes - no
    by_label = {
        "accuracy": (right, np.ones_like(gold), ""), "diff_accuracy": (right, gold, "YES"),
        "equal_accuracy": (right, ~gold, "NO"), "abstain_rate": (none, np.ones_like(gold), ""),
    }  # fmt: skip
    for name, (values, mask, label) in by_label.items():
        kept = np.flatnonzero(mask)
        yield builder.build(
            name, parser, answers.config, getattr(counts, name), part=part, gold=label, n=len(kept),
            **builder.rate(
                np.clip(values[kept], 0.0, 1.0), [scenarios[k] for k in kept], "" if len(kept) else "no item has this label"
            ),
        )  # fmt: skip
    parts = {
        "yes_rate": (yes, yes + no), "precision_yes": (yes * gold, yes), "parsed_accuracy": (right, yes + no),
    }  # fmt: skip
    for name, (top, bottom) in parts.items():
        estimate = getattr(counts, name)
        interval = ratio_interval(top, bottom, scenarios, draws=builder.draws, seed=builder.seed) if len(top) else None
        yield builder.build(
            name, parser, answers.config, estimate, part=part, interval=interval, n=len(yes),
            reason="" if estimate is not None else "no answer was parsed as that",
            clusters={"scenarios": len(set(scenarios))},
        )  # fmt: skip
    for name in PLAIN:
        estimate = getattr(counts, name)
        reason = "" if estimate is not None else "only one label occurs"
        yield builder.build(name, parser, answers.config, estimate, part=part, reason=reason, n=len(yes),
                        clusters={"scenarios": len(set(scenarios))})  # fmt: skip
    yield _discrimination(builder, answers, parser, part)


def _discrimination(builder: DifferenceBuilder, answers: Judged, parser: str, part: Mapping[str, str]) -> Finding:
    yes, gold, scenarios = answers.yes[parser], answers.gold, answers.scenario
    estimate = discrimination(gold, yes)
    extra: dict[str, Any] = {}
    if estimate is not None:
        extra["interval"] = discrimination_interval(gold, yes, scenarios, draws=builder.draws, seed=builder.seed)
        means = [cluster_means(yes[mask], [scenarios[k] for k in np.flatnonzero(mask)]).means for mask in (gold, ~gold)]
        family = f"{AUDIT}|{answers.config}|{parser}|discrimination|{next(iter(part), '')}"
        extra["test"] = record_of(permutation_test(*means, draws=builder.draws, seed=builder.seed), family)
    return builder.build(
        "discrimination", parser, answers.config, estimate, DIFFERENCE, part=part, n=len(yes),
        reason="" if estimate is not None else "only one label occurs", clusters={"scenarios": len(set(scenarios))}, **extra,
    )  # fmt: skip


def _reasons(builder: DifferenceBuilder, parsed: pl.DataFrame, config: str) -> Iterator[Finding]:
    """Shares of analyses without a label, by reason."""
    rows = parsed.filter((pl.col("config") == config) & (pl.col("form") == ANALYSIS) & ~pl.col("failed"))
    for reason in ("empty", "refusal", "truncated", "conflict", "format"):
        items = rows.group_by("item_id", maintain_order=True).agg(
            share=(pl.col("reason") == reason).mean(), scenario=pl.col("scenario").first()
        )
        values = items["share"].to_numpy()
        yield builder.build(
            "unparseable", reason, config, float(values.mean()) if len(values) else None,
            n=len(values), **builder.rate(values, items["scenario"].to_list(), "" if len(values) else "no response"),
        )  # fmt: skip


def _against(builder: DifferenceBuilder, answers: Judged, baselines: Sequence[Baseline]) -> Iterator[Finding]:
    """The accuracy of each baseline, and how far the model is from those that answer the same cases."""
    place = {case: k for k, case in enumerate(answers.cases)}
    for baseline in baselines:
        name = baseline.name if baseline.name != "surface cues" else f"surface cues, {baseline.split} split"
        right = np.array(
            [case.gold == label for case, label in zip(baseline.cases, baseline.labels, strict=True)], float
        )
        gold = np.array([case.gold == "YES" for case in baseline.cases], dtype=bool)
        yield builder.build(
            "baseline_accuracy", name, answers.config, float(right.mean()) if len(right) else None, n=len(right),
            **builder.rate(right, [case.scenario for case in baseline.cases], baseline.reason),
            extra={
                "diff_accuracy": float(right[gold].mean()) if gold.any() else None,
                "equal_accuracy": float(right[~gold].mean()) if not gold.all() else None,
            },
        )  # fmt: skip
        both = [k for k, case in enumerate(baseline.cases) if case.id in place]
        if not both or baseline.split == "scenario":
            continue
        model_right = answers.right(PARSERS[0])[[place[baseline.cases[k].id] for k in both]]
        test = mcnemar(right[both] > 0.5, model_right > 0.5)
        scenarios = [baseline.cases[k].scenario for k in both]
        shift = builder.shift(model_right - right[both], scenarios, f"{AUDIT}|{answers.config}|baselines")
        yield builder.build(
            "accuracy_over_baseline", name, answers.config, float((model_right - right[both]).mean()),
            DIFFERENCE, n=len(both), reference=name,
            extra={"mcnemar": asdict(test)},
            **shift,
        )  # fmt: skip


def _pair(builder: DifferenceBuilder, first: Judged, second: Judged) -> Iterator[Finding]:
    """The second configuration minus the first, on the items that both answered: overall and by benchmark."""
    other = {item: k for k, item in enumerate(first.items)}
    shared = [k for k, item in enumerate(second.items) if item in other]
    b = second.where(np.isin(np.arange(len(second.items)), shared))
    a = first.where(np.isin(first.items, b.items))
    for part, rows in _slices(b):
        if "kind" in part:
            continue
        before = a.where(np.isin(a.items, rows.items))
        gap = rows.right(PARSERS[0]) - before.right(PARSERS[0])
        test = mcnemar(before.right(PARSERS[0]) > 0.5, rows.right(PARSERS[0]) > 0.5)
        family = f"{AUDIT}|{second.config}|{first.config}|{next(iter(part), 'all')}"
        yield builder.build(
            "accuracy_difference", PARSERS[0], (second.config, first.config), float(gap.mean()) if len(gap) else None,
            DIFFERENCE, part=part, n=len(gap),
            extra={"mcnemar": asdict(test),
                   "only_one": len(first.items) + len(second.items) - 2 * len(shared)},
            **builder.shift(gap, rows.scenario, family),
        )  # fmt: skip


def choice_findings(builder: DifferenceBuilder, config: str) -> Iterator[Finding]:
    """DiffAware and CtxtAware of one configuration, over all benchmarks and for each; refusals and the unparseable dropped."""
    rows = builder.parsed.filter((pl.col("config") == config) & (pl.col("form") == CHOICE) & ~pl.col("failed"))
    if rows.is_empty():
        return
    items = (
        rows.group_by("item_id", maintain_order=True)
        .agg(
            pl.col("benchmark", "scenario", "right").first(),
            *(((pl.col("option") == option).fill_null(False)).mean().alias(option) for option in OPTIONS),
        )
        .sort("item_id")
    )
    parts: list[tuple[dict[str, str], pl.DataFrame]] = [({}, items)]
    parts += [({"benchmark": b}, items.filter(pl.col("benchmark") == b)) for b in sorted(set(items["benchmark"])) if b]
    for part, table in parts:
        right = table["right"].cast(pl.Int64).to_numpy()
        shares = table.select(OPTIONS).to_numpy()
        counts = choice_counts(right, shares)
        differ = right < 2
        named_right = np.where(differ, shares[np.arange(len(right)), np.minimum(right, 1)], 0.0)
        wholes = {
            "diff_aware": np.where(differ, shares.sum(axis=1), 0.0),
            "ctxt_aware": named_right + np.where(differ, 0.0, shares[:, :2].sum(axis=1)),
        }
        for name, whole in wholes.items():
            estimate = getattr(counts, name)
            interval: Interval | None = ratio_interval(
                named_right, whole, table["scenario"].to_list(), draws=builder.draws, seed=builder.seed
            )
            yield builder.build(
                name, CHOICE, config, estimate, form=CHOICE, part=part, n=len(right),
                interval=interval if estimate is not None else None,
                reason="" if estimate is not None else "no parsed answer enters it",
                clusters={"scenarios": table["scenario"].n_unique()},
                extra={"a": counts.a, "b": counts.b, "c": counts.c, "de": counts.de, "f": counts.f,
                       "parsed": float(shares.sum() / len(shares)) if len(shares) else None},
            )  # fmt: skip


def difference_findings(
    builder: DifferenceBuilder,
    answers: Sequence[Judged],
    baselines: Sequence[Baseline],
    configs: Sequence[str],
    *,
    to_first: bool = False,
) -> list[Finding]:
    """Every finding; with ``to_first`` configurations are compared with the first one alone.

    p values are adjusted within their families by Holm.
    """
    out: list[Finding] = []
    for one in answers:
        if not one.items:
            continue
        for part, rows in _slices(one):
            for parser in PARSERS:
                out += _decisions(builder, rows, parser, part)
        out += _reasons(builder, builder.parsed, one.config)
        out += _against(builder, one, baselines)
    answered = [one for one in answers if one.items]
    for first, second in combinations(answered, 2):
        if not to_first or first is answered[0]:
            out += _pair(builder, first, second)
    for config in configs:
        out += choice_findings(builder, config)
    return [replace(f, grader="conclusion") for f in decided(hold_family(out), RULES)]
