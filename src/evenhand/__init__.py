"""Evenhand measures how a safety-aligned language model treats groups of people, and shows the evidence.

Everything below is imported on first use, so that ``import evenhand`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evenhand.api import audit
    from evenhand.errors import BadInput, EngineError, EvenhandError
    from evenhand.methods import dart, pluralism, reward, service, tsdi
    from evenhand.results import AuditView, Figure, RunResult, load

__all__ = [
    "AuditView",
    "BadInput",
    "EngineError",
    "EvenhandError",
    "Figure",
    "RunResult",
    "__version__",
    "audit",
    "dart",
    "load",
    "pluralism",
    "reward",
    "service",
    "tsdi",
]
__version__ = "0.1.0"
"""Recorded by runs, engines and built corpora alongside their figures."""

_PLACES = {
    "audit": "evenhand.api",
    **dict.fromkeys(("BadInput", "EngineError", "EvenhandError"), "evenhand.errors"),
    **dict.fromkeys(("AuditView", "Figure", "RunResult", "load"), "evenhand.results"),
}
_METHODS = frozenset({"dart", "pluralism", "reward", "service", "tsdi"})


def __getattr__(name: str) -> Any:
    if name in _METHODS:
        return import_module(f"evenhand.methods.{name}")
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'evenhand' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
