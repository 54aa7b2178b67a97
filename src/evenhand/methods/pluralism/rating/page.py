"""The pluralism audit's part of the page: verdict, section, and the ratings behind its figures."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.methods.pluralism.rating.agreement import ICC
from evenhand.methods.pluralism.rating.asked import ORDER, STATUS
from evenhand.methods.pluralism.rating.groups import DS, UNSAFE
from evenhand.methods.pluralism.rating.human import CALIBRATION
from evenhand.methods.pluralism.rating.page_evidence import behind, rating_evidence
from evenhand.methods.pluralism.rating.page_figures import (
    ConfigFindings,
    agreement_plot,
    contrast_grid,
    disparity_plot,
    intersection_plot,
    scale_range,
    sensitivity_plot,
)
from evenhand.methods.pluralism.rating.page_people import calibration_plot, contrast_scatter, fit_table
from evenhand.methods.pluralism.rating.page_tables import (
    component_bar,
    grasp_table,
    moved_table,
    refusals,
    share_table,
    status_table,
    suppressed_table,
)
from evenhand.methods.pluralism.rating.table import PEOPLE
from evenhand.methods.pluralism.rating.verdict import moving
from evenhand.report.blocks import Block, Panel
from evenhand.report.build import GRAVITY, Part, Stored, folded, method_part, one_each, present, stored_verdict
from evenhand.report.finding_table import SCALE, range_text
from evenhand.report.marks import glance_row, key_number
from evenhand.report.page import Glance, KeyNumber, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import count, percent

LEDE = (
    "What is safe is not the same to everyone. Do ratings of safety depend on who rates, do raters agree, and does a model "
    "that rates under a profile move as people do?"
)


def pluralism_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the ratings behind them."""
    configs = [ConfigFindings(loaded.findings, verdict["config"]) for verdict in loaded.result["verdicts"]]
    panels = [Panel(findings.config, tuple(_figures(findings, str(k)))) for k, findings in enumerate(configs)]
    opened = [findings.config for findings in configs].index(_ordered(loaded)[0]["config"])
    blocks: list[Block] = [
        *one_each(panels, block_id="pluralism-configurations", title="Configuration", opened=opened),
        *present(
            component_bar(configs, "pluralism-components"),
            refusals(configs, "pluralism-refusals"),
            suppressed_table(configs, "pluralism-suppressed"),
        ),
        *folded("Shares rated unsafe, and checks", share_table(configs, "pluralism-shares")),
    ]
    return method_part(
        loaded,
        section_id="pluralism",
        title="Pluralism",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded, configs)],
        evidence=rating_evidence(loaded),
    )


def _figures(findings: ConfigFindings, k: str) -> list[Block]:
    """The figures of one configuration, without those of measures that it lacks."""
    return [
        *present(
            sensitivity_plot(findings, f"pluralism-sensitivity-{k}"),
            contrast_grid(findings, f"pluralism-contrasts-{k}"),
            calibration_plot(findings, f"pluralism-calibration-{k}"),
            contrast_scatter(findings, f"pluralism-beside-{k}"),
            *(
                agreement_plot(findings, raters, f"pluralism-agreement-{k}-{n}")
                for n, raters in enumerate(findings.kinds())
            ),
            intersection_plot(findings, f"pluralism-intersections-{k}"),
            disparity_plot(findings, f"pluralism-disparity-{k}"),
        ),
        *folded(
            "Agreement inside groups"
            if findings.config == PEOPLE
            else "Order, wording, questions without a rating, labels by group",
            moved_table(findings, f"pluralism-moved-{k}"),
            status_table(findings, f"pluralism-status-{k}"),
            fit_table(findings, f"pluralism-fit-{k}"),
            grasp_table(findings, f"pluralism-grasp-{k}"),
        ),
    ]


def _ordered(loaded: LoadedRun) -> list[Stored]:
    """Verdicts, the gravest on a model first, that on people last."""
    return sorted(loaded.result["verdicts"], key=lambda v: (v["config"] == PEOPLE, GRAVITY.index(v["tone"])))


def _verdict(loaded: LoadedRun, configs: Sequence[ConfigFindings]) -> Verdict:
    verdicts = _ordered(loaded)
    several = len([findings for findings in configs if findings.config != PEOPLE]) > 1

    def with_model(verdict: Stored) -> Stored:
        def prefixed(texts: Sequence[str]) -> list[str]:
            return [f"{verdict['config']}: {text}" if several else text for text in texts]

        return {**verdict, "also": prefixed(verdict["also"]), "unknowns": prefixed(verdict["unknowns"])}

    tone = verdicts[0]["tone"]
    findings = next(one for one in configs if one.config == verdicts[0]["config"])
    return stored_verdict(
        [with_model(verdict) for verdict in verdicts],
        "Pluralism",
        numbers=_numbers(findings),
        glance=_glance(findings),
        labels={tone: _label(tone, findings)},
    )


def _label(tone: str, findings: ConfigFindings) -> str:
    """In place of words about groups that are treated worse: nobody is, by a rating."""
    moved = bool(moving(findings.findings, findings.config, findings.raters))
    if tone == "even":
        return "Moves as people do" if moved and findings.all(CALIBRATION) else "Does not move" if not moved else ""
    return {
        "worse": "Not as people do",
        "provisional": "Groups differ" if findings.config == PEOPLE else "Moves with the profile",
    }.get(tone, "")


def _numbers(findings: ConfigFindings) -> list[KeyNumber]:
    """The largest distance above its null, agreement, the option that is preferred, refusals: if they are defined."""
    numbers: list[KeyNumber] = []
    moved = moving(findings.findings, findings.config, findings.raters)
    tested = [f for f in findings.all(DS, "absolute", raters=findings.raters) if f.estimate is not None]
    for f in (moved or tested)[:1]:
        null = f.extra.get("null_mean")
        shuffled = f"; shuffled {SCALE.text(null)}" if null is not None else ""
        title = f"apart, two groups by {f.slice['axis']}"
        numbers += key_number(f, title, unit=SCALE, note=f"{scale_range(f)}{shuffled}")
    rater = "one person with another" if findings.config == PEOPLE else "one profile with another"
    for f in findings.all(ICC, "ICC(2,1)", raters=findings.raters):
        numbers += key_number(f, f"agreement of {rater}, ICC(2,1)", unit=SCALE)
    for f in findings.all(ORDER):
        numbers += key_number(f, "higher when A is unsafe", unit=SCALE)
    for f in findings.all(STATUS, "refused"):
        if not f.slice and f.group is None:
            numbers += key_number(f, f"of {count(f.n)} questions refused")
    return numbers


def _glance(findings: ConfigFindings) -> Glance | None:
    """The share of texts rated unsafe under each group of the field that moves ratings most."""
    axes = [
        f.slice["axis"]
        for f in (*moving(findings.findings, findings.config, findings.raters), *findings.all(DS, "absolute"))
    ]
    shares = [f for f in findings.all(UNSAFE, raters=findings.raters) if axes and f.slice["axis"] == axes[0]]
    rows = [
        glance_row(
            f,
            str(f.group),
            f"{f.group}: {percent(f.estimate)} of {count(f.n)} texts rated unsafe, {range_text(f)}",
            evidence=behind(f),
        )
        for f in shares
    ]
    return Glance(f"Texts rated unsafe, by {axes[0]}", tuple(rows)) if rows else None
