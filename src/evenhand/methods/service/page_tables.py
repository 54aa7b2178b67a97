"""Tables of the service audit, and the index of findings that its figures and tables share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from evenhand.findings.builder import first, select
from evenhand.methods.service.configurations import CHANGE, GAP_CHANGE
from evenhand.methods.service.items import AUDIT
from evenhand.methods.service.table import COLLAPSES
from evenhand.records import LABELS, Finding
from evenhand.report.blocks import Block, Cell, Details, Filter, Table
from evenhand.report.finding_table import (
    COUNT,
    FINDING,
    RATIO,
    SHARE,
    FindingColumns,
    Shown,
    cells,
    finding_table,
    value_cell,
    words,
)
from evenhand.wording import DASH, count, defined, group_label, percent

OUTCOMES: dict[str, tuple[str, str]] = {
    "declined": ("declined", "Declined: refusal or harmful refusal"),
    "harmful": ("answered or declined with harmful wording", "Harmful wording: harmful refusal or harmful answer"),
    "unserved": ("left without service", "Unserved: refusal, harmful refusal or failure"),
    "served": ("fully served", "Served in full: answer"),
    "served_lenient": ("served at least in part", "Served at least in part: answer or partial answer"),
}
"""Outcome -> (participle in a sentence, title), for the collapses of the labels."""

PRIMARY = "declined"
"""The outcome of the verdict, the first forest plot, the name bars and the stem table."""

OUTCOME_LABELS: dict[str, tuple[str, ...]] = {
    outcome: tuple(label for label in LABELS if label in members) for outcome, members in COLLAPSES.items()
}
"""Outcome -> its labels, in the order of the taxonomy."""


class Index:
    """Findings by what they estimate. It records which of them a figure has shown."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = [f for f in findings if f.audit == AUDIT]
        self._shown: set[int] = set()

    def all(self, estimand: str, outcome: str = "", *, config: str | None = None) -> list[Finding]:
        """Every finding of an estimand, in the order given."""
        return select(self.findings, estimand, config, outcome)

    def plain(self, estimand: str, outcome: str, config: str) -> dict[str, Finding]:
        """Findings without a slice, by group."""
        held = select(self.findings, estimand, config, outcome, part={})
        return {f.group: f for f in held if f.group is not None}

    def sliced(self, estimand: str, outcome: str, config: str, key: str) -> Iterator[tuple[str, Finding]]:
        """Findings with a slice on ``key``, with its value."""
        for f in self.all(estimand, outcome, config=config):
            if key in f.slice:
                yield f.slice[key], f

    def one(self, estimand: str, outcome: str, config: str, group: str | None) -> Finding | None:
        """The finding of one group without a slice."""
        return first(self.findings, estimand, config, outcome, group=group, part={})

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

    def leading(self, outcome: str = PRIMARY) -> str:
        """The configuration with the largest difference on the primary outcome, else the first."""
        contrasts = [f for f in self.all("risk_difference", outcome) if not f.slice and f.estimate is not None]
        if contrasts:
            return max(contrasts, key=lambda f: abs(f.estimate or 0.0)).config
        return self.configs[0] if self.configs else ""

    def reference(self) -> str | None:
        """The reference group of the contrasts."""
        return next((f.reference for f in self.all("risk_difference") if f.reference is not None), None)

    def groups(self) -> list[str]:
        """Groups from the highest primary rate in the leading configuration down, the reference last."""
        reference = self.reference()
        keys = list(
            dict.fromkeys(
                f.group for f in self.findings if f.group is not None and f.estimand in ("rate", "label_share")
            )
        )
        rates = self.plain("rate", PRIMARY, self.leading())

        def rank(key: str) -> tuple[bool, float, str]:
            rate = rates.get(key)
            estimate = rate.estimate if rate is not None and rate.estimate is not None else -1.0
            return key == reference, -estimate, key

        return sorted(keys, key=rank)

    def outcomes(self, estimand: str = "risk_difference") -> list[str]:
        """Outcomes of an estimand: the known ones in their order, then any other."""
        seen = list(dict.fromkeys(f.outcome for f in self.all(estimand)))
        order = [*OUTCOMES, *LABELS]
        return sorted(seen, key=lambda o: (order.index(o) if o in order else len(order), o))


def behind(config: str, *, group: str | None = None, outcome: str = "", **facets: str) -> Filter:
    """The filter of the responses behind a mark."""
    parts: Mapping[str, str | None] = {"config": config, "group": group, **facets, "label": outcome}
    return {key: value for key, value in parts.items() if value}


_TITLES = {
    "between_group_sd": "Spread: standard deviation between groups",
    "common_minus_rare": "Common names minus rare names",
    "flip_rate": "Counterfactual flips",
    "gap": "Spread: largest minus smallest rate",
    "grader_sensitivity": "Grader: sensitivity",
    "grader_specificity": "Grader: specificity",
    "leave_one_name_out": "Difference without the most influential name",
    "missing_rate": "Missing or failed responses",
    "omnibus": "All groups at once",
    "grader_kappa": "Grader: agreement with the first grader",
    "men_minus_women": "Names of men minus names of women",
    "pareto": "Trade-off: configurations on the Pareto front",
    "price_disparity": "Price of safety: dearest minus cheapest group",
    "price_of_safety": "Price of safety",
    "rank_correlation": "Trade-off: correlation of over-refusal and safety",
    "rate": "Rates corrected for the grader's error",
    "risk_difference": "Differences of parts of the data",
    "risk_ratio": "Ratio of rates",
    "share_over_threshold": "Groups over the service threshold",
    "toxicity": "Toxicity of all outputs (a control, never a label)",
    "stability": "Stability over repetitions",
    "words": "Words per response, served stems only",
    "worst_best_ratio": "Spread: worst rate over best",
}

_UNIT_NAMES = {"difference of probabilities": "difference of probabilities, in percentage points"}


class Change(NamedTuple):
    """What changed for one group from one configuration to the next."""

    f: Finding
    gap: Finding | None


def change_table(index: Index, groups: list[str], block_id: str) -> Table | None:
    """Change of the declined rate and of each difference to the reference, one row a group and pair of configurations."""
    changes, gaps = index.all(CHANGE), index.all(GAP_CHANGE)
    index.show(*changes, *gaps)
    gap_of = {(f.config, f.group): f for f in gaps}
    group_order = {group: at for at, group in enumerate(groups)}
    steps = list(dict.fromkeys((f.slice["from"], f.slice["to"]) for f in changes))

    def place(f: Finding) -> tuple[int, int]:
        return steps.index((f.slice["from"], f.slice["to"])), group_order.get(f.group or "", len(group_order))

    rows = [Change(f, gap_of.get((f.config, f.group))) for f in sorted(changes, key=place)]
    change = FindingColumns[Change](lambda row: row.f)
    gap = FindingColumns[Change](lambda row: row.gap, "the reference group")
    step: Shown[Change] = words("Configurations", lambda row: f"{row.f.slice['from']} to {row.f.slice['to']}")
    single = f": {steps[0][0]} to {steps[0][1]}" if len(steps) == 1 else ""
    return finding_table(
        rows,
        (
            words("Group", lambda row: group_label(row.f.group)),
            *((step,) if len(steps) > 1 else ()),
            change.field("Before", "rate_from", SHARE, note="share declined"),
            change.field("After", "rate_to", SHARE, note="share declined"),
            change.estimate("Change", note="percentage points"),
            change.interval("Interval", note="95 %, for new names and stems"),
            change.p("Holm", note="signs of names flipped, adjusted over groups"),
            gap.estimate(
                f"Change against {group_label(index.reference())}", note="change of the difference, percentage points"
            ),
            gap.interval("Interval of the difference", note="95 %, for new names and stems"),
            gap.p("Holm of the difference", note="changes permuted over names, adjusted over groups"),
        ),
        block_id=block_id,
        title=f"What changed between configurations{single}",
        caption="Harmless prompts declined, on the names and stems that both configurations answered, paired by name "
        "and stem. As graded: these changes are not corrected for the grader's error.",
        sortable=True,
    )


def stem_table(index: Index, outcome: str, block_id: str, stems: Mapping[str, str]) -> Table | None:
    """Rate of each stem over all names, one column a configuration."""
    rates: dict[str, dict[str, Finding]] = {}
    for config in index.configs:
        for stem, f in index.sliced("stem_rate", outcome, config, "stem"):
            if not f.group:
                rates.setdefault(stem, {})[config] = f
                index.show(f)
    if not rates:
        return None
    used = [c for c in index.configs if any(c in by_config for by_config in rates.values())]
    verb = OUTCOMES.get(outcome, (outcome, outcome))[0]
    leading = index.leading(outcome) if index.leading(outcome) in used else used[0]

    def height(stem: str) -> float:
        f = rates[stem].get(leading)
        return f.estimate if f is not None and f.estimate is not None else -1.0

    def about(stem: str, key: str) -> str:
        return str(next(iter(rates[stem].values())).extra.get(key) or "")

    def rate(config: str) -> Shown[str]:
        def cell(stem: str) -> Cell:
            f = rates[stem].get(config)
            if f is None or f.estimate is None or not defined(f.estimate):
                return Cell(DASH, reason=(f.reason if f else "") or "not run in this configuration")
            return Cell(
                percent(f.estimate),
                sort=f.estimate,
                evidence=behind(config, stem=stem, outcome=outcome),
                label=f"Stem {stem}, {config}: {verb} {percent(f.estimate)} of {count(f.n)}",
                bar=min(1.0, max(0.0, f.estimate)),
            )

        return cells(f"{verb.capitalize()}: {config}" if len(used) > 1 else verb.capitalize(), cell, numeric=True)

    return finding_table(
        sorted(rates, key=lambda stem: (-height(stem), stem)),
        (
            cells("Stem", lambda stem: Cell(f"{stem} {stems.get(stem) or about(stem, 'text')}".strip(), sort=stem)),
            words(
                "Class",
                lambda stem: about(stem, "class").replace("_", " "),
                note="neutral, stereotype probe, or loaded",
            ),
            *(rate(config) for config in used),
        ),
        block_id=block_id,
        title=f"Each stem: how often it was {verb}",
        caption="Over all names. A stem that is declined whatever the name says something about the stem, not about "
        "a group. Choose a rate to read the responses behind it.",
        sortable=True,
    )


def rate_table(index: Index, config: str, groups: list[str], block_id: str) -> Table | None:
    """Group rates of every outcome with their within-sample intervals."""
    rates = {o: index.plain("rate", o, config) for o in index.outcomes("rate")}
    rates = {outcome: by_group for outcome, by_group in rates.items() if by_group}
    if not rates:
        return None
    index.show(*(by_group.get(group) for by_group in rates.values() for group in groups))

    def column(outcome: str) -> Shown[str]:
        title = OUTCOMES[outcome][1].split(":")[0] if outcome in OUTCOMES else outcome
        return FindingColumns[str](lambda group: rates[outcome].get(group)).estimate(title, interval=True)

    return finding_table(
        groups,
        (words("Group", group_label), *(column(outcome) for outcome in rates)),
        block_id=block_id,
        caption="Rates with Wilson intervals. These are within-sample: they ignore that responses share names and "
        "stems, so they describe this sample and must not be compared with each other; the differences above carry "
        "the test.",
        sortable=True,
    )


def rest_tables(index: Index, block_id: str) -> list[Block]:
    """Every finding that no figure has shown, one table an estimand: the page leaves no finding out."""
    kinds: dict[str, list[Finding]] = {}
    for f in index.rest:
        kinds.setdefault(f.estimand, []).append(f)
    tables = [
        (_title(kind), every_finding(kinds[kind], f"{block_id}-{i}"))
        for i, kind in enumerate(sorted(kinds, key=_title), start=1)
    ]
    return [Details(summary=title, blocks=(table,)) for title, table in tables if table is not None]


def _title(estimand: str) -> str:
    return _TITLES.get(estimand, estimand.replace("_", " ").capitalize())


def every_finding(findings: list[Finding], block_id: str) -> Table | None:
    """Findings of one estimand with all that they hold."""
    keys = list(dict.fromkeys(k for f in findings for k, v in f.extra.items() if isinstance(v, str | int | float)))
    units = ", ".join(dict.fromkeys(_UNIT_NAMES.get(f.unit, f.unit) for f in findings if f.unit))
    group: Shown[Finding] = words("Group", lambda f: group_label(f.group))
    part: Shown[Finding] = words("Part", lambda f: ", ".join(f"{k} {v}" for k, v in f.slice.items()))
    return finding_table(
        findings,
        (
            words("Configuration", lambda f: f.config),
            words("Outcome", lambda f: f.outcome),
            *((group,) if any(f.group is not None for f in findings) else ()),
            *((part,) if any(f.slice for f in findings) else ()),
            FINDING.estimate("Estimate"),
            FINDING.interval("Interval"),
            FINDING.p("p", "p"),
            FINDING.size(),
            words("Grader", lambda f: f.grader),
            *(_extra(key) for key in keys),
        ),
        block_id=block_id,
        caption=f"Unit: {units}." if units else "",
        sortable=True,
    )


def _extra(key: str) -> Shown[Finding]:
    def cell(f: Finding) -> Cell:
        held = f.extra.get(key)
        if isinstance(held, bool) or not isinstance(held, int | float):
            return Cell("" if held is None else str(held))
        return value_cell(held, COUNT if isinstance(held, int) else RATIO, f.reason)

    return cells(key.replace("_", " "), cell, numeric=True)
