"""The command `evenhand`: its commands and groups, signals, and the exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from evenhand import __version__
from evenhand.cli import commands, listing, runs
from evenhand.console import boundary
from evenhand.console.options import CommandApp
from evenhand.console.streams import own_lines_only
from evenhand.registry import METHODS, built_in_methods, load_target

app = CommandApp(
    name="evenhand",
    help="Measure how a safety-aligned language model treats groups of people, with the evidence behind every number.",
    pretty_exceptions_enable=False,
    epilog=boundary.epilog(),
)


def _add_commands() -> None:
    """The shared commands, and those that each built-in method declares."""
    app.command("audit")(commands.audit)
    listing.add_datasets(app)
    for method in built_in_methods():
        if method.commands:
            load_target(method.commands)(app)
    app.command("serve")(commands.serve)
    app.command("report")(runs.report)
    app.command("show")(runs.show)
    app.command("sample")(runs.sample)
    app.command("list")(listing.list_registered)
    listing.add_organism(app)


_add_commands()


def add_plugin_commands() -> None:
    """Add the commands of methods that plug-ins brought, once each.

    It is called when the command line runs, not on import, so that a plug-in that cannot be loaded is reported in one line.
    """
    built_in = {method.name for method in built_in_methods()}
    for method in METHODS:
        if method.commands and method.name not in built_in | _with_commands:
            load_target(method.commands)(app)
            _with_commands.add(method.name)


_with_commands: set[str] = set()
"""Methods of plug-ins whose commands the app already has."""


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


_COMPLETING = "_EVENHAND_COMPLETE"
"""Set by the shell's completion script, which asks the command what could come next."""
_ONE_INTERRUPT = 1.0
"""Seconds in which further signals belong to the first: `timeout` and job runners signal a process and then its group."""
_interrupted_at = -_ONE_INTERRUPT


def _interrupt(signum: int, frame: Any) -> None:
    """The first signal unwinds the command, which then says how to continue."""
    global _interrupted_at
    _interrupted_at = time.monotonic()
    _on_signals(_end_at_once)
    raise KeyboardInterrupt


def _end_at_once(signum: int, frame: Any) -> None:
    """A further signal while the command is ending: finished work is in the journal, so nothing is lost by ending now."""
    if time.monotonic() - _interrupted_at >= _ONE_INTERRUPT:
        os._exit(boundary.INTERRUPTED)


def _on_signals(handler: Callable[[int, Any], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, handler)


def _invoke() -> object:
    with own_lines_only():
        add_plugin_commands()
        command: Callable[..., object] = app
        if _COMPLETING in os.environ:
            from evenhand.console.completion import complete_values

            command = typer.main.get_command(app)
            complete_values(command)
        code = command(prog_name="evenhand", standalone_mode=False)
    if code == boundary.FAILED_GATE and sys.argv[1:] in (["--install-completion"], ["--show-completion"]):
        return boundary.BAD_INPUT  # a shell that typer does not know
    if code == boundary.INTERRUPTED:  # typer makes this of an interrupt; the commands end with SystemExit
        raise KeyboardInterrupt
    return code


def main() -> None:
    """Run the command line and end the process with one of the codes of `evenhand.console.boundary`."""
    _on_signals(_interrupt)
    code = boundary.guarded(_invoke)
    _on_signals(_end_at_once)
    sys.exit(code)
