"""`evenhand corpus build` and `evenhand corpus sweep`: a prompt set by domain, and what other thresholds would keep."""

from __future__ import annotations

import json as json_text
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.cli import screens
from evenhand.cli.options import with_model_options
from evenhand.methods.pluralism.corpus.build_config import BuildConfig
from evenhand.methods.pluralism.corpus.sweep_config import SweepConfig

if TYPE_CHECKING:
    from evenhand.methods.pluralism.corpus.build import Built


@with_model_options(BuildConfig, without=("items", "classifier", "generator"))
def build(
    settings: dict[str, Any],
    items: Annotated[str, typer.Argument(help=str(BuildConfig.model_fields["items"].description))],
    classifier: Annotated[str, typer.Option(help=str(BuildConfig.model_fields["classifier"].description))],
    generator: Annotated[str, typer.Option(help=str(BuildConfig.model_fields["generator"].description))],
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/TIME-corpus).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted build (--out).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the data card as JSON.")] = False,
) -> None:
    """Sort prompts into 14 harm domains, write more for thin ones, remove near-duplicates, split, and write a data card."""
    from evenhand.cli.boundary import after_run
    from evenhand.cli.running import cache_path, resumable, run_folder
    from evenhand.config import checked
    from evenhand.methods.pluralism.corpus.build import run_build

    chosen = checked(BuildConfig, items=items, classifier=classifier, generator=generator, **settings)
    folder = run_folder(out, "corpus", resume=resume)
    began = time.monotonic()
    with resumable(folder, named=out is not None) as progress:
        built = run_build(chosen, folder, resume=resume, cache=cache_path(), progress=progress)
    with after_run(folder, wanted=json, report=False):
        if json:
            sys.stdout.write(json_text.dumps(built.facts, indent=1, ensure_ascii=True) + "\n")
        else:
            _print_built(built, time.monotonic() - began)


def _print_built(built: Built, seconds: float) -> None:
    from evenhand.wording import count

    facts = built.facts
    shown = [row for row in facts["domains"] if row["rows"]]
    screens.print_table(
        ["domain", "real", "synthetic", "rows"],
        [[row["domain"], *(count(row[key]) for key in ("real", "synthetic", "rows"))] for row in shown]
        + [["all", *(count(facts["rows"][key]) for key in ("real", "synthetic", "final"))]],
    )
    out_of = screens.console()
    for row in facts["expansion"]:
        if row["still_lacks"]:
            tried = f"{row['domain']}: {row['accepted']} of {row['lacked']} rows after {row['attempts']} attempts."
            out_of.print(f"Note: {tried}", soft_wrap=True)
    if facts["rows"]["unlabelled"]:
        out_of.print(f"Note: {count(facts['rows']['unlabelled'])} texts got no label and are left out; see review.csv.")
    for sentence in (*facts["warnings"], *facts["organism"]):
        out_of.print(f"Note: {sentence}", soft_wrap=True)
    typer.echo(f"\n{seconds:.1f} s. Data card: {built.folder / 'card.md'}")


@with_model_options(SweepConfig)
def sweep(
    settings: dict[str, Any],
    folder: Annotated[Path, typer.Argument(help="Run folder of a finished build.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for sweep.csv, sweep.json and sweep.html (default: FOLDER/sweep).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Rows, domains, ICC and DS over a grid of thresholds, from what a build has stored; no model is asked."""
    from evenhand.config import checked
    from evenhand.methods.pluralism.corpus.page import write_sweep_page
    from evenhand.methods.pluralism.corpus.sweep import run_sweep, sweep_frame, write_sweep
    from evenhand.wording import count, number

    config = checked(SweepConfig, **settings)
    with screens.progress_bars() as progress:
        result = run_sweep(folder, config, progress=progress)
    target = out or folder / "sweep"
    write_sweep(result, target)
    page = write_sweep_page(folder, result, target / "sweep.html")
    if json:
        sys.stdout.write(json_text.dumps(sweep_frame(result).to_dicts(), indent=1) + "\n")
        return
    measured = any(cell.agreement for cell in result.cells)
    screens.print_table(
        ["delta", "tau", "rows", "with a domain", *(["ICC(2,1)"] if measured else []), ""],
        [
            [
                number(cell.delta), str(cell.tau), count(cell.rows), count(cell.with_domain),
                *([number(cell.agreement.single.value)] if cell.agreement else []),
                "published point" if cell.published else "as built" if cell.built else "",
            ]
            for cell in result.cells
        ],
    )  # fmt: skip
    for note in result.notes:
        screens.console().print(f"Note: {note}", soft_wrap=True)
    typer.echo(f"\nTable and figure data: {target}; page: {page}")
