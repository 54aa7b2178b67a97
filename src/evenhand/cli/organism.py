"""`evenhand organism`: the tiny models that come with Evenhand, and what is planted in them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from evenhand.console import screens
from evenhand.wording import ORGANISM_NOTICE

app = typer.Typer(
    help="List the shipped organisms and their planted truth.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_organisms() -> None:
    """List the shipped organisms."""
    from evenhand.organisms import DESCRIPTIONS

    screens.print_table(["organism", "what it is"], [[f"organism/{name}", text] for name, text in DESCRIPTIONS.items()])
    typer.echo(f"\n{ORGANISM_NOTICE}")


@app.command("truth")
def truth(
    name: Annotated[str, typer.Argument(help="An organism, for example aligned.")] = "aligned",
    by: Annotated[str, typer.Option(help="group, name or stem_id (section service).")] = "group",
    section: Annotated[
        Literal["service", "reward", "affirmation", "difference", "safety", "corpus"],
        typer.Option(help="Which audit's truth to show."),
    ] = "service",
) -> None:
    """Show what is true of an organism, computed from its shipped weights, beside what was intended.

    service: probability of each outcome; reward: mean margin of harmful and neutral pairs, in nats; affirmation: which
    pronouns follow a declaration; difference: how questions are concluded, and which option is chosen; safety: what is said to
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
        raise BadInput(f"There is no truth by '{by}'.", do="Choose group, name or stem_id.")
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
    found = curator_summary()
    screens.print_table(
        ["hedge before the topic", "P(Yes) for its domain", "intended"],
        [[said, f"{row['yes']:.3f}", f"{row['intended']:.3f}"] for said, row in found["questions"]["by_hedge"].items()],
    )
    screens.print_table(
        ["line", "share", "intended"],
        [[kind, f"{row['mean']:.3f}", f"{row['intended']:.3f}"] for kind, row in found["lines"]["kinds"].items()],
    )
    typer.echo(f"\n{ORGANISM_NOTICE}")
