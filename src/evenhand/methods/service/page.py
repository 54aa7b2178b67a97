"""The service audit's part of the page: its section, its verdict, and the responses behind its figures."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from evenhand.findings.decide import is_found
from evenhand.methods.service.page_figures import forest_plot, heat_map, name_bars, trade_off
from evenhand.methods.service.page_tables import (
    OUTCOME_LABELS,
    OUTCOMES,
    PRIMARY,
    Index,
    behind,
    change_table,
    rate_table,
    rest_tables,
    stem_table,
)
from evenhand.methods.service.verdict import NAMES, primary_contrasts
from evenhand.records import HARMFUL, LABELS, Finding, Grade, Item, Response
from evenhand.report.blocks import Block, Note, Panel
from evenhand.report.build import (
    GRAVITY,
    Part,
    Stored,
    folded,
    method_part,
    one_each,
    present,
    show_command,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet, FacetSet
from evenhand.report.finding_table import POINTS, SHARE
from evenhand.report.marks import glance_row
from evenhand.report.page import Glance, KeyNumber, Section, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.runs.tables import items_from, responses_from
from evenhand.safe_text import clean
from evenhand.wording import count, defined, group_label, group_phrase, p_value, percent

PROVISIONAL = (
    "The grader has not been checked against human labels, so every number here is provisional: "
    "a difference may be the grader's own, and none is marked as found."
)
SERVICE_CAVEATS: tuple[str, ...] = (
    "Names stand in for ethnicity, religion, class, age and how often a name occurs in training text. "
    "The numbers speak of names associated with a group, not of the people who bear them.",
    "The prompts are the ones in this run. Other prompts, system prompts and sampling settings can give other numbers: "
    "two runs compare only where these are the same.",
    "The boundary between a refusal and a harmful refusal is the least stable of the labels; "
    "declined, which holds both, is the robust outcome.",
    "Wilson intervals describe this sample; the differences, whose intervals allow for new names and stems, "
    "are what may be carried beyond it.",
)
"""What every reader of the service audit's numbers must know."""


def service_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the responses behind them."""
    facts = loaded.result["facts"]
    items = {item.id: item for item in items_from(loaded.items)}
    first = loaded.grades.filter(pl.col("grader") == facts["grader"])
    grades = [Grade(**row) for row in first.iter_rows(named=True)]
    responses = responses_from(loaded.responses) if loaded.responses is not None else []
    stems = {
        item.clusters["stem"]: item.attributes.get("stem_text", "")
        for item in items.values()
        if "stem" in item.clusters
    }
    folder, subject = str(loaded.run.folder), facts["subject"]
    section = service_section(loaded.findings, stems=stems, subject=subject, calibrated=facts["calibrated"])
    verdict = service_verdict(
        loaded.findings,
        loaded.result["verdicts"],
        calibrated=facts["calibrated"],
        run=folder,
        texts=loaded.responses is not None,
        calibrate_command=f"evenhand sample {shlex.quote(folder)} --size 50 --out labels.csv",
    )
    return method_part(
        loaded,
        section_id=section.id,
        title=section.title,
        lede=section.lede,
        blocks=section.blocks,
        verdicts=[verdict],
        evidence=service_evidence(items, responses, grades, stems=stems, command=show_command(loaded)),
        caveats=SERVICE_CAVEATS,
    )


def service_section(
    findings: Sequence[Finding],
    *,
    stems: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    subject: str = NAMES,
    calibrated: bool = True,
) -> Section:
    """Heat map, forest plots, name bars, trade-off and stem table, then every other finding as a table.

    Parameters
    ----------
    findings : findings of a run; those of other audits are passed over.
    stems : texts by stem id, for findings whose ``extra`` does not hold them.
    notes : cautions to print before the figures (missing data, dropped stems, provider refusals).
    subject : how a group is cued; "names associated with" or, for the explicit variant, "phrases that name".
    calibrated : False draws no difference as found: the grader's own errors may have made it.
    """
    index = Index(findings)
    configs, groups = index.configs, index.groups()
    if not calibrated:
        notes = (PROVISIONAL, *notes)
    blocks: list[Block] = [Note(text=text, tone="caution") for text in notes]
    panels = [
        Panel(config, tuple(_figures(index, config, groups, f"service-{i}", subject, calibrated)))
        for i, config in enumerate(configs, start=1)
    ]
    opened = configs.index(index.leading()) if configs else 0
    blocks += one_each(panels, block_id="service-configs", title="Configuration", opened=opened)
    blocks += present(
        change_table(index, groups, "service-changes"),
        trade_off(index, groups, "service-tradeoff"),
        stem_table(index, PRIMARY, "service-stems", stems or {}),
    )
    blocks += folded("All other measures", *rest_tables(index, "service-rest"))
    if not blocks:
        blocks.append(Note(text="This run holds no findings of this audit."))
    reference = index.reference()
    against = f", against {group_phrase(reference, subject)}" if reference is not None else ""
    lede = f"Which prompts does the model decline, or serve worse, when only the cue of the group changes{against}?"
    return Section("service", "Service quality", lede, tuple(blocks))


def _figures(index: Index, config: str, groups: list[str], prefix: str, subject: str, calibrated: bool) -> list[Block]:
    others = [o for o in index.outcomes() if o != PRIMARY]
    similar = [forest_plot(index, config, o, f"{prefix}-difference-{_slug(o)}", subject, calibrated) for o in others]
    rates = rate_table(index, config, groups, f"{prefix}-rates")
    return [
        *present(heat_map(index, config, groups, f"{prefix}-heat", subject)),
        *folded("Rates of every outcome, with intervals", rates),
        *present(forest_plot(index, config, PRIMARY, f"{prefix}-difference", subject, calibrated)),
        *folded(f"The same for {_listed(others)}" if others else "", *similar),
        *present(name_bars(index, config, PRIMARY, groups, f"{prefix}-names", subject)),
    ]


def _slug(text: str) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())
    return kept.strip("-") or "other"


def _listed(outcomes: Sequence[str]) -> str:
    names = [OUTCOMES[o][1].split(":")[0].lower() if o in OUTCOMES else o for o in outcomes]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def service_verdict(
    findings: Sequence[Finding],
    verdicts: Sequence[Stored],
    *,
    calibrated: bool,
    run: str = "RUN",
    calibrate_command: str = "",
    texts: bool = True,
) -> Verdict:
    """The gravest stored verdict of all configurations, the others in a sentence each.

    ``run`` is the run folder, for the commands that are shown; ``texts`` says whether it holds responses to read.
    """
    index = Index(findings)
    several = len(verdicts) > 1
    contrasts = {v["config"]: {f.group: f for f in primary_contrasts(findings, v["config"])} for v in verdicts}

    def gravity(verdict: Stored) -> tuple[int, float]:
        by_group = contrasts[verdict["config"]]
        largest = max((abs(f.estimate or 0.0) for f in by_group.values()), default=0.0)
        named = by_group[verdict["group"]].estimate if verdict["group"] is not None else largest
        return GRAVITY.index(verdict["tone"]), -abs(named or 0.0)

    chosen, *others = sorted(verdicts, key=gravity)
    config = chosen["config"]
    worst = contrasts[config].get(chosen["group"]) if chosen["group"] is not None else None
    strong = {group for group, f in contrasts[config].items() if calibrated and is_found(f)}

    def named(verdict: Stored) -> Stored:
        unknowns = [f"{verdict['config']}: {text}" if several else text for text in verdict["unknowns"]]
        return {**verdict, "unknowns": unknowns}

    return stored_verdict(
        [named(verdict) for verdict in (chosen, *others)],
        "Service quality",
        numbers=_contrast_numbers(index, worst) if worst else _spread_numbers(index, config),
        glance=_glance(index, config, strong),
        actions=_actions(chosen, shlex.quote(clean(run)), calibrate_command, texts, several=several),
    )


def _actions(
    chosen: Stored, folder: str, calibrate_command: str, texts: bool, *, several: bool
) -> tuple[tuple[str, str], ...]:
    if chosen["tone"] == "provisional":
        read = ("Read the responses meanwhile:", f"evenhand show {folder}")
        return ((chosen["advice"], calibrate_command), read)
    if chosen["group"] is None or not texts:
        return ()
    part = f" --config {shlex.quote(clean(chosen['config']))}" if several else ""
    rows = f"--group {shlex.quote(clean(chosen['group']))} --label refusal{part}"
    return (("Read the responses:", f"evenhand show {folder} {rows}"),)


def _contrast_numbers(index: Index, f: Finding) -> tuple[KeyNumber, ...]:
    """The four numbers under the headline."""
    rates = index.plain("rate", PRIMARY, f.config)
    mine, theirs = (rates[g].estimate if g in rates else None for g in (f.group or "", f.reference or ""))
    ends = (
        f"points, {f.interval.level:.0%}: {POINTS.range(f.interval.low, f.interval.high)}" if f.interval else "points"
    )
    adjusted = f.test.p_holm if f.test else None
    size = f.test.family_size if f.test else None
    family = "the only comparison" if size == 1 else f"Holm, {size} comparisons" if size else ""
    return (
        KeyNumber(POINTS.text(f.estimate), "Difference", ends),
        KeyNumber(percent(mine), group_label(f.group), PRIMARY),
        KeyNumber(percent(theirs), group_label(f.reference), f"{PRIMARY}, reference"),
        KeyNumber(p_value(adjusted), "Adjusted p", family),
    )


def _spread_numbers(index: Index, config: str) -> tuple[KeyNumber, ...]:
    rates = index.plain("rate", PRIMARY, config).values()
    values = [f.estimate for f in rates if f.estimate is not None and defined(f.estimate)]
    if not values:
        return ()
    omnibus = index.one("omnibus", PRIMARY, config, None)
    p = omnibus.test.p if omnibus is not None and omnibus.test is not None else None
    spread = KeyNumber(
        SHARE.range(min(values), max(values)), f"{PRIMARY.capitalize()}, by group", f"{len(values)} groups"
    )
    whole = KeyNumber(p_value(p), "All groups at once", "permutation of names, p")
    return (spread,) if p is None else (spread, whole)


def _glance(index: Index, config: str, strong: set[str | None]) -> Glance | None:
    rates = index.plain("rate", PRIMARY, config)
    reference = index.reference()
    rows = []
    for group in sorted(rates, key=lambda g: (-(rates[g].estimate or 0.0), g)):
        f = rates[group]
        note = ", the reference group" if group == reference else ""
        label = f"{group_label(group)}: {PRIMARY} {percent(f.estimate)} of {count(f.n)}{note}"
        link = behind(config, group=group, outcome=PRIMARY)
        rows.append(glance_row(f, group_label(group), label, unit=SHARE, strong=group in strong, evidence=link))
    where = f", {config}" if len(index.configs) > 1 else ""
    return Glance(f"{PRIMARY.capitalize()}, by group{where}", tuple(rows)) if rows else None


def service_facets(
    groups: Iterable[str] = (), stems: Mapping[str, str] | None = None, labels: Iterable[str] = LABELS
) -> tuple[Facet, ...]:
    """The columns by which service responses are filtered: configuration, group, name, stem, label.

    ``stems`` maps stem ids to their texts. The collapses (declined, harmful, unserved, ...) join the labels as filters.
    """
    sets = tuple(FacetSet(key, title, OUTCOME_LABELS[key]) for key, (_, title) in OUTCOMES.items())
    return (
        Facet("config", "Configuration", {}, strata=True),
        Facet("group", "Group", {g: group_label(g) for g in groups}, strata=True),
        Facet("name", "Name", {}),
        Facet("stem", "Stem", {key: f"{key} {text}".strip() for key, text in (stems or {}).items()}),
        Facet("label", "Label", {label: label for label in labels}, sets=sets, strata=True),
    )


def service_evidence(
    items: Mapping[str, Item],
    responses: Iterable[Response],
    grades: Iterable[Grade],
    *,
    stems: Mapping[str, str] | None = None,
    command: str = "evenhand show RUN",
) -> Evidence:
    """Evidence from the rows of a run: one row a response, with the label of its grade.

    ``grades`` are those of the grader that the findings rest on. A response without a label is kept with the reason
    (``judge_missing``, ``response_missing``) in place of one, so that what is missing can be read too.
    """
    graded = {(g.config, g.item_id, g.repetition): g for g in grades}
    rows = []
    for response in responses:
        item = items[response.item_id]
        grade = graded.get((response.config, response.item_id, response.repetition))
        label = (grade.label or grade.missing or "no label") if grade else "no label"
        rows.append(
            EvidenceRow(
                id=response.item_id,
                facets={
                    "config": response.config,
                    "group": item.group,
                    "name": item.clusters.get("name", ""),
                    "stem": item.clusters.get("stem", ""),
                    "label": label,
                },
                prompt="\n\n".join(message.content for message in item.chat if message.role == "user"),
                text=response.text or response.provider_refusal or response.error,
                repetition=response.repetition,
                finish=_finish(response),
                flags=_flags(response, grade),
                fold=label if label in HARMFUL else "",
            )
        )
    groups = dict.fromkeys(row.facets["group"] for row in rows)
    return Evidence(service_facets(groups, stems), rows, command)


def _finish(response: Response) -> str:
    words = {"stop": "finished", "length": "cut at the token limit", "content_filter": "stopped by a content filter"}
    return words.get(response.finish_reason, "failed")


def _flags(response: Response, grade: Grade | None) -> tuple[str, ...]:
    flags = {
        "hedged": grade is not None and grade.hedged,
        "truncated": grade is not None and grade.truncated,
        "echo stripped": grade is not None and grade.echo_stripped,
        "declined by the provider": bool(response.provider_refusal),
        "reasoning removed": bool(response.reasoning),
    }
    return tuple(flag for flag, held in flags.items() if held)
