"""Fixtures of the report's tests: synthetic runs, their pages, and a headless Chromium."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def _load(path: Path, name: str) -> ModuleType:
    found = sys.modules.get(name)
    if found is not None:
        return found
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The module that builds synthetic runs."""
    return _load(TESTS / "support" / "report_fixture.py", "report_fixture")


@pytest.fixture(scope="session")
def run(synthetic: ModuleType) -> Any:
    """Two configurations, one name that dominates, one group declined far more."""
    return synthetic.make_run()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where there is none, fails where the environment demands one."""
    skip_or_fail = _load(TESTS / "conftest.py", "evenhand_tests_conftest").skip_or_fail
    executable = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(executable).exists():
        skip_or_fail("browser", "chromium is not installed")
    if importlib.util.find_spec("playwright") is None:
        skip_or_fail("browser", "playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


class Watched:
    """A browser page that keeps what it was told, asked for and stopped from doing."""

    def __init__(self, page: Any):
        self.page = page
        self.told: list[str] = []
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        page.on("console", lambda message: self.told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def clean(self, address: str) -> None:
        """Nothing was logged, thrown, shown or fetched but the file itself."""
        assert self.told == []
        assert self.errors == []
        assert self.dialogs == []
        assert {url.partition("#")[0] for url in self.requests} == {address}


@pytest.fixture
def open_file(browser: Any) -> Iterator[Callable[..., Watched]]:
    """``open_file(path, hash="", **context)`` opens a report in a fresh browser context."""
    contexts: list[Any] = []

    def go(path: Path, fragment: str = "", **settings: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.goto(path.as_uri() + fragment)
        return watched

    yield go
    for context in contexts:
        context.close()
