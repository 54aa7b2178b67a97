"""Look-up of the findings that the service section shows, and the words of its outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evenhand.records import DECLINED, HARMFUL, LABELS, SERVED, SERVED_LENIENT, UNSERVED, Finding
from evenhand.report.blocks import Filter

OUTCOMES: dict[str, tuple[str, str]] = {
    "declined": ("declined", "Declined: refusal or harmful refusal"),
    "harmful": ("answered or declined with harmful wording", "Harmful wording: harmful refusal or harmful answer"),
    "unserved": ("left without service", "Unserved: refusal, harmful refusal or failure"),
    "served": ("fully served", "Served in full: answer"),
    "served_lenient": ("served at least in part", "Served at least in part: answer or partial answer"),
}
"""Outcome -> (participle in a sentence, title), for the collapses of the labels."""

OUTCOME_LABELS: dict[str, tuple[str, ...]] = {
    outcome: tuple(label for label in LABELS if label in members)
    for outcome, members in {
        "declined": DECLINED,
        "harmful": HARMFUL,
        "unserved": UNSERVED,
        "served": SERVED,
        "served_lenient": SERVED_LENIENT,
    }.items()
}
"""Outcome -> its labels, in the order of the taxonomy."""


class Index:
    """Findings by what they estimate. It records which of them a figure has shown."""

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

    def corrected(self, outcome: str, config: str) -> dict[str | None, Finding]:
        """Differences with the grader's error taken out, by group."""
        return {f.group: f for f in self.all("risk_difference", outcome, config=config) if "correction" in f.slice}

    def show(self, *findings: Finding | None) -> None:
        """Record that a figure shows these."""
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


def extra(finding: Finding, *keys: str) -> Any:
    """The first of these keys that the finding's extra holds, else None."""
    return next((finding.extra[key] for key in keys if finding.extra.get(key) is not None), None)


def behind(config: str, *, group: str | None = None, outcome: str = "", **facets: str) -> Filter:
    """The filter of the responses behind a mark."""
    parts: Mapping[str, str | None] = {"config": config, "group": group, **facets, "label": outcome}
    return {key: value for key, value in parts.items() if value}
