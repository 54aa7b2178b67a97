"""The five methods, a package for each; no method imports another."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any


def lazy_steps(package: str, names: Collection[str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a method's package: its public ``names`` are imported from its module ``steps`` on first use."""

    def attribute(name: str) -> Any:
        if name in names:
            return getattr(import_module(f"{package}.steps"), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return attribute
