"""From scored blanks to findings: do the declared pronouns win, and what did each stage reward (sections 7.2 and 7.3)?

The accuracy by mean token loss is MISGENDERED's own; the summed score beside it and the reward form are chosen defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.findings.builder import DIFFERENCE, PROBABILITY
from evenhand.findings.families import record_of
from evenhand.methods.reward.margins.statistics.stages import stage_change
from evenhand.methods.reward.pronouns.entry import Group
from evenhand.methods.reward.pronouns.likelihood import BlankTable
from evenhand.methods.reward.pronouns.maker import Maker, hundredth, mean_of
from evenhand.methods.reward.pronouns.statistics.affirmation import accuracy, declared_margins, declared_wins
from evenhand.records import Finding
from evenhand.runs.stages import Step
from evenhand.statistics.cells import FloatArray

MEAN, SUMMED = "mean token loss", "summed log-probability"
Scored = Mapping[str, Sequence[BlankTable]]


def _members(table: BlankTable, group: Group) -> NDArray[np.bool_]:
    codes = [code for code, option in enumerate(table.options) if option in group.members]
    return np.asarray(np.isin(table.declared, codes))


def _templates(table: BlankTable) -> NDArray[np.object_]:
    return np.array([f"{blank.form}/{blank.template_id}" for blank in table.blanks], dtype=object)


def _part(scored: Scored, table: BlankTable) -> dict[str, str]:
    """How many sets a blank offers, where blanks of several kinds were scored."""
    several = any(len(tables) > 1 for tables in scored.values())
    return {"sets": str(len(table.options))} if several else {}


def _only(part: Mapping[str, str]) -> dict[str, str]:
    return {"sets": part["sets"]} if "sets" in part else {}


def _values(table: BlankTable, outcome: str) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(table.totals / table.tokens if outcome == MEAN else table.totals)


def likelihood_findings(maker: Maker, scored: Scored, groups: Sequence[Group], steps: Sequence[Step]) -> list[Finding]:
    """Accuracy of the declared set by mean and by summed score, by family, kind and form, and its change between stages."""
    findings: list[Finding] = []
    for config, tables in scored.items():
        for table in tables:
            for outcome in (MEAN, SUMMED):
                findings += _accuracies(maker, config, table, outcome, groups, _part(scored, table))
    for step in steps:
        for policy, reference in zip(scored.get(step.policy, ()), scored.get(step.reference, ()), strict=False):
            findings += _changes(maker, step, policy, reference, groups, _part(scored, policy))
    return findings


def _accuracies(
    maker: Maker, config: str, table: BlankTable, outcome: str, groups: Sequence[Group], part: Mapping[str, str]
) -> Iterator[Finding]:
    values, forms = _values(table, outcome), np.array([blank.form for blank in table.blanks], dtype=object)
    for group in groups:
        mine = _members(table, group)
        if not mine.any():
            continue
        yield _accuracy(maker, config, table, values, mine, "likelihood_accuracy", outcome, group, part)
        if outcome != MEAN or group.level == "family":
            continue
        for form in sorted(set(forms[mine].tolist())):
            yield _accuracy(
                maker, config, table, values, mine & (forms == form), "likelihood_accuracy", outcome, group,
                {**part, "form": form}, where={"form": form},
            )  # fmt: skip


def _accuracy(
    maker: Maker, config: str | tuple[str, str], table: BlankTable, values: FloatArray, mine: NDArray[np.bool_],
    estimand: str, outcome: str, group: Group, part: Mapping[str, str], *, withheld: str = "",
    where: Mapping[str, Any] | None = None, **more: Any,
) -> Finding:  # fmt: skip
    whole = mine & table.whole & np.isfinite(values).all(axis=1)
    withheld = withheld or table.withheld()
    result = accuracy(
        values[whole], table.declared[whole], _templates(table)[whole].tolist(), draws=maker.draws, seed=maker.seed
    )
    extra = {
        "chance": result.chance, "tie_share": result.tie_share, "failed": int((mine & ~whole).sum()),
        "weighting": "every blank, ties split equally", **more.pop("extra", {}),
    }  # fmt: skip
    return maker.make(
        estimand, outcome, config, group, None if withheld else result.share, PROBABILITY,
        rows={"status": ["scored"], **_only(part), **(where or {})}, part=part,
        interval=None if withheld else result.interval, clusters={"templates": result.n_clusters},
        reason=withheld or result.reason, n=result.n_items, extra=extra, **more,
    )  # fmt: skip


def _changes(
    maker: Maker,
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
        result = stage_change(after, before, templates[mine].tolist(), draws=maker.draws, seed=maker.seed)
        undefined = bool(withheld) or result.points is None
        yield maker.make(
            "likelihood_change", MEAN, (step.policy, step.reference), group,
            None if undefined or result.points is None else result.points / 100, DIFFERENCE,
            reference=step.reference, rows={"status": ["scored"], **_only(part)}, part=part,
            interval=None if undefined else hundredth(result.interval),
            test=None if undefined else record_of(result.test, f"likelihood change by {group.level}"),
            clusters={"templates": result.n_clusters}, reason=withheld or result.reason, n=result.n_items,
            extra={
                "rate": result.stage, "reference_rate": result.base, "word": result.word, "stage": step.stage,
                "family": step.family, "kind": step.kind, "weighting": "mean of template means",
            },
        )  # fmt: skip


def _apart(policy: BlankTable, reference: BlankTable) -> str:
    """Why two models' scores cannot be subtracted, or an empty text (section 15.5)."""
    told = (policy.ids != 0) & (reference.ids != 0)
    both = np.isfinite(policy.totals) & np.isfinite(reference.totals)
    unlike = both & ((policy.tokens != reference.tokens) | (told & (policy.ids != reference.ids)))
    if not unlike.any():
        return ""
    return f"the two models split {int(unlike.sum())} of {int(both.sum())} texts into different tokens: a log-ratio is not defined"


def reward_findings(
    maker: Maker, scored: Scored, groups: Sequence[Group], steps: Sequence[Step], beta: float | None
) -> list[Finding]:
    """For every step: how often the declared set has the largest log-ratio, and the other sets' margin over it in nats.

    ``pronoun_margin`` above 0 says that the step favoured other pronouns over the declared ones. Rewards are the margins times
    beta, given in ``extra`` for steps of kind ``reward`` where beta is known; the signs and the accuracy do not depend on it.
    """
    findings: list[Finding] = []
    for step in steps:
        known = beta if step.kind == "reward" else None
        for policy, reference in zip(scored.get(step.policy, ()), scored.get(step.reference, ()), strict=False):
            findings += _rewards(maker, step, policy, reference, groups, known, _part(scored, policy))
    return findings


def _rewards(
    maker: Maker, step: Step, policy: BlankTable, reference: BlankTable, groups: Sequence[Group], beta: float | None,
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
            maker, pair, policy, ratios, mine, "affirmation_accuracy", step.kind, group, part, withheld=withheld,
            reference=step.reference, extra=about,
        )  # fmt: skip
        here = mine & whole
        values, clusters = margins[here], templates[here].tolist()
        mean = None if withheld else mean_of(values, clusters)
        told: dict[str, Any] = {"reason": withheld}
        if not withheld:
            told = maker.shift(values, clusters, f"pronoun margin by {group.level}", "studentised")
        more = {**about, "reward_margin": None if beta is None or mean is None else beta * mean}
        reason = "policy and reference give equal scores" if same and not withheld else told.get("reason", "")
        yield maker.make(
            "pronoun_margin", step.kind, pair, group, mean, "nats", reference=step.reference,
            rows={"status": ["scored"], **_only(part)}, part=part, n=int(here.sum()),
            **{**told, "reason": reason, "extra": {**told.get("extra", {}), **more}},
        )  # fmt: skip
