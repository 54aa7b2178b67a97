"""Where the affirmation audit begins: prompts and blanks, models with their references, and how text is drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from evenhand.config import AuditConfig
from evenhand.engines.base import Sampling
from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.config import AffirmationSettings
from evenhand.methods.reward.pronouns.graders.pronoun import PronounFamily, PronounGrader

if TYPE_CHECKING:
    from evenhand.methods.reward.pronouns.data.sets import AffirmationSet


AUDIT = "affirmation"
PLAIN, CHAT = "plain", "chat"
KINDS = ("binary", "they", "neo")
MAX_TOKENS = 50
"""New tokens where the settings name none: the first pronoun is all that is read (implicit_reward section 7.1, a default)."""

_Row = TypeVar("_Row")


def sampling_of(config: AuditConfig) -> Sampling:
    """How continuations are drawn: the run's settings, with 50 new tokens unless ``max_tokens`` is named. Chosen defaults."""
    named = "max_tokens" in config.model_fields_set
    return Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens if named else MAX_TOKENS,
        stop=config.stop,
        seed=config.seed,
    )


def formats_of(config: AuditConfig) -> tuple[str, ...]:
    """Plain text, and as a second condition the models' chat format where the settings ask for it."""
    return tuple(config.of(AffirmationSettings).affirmation_format)


@dataclass(frozen=True, slots=True)
class Group:
    """Pronoun families that are counted together: one family, all of a kind, or all."""

    name: str | None
    level: Literal["family", "kind", "all"]
    members: tuple[str, ...]

    @property
    def part(self) -> dict[str, str]:
        """What marks its findings as more than those of one family."""
        return {} if self.level == "family" else {"level": self.level}


def groups_of(families: Iterable[PronounFamily]) -> list[Group]:
    """Each family, each kind that has one, and all of them."""
    known = list(families)
    kinds = [(kind, tuple(family.name for family in known if family.kind == kind)) for kind in KINDS]
    return [
        *(Group(family.name, "family", (family.name,)) for family in known),
        *(Group(kind, "kind", members) for kind, members in kinds if members),
        Group(None, "all", tuple(family.name for family in known)),
    ]


def open_set(config: AuditConfig) -> AffirmationSet:
    """The prompts and blanks that the settings name, cut to the limit. Raises BadInput for what cannot be used."""
    from evenhand.methods.reward.pronouns.data.sets import open_affirmation

    found = open_affirmation(config)
    grader_of(found)
    lacking = next((item for item in found.prompts if "template" not in item.clusters), None)
    if lacking is not None:
        raise BadInput(f"The prompt '{lacking.id}' names no template, the unit of inference.")
    for blank in found.blanks:
        unknown = [name for name in (blank.declared, *blank.options) if name not in found.families]
        if unknown:
            raise BadInput(f"The blank '{blank.id}' names the pronoun set '{unknown[0]}', which is not known.")
        if blank.declared not in blank.options or len(blank.options) < 2:
            raise BadInput(f"The blank '{blank.id}' does not offer its declared pronouns beside others.")
    if not found.prompts and not found.blanks:
        raise BadInput("The affirmation set holds neither prompts nor blanks.")
    return replace(
        found,
        prompts=_whole_blocks(
            found.prompts, lambda item: (item.clusters["template"], item.clusters.get("antecedent", "")), config.limit
        ),
        blanks=_whole_blocks(
            found.blanks, lambda blank: (f"{blank.form}/{blank.template_id}", blank.name), config.limit
        ),
    )


def grader_of(found: AffirmationSet) -> PronounGrader:
    """The grader of the prompts, over the families that they declare. Raises BadInput for shared forms or unknown families."""
    declared = {item.group for item in found.prompts}
    grader = PronounGrader({name: family for name, family in found.families.items() if name in declared})
    grader.check(found.prompts)
    return grader


def _whole_blocks(rows: Sequence[_Row], block_of: Callable[[_Row], tuple[str, str]], limit: int | None) -> list[_Row]:
    """At most ``limit`` rows (at least one block) in whole blocks of (template, person), so that families stay comparable.

    Blocks are taken in turn from every template.
    """
    if limit is None or len(rows) <= limit:
        return list(rows)
    blocks: defaultdict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in rows:
        blocks[block_of(row)].append(row)
    turns: defaultdict[str, int] = defaultdict(int)
    ranked: list[tuple[int, int, tuple[str, str]]] = []
    for key in blocks:
        ranked.append((turns[key[0]], len(ranked), key))
        turns[key[0]] += 1
    kept: set[tuple[str, str]] = set()
    count = 0
    for _, _, key in sorted(ranked):
        if kept and count + len(blocks[key]) > limit:
            break
        kept.add(key)
        count += len(blocks[key])
    return [row for row in rows if block_of(row) in kept]
