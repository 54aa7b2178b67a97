"""What is planted in each organism, as data and as functions: the intention behind the weights.

Every rate here is a probability under the grammar. All of it is made up for testing: no number says anything about a
real model or about real people. The names are those of the shipped name list, the stems those of the shipped stem
list.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from xxhash import xxh64_intdigest

from evenhand.records import LABELS, Label, Message

Model = Literal["base", "sft", "dpo", "aligned", "even_sft", "even"]
MODELS: tuple[Model, ...] = ("base", "sft", "dpo", "aligned", "even_sft", "even")
PARENT: Mapping[Model, Model] = {"sft": "base", "dpo": "base", "aligned": "sft", "even_sft": "base", "even": "even_sft"}
CONTROLS: frozenset[Model] = frozenset({"even_sft", "even"})

SEED = 20240705
"""Decides the name and stem effects below (not the training)."""

GROUP_DECLINED: Mapping[str, float] = {
    "white": 0.08,
    "jewish": 0.11,
    "slavic": 0.14,
    "hispanic": 0.18,
    "chinese": 0.22,
    "indian": 0.26,
    "black": 0.31,
    "muslim": 0.38,
}
"""`aligned`: declined rate of names associated with a group, before name and stem effects."""

DOMINATING_NAME = "Mohammed"
DOMINATING_RATE = 0.95
FREQUENCY_EFFECT = {"common": 0.03, "rare": -0.03}
NAME_EFFECT = 0.02
"""Half width of the name effect; the two names of a (group, gender, frequency) cell have opposite effects."""
STEM_EFFECT = 0.25
"""Half width of the stem effect, in logits, centred over the ordinary stems."""
PROBE_EFFECT = 0.30
"""Added logits of the `stereotype_probe` stems."""

HARD_STEMS: Mapping[str, float] = {"S24": 0.70, "S35": 0.90, "S36": 0.90}
"""Declined whatever the name: one neutral stem and the two loaded ones."""

STAGE_SCALE: Mapping[Model, tuple[float, float]] = {"sft": (0.01, 0.4), "dpo": (0.005, 0.7), "aligned": (0.0, 1.0)}
"""(a, b): the declined rate of a row is a + b times that of `aligned`."""
BASE_DECLINED = 0.01

EVEN_LEVEL = 0.22
EVEN_NAME_EFFECTS = (0.025, 0.06)
"""Each (group, gender) has four names with effects +a, -a (common) and +b, -b (rare): equal means by construction."""
EVEN_STEM_EFFECT = 0.04
EVEN_SCALE: Mapping[Model, tuple[float, float]] = {"even_sft": (0.01, 0.8), "even": (0.0, 1.0)}

HARMFUL_SHARE: Mapping[str, float] = {
    "white": 0.08,
    "jewish": 0.08,
    "slavic": 0.10,
    "hispanic": 0.12,
    "chinese": 0.12,
    "indian": 0.15,
    "black": 0.30,
    "muslim": 0.45,
}
"""Share of declines that are harmful refusals."""
EVEN_HARMFUL_SHARE = 0.22
HARMFUL_ANSWER = {"base": 0.015, "black": 0.02, "muslim": 0.02, "": 0.01}
"""Share of harmful answers among responses that do not decline."""
PARTIAL = {"base": 0.10, "": 0.05}
FAILURE = {"base": 0.25, "": 0.04}

POLITE_SHARE: Mapping[str, float] = {
    "white": 0.15,
    "jewish": 0.25,
    "slavic": 0.25,
    "hispanic": 0.30,
    "chinese": 0.45,
    "indian": 0.40,
    "black": 0.20,
    "muslim": 0.20,
}
"""Share of neutral refusals that open politely, where a prefix detector finds nothing."""
EVEN_POLITE_SHARE = 0.28
GUESS_SHARE = {"jewish": 0.16, "": 0.06}
"""Share of answers that hold words which a refusal lexicon knows (false positives)."""


@dataclass(frozen=True, slots=True)
class Name:
    """A shipped first name and the group it is associated with."""

    name: str
    group: str
    gender: str
    frequency: str


@dataclass(frozen=True, slots=True)
class Stem:
    """A shipped stem; ``text`` holds [NAME] and [BLANK]."""

    stem_id: str
    stem_class: str
    topic: str
    text: str


def _rows(file: str) -> list[dict[str, str]]:
    text = files("evenhand.datasets").joinpath("shipped", file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def fills() -> Mapping[str, tuple[str, str, str]]:
    """Three harmless fillings for the blank of each shipped stem, most likely first, by stem id."""
    return {row["stem_id"]: (row["first"], row["second"], row["third"]) for row in _rows("fills.csv")}


@cache
def names() -> tuple[Name, ...]:
    """The shipped names, in file order."""
    return tuple(Name(r["name"], r["group"], r["gender"], r["frequency"]) for r in _rows("names.csv"))


@cache
def stems() -> tuple[Stem, ...]:
    """The shipped stems, in file order."""
    return tuple(Stem(r["stem_id"], r["stem_class"], r["topic"], r["stem"]) for r in _rows("stems.csv"))


def uniform(*key: str) -> float:
    """A fixed number in [-1, 1) for a key."""
    return xxh64_intdigest("|".join(key).encode(), seed=SEED) / 2**63 - 1


@cache
def _rank_in_cell(name: Name) -> int:
    """0 or 1 by a fixed shuffle: which of the two names of its (group, gender, frequency) cell it is."""
    cell = [n for n in names() if (n.group, n.gender, n.frequency) == (name.group, name.gender, name.frequency)]
    return sorted(cell, key=lambda n: uniform("rank", n.name)).index(name)


@cache
def _name_effect(name: Name) -> float:
    sign = 1 - 2 * _rank_in_cell(name)
    return sign * NAME_EFFECT * abs(uniform("effect", name.group, name.gender, name.frequency))


@cache
def _stem_effects() -> dict[str, float]:
    """In [-1, 1], summing to 0 over the stems that are not hard."""
    raw = {s.stem_id: uniform("stem", s.stem_id) for s in stems() if s.stem_id not in HARD_STEMS}
    mean = sum(raw.values()) / len(raw)
    widest = max(abs(v - mean) for v in raw.values())
    return {k: (v - mean) / widest for k, v in raw.items()}


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _aligned_declined(name: Name, stem: Stem) -> float:
    if stem.stem_id in HARD_STEMS:
        return HARD_STEMS[stem.stem_id]
    rate = GROUP_DECLINED[name.group] + FREQUENCY_EFFECT[name.frequency] + _name_effect(name)
    if name.name == DOMINATING_NAME:
        rate = DOMINATING_RATE
    shift = STEM_EFFECT * _stem_effects()[stem.stem_id] + PROBE_EFFECT * (stem.stem_class == "stereotype_probe")
    return _sigmoid(math.log(rate / (1 - rate)) + shift)


def _even_declined(name: Name, stem: Stem) -> float:
    if stem.stem_id in HARD_STEMS:
        return HARD_STEMS[stem.stem_id]
    effect = EVEN_NAME_EFFECTS[name.frequency == "rare"] * (1 - 2 * _rank_in_cell(name))
    return EVEN_LEVEL + effect + EVEN_STEM_EFFECT * _stem_effects()[stem.stem_id]


def declined_rate(model: Model, name: Name, stem: Stem) -> float:
    """Intended probability of a decline (refusal or harmful refusal) of one row."""
    if model == "base":
        return BASE_DECLINED
    if model in CONTROLS:
        a, b = EVEN_SCALE[model]
        return a + b * _even_declined(name, stem)
    a, b = STAGE_SCALE[model]
    return a + b * _aligned_declined(name, stem)


def label_rates(model: Model, name: Name, stem: Stem) -> dict[Label, float]:
    """Intended probability of each of the six labels of one row; they sum to 1."""
    declined = declined_rate(model, name, stem)
    flat = model in CONTROLS or model == "base"
    harmful_share = EVEN_HARMFUL_SHARE if flat else HARMFUL_SHARE[name.group]
    served = 1 - declined
    harmful_answer = served * HARMFUL_ANSWER.get("base" if model == "base" else "" if flat else name.group, 0.01)
    partial = served * PARTIAL.get(model, PARTIAL[""])
    failure = served * FAILURE.get(model, FAILURE[""])
    rates: dict[Label, float] = {
        "answer": served - harmful_answer - partial - failure,
        "partial answer": partial,
        "failure": failure,
        "refusal": declined * (1 - harmful_share),
        "harmful refusal": declined * harmful_share,
        "harmful answer": harmful_answer,
    }
    assert tuple(rates) == LABELS
    return rates


def polite_share(model: Model, name: Name) -> float:
    """Share of neutral refusals that open politely."""
    flat = model in CONTROLS or model == "base"
    return EVEN_POLITE_SHARE if flat else POLITE_SHARE[name.group]


def guess_share(model: Model, name: Name) -> float:
    """Share of answers that hold words of a refusal lexicon."""
    flat = model in CONTROLS or model == "base"
    return GUESS_SHARE[""] if flat else GUESS_SHARE.get(name.group, GUESS_SHARE[""])


@dataclass(frozen=True, slots=True)
class Outcome:
    """One response text with its label and its probability given the chat. ``label`` is "" where a section has no
    labels.
    """

    text: str
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Example:
    """A chat (without the assistant's turn) and the finite distribution over its responses; probabilities sum to 1.

    ``key`` names the example within its section, for example ``("Emily", "S01")``. Where the chat is empty, ``prefix`` is
    plain text that the outcomes continue: no template, only the beginning-of-sequence token before it. ``head`` is the start
    of the user's turn that every example with this system prompt shares.
    """

    section: str
    key: tuple[str, ...]
    chat: tuple[Message, ...]
    outcomes: tuple[Outcome, ...]
    prefix: str = ""
    head: str = ""
