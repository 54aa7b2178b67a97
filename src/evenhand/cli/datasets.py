"""`evenhand datasets list` and `show`: the registered prompt sets and their content."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evenhand.console import screens
from evenhand.console.commands import group


def add_commands(app: typer.Typer) -> None:
    """Add `evenhand datasets list` and `show`."""
    datasets = group(app, "datasets")
    datasets.command("list")(list_datasets)
    datasets.command("show")(show_dataset)


def list_datasets() -> None:
    """List the registered prompt sets."""
    from evenhand.registry import DATASETS

    screens.print_table(["dataset", "what it is"], [[entry.name, entry.summary] for entry in DATASETS])


def show_dataset(
    name: Annotated[str, typer.Argument(help="A name from `evenhand datasets list`.")],
    folder: Annotated[Path | None, typer.Option(help="Where its files are (public sets are not shipped).")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Items to show.")] = 5,
) -> None:
    """Show a prompt set: licence, source, counts, groups and its first items."""
    from collections import Counter

    from evenhand.datasets.base import open_dataset

    dataset = open_dataset(name, folder)
    items = dataset.items()
    facts = [
        ["what it is", dataset.description],
        ["licence", dataset.licence],
        ["source", dataset.source],
        *[[what, f"{count:,}"] for what, count in dataset.counts().items()],
        ["reference group", dataset.reference_group or "none"],
    ]
    screens.print_table([dataset.name, ""], facts)
    typer.echo()
    groups = Counter(item.group for item in items)
    screens.print_table(["group", "items"], [[group, f"{count:,}"] for group, count in groups.items()])
    if limit:
        typer.echo()
        shown = [[item.id, item.group, item.chat[-1].content] for item in items[:limit]]
        screens.print_table(["item", "group", "prompt"], shown)
