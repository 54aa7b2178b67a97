"""Small pieces that the service figures and tables share."""

from __future__ import annotations

from evenhand.report.blocks import Cell
from evenhand.wording import defined


def cell(value: float | None, text: str, reason: str = "") -> Cell:
    """A number cell: sorted by its value, a dash with its reason where there is none."""
    if not defined(value):
        return Cell(text, reason=reason or "not computed")
    return Cell(text, sort=value)


def capital(text: str) -> str:
    """The text with its first letter a capital."""
    return text[:1].upper() + text[1:]
