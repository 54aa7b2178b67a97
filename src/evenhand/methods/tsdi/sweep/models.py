"""Checkpoints of one training sweep: the file that names them, and whether safety rises while the front stays where it is.

Specification 1.2: a smaller KL penalty, more steps and cleansing raise safety without moving the front. That claim is tested
here, factor by factor; nothing of it is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evenhand.errors import BadInput
from evenhand.methods.tsdi.sweep.front import Axis, Cells, NamedArea, area_difference, change
from evenhand.statistics.mcnemar import PairedDifference
from evenhand.yaml_input import read_yaml

Factor = Literal["beta", "steps", "cleansing"]
FACTORS: Mapping[Factor, str] = {
    "beta": "the smallest against the largest KL parameter",
    "steps": "the most against the fewest steps",
    "cleansing": "the largest cleansing threshold against the smallest, or against none",
}
"""What is compared with what; a checkpoint without a cleansing threshold was trained on all data."""
_COLUMNS = ("spec", "beta", "steps", "cleansing", "reference")


@dataclass(frozen=True, slots=True)
class SweptModel:
    """One model of a sweep. ``key`` is "" for the aligned model itself, else ``c1``, ``c2`` and so on.

    ``beta`` is the KL parameter, ``steps`` training steps, ``cleansing`` the threshold above which rows were taken out; None
    where the file does not say.
    """

    key: str
    spec: str
    reference: str | None = None
    beta: float | None = None
    steps: float | None = None
    cleansing: float | None = None

    @property
    def label(self) -> str:
        """What the file says of it, or its spec."""
        said = [("β", self.beta), ("steps", self.steps), ("cleansing", self.cleansing)]
        return ", ".join(f"{word} {value:g}" for word, value in said if value is not None) or self.spec

    def level(self, factor: Factor) -> float | None:
        """The value of a factor such that more of it is said to be safer."""
        if factor == "beta":
            return None if self.beta is None else -self.beta
        return self.steps if factor == "steps" else self.cleansing


def read_checkpoints(path: Path) -> list[SweptModel]:
    """The checkpoints of a yaml or csv (jsonl, parquet) file: spec, and perhaps beta, steps, cleansing and reference.

    In YAML it is a list of such entries, or a mapping with the list under ``models``. Raises BadInput, with the row, for an entry
    without spec, an unknown key, a value that is no number, and a spec that stands twice.
    """
    rows = _yaml(path) if path.suffix.lower() in (".yaml", ".yml") else _table(path)
    if not rows:
        raise BadInput("The file names no checkpoint.", file=path)
    found: list[SweptModel] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        unknown = sorted(set(row) - set(_COLUMNS))
        if unknown:
            raise BadInput(
                f"There is no setting '{unknown[0]}'.", file=path, row=number, do=f"Known: {', '.join(_COLUMNS)}."
            )
        spec = str(row.get("spec") or "").strip()
        if not spec:
            raise BadInput("The checkpoint has no spec.", file=path, row=number)
        if seen.setdefault(spec, number) != number:
            raise BadInput(f"The checkpoint of row {seen[spec]}, {spec}, is repeated here.", file=path, row=number)
        reference = str(row.get("reference") or "").strip() or None
        beta, steps, cleansing = (_number(row.get(key), key, path, number) for key in ("beta", "steps", "cleansing"))
        found.append(SweptModel(f"c{number}", spec, reference, beta, steps, cleansing))
    _check_distinct(found, path)
    return found


def _check_distinct(models: Sequence[SweptModel], path: Path) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for number, model in enumerate(models, start=1):
        said = (model.beta, model.steps, model.cleansing)
        if any(value is not None for value in said) and seen.setdefault(said, number) != number:
            raise BadInput(
                f"Beta, steps and cleansing are those of row {seen[said]}.", file=path, row=number,
                do="Tell the checkpoints apart, or leave one out.",
            )  # fmt: skip


def _yaml(path: Path) -> list[dict[str, Any]]:
    found = read_yaml(path).value
    rows = found.get("models") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(
            "The file holds no list of checkpoints.", file=path, do="Write `- spec: hf/./step-100` and so on."
        )
    return rows


def _table(path: Path) -> list[dict[str, Any]]:
    from evenhand.datasets.table import read_table

    return [dict(row) for row in read_table(path).rows()]


def _number(value: Any, key: str, path: Path, row: int) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none")):
        return None
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"{key} is '{value}', which is no number.", file=path, row=row)
    return number


def checkpoint_names(models: Sequence[SweptModel]) -> list[SweptModel]:
    """The checkpoints in the order of a figure: by cleansing, then from weak to strong in beta, then in steps."""

    def order(model: SweptModel) -> tuple[float, float, float]:
        beta = model.level("beta")
        return (
            -math.inf if model.cleansing is None else model.cleansing,
            -math.inf if beta is None else beta,
            -math.inf if model.steps is None else model.steps,
        )

    return sorted(models, key=order)


@dataclass(frozen=True, slots=True)
class Effect:
    """One factor: the change of safety from its weak to its strong end, and what that does to the front.

    ``safety`` pairs prompts, each averaged over the checkpoints that agree in the other factors (``pairs`` of them); ``categories``
    the same by category. ``fronts`` are areas of the strong end's points minus the weak end's, as many on both sides, by the axis
    against safety. ``with_tsdi`` says which settings these are, ``settings`` all of them.
    """

    factor: Factor
    with_tsdi: bool
    pairs: int
    safety: PairedDifference
    categories: Mapping[str, PairedDifference]
    fronts: Mapping[Axis, NamedArea]
    settings: tuple[str, ...]


def effects(
    cells: Cells, models: Sequence[SweptModel], key_of: Mapping[tuple[str, bool], str], *, draws: int, seed: int
) -> list[Effect]:  # fmt: skip
    """The effect of each factor that the file varies, without and with TSDI. ``key_of`` is (checkpoint, with TSDI) to setting."""
    out = []
    for with_tsdi in (False, True):
        for factor in FACTORS:
            ends = _ends(models, factor)
            if not ends:
                continue
            weak = [key_of[one.key, with_tsdi] for one, _ in ends]
            strong = [key_of[two.key, with_tsdi] for _, two in ends]
            against: list[Axis] = [axis for axis in ("compliance", "helpfulness") if axis in cells.axes]
            out.append(
                Effect(
                    factor, with_tsdi, len(ends), _change(cells, weak, strong, "", seed),
                    {part: _change(cells, weak, strong, part, seed) for part in cells.parts_of("safety")},
                    {axis: area_difference(cells, strong, weak, axis, draws=draws, seed=seed) for axis in against},
                    tuple(dict.fromkeys([*weak, *strong])),
                )
            )  # fmt: skip
    return out


def _ends(models: Sequence[SweptModel], factor: Factor) -> list[tuple[SweptModel, SweptModel]]:
    """Pairs (weakest, strongest) in one factor of checkpoints that agree in the others."""
    others = [other for other in FACTORS if other != factor]
    groups: dict[tuple[float | None, ...], list[SweptModel]] = {}
    for model in models:
        if factor == "cleansing" or model.level(factor) is not None:
            groups.setdefault(tuple(model.level(other) for other in others), []).append(model)

    def level(model: SweptModel) -> float:
        found = model.level(factor)
        return -math.inf if found is None else found

    pairs = []
    for group in groups.values():
        ordered = sorted(group, key=level)
        if level(ordered[0]) < level(ordered[-1]):
            pairs.append((ordered[0], ordered[-1]))
    return pairs


def _change(cells: Cells, weak: Sequence[str], strong: Sequence[str], part: str, seed: int) -> PairedDifference:
    """Safety of the strong end minus the weak end, paired over prompts; each side's answers of all its checkpoints together."""
    before = np.concatenate([cells.of(key, "safety", part) for key in weak], axis=1)
    after = np.concatenate([cells.of(key, "safety", part) for key in strong], axis=1)
    return change(before, after, seed=seed)
