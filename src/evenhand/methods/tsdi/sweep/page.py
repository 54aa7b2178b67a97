"""A sweep as a part of the page: recommendation or refusal, scatters, areas under fronts, safety by category, checkpoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from evenhand.datasets.safety_prompts import category_name
from evenhand.methods.tsdi.sweep.grid import AUDIT, FACTORS, SweptModel, checkpoint_names
from evenhand.methods.tsdi.sweep.page_figures import (
    AREA,
    Place,
    Swept,
    axis_title,
    candidate_table,
    category_map,
    front_table,
    lines,
    place_columns,
    scatter,
    share_scale,
)
from evenhand.methods.tsdi.sweep.verdict import spec_of
from evenhand.records import Finding
from evenhand.report.blocks import Block, Note, Panel, Panels, Series, Table, TradeOff, TradePoint, ends, nice_scale
from evenhand.report.build import (
    Part,
    Stored,
    answer_of,
    evidence_of,
    method_part,
    one_each,
    present,
    prompt_of,
    stored_verdict,
)
from evenhand.report.evidence import Evidence, EvidenceRow, Facet
from evenhand.report.figures import StageLine, StagePlot, StagePoint
from evenhand.report.finding_table import FindingColumns, finding_table, range_text, words
from evenhand.report.marks import glance_row
from evenhand.report.page import Glance, GlanceRow, Verdict
from evenhand.runs.load import LoadedRun
from evenhand.wording import percent

LEDE = (
    "Subtracting the context-free shift makes a model decline less, on harmless and harmful prompts alike. Which strength and "
    "length gain compliance without losing safety, and would a simpler method do as well?"
)
KINDS = {"harmful": "harmful", "borderline": "borderline", "benign": "benign"}


def sweep_part(loaded: LoadedRun) -> Part:
    """Verdicts, figures and the responses behind them."""
    swept = Swept(loaded.findings, loaded.result["facts"])
    blocks: list[Block] = []
    if swept.facts["fronts"]:
        for axis in ("compliance", "helpfulness"):
            if (figure := scatter(swept, axis, f"sweep-{axis}")) is not None:
                blocks += present(figure, front_table(swept, axis, f"sweep-area-{axis}"))
    if swept.facts["helpfulness"] and swept.aligned:
        blocks.append(Note(text=f"Helpfulness is not reported: {swept.facts['helpfulness']}."))
    blocks += present(candidate_table(swept, "sweep-candidates"))
    blocks += _categories(swept)
    blocks += checkpoint_blocks(swept)
    return method_part(
        loaded,
        section_id="tsdi-sweep",
        title="TSDI sweep",
        lede=LEDE,
        blocks=blocks,
        verdicts=[_verdict(loaded, swept, verdict) for verdict in loaded.result["verdicts"]],
        evidence=_evidence(loaded, swept),
    )


def _best(swept: Swept) -> tuple[str | None, bool]:
    """The recommended setting, or the closest one; and whether it is recommended."""
    gate = swept.facts["recommendation"] or {}
    one = gate.get("chosen") or gate.get("closest")
    return (one["setting"] if one else None), bool(gate.get("chosen"))


def _verdict(loaded: LoadedRun, swept: Swept, stored: Stored) -> Verdict:
    if stored["config"] == "checkpoints":
        return stored_verdict([stored], "TSDI sweep", labels={stored["tone"]: "What training did"})
    best, good = _best(swept)
    rows: list[GlanceRow] = []
    for axis in ("safety", "compliance"):
        for key, name in (("plain", "as it is"), (best, "recommended" if good else "closest")):
            f = swept.rate(key, axis) if key else None
            if f is not None and key is not None:
                label = f"{axis}, {swept.label(key)}: {percent(f.estimate)}, {range_text(f)}"
                rows.append(glance_row(f, f"{axis}, {name}", label, evidence=swept.behind(key)))
    use = () if best is None or not good else (("Use it as:", spec_of(swept.facts, best, loaded.run.folder)),)
    return stored_verdict(
        [stored],
        "TSDI sweep",
        glance=Glance("Safety and compliance", tuple(rows)),
        actions=use,
        labels={stored["tone"]: "A setting keeps safety" if good else "Nothing is recommended"},
    )


def _categories(swept: Swept) -> list[Block]:
    """One heat map per line of settings; that of the recommended setting is open."""
    if not swept.aligned or swept.rate("plain", "safety") is None:
        return []
    best, _ = _best(swept)
    panels, opened = [], 0
    for place, (title, keys) in enumerate(lines(swept)):
        rows = [swept.settings[key] for key in keys]
        names = [f"α {row['alpha']:g}" if row["method"] == "tsdi" else f"{row['strength']:g}" for row in rows]
        last = ["reference"] if "reference" in swept.settings else []
        columns, titles = ["plain", *keys, *last], ["as it is", *names, *last]
        panels.append(Panel(title, (category_map(swept, columns, titles, f"sweep-safety-{place}"),)))
        opened = place if best in keys else opened
    if not panels:
        return [category_map(swept, ["plain"], ["as it is"], "sweep-safety-0")]
    return one_each(panels, block_id="sweep-categories", title="Safety by category", opened=opened)


def _evidence(loaded: LoadedRun, swept: Swept) -> Evidence:
    """One row a response; unsafe ones are folded."""
    names = {key: swept.label(key) for key, row in swept.settings.items() if not row["same_as"]}
    items = {row["item_id"]: row for row in loaded.items.iter_rows(named=True)}
    prompts = {key: prompt_of(row["chat"]) for key, row in items.items()}
    key = ["config", "item_id", "repetition"]
    grades = loaded.grades.filter(pl.col("grader").is_in(["safety", "compliance"])).select(
        *key, "label", "missing", grade_evidence="evidence"
    )
    assert loaded.responses is not None
    joined = loaded.responses.join(grades, on=key, how="left", maintain_order="left")
    rows = (
        EvidenceRow(
            id=row["item_id"],
            facets={
                "audit": AUDIT,
                "setting": row["config"],
                "kind": items[row["item_id"]]["group"],
                "category": items[row["item_id"]]["stratum"],
                "label": row["label"] or "no grade",
            },
            prompt=prompts[row["item_id"]],
            text=answer_of(row),
            repetition=row["repetition"],
            finish="length" if row["finish_reason"] == "length" else "",
            flags=tuple(filter(None, (row["grade_evidence"], row["missing"]))),
            fold="unsafe response" if row["label"] == "unsafe" else "",
        )
        for row in joined.iter_rows(named=True)
    )
    categories = {str(row["stratum"]): category_name(str(row["stratum"])) for row in items.values()}
    facets = (
        Facet("setting", "Setting", names, strata=True),
        Facet("kind", "Kind of prompt", KINDS, strata=True),
        Facet("category", "Category", categories),
        Facet("label", "Label", {}, strata=True),
    )
    return evidence_of(loaded, AUDIT, "TSDI sweep", facets, rows)


WITH = {False: "without TSDI", True: "with TSDI"}


def checkpoint_blocks(swept: Swept) -> list[Block]:
    """Figures of the effect of training. Empty if no checkpoint was swept."""
    models = checkpoint_names([_model(row) for row in swept.facts["models"] if row["key"]])
    if not models:
        return []
    keys = {(row["model"], row["method"] == "tsdi"): row["key"] for row in swept.settings.values() if row["model"]}
    out: list[Block] = []
    panels: list[Panel] = []
    for cleansing in dict.fromkeys(model.cleansing for model in models):
        cleansed = [model for model in models if model.cleansing == cleansing]
        for with_tsdi in (False, True):
            title = f"{_cleansed(cleansing)}, {WITH[with_tsdi]}"
            plot = _by_category(
                swept, cleansed, [keys[model.key, with_tsdi] for model in cleansed], f"checkpoints-{len(panels)}", title
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
    """The effect of one factor of training, without or with TSDI."""

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
            f = swept.lookup("training_effect", "safety", which, None, factor=factor)
            if f is not None:
                shift = swept.lookup("front_shift", "safety and compliance", which, None, factor=factor)
                rows.append(Effect(f, factor, what, which, shift))

    def up(row: Effect) -> str:
        key = ("training_effect", row.which, row.factor)
        parts = [f for f in swept.findings if (f.estimand, f.config, f.slice.get("factor")) == key]
        parts = [f for f in parts if "category" in f.slice]
        return f"{sum(f.interval is not None and f.interval.low > 0 for f in parts)} of {len(parts)}"

    effect = FindingColumns[Effect](lambda row: row.f)
    return finding_table(
        rows,
        (
            words("training", lambda row: row.what, wide=True),
            words("", lambda row: WITH[row.which == "tsdi"]),
            effect.field("pairs of checkpoints", "pairs"),
            effect.estimate("safety, points"),
            effect.interval(),
            words("categories up", up),
            FindingColumns[Effect](lambda row: row.shift).estimate(
                "area of the front", unit=AREA, interval=True, note="safety and compliance"
            ),
        ),
        block_id="checkpoints-effects",
        title="Effects of harder training",
    )
