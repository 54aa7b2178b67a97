"""Blanks filled with each set's pronoun: scores, how often the declared pronouns are likeliest, and what each stage rewarded.

Every variant is scored as a whole sentence with nothing before it. For rewards, x is the text before the pronoun and the same
in every variant, so it cancels from any difference of two variants, and one pass serves both. The accuracy by mean token loss
is MISGENDERED's own; the summed score reported alongside and the reward form are chosen defaults (docs/affirmation.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from evenhand.engines.base import Engine, Span
from evenhand.findings.builder import PROBABILITY
from evenhand.methods.reward.margins.scoring import journaled_scores
from evenhand.methods.reward.margins.stages import stage_change
from evenhand.methods.reward.pronouns.findings import GroupFindings, change_finding, mean_of
from evenhand.methods.reward.pronouns.grader import PronounFamily
from evenhand.methods.reward.pronouns.items import AUDIT, Group
from evenhand.methods.reward.pronouns.measures import accuracy, declared_margins, declared_wins
from evenhand.records import Finding, LogProb
from evenhand.runs.method import Context
from evenhand.runs.respond import Configuration
from evenhand.runs.stages import Step
from evenhand.safe_text import json_safe
from evenhand.statistics.cells import FloatArray, IntArray

if TYPE_CHECKING:
    from evenhand.methods.reward.pronouns.misgendered import Blank


LEAST_SCORED = 0.01
"""Share of failed blanks, or difference of that share between declared sets, above which no number is given."""

_SCHEMA: dict[str, Any] = {
    "config": pl.String,
    "blank_id": pl.String,
    "declared": pl.String,
    "kind": pl.String,
    "form": pl.String,
    "template": pl.String,
    "name": pl.String,
    "sets": pl.String,
    "option": pl.String,
    "ll_sum": pl.Float64,
    "ll_mean": pl.Float64,
    "n": pl.Int32,
    "status": pl.String,
    "reason": pl.String,
}


def filled(blank: Blank, option: str) -> str:
    """The full text of a blank with the pronoun of one set."""
    return f"{blank.text_before}{blank.options[option]}{blank.text_after}"


def spans_of(blanks: Sequence[Blank]) -> list[Span]:
    """One span for each distinct text, keyed by its place in their order."""
    texts = dict.fromkeys(filled(blank, option) for blank in blanks for option in blank.options)
    return [Span(key=str(position), text=text) for position, text in enumerate(texts)]


def scorer_lack(engine: Engine) -> str:
    """Why an engine gives no log-probability scores, or an empty text."""
    if "score" in engine.verbs:
        return ""
    # An endpoint knows only after a test of its own, which this starts.
    why_not = getattr(engine, "why_not", None)
    return str(why_not("score")) if why_not is not None else f"{engine.spec} gives no log-probability scores"


@dataclass(frozen=True, slots=True)
class _Score:
    """What is kept of a scored text; ``ids`` is a digest of its token ids, 0 if the engine does not return them."""

    total: float | None
    tokens: int
    ids: int
    error: str


def _kept(row: LogProb) -> _Score:
    tokens = len(row.values) or len(row.tokens)
    error = row.error
    if not error and (row.total is None or not np.isfinite(row.total)):
        error = "the score is not a number"
    if not error and not tokens:
        error = "no token was scored"
    ids = xxh3_64_intdigest(np.asarray(row.tokens, dtype=np.int64).tobytes()) if row.tokens else 0
    return _Score(None if error else row.total, tokens, ids, error)


@dataclass(frozen=True, slots=True, eq=False)
class BlankTable:
    """The scores of one model for blanks that offer the same sets.

    ``totals`` (blanks, options) in nats, NaN where scoring failed; ``tokens`` and ``ids`` alike; ``declared`` (blanks,) is the
    column of the declared set.
    """

    blanks: tuple[Blank, ...]
    options: tuple[str, ...]
    declared: IntArray
    totals: FloatArray
    tokens: IntArray
    ids: NDArray[np.uint64]
    reasons: Mapping[tuple[int, int], str]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """(blanks,) whether every option was scored."""
        return np.asarray(np.isfinite(self.totals).all(axis=1))

    def withheld(self) -> str:
        """The reason, if too many blanks failed for a number to be given; else an empty text."""
        failed = ~self.whole
        if not failed.any():
            return ""
        shares = [failed[self.declared == code].mean() for code in np.unique(self.declared)]
        if failed.mean() <= LEAST_SCORED and max(shares) - min(shares) <= LEAST_SCORED:
            return ""
        first = next(iter(self.reasons.values()))
        return f"{int(failed.sum())} of {failed.size} blanks could not be scored (the first: {first})"


def option_sets(blanks: Sequence[Blank]) -> list[tuple[tuple[str, ...], list[Blank]]]:
    """Blanks by the sets that they offer, in order of appearance: accuracies over 6 and over 11 sets are never mixed."""
    by_options: dict[tuple[str, ...], list[Blank]] = {}
    for blank in blanks:
        by_options.setdefault(tuple(sorted(blank.options)), []).append(blank)
    return list(by_options.items())


def score_blanks(context: Context, model: Configuration, blanks: Sequence[Blank]) -> list[BlankTable]:
    """Score every blank with every set's pronoun; equal texts are scored once. One table for each set of options."""
    spans = spans_of(blanks)
    text_of = {span.key: span.text for span in spans}
    journal = context.run.score_journal(AUDIT)
    rows = journaled_scores(model, spans, journal, context.progress, "pronouns", lead=model.label)
    scores = {text_of[row.span]: _kept(row) for row in rows}
    tables = []
    for options, mine in option_sets(blanks):
        grid = [[scores[filled(blank, option)] for option in options] for blank in mine]
        totals = [[np.nan if score.total is None else score.total for score in row] for row in grid]
        tables.append(
            BlankTable(
                blanks=tuple(mine),
                options=options,
                declared=np.array([options.index(blank.declared) for blank in mine], dtype=np.int64),
                totals=np.array(totals, dtype=np.float64),
                tokens=np.array([[score.tokens for score in row] for row in grid], dtype=np.int64),
                ids=np.array([[score.ids for score in row] for row in grid], dtype=np.uint64),
                reasons={(i, j): s.error for i, row in enumerate(grid) for j, s in enumerate(row) if s.error},
            )
        )
    return tables


def blanks_frame(scored: Mapping[str, Sequence[BlankTable]], families: Mapping[str, PronounFamily]) -> pl.DataFrame:
    """One row a (model, blank, option), sorted: summed and mean log-probability in nats of the full text, and its tokens.

    ``sets`` is the number of pronoun sets that the blank offers.
    """
    rows = [
        {
            "config": config,
            "blank_id": blank.id,
            "declared": blank.declared,
            "kind": families[blank.declared].kind,
            "form": blank.form,
            "template": f"{blank.form}/{blank.template_id}",
            "name": json_safe(blank.name),
            "sets": str(len(table.options)),
            "option": option,
            "ll_sum": float(table.totals[i, j]) if (i, j) not in table.reasons else None,
            "ll_mean": float(table.totals[i, j] / table.tokens[i, j]) if (i, j) not in table.reasons else None,
            "n": int(table.tokens[i, j]),
            "status": "failed" if (i, j) in table.reasons else "scored",
            "reason": json_safe(table.reasons.get((i, j), "")),
        }
        for config, tables in scored.items()
        for table in tables
        for i, blank in enumerate(table.blanks)
        for j, option in enumerate(table.options)
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row").sort("config", "blank_id", "option")


MEAN, SUMMED = "mean token loss", "summed log-probability"
Scored = Mapping[str, Sequence[BlankTable]]


def _members(table: BlankTable, group: Group) -> NDArray[np.bool_]:
    codes = [code for code, option in enumerate(table.options) if option in group.members]
    return np.asarray(np.isin(table.declared, codes))


def _templates(table: BlankTable) -> NDArray[np.object_]:
    return np.array([f"{blank.form}/{blank.template_id}" for blank in table.blanks], dtype=object)


def _part(scored: Scored, table: BlankTable) -> dict[str, str]:
    """The number of sets that a blank offers, if blanks with different numbers were scored."""
    several = any(len(tables) > 1 for tables in scored.values())
    return {"sets": str(len(table.options))} if several else {}


def _only(part: Mapping[str, str]) -> dict[str, str]:
    return {"sets": part["sets"]} if "sets" in part else {}


def _values(table: BlankTable, outcome: str) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(table.totals / table.tokens if outcome == MEAN else table.totals)


def likelihood_findings(
    builder: GroupFindings, scored: Scored, groups: Sequence[Group], steps: Sequence[Step]
) -> list[Finding]:
    """Accuracy of the declared set by mean and by summed score, by family, kind and form, and its change between stages."""
    findings: list[Finding] = []
    for config, tables in scored.items():
        for table in tables:
            for outcome in (MEAN, SUMMED):
                findings += _accuracies(builder, config, table, outcome, groups, _part(scored, table))
    for step in steps:
        for policy, reference in zip(scored.get(step.policy, ()), scored.get(step.reference, ()), strict=False):
            findings += _changes(builder, step, policy, reference, groups, _part(scored, policy))
    return findings


def _accuracies(
    builder: GroupFindings,
    config: str,
    table: BlankTable,
    outcome: str,
    groups: Sequence[Group],
    part: Mapping[str, str],
) -> Iterator[Finding]:
    values, forms = _values(table, outcome), np.array([blank.form for blank in table.blanks], dtype=object)
    for group in groups:
        mine = _members(table, group)
        if not mine.any():
            continue
        yield _accuracy(builder, config, table, values, mine, "likelihood_accuracy", outcome, group, part)
        if outcome != MEAN or group.level == "family":
            continue
        for form in sorted(set(forms[mine].tolist())):
            yield _accuracy(
                builder, config, table, values, mine & (forms == form), "likelihood_accuracy", outcome, group,
                {**part, "form": form}, where={"form": form},
            )  # fmt: skip


def _accuracy(
    builder: GroupFindings, config: str | tuple[str, str], table: BlankTable, values: FloatArray, mine: NDArray[np.bool_],
    estimand: str, outcome: str, group: Group, part: Mapping[str, str], *, withheld: str = "",
    where: Mapping[str, Any] | None = None, **more: Any,
) -> Finding:  # fmt: skip
    whole = mine & table.whole & np.isfinite(values).all(axis=1)
    withheld = withheld or table.withheld()
    result = accuracy(
        values[whole], table.declared[whole], _templates(table)[whole].tolist(), draws=builder.draws, seed=builder.seed
    )
    extra = {
        "chance": result.chance, "tie_share": result.tie_share, "failed": int((mine & ~whole).sum()),
        "weighting": "every blank, ties split equally", **more.pop("extra", {}),
    }  # fmt: skip
    return builder.build(
        estimand, outcome, config, group, None if withheld else result.share, PROBABILITY,
        rows={"status": ["scored"], **_only(part), **(where or {})}, part=part,
        interval=None if withheld else result.interval, clusters={"templates": result.n_clusters},
        reason=withheld or result.reason, n=result.n_items, extra=extra, **more,
    )  # fmt: skip


def _changes(
    builder: GroupFindings,
    step: Step,
    policy: BlankTable,
    reference: BlankTable,
    groups: Sequence[Group],
    part: Mapping[str, str],
) -> Iterator[Finding]:
    templates = _templates(policy)
    whole = policy.whole & reference.whole
    withheld = policy.withheld() or reference.withheld()
    for group in groups:
        mine = _members(policy, group) & whole
        if not _members(policy, group).any():
            continue
        after, before = (declared_wins(_values(t, MEAN)[mine], t.declared[mine]) for t in (policy, reference))
        result = stage_change(after, before, templates[mine].tolist(), draws=builder.draws, seed=builder.seed)
        extra = {"stage": step.stage, "family": step.family, "kind": step.kind, "weighting": "mean of template means"}
        yield change_finding(
            builder, "likelihood_change", MEAN, (step.policy, step.reference), group, result, extra=extra, withheld=withheld,
            family=f"likelihood change by {group.level}", rows={"status": ["scored"], **_only(part)}, part=part,
        )  # fmt: skip


def _apart(policy: BlankTable, reference: BlankTable) -> str:
    """Why two models' scores cannot be subtracted, or an empty text."""
    comparable = (policy.ids != 0) & (reference.ids != 0)
    both = np.isfinite(policy.totals) & np.isfinite(reference.totals)
    unlike = both & ((policy.tokens != reference.tokens) | (comparable & (policy.ids != reference.ids)))
    if not unlike.any():
        return ""
    return f"the two models split {int(unlike.sum())} of {int(both.sum())} texts into different tokens: a log-ratio is not defined"


def reward_findings(
    builder: GroupFindings, scored: Scored, groups: Sequence[Group], steps: Sequence[Step], beta: float | None
) -> list[Finding]:
    """For every step: how often the declared set has the largest log-ratio, and the other sets' margin over it in nats.

    ``pronoun_margin`` above 0 says that the step favoured other pronouns over the declared ones. Rewards are the margins times
    beta, given in ``extra`` for steps of kind ``reward`` where beta is known; the signs and the accuracy do not depend on it.
    """
    findings: list[Finding] = []
    for step in steps:
        step_beta = beta if step.kind == "reward" else None
        for policy, reference in zip(scored.get(step.policy, ()), scored.get(step.reference, ()), strict=False):
            findings += _rewards(builder, step, policy, reference, groups, step_beta, _part(scored, policy))
    return findings


def _rewards(
    builder: GroupFindings, step: Step, policy: BlankTable, reference: BlankTable, groups: Sequence[Group], beta: float | None,
    part: Mapping[str, str],
) -> Iterator[Finding]:  # fmt: skip
    ratios = policy.totals - reference.totals
    whole = np.isfinite(ratios).all(axis=1)
    withheld = _apart(policy, reference) or policy.withheld() or reference.withheld()
    margins = np.full(whole.size, np.nan)
    if whole.any():
        # One number a blank: the mean over the other sets.
        margins[whole] = np.nanmean(declared_margins(ratios[whole], policy.declared[whole]), axis=1)
    templates = _templates(policy)
    same = not np.any(ratios[whole])
    pair = (step.policy, step.reference)
    about = {"stage": step.stage, "family": step.family, "kind": step.kind, "beta": beta}
    for group in groups:
        mine = _members(policy, group)
        if not mine.any():
            continue
        yield _accuracy(
            builder, pair, policy, ratios, mine, "affirmation_accuracy", step.kind, group, part, withheld=withheld,
            reference=step.reference, extra=about,
        )  # fmt: skip
        used = mine & whole
        values, clusters = margins[used], templates[used].tolist()
        mean = None if withheld else mean_of(values, clusters)
        test: dict[str, Any] = {"reason": withheld}
        if not withheld:
            test = builder.shift(values, clusters, f"pronoun margin by {group.level}", "studentised")
        more = {**about, "reward_margin": None if beta is None or mean is None else beta * mean}
        reason = "policy and reference give equal scores" if same and not withheld else test.get("reason", "")
        yield builder.build(
            "pronoun_margin", step.kind, pair, group, mean, "nats", reference=step.reference,
            rows={"status": ["scored"], **_only(part)}, part=part, n=int(used.sum()),
            **{**test, "reason": reason, "extra": {**test.get("extra", {}), **more}},
        )  # fmt: skip
