"""Which pairs a reward audit scores: shipped sets, WinoQueer, or a file of your own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from evenhand.config import AuditConfig
from evenhand.errors import BadInput
from evenhand.methods.reward.margins.config import RewardSettings
from evenhand.methods.reward.margins.data.shipped_pairs import pair_files, shipped_pairs
from evenhand.records import Pair
from evenhand.registry import PAIR_SETS


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs, where they come from (for the manifest), and what a reader should know of them."""

    pairs: list[Pair]
    source: dict[str, Any]
    notes: tuple[str, ...] = ()


def identity() -> PairSet:
    """The shipped pairs about gender-diverse people."""
    return PairSet(shipped_pairs("identity"), {"shipped": pair_files()})


def binary() -> PairSet:
    """The shipped pairs about women and men."""
    return PairSet(shipped_pairs("binary"), {"shipped": pair_files()})


def _winoqueer(subset: Literal["all", "strict", "broad"]) -> PairSet:
    from evenhand.methods.reward.margins.data.winoqueer import WinoQueer

    data = WinoQueer()
    pairs = data.pairs(subset)
    files = {name: file.checksum for name, file in data.sources.used.items()}
    return PairSet(pairs, {"winoqueer": files, "subset": subset}, tuple(data.notes))


def winoqueer() -> PairSet:
    """All of WinoQueer."""
    return _winoqueer("all")


def winoqueer_strict() -> PairSet:
    """WinoQueer: Transgender and NB against Cisgender and Cis."""
    return _winoqueer("strict")


def winoqueer_broad() -> PairSet:
    """WinoQueer: every pair against Cisgender or Cis."""
    return _winoqueer("broad")


def open_pairs(config: AuditConfig) -> PairSet:
    """The pairs that the settings ask for. Raises BadInput for a set or file that cannot be used."""
    if config.data is not None:
        from evenhand.methods.reward.margins.data.pairs import read_pairs

        table = read_pairs(config.data, config.columns)
        return PairSet(list(table.pairs), {"file": table.origin}, table.notes)
    names = list(dict.fromkeys(config.of(RewardSettings).pair_set))
    subsets = [name for name in names if name.startswith("winoqueer")]
    if len(subsets) > 1:
        raise BadInput(
            f"{' and '.join(subsets)} hold the same pairs.",
            do="Name one: findings of the whole set include its subsets.",
        )
    found = [PAIR_SETS.get(name)() for name in names]
    pairs = [pair for part in found for pair in part.pairs]
    if config.limit is not None:
        pairs = _limited(pairs, config.limit)
    return PairSet(
        pairs,
        {name: part.source for name, part in zip(names, found, strict=True)},
        tuple(note for part in found for note in part.notes),
    )


def _limited(pairs: list[Pair], limit: int) -> list[Pair]:
    """Whole clusters until the limit is reached, the groups in turn."""
    by_cluster: dict[tuple[str, str, str], list[Pair]] = {}
    for pair in pairs:
        by_cluster.setdefault((pair.pair_set, pair.group, pair.cluster), []).append(pair)
    turn: Counter[tuple[str, str]] = Counter()
    ranked = []
    for (pair_set, group, _), part in by_cluster.items():
        ranked.append((turn[pair_set, group], part))
        turn[pair_set, group] += 1
    kept: list[Pair] = []
    for _, part in sorted(ranked, key=lambda entry: entry[0]):
        if kept and len(kept) + len(part) > limit:
            break
        kept += part
    return kept
