"""Shared fixtures: where the public data lies, and what may be skipped where."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; it is never a finding.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

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


@pytest.fixture(scope="session")
def fault_module() -> ModuleType:
    """The module tests/support/fault_server.py."""
    path = Path(__file__).resolve().parent / "support" / "fault_server.py"
    spec = importlib.util.spec_from_file_location("evenhand_fault_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
