"""The command `evenhand`: its groups, and the exit codes they share."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer

from evenhand import __version__
from evenhand.cli import audit, corpus, datasets, drift, listing, organism, rate, repair, runs, serve, stages, sweep
from evenhand.cli.streams import redacted_streams
from evenhand.errors import EvenhandError
from evenhand.redact import hide_environment, hide_urls

__all__ = ["EXIT_BAD_INPUT", "EXIT_INTERRUPTED", "EXIT_MISSING", "app", "main"]

EXIT_BAD_INPUT = 2
EXIT_MISSING = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="evenhand",
    help="Measure how a safety-aligned language model treats groups of people, with the evidence behind every number.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done, 1 failed gate, 2 bad input, 3 done but too many rows failed or missing, 130 interrupted.",
)
app.command("audit")(audit.audit)
app.command("stages")(stages.stages)
app.command("drift")(drift.drift)
app.command("rate")(rate.rate)
app.command("serve")(serve.serve)
app.command("report")(runs.report)
app.command("show")(runs.show)
app.command("sample")(runs.sample)
app.command("list")(listing.list_registered)
app.add_typer(repair.app, name="repair")
app.add_typer(sweep.app, name="sweep")
app.add_typer(corpus.app, name="corpus")
app.add_typer(datasets.app, name="datasets")
app.add_typer(organism.app, name="organism")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"evenhand {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure how a safety-aligned language model treats groups of people, with the evidence behind every number."""


def _terminate(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; an EvenhandError ends with exit code 2 and its text, an interrupt with 130."""
    signal.signal(signal.SIGTERM, _terminate)
    hide_environment()
    hide_urls(sys.argv[1:])
    with redacted_streams():
        _run()


def _run() -> None:
    try:
        app(standalone_mode=True)
    except EvenhandError as error:
        from evenhand.safe_text import terminal_safe

        sys.stderr.write(f"evenhand: {terminal_safe(str(error))}\n")
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.stderr.write("evenhand: interrupted\n")
        sys.exit(EXIT_INTERRUPTED)
