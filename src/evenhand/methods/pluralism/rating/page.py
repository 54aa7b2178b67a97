"""The pluralism audit's part of the page: verdict, section, and the ratings behind its figures."""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.methods.pluralism.rating.agreement import ICC
from evenhand.methods.pluralism.rating.asked import ORDER, STATUS
from evenhand.methods.pluralism.rating.groups import DS, UNSAFE
from evenhand.methods.pluralism.rating.human import CALIBRATION
from evenhand.methods.pluralism.rating.page_evidence import behind, rating_evidence
from evenhand.methods.pluralism.rating.page_figures import (
    Own,
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
from evenhand.report.build import Part
from evenhand.report.finding_table import SCALE, range_text
from evenhand.report.marks import glance_row, key_number
from evenhand.report.page import Glance, KeyNumber, Verdict
from evenhand.report.sections import GRAVITY, Stored, folded, method_part, one_each, present, stored_verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import count, percent

LEDE = (
    "What is safe is not the same to everyone. Do ratings of safety depend on who rates, do raters agree, and does a model "
    "that rates under a profile move as people do?"
)


def pluralism_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the ratings behind them."""
    owned = [Own(loaded.findings, verdict["config"]) for verdict in loaded.result["verdicts"]]
    panels = [Panel(own.config, tuple(_figures(own, str(k)))) for k, own in enumerate(owned)]
    opened = [own.config for own in owned].index(_ordered(loaded)[0]["config"])
    blocks: list[Block] = [
        *one_each(panels, block_id="pluralism-configurations", title="Configuration", opened=opened),
        *present(
            component_bar(owned, "pluralism-components"),
            refusals(owned, "pluralism-refusals"),
            suppressed_table(owned, "pluralism-suppressed"),
        ),
        *folded("Shares rated unsafe, and checks", share_table(owned, "pluralism-shares")),
    ]
    return method_part(
        loaded,
        section_id="pluralism",
        title="Pluralism",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded, owned)],
        evidence=rating_evidence(loaded),
    )


def _figures(own: Own, k: str) -> list[Block]:
    """The figures of one configuration, without those of measures that it lacks."""
    return [
        *present(
            sensitivity_plot(own, f"pluralism-sensitivity-{k}"),
            contrast_grid(own, f"pluralism-contrasts-{k}"),
            calibration_plot(own, f"pluralism-calibration-{k}"),
            contrast_scatter(own, f"pluralism-beside-{k}"),
            *(agreement_plot(own, raters, f"pluralism-agreement-{k}-{n}") for n, raters in enumerate(own.kinds())),
            intersection_plot(own, f"pluralism-intersections-{k}"),
            disparity_plot(own, f"pluralism-disparity-{k}"),
        ),
        *folded(
            "Agreement inside groups"
            if own.config == PEOPLE
            else "Order, wording, questions without a rating, labels by group",
            moved_table(own, f"pluralism-moved-{k}"),
            status_table(own, f"pluralism-status-{k}"),
            fit_table(own, f"pluralism-fit-{k}"),
            grasp_table(own, f"pluralism-grasp-{k}"),
        ),
    ]


def _ordered(loaded: LoadedRun) -> list[Stored]:
    """Verdicts, the gravest on a model first, that on people last."""
    return sorted(loaded.result["verdicts"], key=lambda v: (v["config"] == PEOPLE, GRAVITY.index(v["tone"])))


def _verdict(loaded: LoadedRun, owned: Sequence[Own]) -> Verdict:
    verdicts = _ordered(loaded)
    several = len([own for own in owned if own.config != PEOPLE]) > 1

    def with_model(verdict: Stored) -> Stored:
        def prefixed(texts: Sequence[str]) -> list[str]:
            return [f"{verdict['config']}: {text}" if several else text for text in texts]

        return {**verdict, "also": prefixed(verdict["also"]), "unknowns": prefixed(verdict["unknowns"])}

    tone = verdicts[0]["tone"]
    own = next(one for one in owned if one.config == verdicts[0]["config"])
    return stored_verdict(
        [with_model(verdict) for verdict in verdicts],
        "Pluralism",
        numbers=_numbers(own),
        glance=_glance(own),
        labels={tone: _label(tone, own)},
    )


def _label(tone: str, own: Own) -> str:
    """In place of words about groups that are treated worse: nobody is, by a rating."""
    moved = bool(moving(own.findings, own.config, own.raters))
    if tone == "even":
        return "Moves as people do" if moved and own.all(CALIBRATION) else "Does not move" if not moved else ""
    return {
        "worse": "Not as people do",
        "provisional": "Groups differ" if own.config == PEOPLE else "Moves with the profile",
    }.get(tone, "")


def _numbers(own: Own) -> list[KeyNumber]:
    """The largest distance above its null, agreement, the option that is preferred, refusals: if they are defined."""
    numbers: list[KeyNumber] = []
    moved = moving(own.findings, own.config, own.raters)
    tested = [f for f in own.all(DS, "absolute", raters=own.raters) if f.estimate is not None]
    for f in (moved or tested)[:1]:
        null = f.extra.get("null_mean")
        shuffled = f"; shuffled {SCALE.text(null)}" if null is not None else ""
        title = f"apart, two groups by {f.slice['axis']}"
        numbers += key_number(f, title, unit=SCALE, note=f"{scale_range(f)}{shuffled}")
    rater = "one person with another" if own.config == PEOPLE else "one profile with another"
    for f in own.all(ICC, "ICC(2,1)", raters=own.raters):
        numbers += key_number(f, f"agreement of {rater}, ICC(2,1)", unit=SCALE)
    for f in own.all(ORDER):
        numbers += key_number(f, "higher when A is unsafe", unit=SCALE)
    for f in own.all(STATUS, "refused"):
        if not f.slice and f.group is None:
            numbers += key_number(f, f"of {count(f.n)} questions refused")
    return numbers


def _glance(own: Own) -> Glance | None:
    """The share of texts rated unsafe under each group of the field that moves ratings most."""
    axes = [f.slice["axis"] for f in (*moving(own.findings, own.config, own.raters), *own.all(DS, "absolute"))]
    shares = [f for f in own.all(UNSAFE, raters=own.raters) if axes and f.slice["axis"] == axes[0]]
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
