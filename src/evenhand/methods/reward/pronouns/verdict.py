"""The affirmation audit in words: whom a model misgenders, how often, with what certainty, and what each stage changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evenhand.findings.builder import first, select
from evenhand.findings.decide import is_found
from evenhand.methods.reward.pronouns.disclosure import STRATUM
from evenhand.methods.reward.pronouns.findings import GENERATION, NOT_MARKED
from evenhand.methods.reward.pronouns.likelihood import MEAN
from evenhand.records import Finding
from evenhand.runs.method import PLAIN, POINTS, SHARE, Headline, Unit, Verdict, closing_row, ends_of, holm_p
from evenhand.wording import count, p_value, percent, percent_points, points

BY_KIND = {"level": "kind"}
"""The slice of findings on a kind of pronouns: he or she, they, neopronouns."""
_NATS = Unit(PLAIN.value, PLAIN.ends, " nats")

CAVEATS = (
    "Decoding, weighting, intervals and tests are chosen defaults; those of the published study could not be found.",
    "“They” may refer to several people: samples with a plural noun before it are marked by a word list, and the rate without "
    "them is reported too.",
    "Singular “they” takes a plural verb. A sentence whose verb does not agree with its pronoun makes “they” less likely: the "
    "shipped sentences avoid this, and MISGENDERED's were written to avoid it.",
    "Mean token loss favours pronouns that are split into many easy pieces; the summed log-probability is reported alongside.",
    "A misgendering rate on constructed sentences does not say how often users meet it, and a low rate does not prove fairness.",
)


def people(group: str | None) -> str:
    """The people of a group of pronoun families in words: ``"neo"`` is ``"people who use neopronouns"``."""
    if group is None:
        return "all people"
    words = {"binary": "he or she", "neo": "neopronouns"}
    return f"people who use {words.get(group, group)}"


def verdict(findings: Sequence[Finding], config: str, *, several: bool) -> Verdict:
    """The verdict on one configuration: whether anybody is misgendered more often than people who use he or she.

    ``several`` says whether the run holds other models.
    """
    where = f"{config}: " if several else ""
    kinds = select(findings, "misgendering_excess", config, part=BY_KIND)
    families = select(findings, "misgendering_excess", config, part={})
    worse_kinds = [f for f in kinds if f.decision == "worse"]
    worse = worse_kinds or [f for f in families if f.decision == "worse"]
    unknowns = tuple(
        f"{people(f.group)[:1].upper()}{people(f.group)[1:]}: {_clause(f.decision_reason)}."
        for f in kinds
        if not is_found(f) and f.decision != "even"
    )
    also = tuple(_stage_lines(findings, config)) + tuple(_disclosure_lines(findings, config))
    if worse:
        # The kinds come first; among them the one that is misgendered most.
        worst = max(worse, key=lambda f: f.estimate or 0.0)
        headline = f"{where}Misgenders {people(worst.group)} in {_rate(findings, worst)}."
        rest = [f"{people(f.group)} {_rate(findings, f)}" for f in worse_kinds if f is not worst]
        others = (f"Also {'; '.join(rest)}.",) if rest else ()
        return Verdict(config, "worse", headline, _detail(findings, worst), worst.group, (*others, *also), unknowns)
    if not kinds or unknowns:
        reason = (
            "There is nothing to compare with people who use he or she." if not kinds else "No difference was found."
        )
        return Verdict(
            config, "unknown", f"{where}We cannot tell whether anybody is misgendered more often than others.", reason,
            also=also, unknowns=unknowns,
        )  # fmt: skip
    gap = max((f.minimum_detectable for f in kinds if f.minimum_detectable is not None), default=None)
    limit = f" Differences below about {percent_points(gap)} could have gone unseen." if gap is not None else ""
    return Verdict(
        config, "even", f"{where}Nobody was found to be misgendered more often than people who use he or she.",
        f"None of the {count(len(kinds))} differences passed its test (Holm, .05).{limit}", also=also,
    )  # fmt: skip


def _clause(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


def _rate(findings: Sequence[Finding], contrast: Finding) -> str:
    rate = first(findings, "misgendering_rate", contrast.config, group=contrast.group, part=contrast.slice)
    if rate is None:
        return "an unknown share of continuations"
    ends = f" (95% interval {ends_of(rate, SHARE)})" if rate.interval else ""
    return f"{percent(rate.estimate)} of continuations with a pronoun{ends}"


def _detail(findings: Sequence[Finding], worst: Finding) -> str:
    parts = []
    base = first(findings, "misgendering_rate", worst.config, group="binary", part=BY_KIND)
    if base is not None:
        parts.append(f"People who use he or she: {percent(base.estimate)}.")
    if worst.interval is not None:
        parts.append(
            f"Over the same templates the difference is {points(worst.estimate)} points "
            f"({ends_of(worst, POINTS)}, 95% interval)."
        )
    if worst.test is not None:
        parts.append(f"Adjusted p {p_value(worst.test.p_holm)} for {worst.test.family_size} comparisons.")
    none = first(findings, "none_share", worst.config, group=worst.group, part=worst.slice)
    if none is not None:
        parts.append(f"{percent(none.estimate)} of continuations have no pronoun.")
    without_plurals = {**worst.slice, **NOT_MARKED}
    unmarked = first(findings, "misgendering_rate", worst.config, group=worst.group, part=without_plurals)
    if unmarked is not None and unmarked.extra["marked"]:
        parts.append(f"Without samples that hold a plural noun before “they” the rate is {percent(unmarked.estimate)}.")
    return " ".join(parts)


def _stage_lines(findings: Sequence[Finding], config: str) -> Iterator[str]:
    """One line for each change of the misgendering rate that was found, by kind."""
    for finding in filter(is_found, select(findings, "misgendering_change", config, part=BY_KIND)):
        way = "more" if finding.decision == "worse" else "less"
        yield (
            f"From {finding.reference} to {finding.config}, {people(finding.group)} are misgendered "
            f"{percent_points(finding.estimate or 0.0)} {way} often "
            f"({ends_of(finding, POINTS)})."
        )


def _disclosure_lines(findings: Sequence[Finding], config: str) -> Iterator[str]:
    for finding in findings:
        if (finding.outcome, finding.config) != (STRATUM, config) or finding.slice or not is_found(finding):
            continue
        if finding.estimand.endswith("_difference"):
            what = "negative" if finding.estimand.startswith("regard") else "toxic"
            way = "more" if finding.decision == "worse" else "less"
            bias = finding.extra.get("classifier_bias")
            yield (
                f"After a disclosure, text about gender-diverse people is rated {what} {percent_points(finding.estimate or 0.0)} "
                f"{way} often than about binary people ({ends_of(finding, POINTS)}); "
                f"the classifier's own bias in neutral text is {points(bias)} points."
            )


def headlines(findings: Sequence[Finding], config: str, *, several: bool) -> list[Headline]:
    """Rows of the closing table for one model: rates and accuracies by kind, what the steps to it changed and rewarded."""
    prefix = f"{config}: " if several else ""
    rows = []
    p_of = {f.group: holm_p(f) for f in select(findings, "misgendering_excess", config, part=BY_KIND)}
    for finding in select(findings, "misgendering_rate", config, part=BY_KIND):
        rows.append(
            closing_row(f"{prefix}misgendering, {people(finding.group)}", finding, SHARE, p=p_of.get(finding.group))
        )
    for finding in select(findings, "likelihood_accuracy", config, MEAN, part=BY_KIND):
        rows.append(closing_row(f"{prefix}declared pronouns likeliest, {people(finding.group)}", finding, SHARE))
    # The step to the stage itself comes first in the findings; longer ones are in the report.
    step = first(findings, "misgendering_change", config)
    nearest = step.reference if step is not None else None
    for finding in select(findings, "misgendering_change", config, GENERATION, part=BY_KIND):
        if finding.reference == nearest:
            what = f"{prefix}misgendering change from {finding.reference}, {people(finding.group)}"
            rows.append(closing_row(what, finding, POINTS, p=holm_p(finding)))
    for finding in select(findings, "pronoun_margin", config, part=BY_KIND):
        if finding.reference == nearest:
            what = f"{prefix}{finding.outcome} margin of other pronouns against {finding.reference}, {people(finding.group)}"
            rows.append(closing_row(what, finding, _NATS, p=holm_p(finding)))
    for finding in findings:
        if (finding.outcome, finding.config) == (STRATUM, config) and finding.estimand.endswith("_difference"):
            note = ", less the classifier's bias" if finding.slice else ""
            what = "negative regard" if finding.estimand.startswith("regard") else "toxicity"
            rows.append(closing_row(f"{prefix}{what} after a disclosure{note}", finding, POINTS, p=holm_p(finding)))
    return rows
