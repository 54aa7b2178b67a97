"""Looking findings up, and the words of this audit's outcomes and states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from evenhand.records import LABELS, Finding
from evenhand.report.blocks import Filter
from evenhand.report.format import p_value, percent, points

__all__ = [
    "ALPHA",
    "MATERIAL_GAP",
    "OUTCOMES",
    "OUTCOME_LABELS",
    "Index",
    "State",
    "extra",
    "mark_filter",
    "state_of",
]

ALPHA = 0.05
"""Level at which a Holm-adjusted p counts as a difference found (chosen default; the paper reports no tests)."""

MATERIAL_GAP = 0.10
"""A run whose minimum detectable gap is above this cannot say that there is no difference (chosen default)."""

State = Literal["found", "not found", "unknown", "undefined"]

OUTCOMES: dict[str, tuple[str, str]] = {
    "declined": ("declined", "Declined: refusal or harmful refusal"),
    "harmful": ("answered or declined with harmful wording", "Harmful wording: harmful refusal or harmful answer"),
    "unserved": ("left without service", "Unserved: refusal, harmful refusal or failure"),
    "served": ("fully served", "Served in full: answer"),
    "served_lenient": ("served at least in part", "Served at least in part: answer or partial answer"),
}
"""Outcome -> (participle in a sentence, title), for the collapses of spec service_quality, section 3."""

OUTCOME_LABELS: dict[str, tuple[str, ...]] = {
    "declined": ("refusal", "harmful refusal"),
    "harmful": ("harmful refusal", "harmful answer"),
    "unserved": ("refusal", "harmful refusal", "failure"),
    "served": ("answer",),
    "served_lenient": ("answer", "partial answer"),
}


class Index:
    """Findings by what they estimate; keeps note of the ones that a figure has shown."""

    def __init__(self, findings: Sequence[Finding], audit: str = "service") -> None:
        self.findings = [f for f in findings if f.audit == audit]
        self._shown: set[int] = set()

    def all(self, estimand: str, outcome: str | None = None, *, config: str | None = None) -> list[Finding]:
        """Every finding of an estimand, in the order given."""
        return [
            f
            for f in self.findings
            if f.estimand == estimand
            and (outcome is None or f.outcome == outcome)
            and (config is None or f.config == config)
        ]

    def plain(self, estimand: str, outcome: str, config: str) -> dict[str, Finding]:
        """Findings without a slice, by group."""
        return {f.group: f for f in self.all(estimand, outcome, config=config) if not f.slice and f.group is not None}

    def sliced(self, estimand: str, outcome: str, config: str, key: str) -> Iterator[tuple[str, Finding]]:
        """Findings with a slice on ``key``, with its value."""
        for f in self.all(estimand, outcome, config=config):
            if key in f.slice:
                yield f.slice[key], f

    def one(self, estimand: str, outcome: str, config: str, group: str | None) -> Finding | None:
        """The finding of one group without a slice."""
        found = (f for f in self.all(estimand, outcome, config=config) if f.group == group and not f.slice)
        return next(found, None)

    def show(self, *findings: Finding | None) -> None:
        """Note that these are in a figure."""
        self._shown.update(id(f) for f in findings if f is not None)

    @property
    def rest(self) -> list[Finding]:
        """Findings that no figure has shown."""
        return [f for f in self.findings if id(f) not in self._shown]

    @property
    def configs(self) -> list[str]:
        """Configurations in the order of the findings."""
        return list(dict.fromkeys(f.config for f in self.findings if f.config))

    def leading(self, primary: str = "declined") -> str:
        """The configuration with the largest difference on the primary outcome, else the first."""
        contrasts = [f for f in self.all("risk_difference", primary) if not f.slice and f.estimate is not None]
        if contrasts:
            return max(contrasts, key=lambda f: abs(f.estimate or 0.0)).config
        return self.configs[0] if self.configs else ""

    def reference(self) -> str | None:
        """The reference group of the contrasts."""
        return next((f.reference for f in self.all("risk_difference") if f.reference is not None), None)

    def groups(self, primary: str = "declined") -> list[str]:
        """Groups from the highest primary rate in the leading configuration down, the reference last."""
        reference = self.reference()
        keys = list(
            dict.fromkeys(
                f.group for f in self.findings if f.group is not None and f.estimand in ("rate", "label_share")
            )
        )
        first = self.leading(primary)
        rates = self.plain("rate", primary, first)

        def rank(key: str) -> tuple[bool, float, str]:
            found = rates.get(key)
            estimate = found.estimate if found is not None and found.estimate is not None else -1.0
            return key == reference, -estimate, key

        return sorted(keys, key=rank)

    def outcomes(self, estimand: str = "risk_difference") -> list[str]:
        """Outcomes of an estimand: the known ones in their order, then any other."""
        seen = list(dict.fromkeys(f.outcome for f in self.all(estimand)))
        order = [*OUTCOMES, *LABELS]
        return sorted(seen, key=lambda o: (order.index(o) if o in order else len(order), o))


def state_of(finding: Finding) -> tuple[State, str]:
    """What a contrast allows to be said, with the reason in words.

    "We cannot tell" stands where too few splits exist for the adjusted p to reach 0.05, or where the minimum detectable gap
    is above 10 points; only a run that could have seen a gap says that it found none.
    """
    test = finding.test
    if finding.estimate is None:
        return "undefined", finding.reason or "The estimate is undefined."
    if test is None or test.p is None:
        return "unknown", finding.reason or "We cannot tell: no test could be run."
    adjusted = test.p_holm if test.p_holm is not None else test.p
    if adjusted <= ALPHA:
        return "found", f"A difference: adjusted p {p_value(adjusted)}."
    family = test.family_size or 1
    if test.smallest_p is not None and test.smallest_p * family > ALPHA:
        least = min(1.0, test.smallest_p * family)
        return "unknown", f"We cannot tell: with so few names the smallest adjusted p is {p_value(least)}."
    gap = finding.minimum_detectable
    if gap is not None and gap > MATERIAL_GAP:
        return "unknown", f"We cannot tell: this run can only see gaps of about {percent_points(gap)} or more."
    if gap is None:
        return "not found", "No difference found; the smallest gap this run could see was not computed."
    return "not found", f"No difference found; this run could see gaps of about {percent_points(gap)}."


def percent_points(value: float) -> str:
    """A size in percentage points, without a sign: ``12.0 points``."""
    return f"{points(abs(value)).lstrip('+')} points"


def extra(finding: Finding, *keys: str) -> Any:
    """The first of these keys that the finding's extra holds, else None."""
    return next((finding.extra[key] for key in keys if finding.extra.get(key) is not None), None)


def mark_filter(config: str, *, group: str | None = None, outcome: str = "", **facets: str) -> Filter:
    """The filter of the responses behind a mark."""
    parts: Mapping[str, str | None] = {"config": config, "group": group, **facets, "label": outcome}
    return {key: value for key, value in parts.items() if value}


def rate_text(finding: Finding | None) -> str:
    """A rate, or a dash."""
    return percent(finding.estimate if finding else None)
