"""The settings of a sweep: what is measured of each model, and which settings are one and the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xxhash import xxh128_hexdigest

from evenhand.engines.token_bias import TokenBias
from evenhand.methods.tsdi.sweep.config import PEER_STRENGTHS, SweepConfig
from evenhand.methods.tsdi.sweep.front import evenly
from evenhand.methods.tsdi.sweep.models import SweptModel

PLAIN, REFERENCE = "plain", "reference"
DEFAULT_LENGTH = 10
"""Corrected positions of the settings that are compared with as many of a peer's, where the sweep has them (else the most)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that answers the prompts. ``key`` names it in every table; ``model`` is the key of its checkpoint.

    ``method`` is ``plain``, ``tsdi``, ``reference`` or a peer. ``same_as`` names the equal setting that was measured in its place.
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
    """A short name for a folder or file: letters, digits and hyphens, with a digest where something was lost."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(text).name).strip("-").lower()[:24]
    return plain if plain == text else f"{plain or 'x'}-{xxh128_hexdigest(text.encode('utf-8', 'surrogatepass'))[:6]}"


def named(model: str, rest: str) -> str:
    """A name of something of a checkpoint; that of the aligned model's has nothing before it."""
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
    """The settings of a checkpoint: without TSDI and with it; ``reference`` where it brings the reference of the sweep."""
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
    """A digest of what is subtracted; empty where nothing is."""
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
        """As many settings of TSDI as of the rival: more settings alone make a larger area."""
        count = min(len(self.line), len(self.every[rival]))
        return evenly(self.line, count), evenly(self.every[rival], count)


def sets_of(settings: Sequence[Setting]) -> Sets:
    """The settings of the aligned model by method; TSDI settings that change nothing are no TSDI, the reference is no method."""
    every: dict[str, tuple[str, ...]] = {}
    own = [s for s in settings if not s.model and s.method != "reference"]
    corrected = [s for s in own if s.method == "tsdi" and not s.same_as]
    for s in own:
        if s.method != "tsdi" or s in corrected:
            every[s.method] = (*every.get(s.method, ()), s.key)
    lengths = {s.length for s in corrected}
    length = DEFAULT_LENGTH if DEFAULT_LENGTH in lengths else max((n for n in lengths if n is not None), default=0)
    pool = corrected[0].pool if corrected else ""
    line = [s for s in own if s.method == "tsdi" and s.pool == pool and s.length == length and s.alpha]
    line.sort(key=lambda s: s.alpha or 0.0)
    return Sets(every, tuple(s.key for s in line))
