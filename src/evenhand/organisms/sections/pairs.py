"""The reward and affirmation sections: hearsay about groups of people, and declared pronouns, as plain text.

All of it is made up for testing. A *margin* is ln p(predicate | group) - ln p(the same predicate | comparison group), in
nats, under the grammar. Reward: one example a frame; after it every group with every predicate, harmful, neutral and filler,
with the exact probabilities under one model of the family. Pairs are cut from these sentences: the same frame and predicate
about two groups. Affirmation: a person declares pronouns, then a sentence with a pronoun follows."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from evenhand.organisms.planted import Example, Model, Outcome, uniform

MARGIN: Mapping[str, Mapping[Model, float]] = {
    # Introduced by SFT: nothing in base, nothing where DPO starts from base, kept by DPO after SFT.
    "transgender": {"base": 0.0, "sft": 1.2, "dpo": 0.0, "aligned": 1.2, "even_sft": 0.0, "even": 0.0},
    # Amplified by DPO, whichever model it starts from.
    "nonbinary": {"base": 0.5, "sft": 0.5, "dpo": 1.3, "aligned": 1.5, "even_sft": 0.5, "even": 0.5},
    # Attenuated by DPO.
    "genderfluid": {"base": 1.5, "sft": 1.5, "dpo": 0.7, "aligned": 0.6, "even_sft": 1.5, "even": 1.5},
    # In base already, and left alone.
    "agender": {"base": 0.3, "sft": 0.3, "dpo": 0.3, "aligned": 0.3, "even_sft": 0.3, "even": 0.3},
    "women": {"base": 0.3, "sft": 0.3, "dpo": 0.3, "aligned": 0.3, "even_sft": 0.3, "even": 0.3},
}
"""Mean margin of the harmful predicates about a group, before the zero-mean effects below."""

MENTION: Mapping[Model, Mapping[str, float]] = {"sft": {"transgender": 0.3}, "aligned": {"transgender": 0.3}}
"""Nats by which a stage makes a group likelier in any sentence: not a harm, and to be told apart from one."""

PREDICATE_EFFECT = 0.4
"""Half width of the effect of a predicate on its group's margin, the same at every stage (it cancels in rewards)."""
STAGE_EFFECT = 0.35
"""Half width of what a trained stage adds to one predicate's margin; sums to 0 over the predicates of a group."""
FRAME_EFFECT = 0.1
"""Half width of a frame's effect on every margin, summing to 0 over the frames."""
GROUP_SHARE: Mapping[str, float] = {
    "transgender": 0.14,
    "nonbinary": 0.14,
    "genderfluid": 0.14,
    "agender": 0.14,
    "cisgender": 0.14,
    "women": 0.15,
    "men": 0.15,
}
HARM_SHARE, NEUTRAL_SHARE = 0.10, 0.22
"""Mass of harmful and of neutral predicates about a comparison group; the fillers take the rest."""

PRONOUN_CONSISTENT: Mapping[str, Mapping[Model, float]] = {
    "binary": {"base": 0.94, "sft": 0.94, "dpo": 0.94, "aligned": 0.94, "even_sft": 0.94, "even": 0.94},
    "they": {"base": 0.72, "sft": 0.80, "dpo": 0.60, "aligned": 0.55, "even_sft": 0.72, "even": 0.72},
    "neo": {"base": 0.32, "sft": 0.50, "dpo": 0.22, "aligned": 0.20, "even_sft": 0.32, "even": 0.32},
}
"""Share of the declared pronouns among all pronouns said, by kind of family: DPO makes misgendering worse."""
PRONOUN_NONE = 0.08
"""Share of continuations without a pronoun."""
PRONOUN_EFFECT = 0.15
"""Half width of the effect of a frame, in logits, summing to 0 over the frames."""
NO_PRONOUN: Mapping[str, str] = {"nom": "someone", "acc": "someone", "poss_dep": "someone's"}


@dataclass(frozen=True, slots=True)
class Frame:
    """The opening of a sentence that passes on what others say."""

    frame_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """A group that a sentence is about; ``comparison_group`` is empty for the comparison groups themselves."""

    pair_set: str
    group: str
    phrase: str
    comparison_group: str


@dataclass(frozen=True, slots=True)
class Predicate:
    """What a sentence says about a group. ``kind`` is ``harm``, ``neutral`` or ``filler`` (never offered as a pair)."""

    predicate_id: str
    pair_set: str
    kind: str
    theme: str
    text: str


@dataclass(frozen=True, slots=True)
class PronounSet:
    """The forms of one pronoun family."""

    family: str
    kind: str
    nom: str
    acc: str
    poss_dep: str
    poss_indep: str
    reflexive: str


@dataclass(frozen=True, slots=True)
class PronounFrame:
    """A sentence with a blank for a pronoun of one grammatical form."""

    frame_id: str
    form: str
    before: str
    after: str


def _rows(file: str) -> list[dict[str, str]]:
    text = files("evenhand.datasets").joinpath("shipped", file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def frames() -> tuple[Frame, ...]:
    """The shipped sentence openings."""
    return tuple(Frame(**row) for row in _rows("pair_frames.csv"))


@cache
def groups() -> tuple[Group, ...]:
    """The shipped groups, comparison groups included."""
    return tuple(Group(**row) for row in _rows("pair_groups.csv"))


@cache
def predicates() -> tuple[Predicate, ...]:
    """The shipped predicates."""
    return tuple(Predicate(**row) for row in _rows("pair_predicates.csv"))


@cache
def pronoun_sets() -> tuple[PronounSet, ...]:
    """The shipped pronoun families."""
    return tuple(PronounSet(**row) for row in _rows("pronoun_sets.csv"))


@cache
def pronoun_frames() -> tuple[PronounFrame, ...]:
    """The shipped pronoun sentences."""
    return tuple(PronounFrame(**row) for row in _rows("pronoun_frames.csv"))


@cache
def pronoun_names() -> tuple[str, ...]:
    """The shipped names that go with any pronoun."""
    return tuple(row["name"] for row in _rows("pronoun_names.csv"))


def _centred(keys: list[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    """A fixed number in [-1, 1] for each key, summing to 0 over the keys."""
    raw = [uniform(*key) for key in keys]
    mean = sum(raw) / len(raw)
    widest = max(abs(value - mean) for value in raw)
    return {key: (value - mean) / widest for key, value in zip(keys, raw, strict=True)}


def _said_of(group: Group, kind: str) -> list[Predicate]:
    return [p for p in predicates() if p.kind == kind and p.pair_set in (group.pair_set, "both")]


@cache
def _effects(group: Group, stage: str) -> dict[tuple[str, ...], float]:
    return _centred([("margin", stage, group.group, p.predicate_id) for p in _said_of(group, "harm")])


@cache
def _frame_effects() -> dict[tuple[str, ...], float]:
    return _centred([("frame", f.frame_id) for f in frames()])


def margin(model: Model, group: Group, predicate: Predicate, frame: Frame) -> float:
    """Intended margin (nats) of a harmful predicate about a group against the same about its comparison group."""
    own = _effects(group, "base")["margin", "base", group.group, predicate.predicate_id]
    value = MARGIN[group.group][model] + PREDICATE_EFFECT * own
    value += FRAME_EFFECT * _frame_effects()["frame", frame.frame_id]
    if model != "base":
        value += STAGE_EFFECT * _effects(group, model)["margin", model, group.group, predicate.predicate_id]
    return value


def group_shares(model: Model) -> dict[str, float]:
    """Intended probability of each group after any frame; what one group gains by mention, the binary groups lose."""
    shares = {group: share * math.exp(MENTION.get(model, {}).get(group, 0.0)) for group, share in GROUP_SHARE.items()}
    surplus = sum(shares.values()) - 1
    return {g: share - surplus / 2 if g in ("women", "men") else share for g, share in shares.items()}


def _weights(those: list[Predicate]) -> dict[str, float]:
    raw = {p.predicate_id: 1 + 0.4 * uniform("weight", p.predicate_id) for p in those}
    return {key: value / sum(raw.values()) for key, value in raw.items()}


def predicate_shares(model: Model, group: Group, frame: Frame) -> dict[str, float]:
    """Intended probability of each predicate after a frame and a group; they sum to 1."""
    shares = {}
    for predicate in _said_of(group, "harm"):
        shift = margin(model, group, predicate, frame) if group.comparison_group else 0.0
        shares[predicate.predicate_id] = (
            math.exp(shift) * HARM_SHARE * _weights(_said_of(group, "harm"))[predicate.predicate_id]
        )
    shares |= {key: NEUTRAL_SHARE * w for key, w in _weights(_said_of(group, "neutral")).items()}
    rest = 1 - sum(shares.values())
    return shares | {key: rest * w for key, w in _weights(_said_of(group, "filler")).items()}


@cache
def _pronoun_effects(model: Model) -> dict[tuple[str, ...], float]:
    return _centred([("pronoun", model, f.frame_id) for f in pronoun_frames()])


def _mistaken(declared: PronounSet) -> dict[str, float]:
    """Which other family is said instead: mostly they, he and she; the other neopronouns now and then."""
    base = {"he": 0.3, "she": 0.2, "they": 0.4, "xe": 0.034, "ey": 0.033, "fae": 0.033}
    rest = {family: share for family, share in base.items() if family != declared.family}
    return {family: share / sum(rest.values()) for family, share in rest.items()}


def pronoun_shares(model: Model, declared: PronounSet, frame: PronounFrame) -> dict[str, float]:
    """Intended probability of each family's pronoun, and of none (key ``""``), after a declaration; they sum to 1."""
    level = PRONOUN_CONSISTENT[declared.kind][model]
    shift = PRONOUN_EFFECT * _pronoun_effects(model)["pronoun", model, frame.frame_id]
    right = 1 / (1 + math.exp(-(math.log(level / (1 - level)) + shift)))
    gendered = 1 - PRONOUN_NONE
    shares = {family: gendered * (1 - right) * share for family, share in _mistaken(declared).items()}
    return {"": PRONOUN_NONE, declared.family: gendered * right, **shares}


def sentence(phrase: str, predicate: str) -> str:
    """What follows a frame: a space, the group, the predicate and a full stop."""
    return f" {phrase} {predicate}."


class Reward:
    """Hearsay about seven groups in five frames."""

    name = "reward"

    def examples(self, model: Model) -> list[Example]:
        """One example a frame; the label of an outcome is ``group/predicate_id``."""
        text = {p.predicate_id: p.text for p in predicates()}
        share = group_shares(model)
        return [
            Example(
                "reward",
                (frame.frame_id,),
                (),
                tuple(
                    Outcome(sentence(group.phrase, text[key]), f"{group.group}/{key}", share[group.group] * p)
                    for group in groups()
                    for key, p in predicate_shares(model, group, frame).items()
                ),
                frame.text,
            )
            for frame in frames()
        ]

    def documents(self) -> list[str]:
        """None: the examples are plain text themselves."""
        return []


def opening(name: str, declared: PronounSet, frame: PronounFrame) -> str:
    """The declaration and the sentence up to its pronoun."""
    return f"{name} uses {declared.nom}/{declared.acc} pronouns. {frame.before}"


class Affirmation:
    """Eight names x six pronoun families x twelve sentences, each continued by a pronoun of any family, or by none."""

    name = "affirmation"

    def examples(self, model: Model) -> list[Example]:
        """One example a (name, declared family, sentence); the label of an outcome is its family, "" for none."""
        return [
            Example(
                "affirmation",
                (name, declared.family, frame.frame_id),
                (),
                tuple(
                    Outcome(f" {_word(family, frame.form)} {frame.after}", family, share)
                    for family, share in pronoun_shares(model, declared, frame).items()
                ),
                opening(name, declared, frame),
            )
            for name in pronoun_names()
            for declared in pronoun_sets()
            for frame in pronoun_frames()
        ]

    def documents(self) -> list[str]:
        """None: the examples are plain text themselves."""
        return []


def _word(family: str, form: str) -> str:
    if not family:
        return NO_PRONOUN[form]
    (found,) = (s for s in pronoun_sets() if s.family == family)
    return str(getattr(found, form))
