"""Evenhand measures how a safety-aligned language model treats groups of people, and shows the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evenhand.version import __version__

if TYPE_CHECKING:
    from evenhand.api import audit
    from evenhand.runs.load import load

__all__ = ["__version__", "audit", "load"]


def __getattr__(name: str) -> Any:
    """Import `audit` and `load` on first use, so that ``import evenhand`` stays light."""
    if name in {"audit", "load"}:
        from evenhand import api

        return getattr(api, name)
    raise AttributeError(f"module 'evenhand' has no attribute '{name}'")
