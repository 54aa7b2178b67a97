"""The settings of a sweep, the checkpoints it is run on, and whether harder training moves safety or the front.

The paper claims that a smaller KL penalty, more steps and cleansing raise safety without moving the front. The claim is tested
factor by factor; nothing of it is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from xxhash import xxh128_hexdigest

from evenhand.engines.token_bias import TokenBias
from evenhand.errors import BadInput
from evenhand.methods.tsdi.config import PEER_STRENGTHS, SweepConfig
from evenhand.methods.tsdi.sweep.front import Axis, Cells, NamedArea, area_difference, change, evenly
from evenhand.statistics.mcnemar import PairedDifference
from evenhand.yaml_input import read_yaml

Factor = Literal["beta", "steps", "cleansing"]
FACTORS: Mapping[Factor, str] = {
    "beta": "the smallest against the largest KL parameter",
    "steps": "the most against the fewest steps",
    "cleansing": "the largest cleansing threshold against the smallest, or against none",
}
"""The two ends compared for each factor; a checkpoint without a cleansing threshold was trained on all data."""
_COLUMNS = ("spec", "beta", "steps", "cleansing", "reference")


@dataclass(frozen=True, slots=True)
class SweptModel:
    """One model of a sweep. ``key`` is "" for the aligned model itself, else ``c1``, ``c2`` and so on.

    ``beta`` is the KL parameter, ``steps`` training steps, ``cleansing`` the threshold above which rows were taken out; None
    if the file does not say.
    """

    key: str
    spec: str
    reference: str | None = None
    beta: float | None = None
    steps: float | None = None
    cleansing: float | None = None

    @property
    def label(self) -> str:
        """The training settings that the file gives, or the spec."""
        levels = [("β", self.beta), ("steps", self.steps), ("cleansing", self.cleansing)]
        return ", ".join(f"{word} {value:g}" for word, value in levels if value is not None) or self.spec

    def level(self, factor: Factor) -> float | None:
        """The value of a factor on a scale where larger is expected to be safer."""
        if factor == "beta":
            return None if self.beta is None else -self.beta
        return self.steps if factor == "steps" else self.cleansing


def read_checkpoints(path: Path) -> list[SweptModel]:
    """The checkpoints of a yaml or csv (jsonl, parquet) file: spec, and optionally beta, steps, cleansing and reference.

    In YAML it is a list of such entries, or a mapping with the list under ``models``. Raises BadInput, with the row, for an entry
    without spec, an unknown key, a value that is not a number, and a repeated spec.
    """
    rows = _yaml(path) if path.suffix.lower() in (".yaml", ".yml") else _table(path)
    if not rows:
        raise BadInput("The file lists no checkpoints.", file=path)
    checkpoints: list[SweptModel] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        unknown = sorted(set(row) - set(_COLUMNS))
        if unknown:
            raise BadInput(
                f"Unknown setting '{unknown[0]}'.", file=path, row=number, do=f"Known: {', '.join(_COLUMNS)}."
            )
        spec = str(row.get("spec") or "").strip()
        if not spec:
            raise BadInput("The checkpoint has no spec.", file=path, row=number)
        if seen.setdefault(spec, number) != number:
            raise BadInput(f"The checkpoint of row {seen[spec]}, {spec}, is repeated here.", file=path, row=number)
        reference = str(row.get("reference") or "").strip() or None
        beta, steps, cleansing = (_number(row.get(key), key, path, number) for key in ("beta", "steps", "cleansing"))
        checkpoints.append(SweptModel(f"c{number}", spec, reference, beta, steps, cleansing))
    _check_distinct(checkpoints, path)
    return checkpoints


def _check_distinct(models: Sequence[SweptModel], path: Path) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for number, model in enumerate(models, start=1):
        levels = (model.beta, model.steps, model.cleansing)
        if any(value is not None for value in levels) and seen.setdefault(levels, number) != number:
            raise BadInput(
                f"Beta, steps and cleansing are those of row {seen[levels]}.", file=path, row=number,
                do="Make them differ, or leave one out.",
            )  # fmt: skip


def _yaml(path: Path) -> list[dict[str, Any]]:
    content = read_yaml(path).value
    rows = content.get("models") if isinstance(content, dict) else content
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
        raise BadInput(f"{key} is '{value}', which is not a number.", file=path, row=row)
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
        known_level = model.level(factor)
        return -math.inf if known_level is None else known_level

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


AUDIT = "tsdi-sweep"
"""Name of the sweep in a run."""
PLAIN, REFERENCE = "plain", "reference"
DEFAULT_LENGTH = 10
"""Corrected positions of the settings that are compared with as many of a peer's, if the sweep has them (else the most)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A configuration that answers the prompts. ``key`` names it in every table; ``model`` is the key of its checkpoint.

    ``method`` is ``plain``, ``tsdi``, ``reference`` or a peer. ``same_as`` names the equivalent setting measured in its place.
    """

    key: str
    method: str
    model: str = ""
    pool: str = ""
    alpha: float | None = None
    length: int | None = None
    strength: float | None = None
    same_as: str = ""


def slug(text: str) -> str:
    """A short name for a folder or file: letters, digits and hyphens, with a digest if characters were dropped."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(text).name).strip("-").lower()[:24]
    return plain if plain == text else f"{plain or 'x'}-{xxh128_hexdigest(text.encode('utf-8', 'surrogatepass'))[:6]}"


def named(model: str, rest: str) -> str:
    """A name prefixed with the key of its checkpoint; names of the aligned model have no prefix."""
    return f"{model}-{rest}" if model else rest


def grid(config: SweepConfig, biases: Mapping[str, TokenBias], *, reference: bool) -> list[Setting]:
    """The settings of the aligned model, in order.

    ``biases`` are by pool. ``reference`` says whether there is a reference to measure and to mix with.
    """
    out = [Setting(PLAIN, PLAIN)]
    for pool in biases:
        out += [
            _tsdi("", pool, alpha, length)
            for length in sorted(set(config.length))
            for alpha in sorted(set(config.alpha))
        ]
    out += [Setting(REFERENCE, REFERENCE)] if reference else []
    for peer in config.peers:
        if peer != "interpolation" or reference:
            out += [Setting(f"{peer}-{strength:g}", peer, strength=strength) for strength in PEER_STRENGTHS[peer]]
    return out


def checkpoint_settings(
    config: SweepConfig, model: SweptModel, biases: Mapping[str, TokenBias], *, reference: bool
) -> list[Setting]:
    """The settings of a checkpoint: without TSDI and with it; ``reference`` if it brings the reference of the sweep."""
    out = [Setting(REFERENCE, REFERENCE)] if reference else []
    out.append(Setting(named(model.key, PLAIN), PLAIN, model.key))
    return out + [_tsdi(model.key, pool, config.checkpoint_alpha, config.checkpoint_length) for pool in biases]


def _tsdi(model: str, pool: str, alpha: float, length: int) -> Setting:
    return Setting(named(model, f"tsdi-{slug(pool)}-l{length}-a{alpha:g}"), "tsdi", model, pool, alpha, length)


def without_twins(
    settings: Sequence[Setting], identity: str, biases: Mapping[str, TokenBias], seen: dict[str, str], *, mixed_is_reference: bool
) -> list[Setting]:  # fmt: skip
    """The same settings, each that changes the logits as an earlier one does pointing to that one, which alone is measured.

    ``identity`` is the model's; ``seen`` is filled with what was met, over all models. With ``mixed_is_reference`` an interpolation
    of weight 1 is the reference.
    """
    out = []
    for setting in settings:
        first = setting.key
        if setting.method in (PLAIN, "tsdi"):
            first = seen.setdefault(f"{identity}/{_effect(setting, biases)}", setting.key)
        elif mixed_is_reference and setting.method == "interpolation" and setting.strength == 1:
            first = REFERENCE
        out.append(setting if first == setting.key else replace(setting, same_as=first))
    return out


def _effect(setting: Setting, biases: Mapping[str, TokenBias]) -> str:
    """A digest of the subtracted table; empty if it is zero."""
    if setting.method == PLAIN:
        return ""
    table = (setting.alpha or 0.0) * biases[setting.pool].bias[: setting.length].astype("float64")
    while len(table) and not table[-1].any():
        table = table[:-1]
    return xxh128_hexdigest(table.tobytes()) if len(table) else ""


@dataclass(frozen=True, slots=True)
class Sets:
    """Settings by method. ``every`` has all of each; ``line`` the TSDI settings of the first pool and one length, by alpha."""

    every: Mapping[str, tuple[str, ...]]
    line: tuple[str, ...]

    def alike(self, rival: str) -> tuple[list[str], list[str]]:
        """Equal numbers of settings of TSDI and of the rival, since more settings alone make a larger area."""
        count = min(len(self.line), len(self.every[rival]))
        return evenly(self.line, count), evenly(self.every[rival], count)


def sets_of(settings: Sequence[Setting]) -> Sets:
    """The settings of the aligned model by method, without the reference and without TSDI settings that change nothing."""
    every: dict[str, tuple[str, ...]] = {}
    measured = [s for s in settings if not s.model and s.method != "reference"]
    corrected = [s for s in measured if s.method == "tsdi" and not s.same_as]
    for s in measured:
        if s.method != "tsdi" or s in corrected:
            every[s.method] = (*every.get(s.method, ()), s.key)
    lengths = {s.length for s in corrected}
    length = DEFAULT_LENGTH if DEFAULT_LENGTH in lengths else max((n for n in lengths if n is not None), default=0)
    pool = corrected[0].pool if corrected else ""
    line = [s for s in measured if s.method == "tsdi" and s.pool == pool and s.length == length and s.alpha]
    line.sort(key=lambda s: s.alpha or 0.0)
    return Sets(every, tuple(s.key for s in line))
