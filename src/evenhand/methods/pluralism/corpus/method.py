"""Prompt corpus: the declaration of the method."""

from __future__ import annotations

from evenhand.registry import Method

METHOD = Method(
    name="corpus",
    title="Prompt corpus",
    summary="a demographic safety prompt set: classified, extended, without near-duplicates",
    paper="pluralism",
    rows="prompts",
    commands="evenhand.methods.pluralism.corpus.commands:add_commands",
    order=120,
)
