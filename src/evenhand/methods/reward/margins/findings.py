"""From pair rows to findings: what each stage rewarded, by group, with intervals over predicates and one Holm family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, nextafter
from typing import Any

import numpy as np
import polars as pl

from evenhand.findings.builder import TableBuilder
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import record_of
from evenhand.methods.reward.margins.measures import FATES, RewardSummary, per_token_margin, summarise
from evenhand.methods.reward.margins.stages import stage_change, stage_spread
from evenhand.records import Finding
from evenhand.runs.stages import Step
from evenhand.statistics.clusters import cluster_bootstrap, cluster_means, paired_t

AUDIT = "reward"
FAMILY = "reward margins: every model, stage and group"
SUBSETS = {"strict": (("Transgender", "NB"), ("Cisgender", "Cis")), "broad": ((), ("Cisgender", "Cis"))}
"""WinoQueer's subsets: groups (empty: any) and comparison groups."""
_SENTENCES: Mapping[str, Any] = {"scope": "sentence", "kind": "harm"}
_COUNTED: Mapping[str, Any] = {**_SENTENCES, "counted": True}
"""The pairs that enter reward summaries, scored as whole sentences."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Pairs that are summarised together: one group of a pair set, all of a set, or a subset of WinoQueer."""

    pair_set: str
    group: str | None
    subset: str = ""

    @property
    def slice(self) -> dict[str, str]:
        """The slice of its findings."""
        return {"pair_set": self.pair_set, **({"subset": self.subset} if self.subset else {})}

    def select(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of ``rows`` that belong to this cut."""
        result = rows.filter(pl.col("pair_set") == self.pair_set)
        if self.group is not None:
            result = result.filter(pl.col("group") == self.group)
        if self.subset:
            groups, others = SUBSETS[self.subset]
            result = result.filter(pl.col("comparison_group").is_in(others))
            result = result.filter(pl.col("group").is_in(groups)) if groups else result
        return result


def cuts(rows: pl.DataFrame) -> list[Cut]:
    """Every group of every pair set, then each set as a whole, then WinoQueer's subsets."""
    result = []
    for pair_set in rows["pair_set"].unique(maintain_order=True):
        groups = rows.filter(pl.col("pair_set") == pair_set)["group"].unique(maintain_order=True).to_list()
        result += [Cut(pair_set, group) for group in groups]
        result += [Cut(pair_set, None)] if len(groups) > 1 else []
        if pair_set == "winoqueer":
            result += [cut for name in SUBSETS if not (cut := Cut(pair_set, None, name)).select(rows).is_empty()]
    return result


@dataclass(frozen=True, slots=True)
class PairFindings:
    """Builds findings on ``pairs.parquet``; ``draws`` and ``seed`` are those of every interval and test."""

    rows: pl.DataFrame
    draws: int
    seed: int
    tau: float

    def build(
        self, estimand: str, outcome: str, config: str, cut: Cut, estimate: float | None, unit: str, rows: pl.DataFrame,
        selected: Mapping[str, Any], **more: Any,
    ) -> Finding:  # fmt: skip
        """A finding with its id, the selector of its rows, and their digest."""
        group = {"group": cut.group} if cut.group is not None else {}
        table = TableBuilder(AUDIT, "pairs", self.rows, ("policy", "reference", "scope", "pair_id"))
        return table.build(
            estimand, outcome, config, estimate, unit, behind=rows, group=cut.group, tail=(cut.group or "all",),
            part={**cut.slice, **more.pop("part", {})},
            selected={"pair_set": cut.pair_set, **group, **selected}, **more,
        )  # fmt: skip


def with_decisions(findings: Sequence[Finding], tau: float) -> list[Finding]:
    """Findings with their decisions. A shift of a margin counts if Holm's p and the interval show it and it exceeds ``tau``
    nats; a change of WinoQueer's rate is decided by its interval alone.
    """
    shift = Rule(needs_test=False, needs_interval=True, least=nextafter(tau, inf))
    return decided(
        findings,
        {
            "margin_shift": shift,
            "net_shift": shift,
            "selection_rate": Rule(needs_test=False, needs_interval=True, null=0.5),
            "bias_change": Rule(p="none"),
        },
    )


def _where(rows: pl.DataFrame, selected: Mapping[str, Any]) -> pl.DataFrame:
    """The rows whose columns have the selected values."""
    return rows.filter(*(pl.col(column) == value for column, value in selected.items()))


def _units(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Item groups, so that the two comparison words of one WinoQueer sentence do not count twice."""
    keys = ["pair_set", "group", "cluster_id", "item_group", "template"]
    return rows.group_by(keys, maintain_order=True).agg(pl.col(*columns).mean())


def _outcome(step: Step, scope: str) -> str:
    """The stage, with its family, scope and kind if they are not the default: ``pythia/sft-dpo (total shift)``."""
    words = step.stage or "policy"
    named = f"{step.family}/{words}" if step.family else words
    total = " (total shift)" if step.kind == "total shift" else ""
    return f"{named}{total}" + (f", {scope}" if scope != "sentence" else "")


def comparison_findings(builder: PairFindings, step: Step, scope: str, cut: Cut) -> list[Finding]:
    """What one comparison rewarded in one cut: margin, net margin, selection rate, reward, shares of fates."""
    chosen = {"policy": step.policy, "reference": step.reference, "scope": scope, "kind": "harm", "counted": True}
    chosen_rows = _where(cut.select(builder.rows), {**chosen, "stage": step.stage, "family": step.family})
    units = _units(chosen_rows, "delta_nats", "net", "n_h", "n_c")
    beta = chosen_rows["beta"].first() if chosen_rows.height else None
    clusters = units["cluster_id"].to_list()
    result = summarise(
        units["delta_nats"].to_numpy(), clusters, beta=beta, tau=builder.tau,  # type: ignore[arg-type]
        length_difference=(units["n_h"] - units["n_c"]).to_numpy(), draws=builder.draws, seed=builder.seed,
    )  # fmt: skip
    outcome = _outcome(step, scope)
    shared: dict[str, Any] = {
        "reference": step.reference, "clusters": {"predicate": result.n_clusters}, "part": {"stage": step.stage, "scope": scope,
        **({"family": step.family} if step.family else {})},
    }  # fmt: skip
    extra = _extra(result, step, chosen_rows)
    common = (step.policy, cut)

    def made(estimand: str, estimate: float | None, unit: str, **more: Any) -> Finding:
        part = {"ratio": step.kind, **shared["part"]}
        return builder.build(
            estimand, outcome, *common, estimate, unit, chosen_rows, chosen, **{**shared, "part": part, **more}
        )  # fmt: skip

    reason = result.reasons.get("interval_mu_nats", result.reasons.get("mu_nats", ""))
    findings = [
        made(
            "margin_shift", result.mu_nats, "nats", interval=result.interval_mu_nats,
            test=record_of(result.test_mu, FAMILY if scope == "sentence" else f"{FAMILY}, {scope}"),
            standard_error=result.standard_error, minimum_detectable=result.minimum_detectable, extra=extra, reason=reason,
        ),
        made(
            "selection_rate", result.ssr, "probability", interval=result.interval_ssr,
            test=record_of(result.test_ssr, f"{FAMILY} (selection rates)"), minimum_detectable=result.minimum_detectable_ssr,
            reason=result.reasons.get("interval_ssr", result.reasons.get("ssr", "")),
            extra={"tie_share": result.tie_share, "percentile": asdict(result.percentile_ssr) if result.percentile_ssr else None},
        ),
    ]  # fmt: skip
    if beta is not None:
        findings.append(made("reward_margin", result.mu, "reward", extra={"beta": beta, "bt_mean": result.bt_mean}))
    net = units.drop_nulls("net")
    if net.height:
        findings.append(_net_finding(builder, made, net, chosen_rows["net"].null_count()))
    if chosen_rows.height and scope == "sentence":
        counts = dict(chosen_rows["class"].value_counts().iter_rows())
        findings += [
            made(
                "fate_share",
                counts.get(word, 0) / chosen_rows.height,
                "probability",
                part={**shared["part"], "fate": word},
            )
            for word in FATES
        ]
    return findings


def _net_finding(builder: PairFindings, made: Any, net: pl.DataFrame, unmatched: int) -> Finding:
    result = summarise(
        net["net"].to_numpy(),
        net["cluster_id"].to_list(),
        beta=None,
        tau=builder.tau,
        draws=builder.draws,
        seed=builder.seed,
    )
    finding: Finding = made(
        "net_shift", result.mu_nats, "nats", interval=result.interval_mu_nats,
        test=record_of(result.test_mu, f"{FAMILY} (net of neutral pairs)"), standard_error=result.standard_error,
        minimum_detectable=result.minimum_detectable, reason=result.reasons.get("interval_mu_nats", ""),
        extra={"without_neutral": unmatched, "neutral_pairs": "held fixed"},
    )  # fmt: skip
    return finding


def _extra(result: RewardSummary, step: Step, chosen_rows: pl.DataFrame) -> dict[str, Any]:
    """The other numbers of a summary, for ``summary.parquet``."""
    kept = asdict(result)
    for name in ("interval_mu_nats", "interval_ssr", "test_mu", "test_ssr", "reasons", "n_clusters"):
        kept.pop(name)
    token = None
    if chosen_rows.height:
        shift = [(chosen_rows[f"ll_pi_{m}"] - chosen_rows[f"ll_ref_{m}"]).to_numpy() for m in ("h", "c")]
        values = per_token_margin(shift[0], shift[1], chosen_rows["n_h"].to_numpy(), chosen_rows["n_c"].to_numpy())
        token = float(cluster_means(values, chosen_rows["cluster_id"].to_list()).means.mean())
    units = _units(chosen_rows, "delta_nats")
    t = (
        paired_t(cluster_means(units["delta_nats"].to_numpy(), units["cluster_id"].to_list()).means)
        if units.height
        else None
    )
    return {
        **kept,
        "per_token_nats": token,
        "per_token_note": "not a DPO reward",
        "paired_t": None if t is None else {"t": t[0], "df": t[1], "p": t[2]},
        "warning": step.warning,
    }


def level_findings(builder: PairFindings, cut: Cut, steps: Sequence[Step]) -> list[Finding]:
    """Mean likelihood margin of every model (whole sentence), and its interval over predicates."""
    findings = []
    for model, column, step in _models(steps):
        selected = {"policy": step.policy, "reference": step.reference, **_COUNTED}
        rows = _where(cut.select(builder.rows), selected)
        if rows.is_empty():
            continue
        units = _units(rows, column)
        values, clusters = units[column].to_numpy(), units["cluster_id"].to_list()
        findings.append(
            builder.build(
                "margin_level", "whole sentence", model, cut, float(cluster_means(values, clusters).means.mean()), "nats", rows,
                selected, clusters={"predicate": len(set(clusters))},
                interval=cluster_bootstrap(values, clusters, draws=builder.draws, seed=builder.seed, method="studentised"),
            )
        )  # fmt: skip
    return findings


def _models(steps: Sequence[Step]) -> list[tuple[str, str, Step]]:
    """(model, the column of its margins, a comparison it is in), each model once."""
    result: dict[str, tuple[str, Step]] = {}
    for step in steps:
        result.setdefault(step.reference, ("m_ref", step))
        result.setdefault(step.policy, ("m_pi", step))
    return [(model, column, step) for model, (column, step) in result.items()]


def bias_findings(builder: PairFindings, cut: Cut, steps: Sequence[Step], base: str) -> list[Finding]:
    """WinoQueer's metric (share of pairs whose harmful text is likelier over the shared tokens), the whole-sentence variant,
    and the change of each from the base model, in percentage points. Repeats and pairs that are not minimal stay in.
    """
    findings = []
    kept: dict[tuple[str, str], np.ndarray[Any, Any]] = {}
    every = _where(cut.select(builder.rows), _SENTENCES)
    for model, column, step in _models(steps):
        chosen = {"policy": step.policy, "reference": step.reference, **_SENTENCES}
        rows = _where(every, chosen).unique("pair_id", maintain_order=True)
        clusters = rows["cluster_id"].to_list()
        for outcome, name in (("shared tokens", column.replace("m_", "shared_")), ("whole sentence", column)):
            margins = rows[name].to_numpy().astype(np.float64)
            wins = np.where(np.isfinite(margins), (margins > 0).astype(np.float64), np.nan)
            kept[model, outcome] = wins
            good = np.isfinite(wins)
            share = float(wins[good].mean()) if good.any() else None
            findings.append(
                builder.build(
                    "bias_rate", outcome, model, cut, share, "probability", rows, chosen,
                    clusters={"predicate": len(set(clusters))}, reason="" if good.any() else "no pair has shared tokens",
                    interval=cluster_bootstrap(wins[good], [c for c, ok in zip(clusters, good, strict=True) if ok],
                                               draws=builder.draws, seed=builder.seed, method="Wilson") if good.any() else None,
                    extra={"weighting": "rows", "ties": int((margins == 0).sum()), "unscored": int((~good).sum())},
                )
            )  # fmt: skip
            if model != base and (base, outcome) in kept and len(kept[base, outcome]) == len(wins):
                change = stage_change(wins, kept[base, outcome], clusters, draws=builder.draws, seed=builder.seed)
                findings.append(
                    builder.build(
                        "bias_change", outcome, model, cut, change.change,
                        "difference of probabilities", rows, chosen, reference=base, clusters={"predicate": change.n_clusters},
                        interval=change.change_interval,
                        test=record_of(change.test, f"bias rates, {outcome}"), reason=change.reason,
                        extra={"word": change.word, "distance_from_half": change.distance},
                    )
                )  # fmt: skip
    return findings


def spread_findings(builder: PairFindings, cut: Cut, steps: Sequence[Step], family: str) -> list[Finding]:
    """Whether the stages of a family differ in the spread of margins: Brown-Forsythe on predicate means."""
    counted = _where(cut.select(builder.rows), _COUNTED)
    groups = {}
    for step in steps:
        if step.family != family or step.kind == "total shift":
            continue
        of_step = {"policy": step.policy, "reference": step.reference, "stage": step.stage}
        units = _units(_where(counted, of_step), "delta_nats")
        groups[step.stage] = units["delta_nats"].to_numpy(), units["cluster_id"].to_list()
    if len(groups) < 2:
        return []
    result = stage_spread(groups)
    part = {"family": family} if family else {}
    return [
        builder.build(
            "spread_test", "stages", "; ".join(groups), cut, result.statistic, "Brown-Forsythe F", counted,
            _COUNTED, part=part, reason=result.reason,
            extra={"p": result.p, "standard_deviations": dict(result.deviations)},
        )
    ]  # fmt: skip
