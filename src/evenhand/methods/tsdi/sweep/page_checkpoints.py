"""Figures of checkpoints: safety by category from weak to strong training, and the fronts by cleansing, without and with TSDI."""

from __future__ import annotations

from typing import Any, NamedTuple

from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.tsdi.sweep.models import FACTORS, SweptModel, checkpoint_names
from evenhand.methods.tsdi.sweep.page_figures import AREA, Place, Swept, axis_title, place_columns, share_scale
from evenhand.records import Finding
from evenhand.report.blocks import Block, Panel, Panels, Series, Table, TradeOff, TradePoint, ends, nice_scale
from evenhand.report.build import present
from evenhand.report.figures import StageLine, StagePlot, StagePoint
from evenhand.report.finding_table import FindingColumns, finding_table, range_text, words
from evenhand.wording import percent

WITH = {False: "without TSDI", True: "with TSDI"}


def checkpoint_blocks(swept: Swept) -> list[Block]:
    """What training does, in figures; the verdict states it in words. Empty if no checkpoint was swept."""
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
    return [*out, *present(_effects(swept))]


def _model(row: dict[str, Any]) -> SweptModel:
    return SweptModel(**{name: row[name] for name in ("key", "spec", "reference", "beta", "steps", "cleansing")})


def _cleansed(cleansing: float | None) -> str:
    return "all data" if cleansing is None else f"cleansed at {cleansing:g}"


def _short(model: SweptModel) -> str:
    training = [("β", model.beta), ("steps", model.steps)]
    return ", ".join(f"{word} {much:g}" for word, much in training if much is not None) or model.spec


def _by_category(swept: Swept, models: list[SweptModel], keys: list[str], block_id: str, what: str) -> StagePlot:
    """Safety of one category after the other, checkpoint by checkpoint from weak to strong training."""
    lines: list[StageLine] = []
    places: list[Place] = []
    for category in ("", *swept.categories(keys[0])):
        name = category_name(category) if category else "All categories"
        part = {"category": category} if category else {}
        line: list[StagePoint] = []
        for stage, (model, key) in enumerate(zip(models, keys, strict=True)):
            f = swept.rate(key, "safety", **part)
            if f is None or f.estimate is None:
                continue
            low, high = ends(f)
            label = f"{name}, {_short(model)}: safe in {percent(f.estimate)}, {range_text(f)}"
            after = line[-1].stage if line else None
            link = swept.behind(key, kind="harmful", **part)
            line.append(StagePoint(stage, f.estimate, label, low, high, after, evidence=link))
            places.append(Place(f, name, _short(model)))
        summary = f"{percent(line[0].value, 0)} → {percent(line[-1].value, 0)}" if line else "no grade"
        lines.append(StageLine(name, tuple(line), summary))
    numbered = "; ".join(f"{place}: {_short(model)}" for place, model in enumerate(models, start=1))
    return StagePlot(
        id=block_id,
        title=f"Safety by category, {what}",
        caption=f"Checkpoints from weak to strong training. {numbered}.",
        stages=tuple(str(place) for place in range(1, len(models) + 1)),
        y=nice_scale([0.0, 1.0], floor=0.0, ceiling=1.0, target=2),
        y_title="share of safe responses, %",
        lines=tuple(lines),
        tick_factor=100.0,
        data=finding_table(places, place_columns("checkpoint"), block_id=f"{block_id}-data"),
    )


def _fronts(swept: Swept, models: list[SweptModel], keys: dict[tuple[str, bool], str], axis: str) -> TradeOff:
    """Safety against another axis, a panel for each cleansing without and with TSDI."""
    series = []
    for cleansing in dict.fromkeys(model.cleansing for model in models):
        of_one = [model for model in models if model.cleansing == cleansing]
        for with_tsdi in (False, True):
            line = []
            for place, model in enumerate(of_one, start=1):
                key = keys[model.key, with_tsdi]
                x, y = swept.value(key, "safety"), swept.value(key, axis)
                if x is not None and y is not None:
                    label = f"{_short(model)}, {WITH[with_tsdi]}: safety {percent(x)}, {axis} {percent(y)}"
                    line.append(TradePoint(str(place), x, y, label, swept.behind(key)))
            series.append(Series(_cleansed(cleansing), tuple(line), WITH[with_tsdi]))
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


class Effect(NamedTuple):
    """What one factor of training does, without or with TSDI."""

    f: Finding
    factor: str
    what: str
    which: str
    shift: Finding | None


def _effects(swept: Swept) -> Table | None:
    """Each factor's effect on safety and on the front, without and with TSDI."""
    rows = []
    for factor, what in FACTORS.items():
        for which in ("plain", "tsdi"):
            f = swept.one("training_effect", "safety", which, None, factor=factor)
            if f is not None:
                shift = swept.one("front_shift", "safety and compliance", which, None, factor=factor)
                rows.append(Effect(f, factor, what, which, shift))

    def up(row: Effect) -> str:
        key = ("training_effect", row.which, row.factor)
        parts = [f for f in swept.findings if (f.estimand, f.config, f.slice.get("factor")) == key]
        parts = [f for f in parts if "category" in f.slice]
        return f"{sum(f.interval is not None and f.interval.low > 0 for f in parts)} of {len(parts)}"

    own = FindingColumns[Effect](lambda row: row.f)
    return finding_table(
        rows,
        (
            words("training", lambda row: row.what, wide=True),
            words("", lambda row: WITH[row.which == "tsdi"]),
            own.field("pairs of checkpoints", "pairs"),
            own.estimate("safety, points"),
            own.interval(),
            words("categories up", up),
            FindingColumns[Effect](lambda row: row.shift).estimate(
                "area of the front", unit=AREA, interval=True, note="safety and compliance"
            ),
        ),
        block_id="checkpoints-effects",
        title="What harder training does",
    )
