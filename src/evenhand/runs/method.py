"""What every audit offers to the runner, and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from evenhand.config import AuditConfig
from evenhand.engines.base import Engine, Estimate, Verb
from evenhand.records import Finding
from evenhand.redact import public
from evenhand.runs.respond import Configuration, Progress
from evenhand.runs.run import Run

Tone = Literal["worse", "even", "unknown", "provisional"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit says in plain words, for one configuration.

    ``tone`` is ``worse`` (some group is treated worse), ``even`` (no group is, within what could be seen), ``unknown`` (the
    data cannot tell) or ``provisional`` (the grader's error for this use is not known, so no group is named).
    ``group`` is the group that the headline names, ``also`` the other differences found, ``unknowns`` what could not be told;
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
    """Engines of references and stages by spec (without a query), opened beside the configurations."""

    def open(self, spec: str) -> Engine:
        """The engine of a spec that the settings name: a configuration's, or one opened beside them."""
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
