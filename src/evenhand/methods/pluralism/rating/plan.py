"""The rating plan: which texts, under which profiles, in which wordings and orders; sampled by domain; and its estimated cost."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from evenhand.datasets.question_texts import ORDERS, rating_chat
from evenhand.datasets.shipped_texts import PROFILE_VALUES
from evenhand.engines.base import Engine, Estimate, Request
from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.items import RatedItem, RatedItems, items_of_table, open_rated_items
from evenhand.methods.pluralism.data.rating_table import RatingTable
from evenhand.methods.pluralism.data.ratings import read_ratings
from evenhand.methods.pluralism.rating.config import AUDIT, PluralismConfig
from evenhand.methods.pluralism.rating.statistics.raters import EXCLUDED, rater_groups
from evenhand.records import Message
from evenhand.registry import HUMAN_RATINGS

NEUTRAL, SINGLE, FULL = "neutral", "single", "full"
_ITEM_ROLES = frozenset({"id", "text", "reply", "domain", "gold"})
_COUNTED = 2_000
"""With more questions, tokens are counted on a sample of this size."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A rater to be played: ``kind`` is neutral (nothing is said), single (one field) or full (every field)."""

    key: str
    kind: str
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One rating to be asked for."""

    key: str
    item: RatedItem
    profile: Profile
    paraphrase: int
    order: str

    def chat(self, system_prompt: str | None) -> tuple[Message, ...]:
        """The chat. A configuration's own system prompt precedes the profile; in the neutral condition there is no profile."""
        chat = rating_chat(
            self.item.shown, dict(self.profile.values), self.paraphrase, self.order, reply=bool(self.item.reply)
        )
        if not system_prompt:
            return chat
        if chat[0].role == "system":
            return (Message("system", f"{system_prompt}\n\n{chat[0].content}"), *chat[1:])
        return (Message("system", system_prompt), *chat)


@dataclass(frozen=True, slots=True, eq=False)
class RatingPlan:
    """Everything that is asked of each model. ``people`` are ratings of the same texts, if any; ``notes`` are for the reader."""

    source: RatedItems
    items: tuple[RatedItem, ...]
    profiles: tuple[Profile, ...]
    wordings: int
    people: RatingTable | None
    notes: tuple[str, ...] = ()

    def questions(self) -> list[Question]:
        """Profile by profile, so that neighbours share their beginning; single ones before full ones."""
        return [
            # The length makes the key one of its own: values of a field and ids may hold a slash.
            Question(
                f"{AUDIT}/{len(profile.key)}:{profile.key}/{item.id}/{wording}/{order}", item, profile, wording, order
            )
            for profile in self.profiles
            for item in self.items
            for wording in range(self.wordings)
            for order in ORDERS
        ]

    def __len__(self) -> int:
        return len(self.items) * len(self.profiles) * self.wordings * len(ORDERS)


def read_people(spec: str | Path, config: PluralismConfig) -> RatingTable:
    """Ratings by people: a public set by its name, or a file."""
    if str(spec) in HUMAN_RATINGS:
        table: RatingTable = HUMAN_RATINGS.get(str(spec))(None)
        return table
    given = {role: column for role, column in config.columns.items() if role != "id"}
    return read_ratings(Path(spec), given or None, words=config.values or None, scale=config.ends)


def make_plan(config: PluralismConfig) -> RatingPlan:
    """The plan of these settings. Raises BadInput without a text to be rated, or if people rated none of the texts."""
    people = read_people(config.human_ratings, config) if config.human_ratings else None
    if config.set_name is not None:
        item_columns = {role: column for role, column in config.columns.items() if role in _ITEM_ROLES}
        named = config.set_name.endswith((".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"))
        source = open_rated_items(config.set_name, item_columns if named else None)
    elif people is not None:
        source = items_of_table(people)
    else:
        raise BadInput("There is no text to rate.", do="Give texts with --rating-set or --human-ratings.")
    items = list(source)
    notes: list[str] = []
    if people is not None:
        rated = set(people.items["item_id"].to_list())
        common = [item for item in items if item.id in rated]
        if not common:
            raise BadInput(
                "People rated none of the texts: no ids match.",
                file=people.origin,
                do="Give both files the same ids.",
            )
        if len(common) < len(items):
            notes.append(f"People rated {len(common)} of the {len(items)} texts: the others are left out.")
        items = _with_gold(common, people)
    chosen = sample_by_domain(items, config.rating_items or len(items), config.seed)
    if len(chosen) < len(items):
        notes.append(f"{len(chosen)} of {len(items)} texts are asked, sampled by domain under seed {config.seed}.")
    values = {axis: _values(axis, people, config) for axis in config.axes}
    profiles = [Profile(NEUTRAL, NEUTRAL)]
    profiles += [Profile(f"{axis}={value}", SINGLE, ((axis, value),)) for axis in values for value in values[axis]]
    profiles += _full(values, config.full_profiles, config.seed)
    return RatingPlan(source, tuple(chosen), tuple(profiles), config.wordings, people, tuple(notes))


def _with_gold(items: Sequence[RatedItem], people: RatingTable) -> list[RatedItem]:
    """Items with the expert's label of the ratings where their own source has none."""
    labels = people.gold([item.id for item in items])
    if labels is None:
        return list(items)
    return [
        item if item.gold is not None or label != label else replace(item, gold=float(label))
        for item, label in zip(items, labels.tolist(), strict=True)
    ]


def sample_by_domain(items: Sequence[RatedItem], limit: int, seed: int) -> list[RatedItem]:
    """At most ``limit`` items: domains take turns, each in an order of its own by the seed; returned in their first order."""
    if len(items) <= limit:
        return list(items)
    cells: defaultdict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        cells[item.domain].append(place)
    for domain, places in cells.items():
        random.Random(f"{seed} {domain}").shuffle(places)
    turns = sorted((turn, domain, place) for domain, places in cells.items() for turn, place in enumerate(places))
    return [items[place] for place in sorted(place for _, _, place in turns[:limit])]


def _values(axis: str, people: RatingTable | None, config: PluralismConfig) -> tuple[str, ...]:
    """The values of a field: those of enough of the people, else those of DICES-350; never ``Other`` or a missing one."""
    if people is None or axis not in people.axes:
        return PROFILE_VALUES[axis]
    values = [value or None for value in people.demographics()[axis]]
    groups = rater_groups(values, least=config.least_raters, excluded=EXCLUDED)
    return groups.names or PROFILE_VALUES[axis]


def _full(values: dict[str, tuple[str, ...]], count: int, seed: int) -> list[Profile]:
    """``count`` different full profiles by the seed; the cells of race x gender (of the first two fields) take turns."""
    if not count:
        return []
    if len(values) < 2:
        raise BadInput(
            "A full profile needs at least two fields.",
            do="Add fields with --rating-axes, or ask for no full profiles.",
        )
    axes = list(values)
    cells: defaultdict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    crossed = [axes.index(axis) for axis in ("race", "gender")] if {"race", "gender"} <= set(axes) else [0, 1]
    for combined in product(*values.values()):
        cells[tuple(combined[at] for at in crossed)].append(combined)
    draw = random.Random(f"profiles {seed}")
    order = list(cells)
    draw.shuffle(order)
    for cell in order:
        draw.shuffle(cells[cell])
    turns = sorted((turn, at) for at, cell in enumerate(order) for turn in range(len(cells[cell])))
    drawn = [cells[order[at]][turn] for turn, at in turns[:count]]
    return [
        Profile("full=" + "|".join(combination), FULL, tuple(zip(axes, combination, strict=True)))
        for combination in drawn
    ]


def estimate_of(plan: RatingPlan, engine: Engine, system_prompt: str | None, config: PluralismConfig) -> Estimate:
    """Calls and tokens of one model before anything is asked; beyond 2,000 questions tokens are counted on a sample of them."""
    total = len(plan)
    if total <= _COUNTED:
        asked, share = plan.questions(), 1.0
    else:
        draw = random.Random(config.seed)
        asked = []
        for profile, item in draw.choices(list(product(plan.profiles, plan.items)), k=_COUNTED):
            wording, order = draw.randrange(plan.wordings), draw.choice(ORDERS)
            asked.append(Question(f"{len(asked)}", item, profile, wording, order))
        share = total / len(asked)
    requests = [Request(question.key, 0, question.chat(system_prompt)) for question in asked]
    cost = engine.estimate(requests, config.sampling)
    if share == 1.0:
        return cost
    return replace(
        cost, calls=total, prompt_tokens=round(cost.prompt_tokens * share), exact=False,
        max_completion_tokens=round(cost.max_completion_tokens * share),
        seconds=None if cost.seconds is None else cost.seconds * share,
    )  # fmt: skip
