"""The affirmation audit in plain words: whom a model misgenders, how often, how sure, and what each stage changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evenhand.findings.decide import is_found
from evenhand.methods.reward.pronouns.disclosure import STRATUM
from evenhand.methods.reward.pronouns.findings import GENERATION
from evenhand.methods.reward.pronouns.likelihood import MEAN
from evenhand.records import Finding
from evenhand.runs.method import PLAIN, POINTS, SHARE, Headline, Unit, Verdict, closing_row, ends_of, holm_p
from evenhand.wording import count, p_value, percent, percent_points, points

_NATS = Unit(PLAIN.value, PLAIN.ends, " nats")

CAVEATS = (
    "Decoding, weighting, intervals and tests are chosen defaults; those of the published study could not be found.",
    "“They” may speak of several people: samples with a plural noun before it are marked by a word list, and the rate without "
    "them is given too.",
    "Singular “they” takes a plural verb. A sentence whose verb was not fitted to its pronoun makes “they” less likely: the "
    "shipped sentences avoid this, and MISGENDERED's were written to avoid it.",
    "Mean token loss favours pronouns that are split into many easy pieces; the summed log-probability is reported alongside.",
    "A misgendering rate on constructed sentences does not say how often users meet it, and a low rate is no proof of fairness.",
)


def people(group: str | None) -> str:
    """Whom a group of pronoun families stands for: ``"neo"`` is ``"people who use neopronouns"``."""
    if group is None:
        return "all people"
    named = {"binary": "he or she", "neo": "neopronouns"}
    return f"people who use {named.get(group, group)}"


def _level(finding: Finding) -> str:
    return finding.slice.get("level", "family")


def _of(findings: Sequence[Finding], estimand: str, config: str | None = None) -> Iterator[Finding]:
    for finding in findings:
        if finding.estimand == estimand and config in (None, finding.config) and set(finding.slice) <= {"level"}:
            yield finding


def verdict(findings: Sequence[Finding], config: str, *, several: bool) -> Verdict:
    """The verdict on one configuration: is anybody misgendered more often than people who use he or she?

    ``several`` says whether the run holds other models.
    """
    where = f"{config}: " if several else ""
    contrasts = list(_of(findings, "misgendering_excess", config))
    kinds = [finding for finding in contrasts if _level(finding) == "kind"]
    worse = [finding for finding in (*kinds, *contrasts) if finding.decision == "worse"]
    unknowns = tuple(
        f"{people(f.group)[:1].upper()}{people(f.group)[1:]}: {_clause(f.decision_reason)}."
        for f in kinds
        if not is_found(f) and f.decision != "even"
    )
    also = tuple(_stage_lines(findings, config)) + tuple(_disclosure_lines(findings, config))
    if worse:
        # The kinds come first; among them the one that is misgendered most.
        first = max((f for f in worse if _level(f) == _level(worse[0])), key=lambda finding: finding.estimate or 0.0)
        headline = f"{where}Misgenders {people(first.group)} in {_rate(findings, first)}."
        rest = [f"{people(f.group)} {_rate(findings, f)}" for f in kinds if f in worse and f is not first]
        others = (f"Also {'; '.join(rest)}.",) if rest else ()
        return Verdict(config, "worse", headline, _detail(findings, first), first.group, (*others, *also), unknowns)
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


def _rate_of(findings: Sequence[Finding], config: str, group: str | None, level: str) -> Finding | None:
    return next(
        (f for f in _of(findings, "misgendering_rate", config) if f.group == group and _level(f) == level), None
    )


def _rate(findings: Sequence[Finding], contrast: Finding) -> str:
    rate = _rate_of(findings, contrast.config, contrast.group, _level(contrast))
    if rate is None:
        return "an unknown share of continuations"
    ends = f" (95% interval {ends_of(rate, SHARE)})" if rate.interval else ""
    return f"{percent(rate.estimate)} of continuations with a pronoun{ends}"


def _detail(findings: Sequence[Finding], worst: Finding) -> str:
    parts = []
    base = _rate_of(findings, worst.config, "binary", "kind")
    if base is not None:
        parts.append(f"People who use he or she: {percent(base.estimate)}.")
    if worst.interval is not None:
        parts.append(
            f"Over the same templates the difference is {points(worst.estimate)} points "
            f"({ends_of(worst, POINTS)}, 95% interval)."
        )
    if worst.test is not None:
        parts.append(f"Adjusted p {p_value(worst.test.p_holm)} for {worst.test.family_size} comparisons.")
    same = (worst.config, worst.group)
    for finding in findings:
        if (finding.config, finding.group) != same or _level(finding) != _level(worst):
            continue
        if finding.estimand == "none_share":
            parts.append(f"{percent(finding.estimate)} of continuations have no pronoun.")
        if finding.estimand == "misgendering_rate" and "plural" in finding.slice and finding.extra["marked"]:
            parts.append(
                f"Without samples that hold a plural noun before “they” the rate is {percent(finding.estimate)}."
            )
    return " ".join(parts)


def _stage_lines(findings: Sequence[Finding], config: str) -> Iterator[str]:
    """One line a change of the misgendering rate that was found, by kind."""
    for finding in _of(findings, "misgendering_change", config):
        if _level(finding) != "kind" or not is_found(finding):
            continue
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
    rates = [f for f in _of(findings, "misgendering_rate", config) if _level(f) == "kind"]
    p_of = {f.group: holm_p(f) for f in _of(findings, "misgendering_excess", config) if _level(f) == "kind"}
    for finding in rates:
        rows.append(
            closing_row(f"{prefix}misgendering, {people(finding.group)}", finding, SHARE, p=p_of.get(finding.group))
        )
    for finding in _of(findings, "likelihood_accuracy", config):
        if _level(finding) == "kind" and finding.outcome == MEAN:
            rows.append(closing_row(f"{prefix}declared pronouns likeliest, {people(finding.group)}", finding, SHARE))
    # A stage's own step comes first in the findings; what lies further back is in the report.
    nearest = next((f.reference for f in _of(findings, "misgendering_change", config)), None)
    for finding in _of(findings, "misgendering_change", config):
        if _level(finding) == "kind" and finding.outcome == GENERATION and finding.reference == nearest:
            what = f"{prefix}misgendering change from {finding.reference}, {people(finding.group)}"
            rows.append(closing_row(what, finding, POINTS, p=holm_p(finding)))
    for finding in _of(findings, "pronoun_margin", config):
        if _level(finding) == "kind" and finding.reference == nearest:
            what = f"{prefix}{finding.outcome} margin of other pronouns against {finding.reference}, {people(finding.group)}"
            rows.append(closing_row(what, finding, _NATS, p=holm_p(finding)))
    for finding in findings:
        if (finding.outcome, finding.config) == (STRATUM, config) and finding.estimand.endswith("_difference"):
            note = ", less the classifier's bias" if finding.slice else ""
            what = "negative regard" if finding.estimand.startswith("regard") else "toxicity"
            rows.append(closing_row(f"{prefix}{what} after a disclosure{note}", finding, POINTS, p=holm_p(finding)))
    return rows
