"""Shared fixtures: where the public data lies, and what may be skipped where."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from evenhand import redact

# How long an example takes depends on what else the machine does; it is never a finding.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

TESTS = Path(__file__).resolve().parent
REQUIRED = frozenset(filter(None, os.environ.get("EVENHAND_REQUIRE", "").split(",")))


def skip_or_fail(kind: str, reason: str) -> None:
    """Skip, unless the environment says that this kind must be there (CI does)."""
    if kind in REQUIRED:
        pytest.fail(f"EVENHAND_REQUIRE holds '{kind}': {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def no_secrets() -> Iterator[None]:
    """The secrets of one test are not hidden in the next one's texts."""
    yield
    redact.forget()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a browser come last: playwright keeps an event loop in its process, where asyncio.run then fails."""
    items.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def absent() -> Callable[[str, str], None]:
    """``absent("browser", "why")`` skips, or fails where this kind must be there."""
    return skip_or_fail


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


def load_file(path: Path, name: str) -> ModuleType:
    """A file outside the package as a module: loaded once a process, so that its classes are the same everywhere."""
    found = sys.modules.get(name)
    if found is not None:
        return found
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures that tests in several folders share."""
    for name in ("grader_fixtures", "report_fixtures"):
        config.pluginmanager.register(load_file(TESTS / "support" / f"{name}.py", name), name)


@pytest.fixture(scope="session")
def support() -> Callable[[str], ModuleType]:
    """``support("dart_toy")`` is the module tests/support/dart_toy.py."""
    return lambda name: load_file(TESTS / "support" / f"{name}.py", name)


@pytest.fixture(scope="session")
def bench_file() -> Callable[[str], ModuleType]:
    """``bench_file("interval_coverage")`` is bench/interval_coverage.py, under the name bench_interval_coverage."""
    return lambda name: load_file(TESTS.parent / "bench" / f"{name}.py", f"bench_{name}")


@pytest.fixture(scope="session")
def fault_module(support: Callable[[str], ModuleType]) -> ModuleType:
    """The module tests/support/fault_server.py."""
    return support("fault_server")


PROGRESS = re.compile(r".+: [\d,]+ of [\d,]+, (started|done|[\d.,]+/(s|min), about|.+ so far).*")


@pytest.fixture(scope="session")
def only_progress() -> Callable[[str], bool]:
    """``only_progress(err)``: whether standard error holds progress lines and nothing else."""
    return lambda err: all(PROGRESS.fullmatch(line) for line in err.splitlines())


@pytest.fixture
def toy_engines(support: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tests/support/difference_toy.py, with the engine kind ``toy`` in the registry for the time of a test."""
    from evenhand.registry import ENGINES

    monkeypatch.setattr(ENGINES, "_entries", dict(ENGINES._entries))
    ENGINES.add("toy", "difference_toy:open_toy", "")
    return support("difference_toy")


@pytest.fixture
def studio(support: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Toy models in the places of a DART repair's engines and training."""
    return support("dart_toy").Studio(tmp_path).install(monkeypatch)


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """``command("drift", ...)`` is the exit code, and what was written to either stream, in a folder of its own."""
    from evenhand.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENHAND_CACHE", str(tmp_path / "cache"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def go(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["evenhand", *words])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    yield go
    for number, handler in before.items():
        signal.signal(number, handler)
