"""`evenhand list`: what is registered."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from evenhand.console import screens

Kind = Literal[
    "methods", "audits", "engines", "datasets", "pair-sets", "pronoun-sets", "difference-sets", "transfer-sets",
    "safety-sets", "rating-sets", "human-ratings", "graders", "classifiers",
]  # fmt: skip


def list_registered(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what is registered of one kind, plug-ins included."""
    from evenhand import registry

    if kind in ("methods", "audits"):
        listed = registry.audits() if kind == "audits" else registry.METHODS
        rows = [[method.name, method.summary] for method in listed]
    else:
        rows = [[entry.name, entry.summary] for entry in registry.KINDS[kind]]
    screens.print_table([kind.removesuffix("s"), "what it is"], rows)
