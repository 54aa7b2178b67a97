"""`evenhand list`, `datasets` and `organism`: what is registered, and what is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evenhand.console import screens
from evenhand.console.commands import group
from evenhand.wording import ORGANISM_NOTICE

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


def add_datasets(app: typer.Typer) -> None:
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


def add_organism(app: typer.Typer) -> None:
    """Add `evenhand organism list` and `truth`."""
    organism = group(app, "organism", "List the shipped organisms and their planted truth.")
    organism.command("list")(list_organisms)
    organism.command("truth")(truth)


def list_organisms() -> None:
    """List the shipped organisms."""
    from evenhand.organisms import DESCRIPTIONS

    screens.print_table(["organism", "what it is"], [[f"organism/{name}", text] for name, text in DESCRIPTIONS.items()])
    typer.echo(f"\n{ORGANISM_NOTICE}")


def truth(
    name: Annotated[str, typer.Argument(help="An organism, for example aligned.")] = "aligned",
    by: Annotated[str, typer.Option(help="group, name or stem_id (section service).")] = "group",
    section: Annotated[
        Literal["service", "reward", "affirmation", "difference", "safety", "corpus"],
        typer.Option(help="Which audit's truth to show."),
    ] = "service",
) -> None:
    """Show what is true of an organism, computed from its shipped weights, alongside what was intended.

    service: probability of each outcome; reward: mean margin of harmful and neutral pairs, in nats; affirmation: which
    pronouns follow a declaration; difference: how questions are concluded, and which option is chosen; safety: responses to
    harmful, borderline and benign requests; corpus (curator alone): how surely it sorts lines, and which faults it writes.
    """
    import polars as pl

    from evenhand.errors import BadInput
    from evenhand.organisms.truth import load_truth

    if section == "corpus":
        _print_corpus_truth(name.removeprefix("organism/"))
        return
    if section != "service":
        _print_text_truth(name.removeprefix("organism/"), section)
        return
    rows = load_truth(name.removeprefix("organism/"))
    if by not in ("group", "name", "stem_id"):
        raise BadInput(f"Truth cannot be listed by '{by}'.", do="Choose group, name or stem_id.")
    shown = ["refusal", "harmful refusal", "harmful answer", "answer", "partial answer", "failure"]
    table = (
        rows.with_columns(declined=pl.col("refusal") + pl.col("harmful refusal"))
        .group_by(by)
        .agg(pl.col("declined", "intended_declined", *shown, "residual").mean())
        .sort("declined")
    )
    screens.print_table(
        [by, "declined", "intended", *shown, "unaccounted"],
        [[row[0], *(f"{value:.3f}" for value in row[1:])] for row in table.iter_rows()],
    )
    typer.echo(f"\n{ORGANISM_NOTICE}")


def _print_text_truth(name: str, section: str) -> None:
    """Means over frames and predicates, or over names and sentences."""
    import polars as pl

    from evenhand.organisms.truth import margin_truth, pronoun_truth

    if section == "reward":
        rows = margin_truth(name).group_by("pair_set", "group", "kind", maintain_order=True)
        table = rows.agg(pl.col("margin", "intended").mean())
        shown = [[*row[:3], f"{row[3]:+.3f}", f"{row[4]:+.3f}"] for row in table.iter_rows()]
        screens.print_table(["pair set", "group", "kind", "margin, nats", "intended"], shown)
    elif section == "difference":
        from evenhand.organisms.truth import case_truth

        answers = case_truth(name).group_by("form", "gold", "label", maintain_order=True)
        rates = answers.agg(pl.col("probability", "intended").mean())
        shown = [[*row[:3], f"{row[3]:.3f}", f"{row[4]:.3f}"] for row in rates.iter_rows()]
        screens.print_table(["form", "where", "answer", "probability", "intended"], shown)
    elif section == "safety":
        from evenhand.organisms.truth import safety_truth

        requests = safety_truth(name).group_by("kind", "category", "label", maintain_order=True)
        kinds = requests.agg(pl.col("probability", "intended").mean())
        shown = [[*row[:3], f"{row[3]:.3f}", f"{row[4]:.3f}"] for row in kinds.iter_rows()]
        screens.print_table(["request", "category", "response", "probability", "intended"], shown)
    else:
        families = pronoun_truth(name).group_by("family", maintain_order=True)
        means = families.agg(pl.col("consistent", "inconsistent", "none", "intended").mean())
        shown = [[row[0], *(f"{value:.3f}" for value in row[1:])] for row in means.iter_rows()]
        screens.print_table(["declared", "consistent", "inconsistent", "none", "intended consistent"], shown)
    typer.echo(f"\n{ORGANISM_NOTICE}")


def _print_corpus_truth(name: str) -> None:
    """Means over the shipped lines, and over the domains that a line is asked for."""
    from evenhand.errors import BadInput
    from evenhand.organisms.curator import curator_summary

    if name != "curator":
        raise BadInput(f"'{name}' neither sorts nor writes prompts.", do="Name the organism curator.")
    summary = curator_summary()
    screens.print_table(
        ["hedge before the topic", "P(Yes) for its domain", "intended"],
        [
            [hedge, f"{row['yes']:.3f}", f"{row['intended']:.3f}"]
            for hedge, row in summary["questions"]["by_hedge"].items()
        ],
    )
    screens.print_table(
        ["line", "share", "intended"],
        [[kind, f"{row['mean']:.3f}", f"{row['intended']:.3f}"] for kind, row in summary["lines"]["kinds"].items()],
    )
    typer.echo(f"\n{ORGANISM_NOTICE}")
