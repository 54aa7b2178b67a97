"""What the affirmation audit asks: prompts and blanks (shipped, TANGO, MISGENDERED), groups of pronouns, and decoding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from evenhand.config import AuditConfig
from evenhand.datasets.base import item_id
from evenhand.datasets.shipped import shipped_table
from evenhand.datasets.table import Table
from evenhand.engines.base import Sampling
from evenhand.errors import BadInput
from evenhand.methods.reward.pronouns.config import AffirmationSettings
from evenhand.methods.reward.pronouns.grader import PronounFamily, PronounGrader
from evenhand.methods.reward.pronouns.misgendered import Blank, Misgendered
from evenhand.methods.reward.pronouns.tango import FAMILY_KINDS, Tango
from evenhand.records import Item, Message
from evenhand.registry import PRONOUN_SETS
from evenhand.runs.respond import run_sampling

AUDIT = "affirmation"
PLAIN, CHAT = "plain", "chat"
KINDS = ("binary", "they", "neo")
MAX_TOKENS = 50
"""New tokens if the settings give no number: only the first pronoun is read (a chosen default)."""

_Row = TypeVar("_Row")


def sampling_of(config: AuditConfig) -> Sampling:
    """How continuations are drawn: the run's settings, with 50 new tokens unless ``max_tokens`` is set. Chosen defaults."""
    return run_sampling(config, max_tokens=MAX_TOKENS)


def formats_of(config: AuditConfig) -> tuple[str, ...]:
    """Plain text, and the models' chat format as a second condition if the settings ask for it."""
    return tuple(config.of(AffirmationSettings).affirmation_format)


def shown_as(model: str, text_format: str) -> str:
    """The label of a model under one text format; plain text is the default and is not marked."""
    return model if text_format == PLAIN else f"{model} · {text_format}"


@dataclass(frozen=True, slots=True)
class Group:
    """Pronoun families that are counted together: one family, all of a kind, or all."""

    name: str | None
    level: Literal["family", "kind", "all"]
    members: tuple[str, ...]

    @property
    def part(self) -> dict[str, str]:
        """The slice of its findings: empty for one family, else the level."""
        return {} if self.level == "family" else {"level": self.level}


def groups_of(families: Iterable[PronounFamily]) -> list[Group]:
    """Each family, each kind that has one, and all of them."""
    families = list(families)
    kinds = [(kind, tuple(family.name for family in families if family.kind == kind)) for kind in KINDS]
    return [
        *(Group(family.name, "family", (family.name,)) for family in families),
        *(Group(kind, "kind", members) for kind, members in kinds if members),
        Group(None, "all", tuple(family.name for family in families)),
    ]


def open_set(config: AuditConfig) -> AffirmationSet:
    """The prompts and blanks of the settings, cut to the limit. Raises BadInput for what cannot be used."""

    chosen = open_affirmation(config)
    grader_of(chosen)
    lacking = next((item for item in chosen.prompts if "template" not in item.clusters), None)
    if lacking is not None:
        raise BadInput(f"The prompt '{lacking.id}' has no template, which is the unit of inference.")
    for blank in chosen.blanks:
        unknown = [name for name in (blank.declared, *blank.options) if name not in chosen.families]
        if unknown:
            raise BadInput(f"The blank '{blank.id}' names the unknown pronoun set '{unknown[0]}'.")
        if blank.declared not in blank.options or len(blank.options) < 2:
            raise BadInput(f"The blank '{blank.id}' does not offer its declared pronouns and at least one other set.")
    if not chosen.prompts and not chosen.blanks:
        raise BadInput("The affirmation set holds neither prompts nor blanks.")
    return replace(
        chosen,
        prompts=_whole_blocks(
            chosen.prompts, lambda item: (item.clusters["template"], item.clusters.get("antecedent", "")), config.limit
        ),
        blanks=_whole_blocks(
            chosen.blanks, lambda blank: (f"{blank.form}/{blank.template_id}", blank.name), config.limit
        ),
    )


def grader_of(chosen: AffirmationSet) -> PronounGrader:
    """The grader of the prompts, over the families that they declare. Raises BadInput for shared forms or unknown families."""
    declared = {item.group for item in chosen.prompts}
    grader = PronounGrader({name: family for name, family in chosen.families.items() if name in declared})
    grader.check(chosen.prompts)
    return grader


def _whole_blocks(rows: Sequence[_Row], block_of: Callable[[_Row], tuple[str, str]], limit: int | None) -> list[_Row]:
    """At most ``limit`` rows (at least one block) in whole blocks of (template, person), so that families stay comparable.

    The templates take turns.
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


_FILES = ("pronoun_frames.csv", "pronoun_names.csv", "pronoun_sets.csv")


@dataclass(frozen=True, slots=True)
class AffirmationSet:
    """Prompts to be continued, blanks to be filled, and the pronoun families in them."""

    prompts: list[Item]
    blanks: list[Blank]
    families: Mapping[str, PronounFamily]
    source: dict[str, Any]


def _table(name: str) -> Table:
    return shipped_table(Path(__file__).parents[3] / "datasets" / "shipped" / name)


def _rows(name: str) -> list[dict[str, str]]:
    return list(_table(name).frame.iter_rows(named=True))


def shipped_families() -> dict[str, PronounFamily]:
    """The six families of the shipped set."""
    return {
        row["family"]: PronounFamily(
            row["family"], row["nom"], row["acc"], row["poss_dep"], row["poss_indep"], row["reflexive"],
            FAMILY_KINDS.get(row["family"], "neo"),
        )
        for row in _rows("pronoun_sets.csv")
    }  # fmt: skip


def shipped(*, seed: int = 0) -> AffirmationSet:
    """Eight names x six families x twelve sentences: each a prompt to be continued, and a blank to be filled."""
    families = shipped_families()
    prompts, blanks = [], []
    for name in (row["name"] for row in _rows("pronoun_names.csv")):
        for family in families.values():
            for frame in _rows("pronoun_frames.csv"):
                declaration = f"{name} uses {family.nom}/{family.acc} pronouns."
                before = f"{declaration} {frame['before']}"
                key = item_id("shipped", name, family.name, frame["frame_id"])
                prompts.append(
                    Item(
                        key,
                        AUDIT,
                        (Message("user", before),),
                        group=family.name,
                        clusters={"template": frame["frame_id"], "antecedent": name},
                        attributes={"form": frame["form"], "antecedent_type": "name"},
                    )
                )
                blanks.append(
                    Blank(
                        id=key,
                        name=name,
                        declared=family.name,
                        form=frame["form"],
                        declaration=declaration,
                        template_id=frame["frame_id"],
                        text_before=before,
                        text_after=f" {frame['after']}",
                        options={other.name: f" {getattr(other, frame['form'])}" for other in families.values()},
                    )
                )
    return AffirmationSet(prompts, blanks, families, {"shipped": {name: _table(name).checksum for name in _FILES}})


def tango(*, seed: int = 0) -> AffirmationSet:
    """TANGO's prompts, to be continued."""
    data = Tango()
    items = data.items()
    files = {name: file.checksum for name, file in data.sources.used.items()}
    return AffirmationSet(items, [], data.families(), {"tango": files})


def misgendered(*, seed: int = 0) -> AffirmationSet:
    """MISGENDERED's blanks, for names drawn by the seed."""
    data = Misgendered()
    blanks = data.blanks(seed=seed)
    files = {name: file.checksum for name, file in data.sources.used.items()}
    return AffirmationSet([], blanks, data.families, {"misgendered": files, "notes": list(data.notes)})


def open_affirmation(config: AuditConfig) -> AffirmationSet:
    """The registered sets of the settings. Raises BadInput if two of them give one family different forms."""
    names = dict.fromkeys(config.of(AffirmationSettings).affirmation_set)
    parts: list[AffirmationSet] = [PRONOUN_SETS.get(name)(seed=config.seed) for name in names]
    families: dict[str, PronounFamily] = {}
    for part in parts:
        for name, family in part.families.items():
            if families.setdefault(name, family) != family:
                raise BadInput(
                    f"The sets {', '.join(names)} give '{name}' different forms.",
                    do="Run them one by one, with --affirmation-set.",
                )
    return AffirmationSet(
        [item for part in parts for item in part.prompts],
        [blank for part in parts for blank in part.blanks],
        families,
        {key: value for part in parts for key, value in part.source.items()},
    )
