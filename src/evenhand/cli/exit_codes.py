"""The exit codes of every command."""

from __future__ import annotations

DONE = 0
FAILED_GATE = 1
BAD_INPUT = 2
TOO_MANY_ROWS = 3
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130

EXIT_CODES = {
    DONE: "done",
    FAILED_GATE: "failed gate",
    BAD_INPUT: "bad input, or refused by the machine",
    TOO_MANY_ROWS: "done but too many rows failed or missing",
    UNEXPECTED: "unexpected error (a bug)",
    INTERRUPTED: "interrupted (Ctrl-C or SIGTERM)",
}
"""What each code means, in the words of `evenhand --help`, README and docs/exit_codes.md."""


def epilog() -> str:
    """The exit codes as the last line of the help text."""
    return "Exit codes: " + ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."
