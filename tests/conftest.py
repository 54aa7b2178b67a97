"""Shared fixtures: where the public data lies, and what may be skipped where."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REQUIRED = frozenset(filter(None, os.environ.get("EVENHAND_REQUIRE", "").split(",")))


def skip_or_fail(kind: str, reason: str) -> None:
    """Skip, unless the environment says that this kind must be there (CI does)."""
    if kind in REQUIRED:
        pytest.fail(f"EVENHAND_REQUIRE holds '{kind}': {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def public_data() -> Callable[[str], Path]:
    """``public_data("xstest")`` is the folder of that public data set; skips where it is absent."""
    root = Path(os.environ.get("EVENHAND_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")

    def find(name: str) -> Path:
        folder = root / name
        if not folder.is_dir():
            skip_or_fail("data", f"no public data in {folder}")
        return folder

    return find
