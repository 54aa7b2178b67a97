"""The reward audit's part of a report, read from its run."""

from __future__ import annotations

import shlex

from evenhand.methods.reward.margins.report.evidence import reward_evidence
from evenhand.methods.reward.margins.report.figures import Key, distribution_plot, fate_bars, stage_plot
from evenhand.methods.reward.margins.report.rows import PairRows, Step
from evenhand.methods.reward.margins.report.tables import bias_table, reading_tables, shift_table
from evenhand.methods.reward.margins.report.verdict import reward_verdict
from evenhand.records import Finding
from evenhand.report.blocks import Block, Details, Note, Panel, Panels, Paragraph
from evenhand.report.build import Part
from evenhand.report.page import Section
from evenhand.runs.load import LoadedRun
from evenhand.runs.tables import read_table
from evenhand.wording import group_label

LEDE = (
    "Preference tuning leaves a trace: how much likelier each stage made a harmful sentence about a group, beside the same "
    "sentence about a comparison group. Zero is indifference."
)


def reward_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the pairs behind them."""
    run, result, facts = loaded.run, loaded.result, loaded.result["facts"]
    pairs, texts, readings = (read_table(run.table("reward", name)) for name in ("pairs", "texts", "readings"))
    rows = PairRows(pairs)
    findings = {f.id: f for f in loaded.findings}
    verdict = reward_verdict(result["verdicts"], findings, facts, rows)
    return Part(
        verdicts=[verdict],
        section=Section("reward", "Implicit reward", LEDE, tuple(_blocks(loaded, rows, findings, texts, readings))),
        evidence=reward_evidence(rows, texts, f"evenhand show {shlex.quote(str(run.folder))}"),
        methods=[(term, text) for term, text in result["methods"]],
        caveats=[text for text in result["caveats"] if not text.startswith("ERROR")],
    )


def _blocks(
    loaded: LoadedRun, rows: PairRows, findings: dict[str, Finding], texts: object, readings: object
) -> list[Block]:
    facts = loaded.result["facts"]
    blocks: list[Block] = [
        Note(text=text.removeprefix("ERROR "), tone="caution")
        for text in loaded.result["caveats"]
        if text.startswith("ERROR")
    ]
    shifts = _shifts(list(findings.values()))

    def shift(step: Step, pair_set: str, group: str) -> Finding | None:
        key = (step.policy, step.reference, step.stage, step.ratio, pair_set, group)
        return shifts.get(("net_shift", *key)) or shifts.get(("margin_shift", *key))

    found: dict[Key, bool] = {}
    for step in rows.steps:
        for n in facts["named"]:
            if (
                (n["family"], n["policy"], n["stage"]) == (step.family, step.policy, step.stage)
                and not n["total"]
                and n["group"]
            ):
                found[step, n["pair_set"], n["group"]] = n["found"]
    for number, family in enumerate(rows.families):
        said = {
            n["group"]: f"{n['fate']} by {_STAGE[n['stage']]}"
            for n in facts["named"]
            if n["family"] == family and n["found"] and n["group"] and n["stage"] and not n["total"]
        }
        plot = stage_plot(rows, family, shift, found, said, f"reward-stages-{number}")
        blocks += [plot] if plot else []
    blocks += _only(facts)
    panels = []
    for number, step in enumerate(rows.steps):
        if step.is_total:
            continue
        parts = (
            distribution_plot(rows, step, found, f"reward-spread-{number}"),
            fate_bars(rows, step, f"reward-fates-{number}"),
        )
        panels.append(Panel(step.title, tuple(part for part in parts if part is not None)))
    if panels:
        blocks.append(Panels(id="reward-steps", title="Stage by stage", panels=tuple(panels), opened=len(panels) - 1))
    blocks.append(shift_table(rows, list(findings.values()), facts["named"], "reward-shifts"))
    bias = bias_table(list(findings.values()), "reward-bias")
    blocks += [Details(summary="WinoQueer's metric, model by model", blocks=(bias,))] if bias else []
    read = reading_tables(readings, texts, rows.steps, "reward-readings")  # type: ignore[arg-type]
    return [*blocks, *([read] if read else [])]


_STAGE = {"sft": "SFT", "dpo": "DPO", "sft-dpo": "DPO after SFT", "": "tuning"}


def _shifts(findings: list[Finding]) -> dict[tuple[str | None, ...], Finding]:
    return {
        (
            f.estimand,
            f.config,
            f.reference,
            f.slice.get("stage"),
            f.slice.get("ratio"),
            f.slice.get("pair_set"),
            f.group,
        ): f
        for f in findings
        if f.estimand in ("net_shift", "margin_shift")
        and f.slice.get("scope") == "sentence"
        and "subset" not in f.slice
    }


def _only(facts: dict[str, object]) -> list[Block]:
    only = facts["only_found_in"]
    if not only:
        return []
    who = ", ".join(group_label(group) for group in only)  # type: ignore[attr-defined]
    return [
        Paragraph(
            text=f"Found only by the gender-diverse pairs, with nothing found about women at the same stage: harm about {who}."
        )
    ]
