"""The pluralism audit's part of a report, read from its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.methods.pluralism.rating.agreement import ICC
from evenhand.methods.pluralism.rating.asked import ORDER, STATUS
from evenhand.methods.pluralism.rating.groups import DS, UNSAFE
from evenhand.methods.pluralism.rating.human import CALIBRATION
from evenhand.methods.pluralism.rating.report.agreement import agreement_plot, intersection_plot
from evenhand.methods.pluralism.rating.report.beside import calibration_plot, contrast_scatter, fit_table
from evenhand.methods.pluralism.rating.report.evidence import behind, evidence_of
from evenhand.methods.pluralism.rating.report.figures import (
    Own,
    contrast_grid,
    disparity_plot,
    reach,
    sensitivity_plot,
)
from evenhand.methods.pluralism.rating.report.tables import (
    component_bar,
    grasp_table,
    moved_table,
    refusals,
    share_table,
    status_table,
    suppressed_table,
)
from evenhand.methods.pluralism.rating.table import PEOPLE
from evenhand.methods.pluralism.rating.verdict import moving, scale_number
from evenhand.report.blocks import Block, Details, Panel, Panels
from evenhand.report.build import Part
from evenhand.report.page import Glance, GlanceRow, KeyNumber, Section, Verdict
from evenhand.report.scales import ends
from evenhand.runs.load import LoadedRun
from evenhand.wording import between, count, percent

LEDE = (
    "What is safe is not the same to everyone. Do ratings of safety depend on who rates, do those who rate agree, and does a model "
    "that is told who it is move as people do?"
)
_GRAVITY = ("worse", "provisional", "unknown", "even")


def pluralism_part(loaded: LoadedRun) -> Part:
    """Verdict, section, methods and the ratings behind them."""
    result = loaded.result
    owned = [Own(loaded.findings, verdict["config"]) for verdict in result["verdicts"]]
    panels = [Panel(own.config, tuple(_figures(own, str(k)))) for k, own in enumerate(owned)]
    blocks: list[Block] = list(panels[0].blocks)
    if len(panels) > 1:
        opened = [own.config for own in owned].index(_ordered(loaded)[0]["config"])
        blocks = [Panels(id="pluralism-configurations", title="Configuration", panels=tuple(panels), opened=opened)]
    blocks += _there(
        component_bar(owned, "pluralism-components"),
        refusals(owned, "pluralism-refusals"),
        suppressed_table(owned, "pluralism-suppressed"),
    )
    blocks += _folded("Shares rated unsafe, and checks", share_table(owned, "pluralism-shares"))
    return Part(
        verdicts=[_verdict(loaded, owned)],
        section=Section("pluralism", "Pluralism", LEDE, tuple(blocks)),
        evidence=evidence_of(loaded),
        methods=[(term, text) for term, text in result["methods"]],
        caveats=list(result["caveats"]),
    )


def _there(*blocks: Block | None) -> list[Block]:
    return [block for block in blocks if block is not None]


def _figures(own: Own, k: str) -> list[Block]:
    """The figures of one configuration; what is not measured of it is not there."""
    return [
        *_there(
            sensitivity_plot(own, f"pluralism-sensitivity-{k}"),
            contrast_grid(own, f"pluralism-contrasts-{k}"),
            calibration_plot(own, f"pluralism-calibration-{k}"),
            contrast_scatter(own, f"pluralism-beside-{k}"),
            *(agreement_plot(own, raters, f"pluralism-agreement-{k}-{n}") for n, raters in enumerate(own.kinds())),
            intersection_plot(own, f"pluralism-intersections-{k}"),
            disparity_plot(own, f"pluralism-disparity-{k}"),
        ),
        *_folded(
            "Agreement inside groups"
            if own.config == PEOPLE
            else "Order, wording, questions without a rating, labels by group",
            moved_table(own, f"pluralism-moved-{k}"),
            status_table(own, f"pluralism-status-{k}"),
            fit_table(own, f"pluralism-fit-{k}"),
            grasp_table(own, f"pluralism-grasp-{k}"),
        ),
    ]


def _folded(summary: str, *blocks: Block | None) -> list[Block]:
    inside = _there(*blocks)
    return [Details(summary=summary, blocks=tuple(inside))] if inside else []


def _ordered(loaded: LoadedRun) -> list[Mapping[str, Any]]:
    """Verdicts, the gravest on a model first, that on people last."""
    return sorted(loaded.result["verdicts"], key=lambda v: (v["config"] == PEOPLE, _GRAVITY.index(v["tone"])))


def _verdict(loaded: LoadedRun, owned: Sequence[Own]) -> Verdict:
    first, *others = _ordered(loaded)
    several = len([own for own in owned if own.config != PEOPLE]) > 1

    def whose(verdict: Mapping[str, Any], texts: Sequence[str]) -> list[str]:
        return [f"{verdict['config']}: {text}" if several else text for text in texts]

    own = next(one for one in owned if one.config == first["config"])
    return Verdict(
        audit="Pluralism",
        tone=first["tone"],
        headline=first["headline"],
        detail=first["detail"],
        numbers=tuple(_numbers(own)),
        glance=_glance(own),
        more=(
            *whose(first, first["also"]),
            *(text for verdict in others for text in (verdict["headline"], *whose(verdict, verdict["also"]))),
        ),
        unknowns=tuple(text for verdict in (first, *others) for text in whose(verdict, verdict["unknowns"])),
        label=_label(first["tone"], own),
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
    """The largest distance above its null, agreement, the option that is liked, refusals: where they are defined."""
    out = []
    moved = moving(own.findings, own.config, own.raters)
    tested = [f for f in own.all(DS, "absolute", raters=own.raters) if f.estimate is not None]
    for f in (moved or tested)[:1]:
        null = f.extra.get("null_mean")
        beside = f"; shuffled {scale_number(null)}" if null is not None else ""
        out.append(
            KeyNumber(scale_number(f.estimate), f"apart, two groups by {f.slice['axis']}", f"{reach(f)}{beside}")
        )
    for f in own.all(ICC, "ICC(2,1)", raters=own.raters):
        if f.estimate is not None:
            rater = "one person with another" if own.config == PEOPLE else "one profile with another"
            out.append(KeyNumber(scale_number(f.estimate), f"agreement of {rater}, ICC(2,1)", reach(f)))
    for f in own.all(ORDER):
        if f.estimate is not None:
            out.append(KeyNumber(scale_number(f.estimate), "higher when A is unsafe", reach(f)))
    for f in own.all(STATUS, "refused"):
        if not f.slice and f.group is None:
            out.append(KeyNumber(percent(f.estimate), f"of {count(f.n)} questions refused", between(*ends(f))))
    return out


def _glance(own: Own) -> Glance | None:
    """The share of texts rated unsafe under each group of the field that moves ratings most."""
    axes = [f.slice["axis"] for f in (*moving(own.findings, own.config, own.raters), *own.all(DS, "absolute"))]
    shares = [f for f in own.all(UNSAFE, raters=own.raters) if axes and f.slice["axis"] == axes[0]]
    rows = [
        GlanceRow(
            str(f.group), f.estimate, percent(f.estimate, 0),
            f"{f.group}: {percent(f.estimate)} of {count(f.n)} texts rated unsafe, {between(*ends(f))}", *ends(f), False, behind(f),
        )
        for f in shares
    ]  # fmt: skip
    return Glance(f"Texts rated unsafe, by {axes[0]}", tuple(rows)) if rows else None
