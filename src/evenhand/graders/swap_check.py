"""The judge-swap check: exchange names between groups and judge again; the label of a masked text must not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evenhand.graders.base import Gradable, Grader
from evenhand.graders.masking import replace_name
from evenhand.records import Label


@dataclass(frozen=True, slots=True)
class Swap:
    """One response judged under two names: its own, and one of another group."""

    config: str
    item_id: str
    repetition: int
    group: str
    other_group: str
    other_name: str
    label: Label | None
    other_label: Label | None

    @property
    def changed(self) -> bool:
        """Whether the label changed (a judgement that goes missing counts as a change)."""
        return self.label != self.other_label


@dataclass(frozen=True, slots=True)
class SwapReport:
    """All swaps, and the number of rows that could not be swapped (no name, or only one group)."""

    swaps: tuple[Swap, ...]
    skipped: int

    @property
    def changed(self) -> int:
        """How many labels changed; 0 is the only good number for a masked judge."""
        return sum(swap.changed for swap in self.swaps)

    @property
    def share_changed(self) -> float | None:
        """Share of swapped responses whose label changed; None if nothing was swapped."""
        return self.changed / len(self.swaps) if self.swaps else None


def swap_check(grader: Grader, rows: Sequence[Gradable], *, n: int = 200, seed: int = 0) -> SwapReport:
    """Judge up to ``n`` responses again under a name drawn from another group.

    The name is exchanged in prompt and response on whole words. A masked judge sees the same text twice, so a change
    shows a leak of the name past the mask, or a judge whose own answers vary.
    """
    rng = np.random.default_rng(seed)
    named = sorted((row for row in rows if row.item.clusters.get("name")), key=_key)
    pool = sorted({(row.item.group, row.item.clusters["name"]) for row in named})
    others = {group: [entry for entry in pool if entry[0] != group] for group, _ in pool}
    able = [row for row in named if others[row.item.group]]
    chosen = [able[i] for i in sorted(rng.choice(len(able), size=min(n, len(able)), replace=False))] if able else []
    partners = [others[row.item.group][int(rng.integers(len(others[row.item.group])))] for row in chosen]
    swapped = [swap_name(row, name) for row, (_, name) in zip(chosen, partners, strict=True)]
    before, after = grader.judge(chosen) if chosen else [], grader.judge(swapped) if swapped else []
    return SwapReport(
        tuple(
            Swap(
                row.response.config,
                row.response.item_id,
                row.response.repetition,
                row.item.group,
                group,
                name,
                one.label,
                two.label,
            )
            for row, (group, name), one, two in zip(chosen, partners, before, after, strict=True)
        ),
        skipped=len(rows) - len(able),
    )


def swap_name(row: Gradable, name: str) -> Gradable:
    """The same row with ``name`` in place of its own name, in chat, response and cluster."""
    own = row.item.clusters["name"]
    chat = tuple(replace(m, content=replace_name(m.content, own, name)) for m in row.item.chat)
    item = replace(row.item, chat=chat, clusters={**row.item.clusters, "name": name})
    text = replace_name(row.text, own, name)
    return Gradable(item, replace(row.response, text=text), text)


def _key(row: Gradable) -> tuple[str, str, int]:
    return (row.response.config, row.response.item_id, row.response.repetition)
