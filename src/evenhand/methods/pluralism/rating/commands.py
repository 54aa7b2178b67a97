"""`evenhand rate`: safety ratings by demographic profile, asked of a model or given by people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from evenhand.console.commands import Job, run_command
from evenhand.methods.pluralism.rating.config import PluralismConfig

if TYPE_CHECKING:
    from evenhand.console.progress import Rows, Way


def add_commands(app: typer.Typer) -> None:
    """Add `evenhand rate`."""
    app.command("rate")(rate)


@run_command(PluralismConfig, "rate", argument="models", estimate="Print calls, tokens, time and memory, and stop.")
def rate(settings: dict[str, Any]) -> Job:
    """Have MODELS rate texts as raters of demographic profiles, alongside people's ratings where there are some.

    With --ratings FILE and no model, ratings that people gave are measured: agreement, sensitivity to groups, and their nulls.
    """
    from evenhand.config import checked
    from evenhand.methods.pluralism.rating.audit import estimate_rating, run_rating

    config = checked(PluralismConfig, **settings)
    return Job(config, run_rating, estimate_rating, rating_ways, failed="ratings failed or could not be read")


def rating_ways(config: PluralismConfig, rows: Rows) -> list[Way]:
    """Fewer wordings and texts, a GPU; seconds are in proportion."""
    from evenhand.console.progress import Way, all_seconds, gpu_way

    whole, ways = all_seconds(rows), []
    if config.wordings > 1:
        ways.append(Way(f"--wordings 1 instead of {config.wordings}", whole / config.wordings))
    if config.rating_items >= 2:
        half = config.rating_items // 2
        ways.append(Way(f"--rating-items {half} instead of {config.rating_items}", whole * half / config.rating_items))
    return ways + gpu_way(config.device, rows)
