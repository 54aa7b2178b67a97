"""`evenhand corpus`: making a prompt set."""

from __future__ import annotations

import json as json_text
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evenhand.cli import corpus_build, screens
from evenhand.cli.options import with_model_options
from evenhand.methods.pluralism.corpus.config import DedupConfig

if TYPE_CHECKING:
    from evenhand.methods.pluralism.corpus.hamming import Plan


app = typer.Typer(
    help="Make a prompt set: sort prompts into domains, fill thin ones, remove near-duplicates.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    """Make a prompt set: sort prompts into domains, fill thin ones, remove near-duplicates."""


app.command("build")(corpus_build.build)
app.command("sweep")(corpus_build.sweep)


@app.command("dedup")
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
    from evenhand.extras import need
    from evenhand.methods.pluralism.corpus.dedup import find_duplicates
    from evenhand.methods.pluralism.corpus.dedup_files import check_folder, write_result
    from evenhand.methods.pluralism.corpus.reading import RowFile
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
