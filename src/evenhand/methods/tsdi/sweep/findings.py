"""Findings of a sweep: rates of every setting, changes, areas of fronts and their differences, effects of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from evenhand.findings.builder import DIFFERENCE, PROBABILITY, build
from evenhand.findings.decide import Rule, decided
from evenhand.findings.families import hold_family
from evenhand.methods.tsdi.sweep.front import (
    Axis,
    Cells,
    NamedArea,
    Recommendation,
    area,
    area_difference,
    cells_of,
    change,
    rate,
    recommend,
)
from evenhand.methods.tsdi.sweep.grid import AUDIT, Effect, Sets, effects, sets_of
from evenhand.methods.tsdi.sweep.hypervolume import NO_SPREAD, pareto_indexes
from evenhand.methods.tsdi.sweep.verdict import sweep_caveats, sweep_headlines, sweep_methods, sweep_verdicts
from evenhand.records import Finding, HypothesisTest
from evenhand.runs.method import AuditResult
from evenhand.statistics.mcnemar import PairedDifference

if TYPE_CHECKING:
    from evenhand.methods.tsdi.sweep.run import Sweep


AREA = "area in the unit square"
_BY_INTERVAL = Rule(higher="better", p="none", still=NO_SPREAD, otherwise="cannot tell")
RULES = {
    "setting_change": Rule(higher="better", needs_test=False),
    **dict.fromkeys(("hypervolume_difference", "training_effect", "front_shift"), _BY_INTERVAL),
}
"""How the comparisons of a sweep are decided: a change by Holm's p and the interval; areas and training by the interval alone."""


@dataclass(frozen=True)
class SweepFindings:
    """Builds the findings of a sweep from the values of its settings."""

    cells: Cells
    draws: int
    seed: int
    same: Mapping[str, str]
    """Settings that were not measured themselves, and the equal ones that were."""

    def build(
        self, estimand: str, outcome: str, config: str, estimate: float | None, unit: str, *, reference: str | None = None,
        part: Mapping[str, str] | None = None, settings: Sequence[str] = (), **more: Any,
    ) -> Finding:  # fmt: skip
        """A finding with its id and the selector of its rows: the grades of ``settings``, or of config and reference."""
        slices = dict(part or {})
        behind = settings or [config, *([reference] if reference else [])]
        rows = {
            "config": list(dict.fromkeys(self.same.get(key, key) for key in behind)),
            "grader": outcome.split(" and "),
        }
        rows |= {key: [slices[key]] for key in ("category", "kind") if key in slices}
        return build(
            AUDIT, estimand, outcome, config, estimate, unit, lead=(), tail=(config, reference), reference=reference,
            part=slices, evidence={"table": "grades", **rows}, **more,
        )  # fmt: skip

    def rates(self, key: str, axis: Axis) -> list[Finding]:
        """The rate of one setting on one axis, over all prompts and by category or kind."""
        out = []
        word = "category" if axis == "safety" else "kind"
        for part in ("", *self.cells.parts_of(axis)):
            result = rate(self.cells.of(key, axis, part))
            reason = "" if result.value is not None else "no response has a grade"
            out.append(
                self.build(
                    "setting_rate", axis, key, result.value, PROBABILITY, part={word: part} if part else None,
                    interval=result.interval, n=result.prompts, reason=reason, grader=axis, extra={"missing": result.missing},
                )
            )  # fmt: skip
        return out

    def changes(self, plain: str, key: str, axis: Axis) -> list[Finding]:
        """The change of one setting against the plain model; categories are a family of their own for Holm."""
        out = []
        word = "category" if axis == "safety" else "kind"
        for part in ("", *self.cells.parts_of(axis)):
            result = change(self.cells.of(plain, axis, part), self.cells.of(key, axis, part), seed=self.seed)
            family = f"{AUDIT}/{axis}/{key}/{word if part else 'all'}"
            out.append(
                self.build(
                    "setting_change", axis, key, result.estimate, DIFFERENCE, reference=plain,
                    part={word: part} if part else None, **paired(result, family),
                )
            )  # fmt: skip
        return hold_family(out)

    def fronts(self, sets: Sets, against: Axis) -> list[Finding]:
        """The area of each method's front, and of TSDI's beyond each: all settings, and as many of both."""
        outcome = f"safety and {against}"
        out = [
            self.build(
                "hypervolume",
                outcome,
                method,
                settings=keys,
                **self._area(area(self.cells, keys, against, draws=self.draws, seed=self.seed)),
            )
            for method, keys in sets.every.items()
        ]
        if "tsdi" not in sets.every:
            return out
        for rival in sets.every:
            if rival == "tsdi":
                continue
            for size, (ours, theirs) in (
                ("all", (list(sets.every["tsdi"]), list(sets.every[rival]))), ("as many", sets.alike(rival)),
            ):  # fmt: skip
                result = area_difference(self.cells, ours, theirs, against, draws=self.draws, seed=self.seed)
                out.append(
                    self.build(
                        "hypervolume_difference",
                        outcome,
                        "tsdi",
                        reference=rival,
                        part={"settings": size},
                        settings=[*ours, *theirs],
                        **self._area(result),
                    )
                )
        return out

    def _area(self, result: NamedArea) -> dict[str, Any]:
        """An area as the fields of a finding; ``extra`` names both sets of a difference with the front of each."""
        n = min(len(self.cells.prompts[axis]) for axis in ("safety", "compliance") if axis in self.cells.prompts)
        extra = {"settings": list(result.front.settings), "front": list(result.front.kept), "bias": result.bias}
        if result.others is not None:
            extra |= {"others": list(result.others.settings), "other_front": list(result.others.kept)}
        return {
            "estimate": result.value, "unit": AREA, "interval": result.interval, "reason": result.reason, "n": n, "extra": extra,
        }  # fmt: skip

    def effect(self, effect: Effect) -> list[Finding]:
        """What one factor of training does to safety, over all prompts and by category, and to the front."""
        which = "tsdi" if effect.with_tsdi else "plain"
        parts: list[tuple[str, PairedDifference]] = [("", effect.safety), *effect.categories.items()]
        out = []
        for part, result in parts:
            family = f"{AUDIT}/{effect.factor}/{which}/{'category' if part else 'all'}"
            difference = paired(result, family)
            difference["extra"] |= {"pairs": effect.pairs}
            slices = {"factor": effect.factor, **({"category": part} if part else {})}
            out.append(
                self.build(
                    "training_effect",
                    "safety",
                    which,
                    result.estimate,
                    DIFFERENCE,
                    part=slices,
                    settings=effect.settings,
                    **difference,
                )
            )
        out = hold_family(out)
        for axis, front in effect.fronts.items():
            out.append(
                self.build(
                    "front_shift", f"safety and {axis}", which, front.value, AREA, part={"factor": effect.factor},
                    settings=effect.settings, interval=front.interval, reason=front.reason, extra={"pairs": effect.pairs},
                )
            )  # fmt: skip
        return out


def paired(result: PairedDifference, family: str) -> dict[str, Any]:
    """A paired difference as the fields of a finding."""
    test = None if result.p is None else HypothesisTest(result.p, result.test, family=family)
    return {
        "interval": result.interval, "test": test, "n": result.prompts, "reason": result.reason,
        "extra": {"first": result.first, "second": result.second, "missing_prompts": result.missing},
    }  # fmt: skip


def sweep_result(sweep: Sweep, grades: pl.DataFrame, items: pl.DataFrame) -> AuditResult:
    """The result of a sweep: findings, verdicts, facts, methods and caveats."""
    config = sweep.config
    same = {s.key: s.same_as for s in sweep.settings if s.same_as}
    cells = cells_of(grades, items, [s.key for s in sweep.settings], config.draws_per_item, same)
    builder = SweepFindings(cells, config.draws, config.seed, same)
    against: list[Axis] = [
        axis for axis in ("compliance", "helpfulness") if axis in cells.axes and "safety" in cells.axes
    ]
    findings = [f for s in sweep.settings for axis in cells.axes for f in builder.rates(s.key, axis)]
    for s in sweep.settings:
        plain = f"{s.model}-plain" if s.model else "plain"
        if s.key != plain and plain in cells.settings:
            findings += [f for axis in cells.axes for f in builder.changes(plain, s.key, axis)]
    result: Recommendation | None = None
    sets = sets_of(sweep.settings)
    if config.model is not None and "compliance" in against:
        for axis in against:
            findings += builder.fronts(sets, axis)
        asked = [
            (s.key, s.alpha, s.length) for s in sweep.settings if s.key in sets.every.get("tsdi", ()) and not s.model
        ]
        result = recommend(
            cells, "plain", [(key, alpha or 0.0, length or 0) for key, alpha, length in asked], margin=config.margin,
            category_margin=config.category_margin, seed=config.seed,
        )  # fmt: skip
    trained = _trained(sweep, builder, against)
    findings = decided([*findings, *trained], RULES)
    wins = {s.key: rates for s in sweep.settings if (rates := sweep.measure.win_rate(s.key)) is not None}
    main = grades.filter(pl.col("grader").is_in(["safety", "compliance"]))
    facts: dict[str, Any] = {
        "grader": "safety",
        "graders": list(config.graders),
        "settings": [asdict(s) for s in sweep.settings],
        "models": [asdict(m) | {"label": m.label} for m in sweep.models],
        "biases": sweep.biases,
        "recommendation": _plain(result),
        "margins": {"all": config.margin, "category": config.category_margin},
        "line": list(sets.line),
        "wins": wins,
        "helpfulness": "" if "helpfulness" in cells.axes else _no_helpfulness(sweep),
        "judge": sweep.measure.judge.engine.spec if sweep.measure.judge is not None else "",
        "by_grammar": sweep.measure.by_grammar,
        "left_out": dict(sweep.left_out),
        "missing": {
            str(grader): int(part["value"].null_count())
            for (grader,), part in main.group_by("grader", maintain_order=True)
        },
        "fronts": {axis: _front(cells, sets, axis) for axis in against},
    }
    return AuditResult(
        audit=AUDIT,
        verdicts=sweep_verdicts(config, findings, facts),
        findings=findings,
        headlines=sweep_headlines(findings, facts),
        rows=main.height,
        missing=int(main["value"].null_count()),
        methods=sweep_methods(config, facts),
        caveats=sweep_caveats(config, facts, [note for one in sweep.prompts.sets for note in one.notes]),
        facts=facts,
    )


def _trained(sweep: Sweep, builder: SweepFindings, against: Sequence[Axis]) -> list[Finding]:
    """The effects of training, and the front of all checkpoints with TSDI against that without, as many settings of both."""
    checkpoints = [m for m in sweep.models if m.key]
    if not checkpoints or not against:
        return []
    key_of = {(s.model, s.method == "tsdi"): s.key for s in sweep.settings if s.model}
    out: list[Finding] = []
    for result in effects(builder.cells, checkpoints, key_of, draws=sweep.config.draws, seed=sweep.config.seed):
        out += builder.effect(result)
    plain, corrected = ([key_of[m.key, with_tsdi] for m in checkpoints] for with_tsdi in (False, True))
    for axis in against:
        gap = area_difference(builder.cells, corrected, plain, axis, draws=sweep.config.draws, seed=sweep.config.seed)
        out.append(
            builder.build(
                "front_shift", f"safety and {axis}", "tsdi", gap.value, AREA, reference="plain", part={"factor": "tsdi"},
                settings=[*corrected, *plain], interval=gap.interval, reason=gap.reason, extra={"pairs": len(checkpoints)},
            )
        )  # fmt: skip
    return out


def _front(cells: Cells, sets: Sets, against: Axis) -> list[str]:
    """Settings of all methods that no other beats."""
    keys = [key for method in sets.every.values() for key in method]
    points = [[rate(cells.of(key, axis)).value for axis in ("safety", against)] for key in keys]
    kept = [[float("nan") if value is None else value for value in point] for point in points]
    return [keys[at] for at in pareto_indexes(kept)] if keys else []


def _plain(result: Recommendation | None) -> dict[str, Any] | None:
    return None if result is None else {**asdict(result), "gate": len(result.candidates)}


def _no_helpfulness(sweep: Sweep) -> str:
    if sweep.config.judge is None:
        return "no judge was given (--judge), and without one helpfulness is not measured"
    if not any(s.method == "reference" for s in sweep.settings):
        return "the judge needs the replies of a reference to compare with: give --reference"
    return "no response has a judgement"
