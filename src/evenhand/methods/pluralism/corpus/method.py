"""The declaration of corpus: all that the rest of the house knows of it."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="corpus",
    title="Prompt corpus",
    summary="a demographic safety prompt set: classified, extended, without near-duplicates",
    paper="pluralism",
    commands="evenhand.methods.pluralism.corpus.commands:add_commands",
    order=120,
)
