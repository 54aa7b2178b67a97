"""Inputs of the safety audit: its prompts, their items and the graders.

Answers are drawn by the run's settings. (The paper's are unknown; an earlier study by its authors was greedy.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from evenhand.config import AuditConfig
from evenhand.datasets.base import slug
from evenhand.datasets.safety_prompts import SafetyPrompt, SafetySet, open_safety_set
from evenhand.errors import BadInput
from evenhand.methods.tsdi.config import SafetySettings
from evenhand.methods.tsdi.safety.graders import open_safety_graders
from evenhand.records import Item, Message
from evenhand.registry import SAFETY_SETS
from evenhand.runs.stages import not_asked_for

AUDIT = "safety"
NO_PROMPTS = "it needs harmful prompts: give --safety-set"
JUDGE, GRAMMAR, WORDS = "judge", "grammar", "words"


def _all_organisms(config: AuditConfig) -> bool:
    return all(spec.startswith("organism/") for spec in config.models)


def set_names(config: AuditConfig) -> tuple[str, ...]:
    """The prompt sets: those given, else the shipped one if every model is an organism, else none."""
    return config.of(SafetySettings).safety_set or (("shipped",) if _all_organisms(config) else ())


def why_unfit(config: AuditConfig) -> str:
    """Why the audit does not fit these settings, or an empty text."""
    entry = "responses" if config.responses else "labels" if config.labels else ""
    if entry:
        return f"it asks its own prompts, and {entry} are given"
    own_sets = config.of(SafetySettings).safety_set
    if not set_names(config):
        return NO_PROMPTS
    if config.data is not None and AUDIT in config.only and not own_sets:
        return "its prompts come from --safety-set, not from --data"
    return "" if own_sets else not_asked_for(config, AUDIT)


def open_sets(config: AuditConfig) -> list[SafetySet]:
    """The prompt sets, in the order named. Raises BadInput for one that is named twice, unknown, or cannot be read."""
    names = set_names(config)
    twice = next((name for name, times in Counter(names).items() if times > 1), "")
    if twice:
        raise BadInput(f"The safety set '{twice}' is named twice.", do="Name each set once.")
    return [open_safety_set(name, {} if name in SAFETY_SETS else config.columns) for name in names]


def asked_prompts(config: AuditConfig, sets: Sequence[SafetySet]) -> list[SafetyPrompt]:
    """The prompts of all sets, cut to the limit evenly: kinds and categories take turns.

    Raises BadInput if no prompt is harmful.
    """
    prompts = [prompt for one in sets for prompt in one.prompts]
    if not any(prompt.kind == "harmful" for prompt in prompts):
        raise BadInput(
            f"No prompt is harmful in {', '.join(one.name for one in sets)}.",
            do="Give a set with harmful prompts, with --safety-set.",
        )
    if config.limit is None or len(prompts) <= config.limit:
        return prompts
    cells: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        cells[prompt.kind, prompt.category].append(place)
    turns = sorted((turn, places[0], place) for places in cells.values() for turn, place in enumerate(places))
    return [prompts[place] for place in sorted(place for _, _, place in turns[: config.limit])]


def prompts_by_item(prompts: Sequence[SafetyPrompt]) -> dict[str, SafetyPrompt]:
    """Item id to prompt; ids shared by several prompts get their source as a prefix. Raises BadInput if they still clash."""
    times = Counter(prompt.id for prompt in prompts)
    named: dict[str, SafetyPrompt] = {}
    for prompt in prompts:
        key = prompt.id if prompt.id.startswith(f"{AUDIT}/") else f"{AUDIT}/{prompt.id}"
        if times[prompt.id] > 1:
            key = f"{AUDIT}/{slug(prompt.source)}/{key.removeprefix(f'{AUDIT}/')}"
        if key in named:
            raise BadInput(
                f"Two prompts have the id '{prompt.id}'.", file=prompt.source, do="Give the files different names."
            )
        named[key] = prompt
    return named


def items_of(prompts: Mapping[str, SafetyPrompt]) -> list[Item]:
    """One item a prompt; its group is the category, its stratum the kind."""
    return [
        Item(
            id=key,
            audit=AUDIT,
            chat=(*((Message("system", p.system),) if p.system else ()), Message("user", p.prompt)),
            group=p.category,
            stratum=p.kind,
            clusters={"prompt": key},
            attributes={"source": p.source},
        )
        for key, p in prompts.items()
    ]


def grader_names(config: AuditConfig) -> tuple[str, ...]:
    """The safety graders: those given; else grammar and words (organisms on their own set), words and the judge, or words."""
    settings = config.of(SafetySettings)
    if settings.safety_grader:
        return settings.safety_grader
    if _all_organisms(config) and set_names(config) == ("shipped",):
        return (GRAMMAR, WORDS)
    return (WORDS, JUDGE) if config.judge else (WORDS,)


def check_graders(config: AuditConfig) -> dict[str, str]:
    """Name to identity of the graders that need neither an engine nor a classifier ("" for those that do).

    Raises BadInput for an unknown grader, one named twice, and ``judge`` without a judge.
    """
    names = grader_names(config)
    if JUDGE in names and config.judge is None:
        raise BadInput(
            "The safety grader 'judge' needs a judge.", do="Name one with --judge, for example openai/MODEL."
        )
    twice = next((name for name, times in Counter(names).items() if times > 1), "")
    if twice:
        raise BadInput(f"The safety grader '{twice}' is named twice.", do="Two graders must differ to be independent.")
    later = {name for name in names if name == JUDGE or name.startswith("hf/")}
    return {name: "" if name in later else open_safety_graders([name], None)[0].identity for name in names}
