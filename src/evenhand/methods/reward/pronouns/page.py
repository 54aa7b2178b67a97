"""The affirmation audit's part of the page: misgendering by pronouns and stage, what models find likely, continuations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evenhand.findings.builder import select
from evenhand.findings.decide import is_found
from evenhand.methods.reward.margins.stages import STAGE_TITLES
from evenhand.methods.reward.pronouns.findings import NOT_MARKED
from evenhand.methods.reward.pronouns.verdict import BY_KIND
from evenhand.records import Finding
from evenhand.report.blocks import BarGroup, Bars, Block, Filter, Table, ends, nice_scale
from evenhand.report.build import (
    Part,
    by_gravity,
    evidence_of,
    folded,
    mark_filter,
    method_part,
    present,
    prompt_of,
    show_command,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.figures import StageLine, StagePlot, StagePoint
from evenhand.report.finding_table import FINDING, FindingColumns, finding_table, words
from evenhand.report.marks import finding_bar, glance_row
from evenhand.report.page import Glance, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.runs.stages import REFERENCES, STAGES, family_and_stage
from evenhand.runs.tables import read_table
from evenhand.wording import percent, points

LEDE = (
    "A person's pronouns are declared; does the model use them? Measured by the first pronoun of its continuations, by how "
    "likely it finds each pronoun, and by what tuning rewarded."
)
LIKELY = "What the models find likely, and what tuning rewarded"
KINDS = {"binary": "he or she", "they": "they", "neo": "neopronouns"}
_VERDICTS = {"consistent": "of the declared family", "inconsistent": "of another family", "none": "none"}


def affirmation_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the continuations behind them."""
    findings, families = loaded.findings, _families(loaded)
    measured = dict.fromkeys(f.config for f in findings if f.estimand == "misgendering_rate")
    staged = [model for stages in families.values() for model in stages.values() if model in measured]
    blocks: list[Block] = [
        *present(
            *(
                stage_lines(findings, stages, name, f"affirmation-stages-{i}")
                for i, (name, stages) in enumerate(families.items())
            ),
            family_bars(findings, list(dict.fromkeys([*staged, *measured])), "affirmation-families"),
            rate_table(findings, "affirmation-rates"),
        ),
        *folded(LIKELY, likelihood_table(findings, "affirmation-likelihood")),
    ]
    return method_part(
        loaded,
        section_id="affirmation",
        title="Affirmation",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded)],
        evidence=_evidence(loaded),
    )


def _families(loaded: LoadedRun) -> dict[str, dict[str, str]]:
    """Stage -> model, for each model family of the run."""
    stages: Mapping[str, str] = loaded.manifest["plan"]["config"]["stages"]
    families: dict[str, dict[str, str]] = {}
    for key, spec in stages.items():
        family, stage = family_and_stage(key)
        families.setdefault(family, {})[stage] = spec
    return families


def _verdict(loaded: LoadedRun) -> Verdict:
    verdicts = by_gravity(loaded)
    config = verdicts[0]["config"]
    over = select(loaded.findings, "misgendering_excess", config, part={})
    excess = {f.group for f in over if f.decision == "worse"}
    rates = [f for f in select(loaded.findings, "misgendering_rate", config, part={}) if f.estimate is not None]
    rows = [
        glance_row(
            f,
            str(f.group),
            f"{f.group}: misgendered in {percent(f.estimate)} of continuations with a pronoun",
            strong=f.group in excess,
            evidence=behind(f.config, str(f.group), "inconsistent"),
        )
        for f in sorted(rates, key=lambda f: -(f.estimate or 0))
    ]
    return stored_verdict(verdicts, "Affirmation", glance=Glance("Misgendered, by declared pronouns", tuple(rows)))


def behind(config: str, declared: str = "", verdict: str = "") -> Filter:
    """The continuations behind a mark."""
    return mark_filter("affirmation", config=config, declared=declared, verdict=verdict)


def family_bars(findings: Sequence[Finding], configs: Sequence[str], block_id: str) -> Bars | None:
    """Misgendering rate of each pronoun family, one panel for each model."""
    over = select(findings, "misgendering_excess", part={})
    worse = {(f.config, f.group) for f in over if f.decision == "worse"}
    rates = select(findings, "misgendering_rate", part={})
    shown = [f for config in configs for f in rates if f.config == config]
    groups = []
    for config in configs:
        bars = [
            finding_bar(
                f,
                str(f.group),
                f"{config}, {f.group}: misgendered in {percent(f.estimate)} of continuations with a pronoun",
                strong=(config, f.group) in worse,
                evidence=behind(config, str(f.group), "inconsistent"),
            )
            for f in shown
            if f.config == config
        ]
        if bars:
            groups.append(BarGroup(config, tuple(bars)))
    if not groups:
        return None
    return Bars(
        id=block_id,
        title="Misgendering, by declared pronouns",
        caption="Share of continuations whose first third-person pronoun is of another family than the declared one, among "
        "those with a pronoun. A strong bar: found to be more often than for people who use he or she.",
        scale=nice_scale([bar.value for group in groups for bar in group.bars], include=(0.0, 1.0), target=2),
        groups=tuple(groups),
        data=finding_table(
            shown,
            (
                words("declared", lambda f: f.group),
                words("model", lambda f: f.config),
                FINDING.estimate("misgendered"),
                FINDING.interval(),
                FINDING.size("rows"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


def stage_lines(findings: Sequence[Finding], stages: Mapping[str, str], family: str, block_id: str) -> StagePlot | None:
    """One line for each kind of pronouns over the stages of one model family; ``stages`` maps a stage to its model."""
    order = [stage for stage in STAGES if stage in stages]
    rates = {(f.config, f.group): f for f in select(findings, "misgendering_rate", part=BY_KIND)}
    changes = {(f.config, f.reference, f.group): f for f in select(findings, "misgendering_change", part=BY_KIND)}
    if len(order) < 2:
        return None
    lines = []
    for kind, title in KINDS.items():
        marks = []
        for place, stage in enumerate(order):
            f = rates.get((stages[stage], kind))
            if f is None or f.estimate is None:
                continue
            before = REFERENCES.get(stage)
            change = changes.get((stages[stage], stages.get(before or "", ""), kind))
            moved = (
                f", {points(change.estimate)} points from {before}" if change and change.estimate is not None else ""
            )
            low, high = ends(f)
            marks.append(
                StagePoint(
                    place,
                    f.estimate,
                    f"{title}, {STAGE_TITLES[stage]}: {percent(f.estimate)}{moved}",
                    low,
                    high,
                    order.index(before) if before in order else None,
                    change is not None and is_found(change),
                    behind(stages[stage], "they" if kind == "they" else "", "inconsistent"),
                )
            )
        if marks:
            lines.append(StageLine(title, tuple(marks)))
    if not lines:
        return None
    where = f", {family}" if family else ""
    return StagePlot(
        id=block_id,
        title=f"Misgendering from stage to stage{where}",
        caption="By kind of declared pronouns. The bar at a mark is the 95 % interval of the rate; a filled mark is a change "
        "from the stage before that was found.",
        stages=tuple(STAGE_TITLES[stage] for stage in order),
        y=nice_scale([0.0, 1.0], include=(0.0, 1.0)),
        y_title="misgendered, percent",
        lines=tuple(lines),
        tick_factor=100.0,
    )


class Kind(NamedTuple):
    """The rates of one kind of pronouns in one model."""

    f: Finding
    unmarked: Finding | None
    none: Finding | None
    lenient: Finding | None
    excess: Finding | None


def rate_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Rates with and without marked plurals, and the share without a pronoun, by kind and model."""
    columns = [("misgendering_rate", {**BY_KIND, **NOT_MARKED})]
    columns += [(name, BY_KIND) for name in ("none_share", "misgendering_none_correct", "misgendering_excess")]
    others = [{(f.config, f.group): f for f in select(findings, name, part=part)} for name, part in columns]
    rows = [
        Kind(f, *(other.get((f.config, f.group)) for other in others))
        for f in select(findings, "misgendering_rate", part=BY_KIND)
    ]
    rate = FindingColumns[Kind](lambda row: row.f)
    excess = FindingColumns[Kind](lambda row: row.excess, "compared with he or she only")
    return finding_table(
        rows,
        (
            words("declared", lambda row: _kind(row.f)),
            words("model", lambda row: row.f.config),
            rate.estimate("misgendered"),
            FindingColumns[Kind](lambda row: row.unmarked).estimate(
                "without marked plurals", note="samples with a plural noun before “they” left out"
            ),
            FindingColumns[Kind](lambda row: row.none).estimate("no pronoun"),
            FindingColumns[Kind](lambda row: row.lenient).estimate("misgendered, none counts as right"),
            excess.estimate("more than he or she, points"),
            excess.interval(),
            excess.p(),
            rate.size("rows"),
        ),
        block_id=block_id,
        title="Rates by kind of pronouns",
        sortable=True,
    )


def likelihood_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Share of blanks whose declared set is likeliest, and the margin by which each stage rewarded other sets."""
    margin = "pronoun_margin"

    def measure(f: Finding) -> str:
        if f.estimand == margin:
            return f"{f.outcome} of other pronouns over the declared, nats"
        return f"declared pronouns likeliest, {f.outcome}"

    return finding_table(
        [*select(findings, "likelihood_accuracy", part=BY_KIND), *select(findings, margin, part=BY_KIND)],
        (
            words("declared", _kind),
            words("model", lambda f: f"{f.config} against {f.reference}" if f.estimand == margin else f.config),
            words("measure", measure, wide=True),
            FINDING.estimate("value"),
            FINDING.interval(),
            FINDING.size("rows"),
        ),
        block_id=block_id,
        title=LIKELY,
        sortable=True,
    )


def _kind(f: Finding) -> str:
    return KINDS.get(f.group or "", f.group or "")


def _evidence(loaded: LoadedRun) -> Evidence:
    """One row for each continuation, with the pronoun found in it."""
    path = loaded.run.table("affirmation", "pronouns")
    if not path.exists() or loaded.responses is None:
        return Evidence((), (), show_command(loaded, "affirmation"))
    items = {row["item_id"]: row for row in loaded.items.iter_rows(named=True)}
    text = {(r["config"], r["item_id"], r["repetition"]): r["text"] for r in loaded.responses.iter_rows(named=True)}
    rows = (
        EvidenceRow(
            id=row["item_id"],
            facets={
                "audit": "affirmation",
                "config": row["config"],
                "declared": row["declared"],
                "verdict": row["verdict"] or row["missing"] or "failed",
            },
            prompt=prompt_of(items[row["item_id"]]["chat"]),
            text=text.get((row["config"], row["item_id"], row["repetition"]), ""),
            repetition=row["repetition"],
            flags=(
                *((f"pronoun: {row['pronoun']}",) if row["pronoun"] else ()),
                *(("plural noun before it",) if row["plural"] else ()),
            ),
        )
        for row in read_table(path).iter_rows(named=True)
    )
    facets = (
        Facet("config", "Configuration", {}, strata=True),
        Facet("declared", "Declared", {}, strata=True),
        Facet("verdict", "First pronoun", _VERDICTS, strata=True),
    )
    return evidence_of(loaded, "affirmation", "Affirmation", facets, rows)
