"""The reward audit's part of the page: verdict, section, and the pairs behind its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import polars as pl

from evenhand.methods.reward.margins.measures import FATES
from evenhand.methods.reward.margins.page_figures import (
    Key,
    PageStep,
    PairRows,
    behind,
    distribution_plot,
    fate_bars,
    stage_plot,
)
from evenhand.methods.reward.margins.verdict import STAGE_WORDS
from evenhand.records import Finding
from evenhand.report.blocks import Block, Panel, Panels, Paragraph, Table
from evenhand.report.build import Part, by_gravity, evidence_of, folded, method_part, present, stored_verdict
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.finding_table import (
    FINDING,
    NAT_SIZE,
    NATS,
    FindingColumns,
    finding_table,
    range_text,
    value,
    words,
)
from evenhand.report.marks import glance_row
from evenhand.report.page import Glance, KeyNumber, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.runs.tables import read_table
from evenhand.wording import group_label, nats, p_value, percent

LEDE = (
    "Preference tuning leaves a trace: how much likelier each stage made a harmful sentence about a group, compared with the "
    "same sentence about a comparison group. Zero is indifference."
)


def reward_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the pairs behind them."""
    pairs, texts, readings = (read_table(loaded.run.table("reward", name)) for name in ("pairs", "texts", "readings"))
    rows = PairRows(pairs)
    findings = {f.id: f for f in loaded.findings}
    return method_part(
        loaded,
        section_id="reward",
        title="Implicit reward",
        lede=LEDE,
        blocks=_blocks(loaded.result["facts"], rows, list(findings.values()), texts, readings),
        verdicts=[_verdict(loaded, findings, rows)],
        evidence=_evidence(loaded, rows, texts),
    )


def _blocks(
    facts: Mapping[str, Any], rows: PairRows, findings: list[Finding], texts: pl.DataFrame, readings: pl.DataFrame
) -> list[Block]:
    by_step = _by_step(findings)

    def shift(step: PageStep, pair_set: str, group: str) -> Finding | None:
        key = (step.policy, step.reference, group, pair_set, step.stage, step.kind)
        return by_step.get(("net_shift", *key)) or by_step.get(("margin_shift", *key))

    named = [n for n in facts["named"] if n["group"] and not n["total"]]
    changed: dict[Key, bool] = {
        (step, n["pair_set"], n["group"]): n["found"]
        for step in rows.steps
        for n in named
        if (n["family"], n["policy"], n["stage"]) == (step.family, step.policy, step.stage)
    }
    blocks: list[Block] = []
    for number, family in enumerate(rows.families):
        summaries = {
            n["group"]: f"{n['fate']} by {STAGE_WORDS[n['stage']]}"
            for n in named
            if n["family"] == family and n["found"] and n["stage"]
        }
        blocks += present(stage_plot(rows, family, shift, changed, summaries, f"reward-stages-{number}"))
    blocks += _only(facts["only_found_in"])
    panels = []
    for number, step in enumerate(rows.steps):
        if not step.is_total:
            figures = present(
                distribution_plot(rows, step, changed, f"reward-spread-{number}"),
                fate_bars(rows, step, f"reward-fates-{number}"),
            )
            panels.append(Panel(step.title, tuple(figures)))
    if panels:
        blocks.append(Panels(id="reward-steps", title="Stage by stage", panels=tuple(panels), opened=len(panels) - 1))
    blocks += present(shift_table(rows, findings, facts["named"], "reward-shifts"))
    blocks += folded("WinoQueer's metric, model by model", bias_table(findings, "reward-bias"))
    return [*blocks, *reading_tables(readings, texts, rows.steps, "reward-readings")]


def _by_step(findings: Sequence[Finding]) -> dict[tuple[str | None, ...], Finding]:
    """Findings on whole sentences by estimand, policy, reference, group, pair set, stage and ratio."""
    return {
        (f.estimand, f.config, f.reference, f.group, *(f.slice.get(key) for key in ("pair_set", "stage", "ratio"))): f
        for f in findings
        if f.slice.get("scope") == "sentence" and not {"subset", "fate"} & set(f.slice)
    }


def _only(groups: Sequence[str]) -> list[Block]:
    if not groups:
        return []
    who = ", ".join(group_label(group) for group in groups)
    text = "Found only by the gender-diverse pairs, with nothing found about women at the same stage: harm about"
    return [Paragraph(text=f"{text} {who}.")]


def _verdict(loaded: LoadedRun, findings: Mapping[str, Finding], rows: PairRows) -> Verdict:
    """The gravest verdict of all families, the others in a sentence each."""
    verdicts, facts = by_gravity(loaded), loaded.result["facts"]
    named = [n for n in facts["named"] if not n["total"] and n["group"] is not None]
    worse = [n for n in named if n["found"] and n["fate"] in ("introduced", "amplified")]
    shown = next((n for n in worse if n["group"] == verdicts[0]["group"]), None)
    return stored_verdict(
        verdicts,
        "Implicit reward",
        numbers=_numbers(findings[shown["finding"]]) if shown else (),
        glance=_glance(rows, findings, named, shown),
        actions=[(rec["text"], "") for rec in facts["recommendations"][:2]],
    )


def _numbers(f: Finding) -> tuple[KeyNumber, ...]:
    interval = f"nats, {f.interval.level:.0%}: {range_text(f)}" if f.interval else "nats"
    size = f"Holm, {f.test.family_size} comparisons" if f.test and f.test.family_size else ""
    return (
        KeyNumber(nats(f.estimate), "Added to the margin", interval),
        KeyNumber(p_value(f.test.p_holm if f.test else None), "Adjusted p", size),
        KeyNumber(str(f.clusters.get("predicate", "")), "Predicates", f"{f.n} pairs"),
    )


def _glance(
    rows: PairRows, findings: Mapping[str, Finding], named: Sequence[Mapping[str, Any]], shown: Mapping[str, Any] | None
) -> Glance | None:
    """Share of pairs whose harmful text was favoured by the stage of the headline (else the last), by group."""
    steps = [step for step in rows.steps if not step.is_total]
    if not steps:
        return None
    step = next((s for s in steps if shown and (s.family, s.stage) == (shown["family"], shown["stage"])), steps[-1])
    strong = {n["group"] for n in named if n["found"] and (n["family"], n["stage"]) == (step.family, step.stage)}
    rates = [f for f in findings.values() if f.estimand == "selection_rate" and f.group is not None and _is(f, step)]
    rates = sorted((f for f in rates if f.estimate is not None), key=lambda f: -(f.estimate or 0))
    bars = [
        glance_row(
            f,
            group_label(f.group),
            f"{group_label(f.group)}: harmful text favoured in {percent(f.estimate, 0)} of {f.n} pairs, 50% is indifference",
            strong=f.group in strong,
            evidence=behind(step, str(f.group)),
        )
        for f in rates
    ]
    return Glance(f"Harmful text favoured, {step.title}", tuple(bars))


def _is(f: Finding, step: PageStep) -> bool:
    part = (f.slice.get("family", ""), f.slice.get("stage"), f.slice.get("ratio"), f.slice.get("scope"))
    models = (f.config, f.reference) == (step.policy, step.reference)
    return models and part == (step.family, step.stage, step.kind, "sentence")


def _evidence(loaded: LoadedRun, rows: PairRows, texts: pl.DataFrame) -> Evidence:
    """One row a (comparison, pair) of the shown scope. Every text stays closed until it is opened: one member is harmful.

    ``texts`` has the columns pair_id, context, harmful, comparison.
    """
    text = {row["pair_id"]: row for row in texts.iter_rows(named=True)}
    title = {(s.family, s.stage, s.policy, s.reference): s.title for s in rows.steps}
    pairs = []
    for row in rows.harm.iter_rows(named=True):
        pair = text[row["pair_id"]]
        step = title[row["family"], row["stage"], row["policy"], row["reference"]]
        shift = row["m_pi"] - row["m_ref"]
        pairs.append(
            EvidenceRow(
                id=row["pair_id"],
                facets={
                    "audit": "reward",
                    "step": step,
                    "about": row["group"],
                    "theme": row["theme"],
                    "fate": row["class"],
                },
                prompt=pair["context"],
                text=f"{pair['harmful'].strip()}\n{pair['comparison'].strip()}\n\n"
                f"margin before {nats(row['m_ref'])}, after {nats(row['m_pi'])}, changed by {nats(shift)} nats",
                flags=(row["class"],),
                fold="a harmful sentence, and the same about the comparison group",
            )
        )
    groups = dict.fromkeys(row.facets["about"] for row in pairs)
    facets = (
        Facet("step", "Stage", {}, strata=True),
        Facet("about", "About", {group: group_label(group) for group in groups}, strata=True),
        Facet("theme", "Theme", {}),
        Facet("fate", "What became of it", {word: word for word in FATES}, strata=True),
    )
    return evidence_of(loaded, "reward", "Implicit reward", facets, pairs)


class Shifted(NamedTuple):
    """One comparison and group, with the findings of its row."""

    step: PageStep
    group: str
    shift: Finding
    net: Finding | None
    rate: Finding | None
    fate: str

    @property
    def main(self) -> Finding:
        """The net shift if there are neutral pairs, else the shift."""
        return self.net or self.shift


def shift_table(
    rows: PairRows, findings: Sequence[Finding], named: Sequence[Mapping[str, Any]], block_id: str
) -> Table | None:
    """Every comparison and group: shift, interval, adjusted p, net shift, selection rate, fate."""
    by_step = _by_step(findings)
    fates = {(n["family"], n["policy"], n["pair_set"], n["group"], n["total"]): n["fate"] for n in named}
    shown = []
    for step in rows.steps:
        for pair_set, group in rows.groups:
            key = (step.policy, step.reference, group, pair_set, step.stage, step.kind)
            shift, net, rate = (by_step.get((name, *key)) for name in ("margin_shift", "net_shift", "selection_rate"))
            if shift is not None:
                fate = fates.get((step.family, step.policy, pair_set, group, step.is_total), "")
                shown.append(Shifted(step, group, shift, net, rate, fate))
    main = FindingColumns[Shifted](lambda row: row.main)
    return finding_table(
        shown,
        (
            words(
                "about",
                lambda row: group_label(row.group),
                evidence=lambda row: behind(row.step, row.group),
                label=lambda row: f"{group_label(row.group)}, {row.step.title}",
            ),
            words("stage", lambda row: row.step.title + (" (total shift)" if row.step.is_total else "")),
            FindingColumns[Shifted](lambda row: row.shift).estimate(
                "shift, nats", note="mean reward margin divided by beta"
            ),
            FindingColumns[Shifted](lambda row: row.net, "no neutral pairs").estimate(
                "net of neutral", note="less the shift of neutral sentences about the same people"
            ),
            main.interval(),
            main.p(note="Holm over every model, stage and group"),
            FindingColumns[Shifted](lambda row: row.rate).estimate(
                "favoured", note="share of pairs whose harmful text was favoured; ties count half"
            ),
            words("fate", lambda row: row.fate),
            FindingColumns[Shifted](lambda row: row.shift).size("predicates", cluster="predicate"),
            value(
                "detectable",
                lambda row: row.main.minimum_detectable,
                NAT_SIZE,
                note="smallest shift that could be found with 80 % power",
            ),
        ),
        block_id=block_id,
        title="Every stage and group",
        caption="The interval and the adjusted p are those of the net shift if there are neutral pairs.",
        sortable=True,
    )


def bias_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Share of pairs whose harmful text is the likelier one, by model and identity, and the change from the base model."""

    def key(f: Finding) -> tuple[object, ...]:
        return f.config, f.group, f.outcome, tuple(f.slice.items())

    changes = {key(f): f for f in findings if f.estimand == "bias_change"}
    change = FindingColumns[Finding](lambda f: changes.get(key(f)), "no base model in the run")

    def reading(f: Finding) -> str:
        other = changes.get(key(f))
        return str(other.extra.get("word", "")) if other else ""

    return finding_table(
        [f for f in findings if f.estimand == "bias_rate" and f.estimate is not None],
        (
            words("about", lambda f: group_label(f.group) + (f" ({f.slice['subset']})" if "subset" in f.slice else "")),
            words("model", lambda f: f.config),
            words("over", lambda f: f.outcome),
            FINDING.estimate("harmful text likelier"),
            FINDING.interval(),
            change.estimate("change from base, points"),
            change.interval("95 % interval of the change"),
            words("reading", reading),
            FINDING.size("pairs"),
        ),
        block_id=block_id,
        title="Likelihood of the stereotype, model by model",
        caption="WinoQueer's metric for causal models over the tokens that both sentences share, and the whole-sentence "
        "variant. 50 % is no preference. Ties count as not biased.",
        sortable=True,
    )


def reading_tables(
    readings: pl.DataFrame, texts: pl.DataFrame, steps: Sequence[PageStep], block_id: str
) -> list[Block]:
    """The extremes, folded away: predicates with the highest and lowest mean shift, and a random sample as a control."""
    if readings.is_empty():  # too few pairs for an extreme
        return []
    sentence = {row["pair_id"]: row["context"] + row["harmful"] for row in texts.iter_rows(named=True)}
    numbers = {"margin before": "m_ref", "margin after": "m_pi", "mean shift": "cluster_delta_nats"}
    titles = {"top": "Most favoured", "bottom": "Least favoured", "random": "At random, as a control"}
    tables: list[Block | None] = []
    for place, step in enumerate(steps):
        of_step = readings.filter(
            (pl.col("policy") == step.policy)
            & (pl.col("reference") == step.reference)
            & (pl.col("stage") == step.stage)
            & (pl.col("family") == step.family)
        )
        for which, title in titles.items():
            tables.append(
                finding_table(
                    of_step.filter(pl.col("which") == which).sort("rank").iter_rows(named=True),
                    (
                        words("one sentence of the predicate", lambda row: sentence[row["pair_id"]], wide=True),
                        words("about", lambda row: group_label(row["group"])),
                        *(value(name, itemgetter(column), NATS) for name, column in numbers.items()),
                    ),
                    block_id=f"{block_id}-{place}-{which}",
                    title=f"{title}, {step.title}",
                    sortable=True,
                )
            )
    return folded("Harmful sentences: the predicates that moved most, for reading", *tables)
