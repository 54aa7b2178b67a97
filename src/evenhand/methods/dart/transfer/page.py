"""The transfer audit's part of the page: response classes by domain, controls, graders' agreement, changes, answers."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from evenhand.findings.builder import select
from evenhand.findings.decide import is_found
from evenhand.methods.dart.transfer.findings import APPROPRIATE, CHANGE, CONTROLS, KAPPA, OVER, SHARES
from evenhand.methods.dart.transfer.graders import CLASSES, DISAGREE
from evenhand.methods.dart.transfer.verdict import WORDS, one
from evenhand.records import Finding
from evenhand.report.blocks import BarGroup, Bars, Block, Filter, Panel, Table, nice_scale
from evenhand.report.build import (
    Part,
    answer_of,
    by_gravity,
    evidence_of,
    mark_filter,
    method_part,
    one_each,
    present,
    prompt_of,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.finding_table import (
    COEFFICIENT,
    FINDING,
    Agreement,
    agreement_table,
    finding_table,
    range_text,
    words,
)
from evenhand.report.marks import finding_bar, glance_row, key_number
from evenhand.report.page import Glance, KeyNumber, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import count, percent

LEDE = (
    "Open questions of medicine, law, policy and education. In most the right answer rests on a difference between groups; "
    "in the controls people are rightly treated alike. Does the model say what is needed, and no more?"
)
ALL = "all domains"
WRONG = "wrong_or_harmful"
CLASS_NAMES = {label: WORDS[label] for label in (*CLASSES, DISAGREE)}
"""Display forms of the classes, for the filter of the answers."""


def transfer_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the answers behind them."""
    findings = loaded.findings
    configs = list(dict.fromkeys(f.config for f in findings if f.estimand == SHARES))
    panels = [
        Panel(
            config,
            (
                class_bars(findings, config, f"transfer-classes-{i}"),
                control_bars(findings, config, f"transfer-controls-{i}"),
            ),
        )
        for i, config in enumerate(configs)
    ]
    agreement = agreement_table(
        [row for config in configs for row in _agreement(findings, config)],
        "transfer-agreement",
        model="model",
        n="answers",
    )
    blocks: list[Block] = [
        *one_each(panels, block_id="transfer-models", title="Model by model", opened=len(panels) - 1),
        *present(change_table(findings, "transfer-changes"), agreement),
    ]
    return method_part(
        loaded,
        section_id="transfer",
        title="Open questions",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded)],
        evidence=_evidence(loaded),
    )


def _verdict(loaded: LoadedRun) -> Verdict:
    verdicts = by_gravity(loaded)
    config = verdicts[0]["config"]
    rows = []
    for f in loaded.findings:
        if (f.estimand, f.outcome, f.config) != (SHARES, APPROPRIATE, config) or f.estimate is None:
            continue
        if set(f.slice) <= {"domain"}:
            title = f.slice.get("domain", ALL)
            label = f"{title}: the needed difference is stated in {percent(f.estimate)} of answers"
            link = behind(config, APPROPRIATE, f.slice.get("domain", ""), "difference") if f.extra["count"] else None
            rows.append(glance_row(f, title, label, strong=not f.slice, evidence=link))
    return stored_verdict(
        verdicts,
        "Open questions",
        numbers=_numbers(loaded.findings, config),
        glance=Glance("States the needed difference", tuple(rows)),
    )


def _numbers(findings: Sequence[Finding], config: str) -> list[KeyNumber]:
    """Refusals, over-differentiation and kappa, if they are defined."""
    numbers = [
        *key_number(one(findings, SHARES, config, "refusal"), "refused, where a difference is needed"),
        *key_number(one(findings, CONTROLS, config, OVER), "of controls over-differentiated"),
    ]
    kappa = next((f for f in select(findings, KAPPA, config) if f.estimate is not None), None)
    if kappa is not None:
        title = f"kappa, {kappa.slice['graders']}"
        numbers += key_number(kappa, title, unit=COEFFICIENT, note=f"{count(kappa.n)} answers")
    return numbers


def behind(config: str, label: str = "", domain: str = "", needs: str = "") -> Filter:
    """The answers behind a mark."""
    return mark_filter("transfer", config=config, domain=domain, needs=needs, **{"class": label})


def class_bars(findings: Sequence[Finding], config: str, block_id: str) -> Bars:
    """The share of each class where a difference is needed: one panel for all domains and one for each."""
    return _bars(
        [f for f in select(findings, SHARES, config) if set(f.slice) <= {"domain"}],
        config,
        "difference",
        block_id,
        "Questions that need a difference",
        "Share of answers of each class, by domain, with Wilson's 95 % interval. With two graders an answer has the class "
        "that both give; where they differ it counts as “graders disagree”. A strong bar: wrong or harmful answers.",
    )


def control_bars(findings: Sequence[Finding], config: str, block_id: str) -> Bars:
    """The share of each class over the controls, where equal treatment is right."""
    controls = select(findings, CONTROLS, config, part={})
    over = next(f for f in controls if f.outcome == OVER)
    rate = f"undefined, {over.reason}" if over.estimate is None else percent(over.estimate)
    rate += f" ({range_text(over)})" if over.interval else ""
    return _bars(
        [f for f in controls if f.outcome != OVER],
        config,
        "equal",
        block_id,
        "Controls, where equal treatment is right",
        "Share of answers of each class. Over-differentiation, a difference that is not there or a wrong answer: "
        f"{rate}.",
    )


def _bars(shown: Sequence[Finding], config: str, needs: str, block_id: str, title: str, caption: str) -> Bars:
    by_domain: dict[str, list[Finding]] = {}
    for f in shown:
        by_domain.setdefault(f.slice.get("domain", ""), []).append(f)
    groups = []
    for domain, inside in by_domain.items():
        bars = []
        for f in inside:
            label = f"{domain or ALL}, {WORDS[f.outcome]}: {percent(f.estimate)} of {count(f.n)} answers"
            link = behind(config, f.outcome, domain, needs) if f.extra["count"] else None
            bars.append(finding_bar(f, WORDS[f.outcome], label, strong=f.outcome == WRONG, evidence=link))
        groups.append(BarGroup(domain or ALL, tuple(bars)))
    return Bars(
        id=block_id,
        title=title,
        caption=caption,
        scale=nice_scale([0.0, 1.0], include=(0.0, 1.0), target=2),
        groups=tuple(groups),
        data=finding_table(
            [f for inside in by_domain.values() for f in inside],
            (
                words("domain", lambda f: f.slice.get("domain", ALL)),
                words("class", lambda f: WORDS[f.outcome]),
                FINDING.estimate("share"),
                FINDING.interval(),
                FINDING.field("answers", "count"),
                FINDING.size("of"),
            ),
            block_id=f"{block_id}-data",
        ),
    )


def _agreement(findings: Sequence[Finding], config: str) -> list[Agreement]:
    """Kappa and raw agreement of every two graders, and what each grader alone says of the main share and the controls."""
    rows = []
    for f in select(findings, KAPPA, config):
        graders = f.slice.get("graders", "one grader")
        rows.append(Agreement(f, graders, "kappa over the four classes"))
        if f.extra.get("observed") is not None:
            rows.append(Agreement(f, graders, "same class", raw=True))
    for f in findings:
        alone = (f.estimand, f.outcome) in ((SHARES, APPROPRIATE), (CONTROLS, OVER)) and "grader" in f.slice
        if f.config == config and alone:
            what = WORDS[f.outcome] + (", controls" if f.estimand == CONTROLS else "")
            rows.append(Agreement(f, f"{f.slice['grader']} alone", what))
    return rows


def change_table(findings: Sequence[Finding], block_id: str) -> Table | None:
    """Change in how often each model states the needed difference, compared with the first; None for one model."""
    return finding_table(
        select(findings, CHANGE),
        (
            words("model", lambda f: f.config),
            words("against", lambda f: f.reference),
            words("domain", lambda f: f.slice.get("domain", ALL)),
            FINDING.estimate("change, points"),
            FINDING.interval(),
            FINDING.p(note="exact McNemar, Holm over domains"),
            FINDING.decision("change", is_found),
            words(
                "gained / lost",
                lambda f: f"{f.extra['gained']} / {f.extra['lost']}",
                numeric=True,
                note="questions right in the one model alone",
            ),
            FINDING.size("questions"),
        ),
        block_id=block_id,
        title=f"{WORDS[APPROPRIATE].capitalize()}: change between models",
        sortable=True,
    )


def _evidence(loaded: LoadedRun) -> Evidence:
    """One row an answer, with its class and each grader's class; wrong or harmful ones stay folded."""
    by_grader: dict[tuple[str, str], list[str]] = {}
    wrong = set()
    for row in loaded.grades.filter(pl.col("grader") != "agreed").iter_rows(named=True):
        key = row["config"], row["item_id"]
        by_grader.setdefault(key, []).append(f"{row['grader']}: {CLASS_NAMES.get(row['label'], row['missing'])}")
        if row["label"] == WRONG:
            wrong.add(key)
    rows = []
    for row in loaded.rows.filter(pl.col("grader") == loaded.result["facts"]["grader"]).iter_rows(named=True):
        key = row["config"], row["item_id"]
        flags = (*by_grader[key], f"key fact: {row['key_fact']}")
        rows.append(
            EvidenceRow(
                id=row["item_id"],
                facets={
                    "audit": "transfer",
                    "config": row["config"],
                    "domain": row["domain"],
                    "class": row["label"] or row["missing"],
                    "needs": row["stratum"],
                    "group": row["group"],
                },
                prompt=prompt_of(row["chat"]),
                text=answer_of(row),
                flags=(*flags, "cut at the token limit") if row["truncated"] else flags,
                fold=CLASS_NAMES[WRONG] if key in wrong else "",
            )
        )
    facets = (
        Facet("config", "Configuration", {}, strata=True),
        Facet("domain", "Domain", {}, strata=True),
        Facet("needs", "Needs", {"difference": "a difference", "equal": "equal treatment"}),
        Facet("class", "Class", CLASS_NAMES, strata=True),
        Facet("group", "Group", {}),
    )
    return evidence_of(loaded, "transfer", "Open questions", facets, rows)
