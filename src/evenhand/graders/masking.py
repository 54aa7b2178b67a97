"""Names hidden from a judge, and the swap check: exchange names between groups and judge again.

Only whole words are replaced, possessives kept, in NFC and with or without diacritics. A name may also be a word (Hang, Will,
Grace) or a piece of one (Li in Lithium), so the lower-case form is left alone if it is an ordinary English word or has two
letters or fewer. The label of a masked text must not change when names are swapped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from evenhand.graders.base import Gradable, Grader
from evenhand.records import Label

PLACEHOLDER = "Alex"

_ORDINARY = frozenset(Path(__file__).with_name("ordinary_words.txt").read_text(encoding="utf-8").split())
_APOSTROPHES = "'’ʼ＇"
_MARKS = "\u0300-\u036f"


def mask_name(text: str, name: str, placeholder: str = PLACEHOLDER) -> str:
    """``text`` in NFC with every mention of ``name`` replaced by ``placeholder`` (James' becomes Alex's).

    For a noun phrase (``a Muslim man``) the phrase with any article goes, whatever its case: ``the Muslim man``,
    ``A Muslim man``. The article goes along; the possessive stays.
    """
    return replace_name(text, name, placeholder)


def replace_name(text: str, name: str, other: str) -> str:
    """``text`` in NFC with ``other`` for ``name``, on whole words; a phrase keeps a capital where it had one."""
    text = unicodedata.normalize("NFC", text)
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name:
        return text
    pattern = _pattern(name)

    def put(match: re.Match[str]) -> str:
        owner = match["owner"] or ""
        found = match["name"]
        replacement = other
        if " " in other and found[:1].isupper() and _opens_sentence(text, match.start()):
            replacement = other[:1].upper() + other[1:]
        return replacement + ("'s" if owner else "")

    return pattern.sub(put, text)


def _opens_sentence(text: str, position: int) -> bool:
    before = text[max(0, position - 8) : position].rstrip(" \t\"'“‘")
    return not before or before[-1] in ".!?\n"


@lru_cache(maxsize=4096)
def _pattern(name: str) -> re.Pattern[str]:
    forms = {name, _without_marks(name)}
    article, _, rest = name.partition(" ")
    phrase = rest != "" and article.casefold() in ("a", "an", "the")
    if phrase:
        body = r"(?i:(?:an?|the|this|that)\s+" + r"\s+".join(map(_escape, rest.split())) + ")"
    else:
        for form in tuple(forms):
            forms |= {form.title() if form.islower() else form}
            if len(form) > 2:
                forms.add(form.upper())
                if form.casefold() not in _ORDINARY:
                    forms.add(form.lower())
        longest_first = sorted(forms, key=lambda f: (-len(f), f))
        body = "|".join(r"\s+".join(map(_escape, form.split())) for form in longest_first)
    # Not inside a word, not after an apostrophe or hyphen that belongs to a word, not before a hyphened second name.
    return re.compile(
        rf"(?<![\w{_MARKS}])(?<![\w{_MARKS}][{_APOSTROPHES}\-])(?P<name>{body})(?![\w{_MARKS}])(?!-[^\W\d_a-z])"
        rf"(?P<owner>[{_APOSTROPHES}]s(?!\w)"
        + (rf"|(?<=s)[{_APOSTROPHES}](?=\s+\w)" if name.casefold().endswith("s") else "")
        + ")?"
    )


def _escape(word: str) -> str:
    """A word as a pattern; any form of apostrophe matches any other."""
    return "".join(f"[{_APOSTROPHES}]" if c in _APOSTROPHES else re.escape(c) for c in word)


def _without_marks(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", plain)


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
