"""`evenhand list`: what is registered."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from evenhand.console import screens


def list_registered(
    kind: Annotated[
        Literal["audits", "graders", "engines", "datasets", "pair-sets", "classifiers"],
        typer.Argument(help="What to list."),
    ],
) -> None:
    """List the registered audits, graders, engines, datasets, pair sets or classifiers, plug-ins included."""
    from evenhand import registry

    entries = getattr(registry, kind.upper().replace("-", "_"))
    screens.print_table([kind[:-1], "what it is"], [[entry.name, entry.summary] for entry in entries])
