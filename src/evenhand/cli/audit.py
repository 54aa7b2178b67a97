"""`evenhand audit`: from the command line to a run folder and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from evenhand.config import AuditConfig, load_config
from evenhand.console.commands import Job, audit_job, run_command


@run_command(
    AuditConfig, "MODEL", argument="models", resume="the newest, or --out",
    estimate="Print calls, tokens, time and memory, and stop.",
)  # fmt: skip
def audit(
    settings: dict[str, Any],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; options given here come before it.")
    ] = None,
) -> Job:
    """Audit models, responses or labels, and write a report.

    With no MODELS the shipped organism is audited. With no --only every audit runs that the engine can serve.
    """
    return audit_job(load_config(config, settings))
