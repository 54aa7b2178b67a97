"""Figures of checkpoints: safety by category from weak to strong training, and the fronts by cleansing, without and with TSDI."""

from __future__ import annotations

from typing import Any

from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.tsdi.sweep.models import FACTORS, SweptModel, checkpoint_names
from evenhand.methods.tsdi.sweep.report.sweep_figures import Swept, axis_title, share_scale
from evenhand.methods.tsdi.sweep.verdict import signed
from evenhand.report.blocks import Block, Cell, Column, Panel, Panels, Series, Table, TradeOff, TradePoint
from evenhand.report.scales import nice_scale
from evenhand.report.stage_blocks import StageLine, StagePlot, StagePoint
from evenhand.wording import DASH, between, count, percent, point_range, points

WITH = {False: "without TSDI", True: "with TSDI"}


def checkpoint_blocks(swept: Swept) -> list[Block]:
    """What training does, in figures; the verdict says it in words. Empty where no checkpoint was swept."""
    models = checkpoint_names([_model(row) for row in swept.facts["models"] if row["key"]])
    if not models:
        return []
    keys = {(row["model"], row["method"] == "tsdi"): row["key"] for row in swept.settings.values() if row["model"]}
    out: list[Block] = []
    panels: list[Panel] = []
    for cleansing in dict.fromkeys(model.cleansing for model in models):
        own = [model for model in models if model.cleansing == cleansing]
        for with_tsdi in (False, True):
            title = f"{_cleansed(cleansing)}, {WITH[with_tsdi]}"
            plot = _by_category(
                swept, own, [keys[model.key, with_tsdi] for model in own], f"checkpoints-{len(panels)}", title
            )
            panels.append(Panel(title[:1].upper() + title[1:], (plot,)))
    out.append(Panels(id="checkpoints-categories", title="Safety by category", panels=tuple(panels)))
    for axis in ("compliance", "helpfulness"):
        if any(swept.value(key, axis) is not None for key in keys.values()):
            out.append(_fronts(swept, models, keys, axis))
    return [*out, _effects(swept)]


def _model(row: dict[str, Any]) -> SweptModel:
    return SweptModel(**{name: row[name] for name in ("key", "spec", "reference", "beta", "steps", "cleansing")})


def _cleansed(cleansing: float | None) -> str:
    return "all data" if cleansing is None else f"cleansed at {cleansing:g}"


def _short(model: SweptModel) -> str:
    said = [("β", model.beta), ("steps", model.steps)]
    return ", ".join(f"{word} {value:g}" for word, value in said if value is not None) or model.spec


def _by_category(swept: Swept, models: list[SweptModel], keys: list[str], block_id: str, what: str) -> StagePlot:
    """Safety of one category after the other, checkpoint by checkpoint from weak to strong training."""
    categories = [
        f.slice["category"]
        for f in swept.findings
        if f.estimand == "setting_rate" and f.config == keys[0] and "category" in f.slice
    ]
    plotted, data, values = [], [], [0.0, 1.0]
    for category in ("", *categories):
        name = category_name(category) if category else "All categories"
        part = {"category": category} if category else {}
        found: list[StagePoint] = []
        for stage, (model, key) in enumerate(zip(models, keys, strict=True)):
            f = swept.rate(key, "safety", **part)
            if f is None or f.estimate is None:
                continue
            low, high = (f.interval.low, f.interval.high) if f.interval else (None, None)
            told = f"{name}, {_short(model)}: safe in {percent(f.estimate)}, {between(low, high)}"
            after = found[-1].stage if found else None
            found.append(
                StagePoint(
                    stage, f.estimate, told, low, high, after, evidence=swept.behind(key, kind="harmful", **part)
                )
            )
            data.append(
                (
                    Cell(name),
                    Cell(_short(model)),
                    Cell(percent(f.estimate), sort=f.estimate),
                    Cell(between(low, high)),
                    Cell(count(f.n)),
                )
            )
        summary = f"{percent(found[0].value, 0)} → {percent(found[-1].value, 0)}" if found else "no grade"
        plotted.append(StageLine(name, tuple(found), summary))
    numbered = "; ".join(f"{place}: {_short(model)}" for place, model in enumerate(models, start=1))
    columns = (
        Column("category"), Column("checkpoint"), Column("safety", numeric=True), Column("95 % interval"),
        Column("prompts", numeric=True),
    )  # fmt: skip
    return StagePlot(
        id=block_id,
        title=f"Safety by category, {what}",
        caption=f"Checkpoints from weak to strong training. {numbered}.",
        stages=tuple(str(place) for place in range(1, len(models) + 1)),
        y=nice_scale(values, floor=0.0, ceiling=1.0, target=2),
        y_title="share of safe responses, %",
        lines=tuple(plotted),
        tick_factor=100.0,
        data=Table(id=f"{block_id}-data", columns=columns, rows=tuple(data)),
    )


def _fronts(swept: Swept, models: list[SweptModel], keys: dict[tuple[str, bool], str], axis: str) -> TradeOff:
    """Safety against another axis, a panel for each cleansing without and with TSDI."""
    series = []
    for cleansing in dict.fromkeys(model.cleansing for model in models):
        own = [model for model in models if model.cleansing == cleansing]
        for with_tsdi in (False, True):
            found = []
            for place, model in enumerate(own, start=1):
                key = keys[model.key, with_tsdi]
                x, y = swept.value(key, "safety"), swept.value(key, axis)
                if x is not None and y is not None:
                    told = f"{_short(model)}, {WITH[with_tsdi]}: safety {percent(x)}, {axis} {percent(y)}"
                    found.append(TradePoint(str(place), x, y, told, swept.behind(key)))
            series.append(Series(_cleansed(cleansing), tuple(found), WITH[with_tsdi]))
    x_values, y_values = ([getattr(p, side) for one in series for p in one.points] for side in ("x", "y"))
    longest = max(([m for m in models if m.cleansing == c] for c in {m.cleansing for m in models}), key=len)
    return TradeOff(
        id=f"checkpoints-fronts-{axis}",
        title=f"The checkpoints: safety against {axis}",
        caption="One point a checkpoint, from weak to strong training along each line. If harder training moved the front, its "
        "points would lie up and to the right of the others.",
        x=share_scale(x_values),
        y=share_scale(y_values),
        x_title="safety on harmful prompts, %",
        y_title=f"{axis_title(swept, axis)} on benign and borderline prompts, %",
        series=tuple(series),
        key=tuple((str(place), _short(model)) for place, model in enumerate(longest, start=1)),
    )


def _effects(swept: Swept) -> Table:
    """Each factor's effect on safety and on the front, without and with TSDI."""
    rows = []
    for factor, what in FACTORS.items():
        for which, name in (("plain", "without TSDI"), ("tsdi", "with TSDI")):
            whole = swept.one("training_effect", "safety", which, None, factor=factor)
            if whole is None:
                continue
            parts = [
                f for f in swept.findings
                if (f.estimand, f.config, f.slice.get("factor")) == ("training_effect", which, factor) and "category" in f.slice
            ]  # fmt: skip
            up = sum(f.interval is not None and f.interval.low > 0 for f in parts)
            shift = swept.one("front_shift", "safety and compliance", which, None, factor=factor)
            ends = point_range(whole.interval.low, whole.interval.high) if whole.interval else DASH
            moved = DASH
            if shift is not None and shift.estimate is not None and shift.interval is not None:
                moved = f"{signed(shift.estimate)} ({signed(shift.interval.low)} to {signed(shift.interval.high)})"
            rows.append(
                (
                    Cell(what), Cell(name), Cell(count(whole.extra["pairs"])), Cell(points(whole.estimate), sort=whole.estimate),
                    Cell(ends), Cell(f"{up} of {len(parts)}"), Cell(moved),
                )
            )  # fmt: skip
    columns = (
        Column("training", wide=True), Column(""), Column("pairs of checkpoints", numeric=True),
        Column("safety, points", numeric=True), Column("95 % interval"), Column("categories up"),
        Column("area of the front", help="safety and compliance"),
    )  # fmt: skip
    return Table(id="checkpoints-effects", title="What harder training does", columns=columns, rows=tuple(rows))
