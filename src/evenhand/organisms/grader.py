"""Exact labels for the organisms: a response is looked up in the grammar that the organism was trained on.

The grammar lists every response to a (name, stem) prompt with its one label, so a text it holds is labelled without
error. Any other text, as every text of a real model, gets no label (``out_of_grammar``).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

from evenhand.errors import BadInput
from evenhand.graders.base import Gradable, Verdict
from evenhand.records import LABELS, Item, Label

DO = "Use it on the shipped set names-and-stems only; for other prompts choose the rubric grader or give human labels."


@cache
def _prompts() -> Mapping[str, tuple[str, str]]:
    """The user turn of every shipped prompt, and the (name, stem id) it was built from."""
    from evenhand.organisms.planted import names, stems

    return {s.text.replace("[NAME]", n.name): (n.name, s.stem_id) for n in names() for s in stems()}


@cache
def _responses(name: str, stem_id: str) -> Mapping[str, Label]:
    """The responses that the grammar holds for a prompt, with their labels (the same in every model of the family)."""
    from evenhand.organisms.planted import names, stems
    from evenhand.organisms.sections.service import outcomes_of

    by_name, by_stem = {n.name: n for n in names()}, {s.stem_id: s for s in stems()}
    known: dict[str, Label] = {label: label for label in LABELS}
    return {o.text: known[o.label] for o in outcomes_of("aligned", by_name[name], by_stem[stem_id])}


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _key(item: Item) -> tuple[str, str]:
    """The (name, stem id) of a shipped prompt, read from the user turn and checked against the item's clusters."""
    user = next((m.content for m in reversed(item.chat) if m.role == "user"), "")
    found = _prompts().get(_normal(user))
    if found is None:
        raise BadInput(
            f"The grammar grader knows no responses to item '{item.id}': {user[:80]!r} is not shipped.", do=DO
        )
    for cluster, value in zip(("name", "stem"), found, strict=True):
        given = item.clusters.get(cluster)
        if given is not None and _normal(given) != value:
            raise BadInput(
                f"Item '{item.id}' has {cluster} '{given}', but its prompt is the shipped one of {cluster} '{value}'.",
                do=DO,
            )
    return found


class GrammarGrader:
    """Labels by look-up in the organisms' grammar; exact by construction, for organisms alone."""

    name = "grammar"
    labels: frozenset[Label] = frozenset(LABELS)
    calibrated = True

    @property
    def identity(self) -> str:
        """A digest of every prompt, response and label."""
        return _identity()

    def judge(self, rows: Sequence[Gradable]) -> list[Verdict]:
        """One verdict per row.

        A response cut off by the token limit gets a label where every response of the grammar that starts like it has
        that label. Raises BadInput for an item that is not one of the shipped name-and-stem prompts.
        """
        return [self._judge(row) for row in rows]

    def _judge(self, row: Gradable) -> Verdict:
        responses = _responses(*_key(row.item))
        text = _normal(row.text)
        label = responses.get(text)
        if label is not None:
            return Verdict(label, evidence="in the grammar")
        if text and row.response.finish_reason == "length":
            labels = sorted({label for full, label in responses.items() if full.startswith(text)})
            if len(labels) == 1:
                return Verdict(labels[0], evidence="cut off; every response that starts so has this label")
            if labels:
                return Verdict(None, evidence=f"cut off; may be {' or '.join(labels)}", missing="out_of_grammar")
        return Verdict(None, missing="out_of_grammar")


@cache
def _identity() -> str:
    from xxhash import xxh128

    digest = xxh128()
    for prompt, key in sorted(_prompts().items()):
        for text, label in _responses(*key).items():
            digest.update("\x1f".join((prompt, text, label, "\x1e")).encode())
    return digest.hexdigest()
