"""`evenhand organism`: the tiny models that come with Evenhand, and what is planted in them."""

from __future__ import annotations

from typing import Annotated

import typer

from evenhand.cli import screens
from evenhand.wording import ORGANISM_NOTICE

__all__ = ["app"]

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
    by: Annotated[str, typer.Option(help="group, name or stem_id.")] = "group",
) -> None:
    """Show the exact probability of each outcome, computed from the shipped weights, beside the intended decline rate."""
    import polars as pl

    from evenhand.errors import BadInput
    from evenhand.organisms.truth import load_truth

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
