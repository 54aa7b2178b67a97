"""The reward audit: which stage of alignment rewarded a harm?

Idea after Ovalle et al. 2024 (arXiv 2411.03700, abstract); docs/reward.md says what was published and what is a chosen
default. Pairs in; scores of every model; margins, rewards and fates by group out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl

from evenhand.config import AuditConfig
from evenhand.datasets.table import holds_pairs
from evenhand.engines.base import Engine, Estimate, Span, Verb
from evenhand.engines.probing import score_cost
from evenhand.errors import EngineError
from evenhand.findings.families import hold_family
from evenhand.methods.reward.margins.config import RewardSettings
from evenhand.methods.reward.margins.findings import (
    AUDIT,
    Cut,
    PairFindings,
    bias_findings,
    comparison_findings,
    cuts,
    level_findings,
    spread_findings,
    with_decisions,
)
from evenhand.methods.reward.margins.measures import extremes
from evenhand.methods.reward.margins.pairs import PairSet, open_pairs
from evenhand.methods.reward.margins.scoring import (
    FLOOR_TEXTS,
    PairScores,
    Plan,
    check_tokens,
    continuation_plan,
    failures,
    make_plan,
    noise_floor,
    pair_rows,
    score_model,
    texts_frame,
)
from evenhand.methods.reward.margins.verdict import (
    CAVEATS,
    Named,
    headlines,
    name_all,
    only_found_in,
    recommendations,
    verdict,
)
from evenhand.records import Finding, Pair
from evenhand.runs.method import AuditResult, Context
from evenhand.runs.respond import Configuration
from evenhand.runs.stages import SAME, Step, models_of, not_asked_for, steps_of
from evenhand.runs.tables import write_table
from evenhand.statistics.clusters import cluster_means
from evenhand.wording import ORGANISM_NOTICE, group_label, is_organism, number

NO_REFERENCE = "it needs --reference REF, the model that the policy was tuned from, or `evenhand stages`"
PROCESSED = "{policy} and {reference} are loaded differently ({what}): the log-ratio includes that difference too."


class RewardAudit:
    """Pairs in; what each stage rewarded, by group, out."""

    name = AUDIT
    title = "Implicit reward"

    def __init__(self) -> None:
        self._read: PairSet | None = None

    def verbs(self, config: AuditConfig) -> frozenset[Verb]:
        """Log-probability scores of given texts."""
        return frozenset({"score"})

    def unfit(self, config: AuditConfig) -> str:
        """It scores texts itself and needs the model that each model was tuned from."""
        entry = "responses" if config.responses else "labels" if config.labels else ""
        if entry:
            return f"it scores texts itself, and {entry} are given"
        if config.data is not None and not holds_pairs(config.data, config.columns):
            return "the file holds prompts; pairs have the columns harmful, comparison and group"
        if not (config.reference or config.stages):
            return NO_REFERENCE
        return "" if config.data is not None else not_asked_for(config, AUDIT)

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Where the pairs come from, and which part of them is scored."""
        selected = self._pairs(config)
        return {
            "pairs": len(selected.pairs),
            "sets": selected.source,
            "notes": list(selected.notes),
            "scope": list(config.of(RewardSettings).scope),
        }

    def _pairs(self, config: AuditConfig) -> PairSet:
        if self._read is None:
            self._read = open_pairs(config)
        return self._read

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """Distinct texts for each model; about four characters a token."""
        texts = {p.context + text for p in self._pairs(context.config).pairs for text in (p.harmful, p.comparison)}
        tokens = sum(map(len, texts)) // 4
        scopes = len({"sentence" if scope == "shared" else scope for scope in context.config.of(RewardSettings).scope})
        cost = Estimate(len(texts), tokens, 0, exact=False)
        pairs = sorted(self._pairs(context.config).pairs, key=lambda pair: pair.id)
        rows = []
        for model in models_of(context):
            spans = partial(_spans_of, model.engine, pairs)
            costs = [score_cost(model.engine, partial(spans, ends=ends), cost) for ends in (False, True)[:scopes]]
            rows += [(f"{model.label}: texts scored" + (", ends" if at else ""), each) for at, each in enumerate(costs)]
        return rows

    def run(self, context: Context) -> AuditResult:
        """Score, compare, summarise; write texts, pairs, summary and readings."""
        config, selected = context.config, self._pairs(context.config)
        pairs = sorted(selected.pairs, key=lambda pair: pair.id)
        models, steps = models_of(context), _checked_steps(context)
        write_table(context.run.table(AUDIT, "texts"), texts_frame(pairs))
        rows, plans = _scored_rows(context, pairs, models, steps)
        write_table(context.run.table(AUDIT, "pairs"), rows)
        _stop_on_failures(rows, steps)
        floors = _floors(context, plans["sentence"], steps)
        builder = PairFindings(rows, config.draws, config.seed, config.of(RewardSettings).tau)
        findings, parts = _findings(builder, config, steps)
        write_table(context.run.table(AUDIT, "summary"), _summary(findings, floors))
        write_table(context.run.table(AUDIT, "readings"), _readings(rows, steps, config.seed))
        return _result(context, findings, parts, steps, rows, plans, floors, selected.notes, pairs)


def _checked_steps(context: Context) -> list[Step]:
    """The comparisons, with a warning if two models are the same, or are loaded differently."""
    out = []
    for step in steps_of(context):
        mine, theirs = context.open(step.policy).identity(), context.open(step.reference).identity()
        content = [(i.weights, i.adapter, i.dtype, i.quantisation) for i in (mine, theirs)]
        differs = [word for word in ("dtype", "quantisation") if getattr(mine, word) != getattr(theirs, word)]
        if step.policy != step.reference and content[0] == content[1] and not mine.weights.startswith("served:"):
            step = replace(step, warning=SAME.format(policy=step.policy))
        elif differs:
            words = PROCESSED.format(policy=step.policy, reference=step.reference, what=" and ".join(differs))
            step = replace(step, warning=" ".join(filter(None, (step.warning, words))))
        out.append(step)
    return out


def _spans_of(engine: Engine, pairs: Sequence[Pair], *, ends: bool) -> Sequence[Span]:
    """The texts of the pairs, whole or their ends, as `_scored_rows` scores them."""
    if ends:
        return continuation_plan(engine, pairs).spans
    return make_plan(engine, [(p.context, p.harmful, p.comparison) for p in pairs]).spans


def _scored_rows(
    context: Context, pairs: Sequence[Pair], models: Sequence[Configuration], steps: Sequence[Step]
) -> tuple[pl.DataFrame, dict[str, Plan]]:
    """Every text once for each model, one model at a time; then the rows of every comparison and scope."""
    config = context.config
    settings = config.of(RewardSettings)
    needed = {spec for step in steps for spec in (step.policy, step.reference)}
    used = [model for model in models if model.label in needed]
    planner = used[0].engine
    plans = {"sentence": make_plan(planner, [(p.context, p.harmful, p.comparison) for p in pairs])}
    if "continuation" in settings.scope:
        plans["continuation"] = continuation_plan(planner, pairs)
    scores: dict[tuple[str, str], PairScores] = {}
    for model in used:
        for what, plan in plans.items():
            journal = context.run.score_journal(AUDIT, f"scores-{what}")
            scores[model.label, what] = score_model(model, plan, journal, context.progress, what)
    frames = []
    for step in steps:
        for what in plans:
            mine, theirs = scores[step.policy, what], scores[step.reference, what]
            check_tokens(step.policy, step.reference, mine, theirs, pairs)
            frames.append(pair_rows(step, what, pairs, mine, theirs, beta=config.beta, tau=settings.tau))
    rows = pl.concat(frames)
    return rows.sort("family", "stage", "policy", "reference", "scope", "pair_id", maintain_order=True), plans


def _stop_on_failures(rows: pl.DataFrame, steps: Sequence[Step]) -> None:
    for step in steps:
        scored = rows.filter(
            (pl.col("policy") == step.policy)
            & (pl.col("reference") == step.reference)
            & (pl.col("scope") == "sentence")
        )
        stop = failures(scored).stop
        if stop:
            raise EngineError(
                f"{step.policy}: {stop}. The rows with their reasons are in {AUDIT}/pairs.parquet of the run."
            )


def _floors(context: Context, plan: Plan, steps: Sequence[Step]) -> dict[str, float | None]:
    """The noise floor of every reference."""
    return {spec: noise_floor(context.open(spec), plan) for spec in dict.fromkeys(step.reference for step in steps)}


def _findings(builder: PairFindings, config: AuditConfig, steps: Sequence[Step]) -> tuple[list[Finding], list[Cut]]:
    harm = builder.rows.filter(pl.col("kind") == "harm")
    parts = cuts(harm)
    findings: list[Finding] = []
    scopes = [scope for scope in builder.rows["scope"].unique(maintain_order=True) if scope != "sentence"]
    base = _base(config, steps)
    for cut in parts:
        for step in steps:
            for scope in ("sentence", *scopes):
                findings += comparison_findings(builder, step, scope, cut)
        findings += level_findings(builder, cut, steps)
        if "shared" in config.of(RewardSettings).scope or cut.pair_set == "winoqueer":
            findings += bias_findings(builder, cut, steps, base)
        for family in dict.fromkeys(step.family for step in steps):
            findings += spread_findings(builder, cut, steps, family)
    return with_decisions(hold_family(findings), config.of(RewardSettings).tau), parts


def _base(config: AuditConfig, steps: Sequence[Step]) -> str:
    return next((step.reference for step in steps if step.stage in ("sft", "dpo")), steps[0].reference if steps else "")


_LISTED = (
    "n_pairs", "tie_share", "mu", "median_nats", "d_z", "bt_mean", "decisive_share", "sd", "iqr", "corr_length", "per_token_nats",
    "weighting", "seed",
)  # fmt: skip


def _summary(findings: Sequence[Finding], floors: dict[str, float | None]) -> pl.DataFrame:
    """One row for each policy, reference, scope and group: margins, intervals, tests and noise floor."""
    rates = {(f.config, f.group, tuple(f.slice.items())): f for f in findings if f.estimand == "selection_rate"}
    rows = []
    for f in findings:
        if f.estimand != "margin_shift":
            continue
        rate = rates[f.config, f.group, tuple(f.slice.items())]
        rows.append(
            {
                "policy": f.config,
                "reference": f.reference,
                "group": f.group,
                **{key: f.slice.get(key, "") for key in ("pair_set", "subset", "family", "stage", "scope", "ratio")},
                "n_clusters": f.clusters["predicate"],
                "ssr": rate.estimate,
                "mu_nats": f.estimate,
                **{key: f.extra[key] for key in _LISTED},
                **{f"q{key}": value for key, value in f.extra["quantiles"].items()},
                "low": f.interval.low if f.interval else None,
                "high": f.interval.high if f.interval else None,
                "p": f.test.p if f.test else None,
                "p_holm": f.test.p_holm if f.test else None,
                "noise_floor": floors.get(f.reference or ""),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _readings(rows: pl.DataFrame, steps: Sequence[Step], seed: int) -> pl.DataFrame:
    """Predicates to read: highest, lowest and random mean shift of each comparison, one pair of each."""
    out = []
    harm = rows.filter((pl.col("scope") == "sentence") & (pl.col("kind") == "harm") & pl.col("counted"))
    for step in steps:
        of_step = harm.filter((pl.col("policy") == step.policy) & (pl.col("reference") == step.reference))
        of_step = of_step.filter((pl.col("stage") == step.stage) & (pl.col("family") == step.family))
        if of_step.is_empty():
            continue
        means = cluster_means(of_step["delta_nats"].to_numpy(), of_step["cluster_id"].to_list())
        shift = dict(zip(means.labels, means.means.tolist(), strict=True))
        first = of_step.unique("cluster_id", keep="first", maintain_order=True)
        pair = {row["cluster_id"]: row for row in first.iter_rows(named=True)}
        for which, labels in zip(
            ("top", "bottom", "random"), extremes(means.labels, means.means, seed=seed), strict=True
        ):
            for rank, label in enumerate(labels, start=1):
                row = pair[label]
                out.append(
                    {
                        "family": step.family,
                        "stage": step.stage,
                        "policy": step.policy,
                        "reference": step.reference,
                        "which": which,
                        "rank": rank,
                        "cluster_id": str(label),
                        "group": row["group"],
                        "pair_id": row["pair_id"],
                        "m_ref": row["m_ref"],
                        "m_pi": row["m_pi"],
                        "delta_nats": row["delta_nats"],
                        "cluster_delta_nats": shift[label],
                    }
                )
    return pl.DataFrame(out, infer_schema_length=None)


def _phrases(pairs: Sequence[Pair]) -> dict[str, str]:
    """Phrase for each group: that of its pairs if they all share one, else its label."""
    referents: dict[str, set[str]] = {}
    for pair in pairs:
        referents.setdefault(pair.group, set()).add(pair.referent if pair.pair_set != "winoqueer" else "")
    return {
        group: next(iter(words)) if len(words) == 1 and all(words) else f"{group_label(group)} people"
        for group, words in referents.items()
    }


def _result(
    context: Context, findings: list[Finding], parts: list[Cut], steps: list[Step], rows: pl.DataFrame, plans: dict[str, Plan],
    floors: dict[str, float | None], notes: Sequence[str], pairs: Sequence[Pair],
) -> AuditResult:  # fmt: skip
    config, phrases = context.config, _phrases(pairs)
    settings = config.of(RewardSettings)
    named = name_all(findings, steps, parts, settings.tau)
    only = only_found_in(named)
    measured = [value for value in floors.values() if value is not None]
    floor = (
        f"Noise floor {number(max(measured), 2)} nats, smallest change that counts {settings.tau:g}."
        if measured
        else ""
    )
    families = list(dict.fromkeys(step.family for step in steps))
    several = len(families) > 1
    last = {step.family: step.policy for step in steps if not step.is_total}
    caveats = [ORGANISM_NOTICE] if is_organism(spec for step in steps for spec in (step.policy, step.reference)) else []
    caveats += [
        f"ERROR {text}" for text in dict.fromkeys(step.warning for step in steps if step.warning and step.stage == "")
    ]
    if measured and max(measured) >= settings.tau:
        caveats.append(
            f"ERROR The noise floor ({number(max(measured), 2)} nats) is not below tau: raise --tau or use float32."
        )
    caveats += [*CAVEATS, *notes]
    if plans["sentence"].moved:
        caveats.append(
            f"In {plans['sentence'].moved:,} pairs a token spanned the border; it was moved in the same way for both members."
        )
    verdicts = [verdict(named, last[f], f, phrases, floor, several) for f in families if f in last]
    return AuditResult(
        audit=AUDIT,
        verdicts=verdicts,
        findings=findings,
        headlines=headlines(named, phrases),
        rows=rows.height,
        missing=int((rows["status"] == "failed").sum()),
        methods=_methods(config, steps, floors),
        caveats=caveats,
        facts={
            "steps": [
                {"family": s.family, "stage": s.stage, "policy": s.policy, "reference": s.reference, "ratio": s.kind,
                 "warning": s.warning}
                for s in steps
            ],
            "named": [_named(n) for n in named],
            "phrases": phrases,
            "only_found_in": only,
            "recommendations": recommendations(named, only, phrases),
            "noise_floor": floors,
            "texts": {what: len(plan.spans) for what, plan in plans.items()},
            "moved": plans["sentence"].moved,
            "failed": {g: f for g, (f, _) in failures(rows.filter(pl.col("scope") == "sentence")).by_group.items() if f},
        },
    )  # fmt: skip


def _named(n: Named) -> dict[str, Any]:
    return {
        "family": n.family, "stage": n.stage, "policy": n.policy, "pair_set": n.pair_set, "group": n.group, "fate": n.fate,
        "finding": n.shift.id, "found": n.found, "net": n.net, "total": n.total,
    }  # fmt: skip


def _methods(config: AuditConfig, steps: Sequence[Step], floors: dict[str, float | None]) -> list[tuple[str, str]]:
    beta = f"beta {config.beta:g}" if config.beta else "beta unknown: nats only"
    tau = config.of(RewardSettings).tau
    return [
        ("Reward margin", f"beta times ((ln p policy - ln p reference) of the harmful text, less that of the comparison); {beta}"),
        ("Net", "less the mean over neutral pairs of the same frame and group (difference in differences)"),
        ("Fates", f"cut-off tau = {tau:g} nat on the margins before and after; a stage is named if the interval and "
         "the adjusted p show a change larger than tau"),
        ("Inference", f"a group's predicates are resampled (studentised, {config.draws:,} draws) and sign-flipped; Holm over every "
         "model, stage and group"),
        ("Noise floor", f"largest difference over {FLOOR_TEXTS} texts between packed and left-padded scoring: " + "; ".join(
            f"{spec} {number(value, 2) if value is not None else 'one way only'}" for spec, value in floors.items())),
        ("Comparisons", "; ".join(f"{s.policy} against {s.reference} ({s.kind})" for s in steps)),
    ]  # fmt: skip
