"""The methods box and the caveats of the service-quality audit, told from the findings themselves."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.records import Finding, HypothesisTest
from evenhand.report.format import count
from evenhand.report.service.index import OUTCOMES, Index

__all__ = ["SERVICE_CAVEATS", "service_methods"]

SERVICE_CAVEATS: tuple[str, ...] = (
    "Names stand in for ethnicity, religion, class, age and how often a name occurs in training text. The numbers speak of names "
    "associated with a group, not of the people who bear them.",
    "The prompts are the ones in this run. Other prompts, system prompts and sampling settings can give other numbers: two runs compare "
    "only where these are the same.",
    "The boundary between a refusal and a harmful refusal is the least stable of the labels; declined, which holds both, is the robust "
    "outcome.",
    "Wilson intervals describe this sample; the differences, whose intervals resample names and stems, are what may be carried beyond it.",
)


def service_methods(findings: Sequence[Finding]) -> tuple[tuple[str, str], ...]:
    """Rows of (term, text): unit of inference, intervals, tests, families, smallest p, outcomes, grader of each number."""
    index = Index(findings)
    contrasts = index.all("risk_difference")
    rows: list[tuple[str, str]] = []
    sizes: dict[str, set[int]] = {}
    for f in contrasts:
        for unit, n in f.clusters.items():
            sizes.setdefault(unit, set()).add(n)
    units = ", ".join(f"{_span(ns)} {unit}s" for unit, ns in sizes.items())
    unit_text = "The randomised units: names, crossed with stems. Repetitions are averaged inside their cell first and never count as "
    rows.append(("Unit of inference", unit_text + "independent." + (f" Behind a contrast: {units}." if units else "")))
    rows += _by(
        contrasts, "Interval of a difference", lambda f: f.interval and f"{f.interval.method}, {f.interval.level:.0%}"
    )
    rows += _by(
        index.all("rate"), "Interval of a rate", lambda f: f.interval and f"{f.interval.method}, {f.interval.level:.0%}"
    )
    rows += _by(contrasts, "Test", lambda f: f.test and _test(f.test))
    families = {(f.test.family or f"{f.outcome}, {f.config}"): f.test.family_size for f in contrasts if f.test}
    by_size: dict[int, list[str]] = {}
    for name, size in families.items():
        if size:
            by_size.setdefault(size, []).append(name)
    told = [f"{size} contrasts in each of {count(len(names))}: {'; '.join(names)}." for size, names in by_size.items()]
    if told:
        rows.append(("Families", "Holm within each family; Benjamini-Hochberg q across all.\n" + "\n".join(told)))
    outcomes = [OUTCOMES[o][1] for o in index.outcomes("rate") if o in OUTCOMES]
    if outcomes:
        rows.append(("Outcomes", "\n".join(outcomes)))
    by_grader: dict[str, dict[str, None]] = {}
    for f in index.findings:
        if f.grader:
            by_grader.setdefault(f.grader, {})[f.estimand.replace("_", " ")] = None
    if by_grader:
        rows.append(("Grader of each number", "\n".join(f"{g}: {', '.join(kinds)}" for g, kinds in by_grader.items())))
    return tuple(rows)


def _by(findings: Sequence[Finding], term: str, tell: object) -> list[tuple[str, str]]:
    assert callable(tell)
    said = dict.fromkeys(str(text) for text in map(tell, findings) if text)
    return [(term, "\n".join(said))] if said else []


def _test(test: HypothesisTest) -> str:
    if test.p is None:
        return ""
    text = test.method
    if test.permutations:
        text += f", {'all' if test.exact else 'a sample of'} {count(test.permutations)} permutations"
    return text


def _span(values: set[int]) -> str:
    low, high = min(values), max(values)
    return count(low) if low == high else f"{count(low)} to {count(high)}"
