"""`evenhand corpus`: make a prompt set by domain, see what other thresholds would keep, and remove near-duplicates."""

from __future__ import annotations

import json as json_text
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.console import screens
from evenhand.console.commands import Job, group, run_command
from evenhand.console.options import with_model_options
from evenhand.methods.pluralism.corpus.config import BuildConfig, DedupConfig, SweepConfig

if TYPE_CHECKING:
    from evenhand.methods.pluralism.corpus.build import Built
    from evenhand.methods.pluralism.corpus.hamming import Plan


def add_commands(app: typer.Typer) -> None:
    """Add `evenhand corpus build`, `sweep` and `dedup`."""
    corpus = group(app, "corpus")
    corpus.command("build")(build)
    corpus.command("sweep")(sweep)
    corpus.command("dedup")(dedup)


@run_command(BuildConfig, "corpus", without=("items", "classifier", "generator"), json="Print the data card as JSON.")
def build(
    settings: dict[str, Any],
    items: Annotated[str, typer.Argument(help=str(BuildConfig.model_fields["items"].description))],
    classifier: Annotated[str, typer.Option(help=str(BuildConfig.model_fields["classifier"].description))],
    generator: Annotated[str, typer.Option(help=str(BuildConfig.model_fields["generator"].description))],
) -> Job:
    """Sort prompts into 14 harm domains, write more for thin ones, remove near-duplicates, split, and write a data card."""
    from evenhand.config import checked
    from evenhand.methods.pluralism.corpus.build import run_build

    config = checked(BuildConfig, items=items, classifier=classifier, generator=generator, **settings)
    return Job(config, run_build, conclude=_print_built)


def _print_built(built: Built, seconds: float, json: bool) -> None:
    from evenhand.wording import count

    facts = built.facts
    if json:
        sys.stdout.write(json_text.dumps(facts, indent=1, ensure_ascii=True) + "\n")
        return
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
    from evenhand.methods.pluralism.corpus.sweep import run_sweep, sweep_frame, write_sweep
    from evenhand.methods.pluralism.corpus.sweep_page import write_sweep_page
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


@with_model_options(DedupConfig)
def dedup(
    settings: dict[str, Any],
    file: Annotated[Path, typer.Argument(help="Prompts: csv, tsv, jsonl, ndjson or parquet.")],
    out: Annotated[Path, typer.Option(help="New folder for the kept rows and the table of dropped ones.")],
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the search; the result does not depend on them.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Search with the workers of a Ray cluster: local (--threads of them here), auto, or HOST:PORT. Same result.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Remove near-duplicates of short prompts: SimHash, exact search within a distance, verified by Jaccard similarity."""
    from evenhand.bridges.ray_dedup import find_duplicates_on_ray
    from evenhand.config import checked
    from evenhand.engines.machine import cpu_threads
    from evenhand.errors import need
    from evenhand.methods.pluralism.corpus.dedup import check_folder, find_duplicates, write_result
    from evenhand.methods.pluralism.corpus.row_file import RowFile
    from evenhand.wording import count

    config = checked(DedupConfig, **settings)
    if ray:
        need("scale", "ray", what="A search on Ray")
    check_folder(out)
    source = RowFile(file, config.columns or None)
    began = time.monotonic()

    def planned(how: Plan, texts: int) -> None:
        sys.stderr.write(f"Search of {count(texts)} different texts: {how.words()}.\n")

    with screens.progress_bars() as progress:
        find = partial(find_duplicates_on_ray, address=ray) if ray else find_duplicates
        result = find(source, config, threads=threads or cpu_threads(), progress=progress, planned=planned)
    facts = write_result(source, config, result, out)
    if json:
        sys.stdout.write(json_text.dumps(facts, indent=1) + "\n")
        return
    screens.print_table(
        ["near-duplicates", "rows"],
        [
            ["read", count(facts["rows"])],
            ["kept", count(facts["kept"])],
            ["dropped, equal text", count(facts["dropped_exact"])],
            ["dropped, near", count(facts["dropped_near"])],
            ["without features, kept", count(facts["without_features"])],
        ],
    )
    for warning in facts["warnings"]:
        screens.console().print(f"Note: {warning}")
    typer.echo(f"\n{time.monotonic() - began:.1f} s. Kept rows and the table of dropped ones: {out}")
