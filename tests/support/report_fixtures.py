"""Fixtures of the report's tests: synthetic runs, their pages, and a headless Chromium."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class _Document(HTMLParser):
    """Ids, images and active attributes of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.active: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.active += [tag] if tag == "img" else []
        self.active += [name for name in told if name == "style" or name.startswith("on")]
        if told.get("id"):
            self.ids.append(str(told["id"]))


@pytest.fixture(scope="session")
def inert() -> Callable[..., None]:
    """``inert(text, "id", ...)``: a page on which hostile text does nothing, whose ids are distinct, and which holds these."""

    def check(text: str, *ids: str) -> None:
        assert "<script>alert" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        page = _Document(text)
        assert page.active == []
        assert len(page.ids) == len(set(page.ids))
        assert [name for name in ids if name not in page.ids] == []

    return check


@pytest.fixture(scope="session")
def synthetic(support: Any) -> ModuleType:
    """The module that builds synthetic runs."""
    return support("report_fixture")


@pytest.fixture(scope="session")
def run(synthetic: ModuleType) -> Any:
    """Two configurations, one name that dominates, one group declined far more."""
    return synthetic.make_run()


@pytest.fixture(scope="session")
def browser(absent: Callable[[str, str], None]) -> Iterator[Any]:
    """A headless Chromium; skips where there is none, fails where the environment demands one."""
    executable = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(executable).exists():
        absent("browser", "chromium is not installed")
    if importlib.util.find_spec("playwright") is None:
        absent("browser", "playwright is not installed")
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
