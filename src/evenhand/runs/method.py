"""What every audit offers to the runner, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from evenhand.config import AuditConfig
from evenhand.engines.base import Engine, Estimate, Verb
from evenhand.records import Finding
from evenhand.redact import public
from evenhand.runs.respond import Configuration, Progress
from evenhand.runs.run import Run
from evenhand.wording import between, nats, nats_range, number, p_value, percent, point_range, points

Tone = Literal["worse", "even", "unknown", "provisional"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit says in plain words, for one configuration.

    ``tone`` is ``worse`` (some group is treated worse), ``even`` (no group is, within what could be seen), ``unknown`` (the
    data cannot settle it) or ``provisional`` (the grader's error for this use is not known, so no group is named).
    ``group`` is the group that the headline names, ``also`` the other differences found, ``unknowns`` what could not be settled;
    ``advice``, where there is any, ends with a colon and is followed by the command that draws a sample to label.
    """

    config: str
    tone: Tone
    headline: str
    detail: str = ""
    group: str | None = None
    also: Sequence[str] = ()
    unknowns: Sequence[str] = ()
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Headline:
    """One row of the closing table, in words: what was measured, its value, its 95 % interval, its adjusted p."""

    what: str
    value: str
    interval: str = ""
    p: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """How numbers of one unit are written: a value, and an interval."""

    value: Callable[[float | None], str]
    ends: Callable[[float | None, float | None], str]
    after: str = ""
    """What follows a value: ``" points"``."""


SHARE = Unit(percent, between)
POINTS = Unit(points, point_range, " points")
NATS = Unit(nats, nats_range, " nats")
PLAIN = Unit(number, lambda low, high: f"{number(low)} to {number(high)}")
COEFFICIENT = Unit(lambda value: number(value, 2), lambda low, high: f"{number(low, 2)} to {number(high, 2)}")


def ends_of(finding: Finding | None, unit: Unit, without: str = "no interval") -> str:
    """The interval of a finding in words, or what is written without one."""
    if finding is None or finding.interval is None:
        return without
    return unit.ends(finding.interval.low, finding.interval.high)


def closing_row(what: str, finding: Finding, unit: Unit, *, p: float | None = None, without: str = "none") -> Headline:
    """A row of the closing table: the estimate with its interval and ``p``, or why it is undefined."""
    if finding.estimate is None:
        return Headline(what, "undefined", finding.reason)
    value = f"{unit.value(finding.estimate)}{unit.after}"
    return Headline(what, value, ends_of(finding, unit, without), "" if p is None else p_value(p))


def holm_p(finding: Finding) -> float | None:
    """The p of a finding adjusted by Holm, if it was tested."""
    return finding.test.p_holm if finding.test else None


@dataclass(frozen=True, slots=True)
class AuditResult:
    """Everything an audit found. ``missing`` of ``rows`` rows have no label; they are counted, never guessed."""

    audit: str
    verdicts: Sequence[Verdict]
    findings: Sequence[Finding]
    headlines: Sequence[Headline]
    rows: int
    missing: int
    methods: Sequence[tuple[str, str]] = ()
    caveats: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What the runner gives to an audit."""

    config: AuditConfig
    configurations: Sequence[Configuration]
    judge: Engine | None
    run: Run
    progress: Progress
    others: Mapping[str, Engine] = field(default_factory=dict)
    """Engines of references and stages by spec (without a query), opened in addition to the configurations."""

    def open(self, spec: str) -> Engine:
        """The engine of a spec that the settings name: a configuration's, or one opened in addition."""
        for configuration in self.configurations:
            if configuration.engine.spec == public(spec):
                return configuration.engine
        return self.others[public(spec)]


class Audit(Protocol):
    """items -> responses or log-probability scores -> grades -> findings."""

    name: str
    title: str

    def verbs(self, config: AuditConfig) -> frozenset[Verb]:
        """What the audit needs of an engine; empty where the rows come from a file."""
        ...

    def unfit(self, config: AuditConfig) -> str:
        """Why this audit has no use for these settings (an entry file of another kind), or an empty text."""
        ...

    def inputs(self, config: AuditConfig) -> dict[str, Any]:
        """Checksums and settings of what the audit reads: part of the run's plan."""
        ...

    def estimate(self, context: Context) -> list[tuple[str, Estimate]]:
        """(what, cost) of every stage that asks a model."""
        ...

    def run(self, context: Context) -> AuditResult:
        """Do the audit, writing its tables into the run."""
        ...
