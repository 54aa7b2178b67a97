"""Names in the pages exist: modules, public names and files, so that a page cannot outlive what it describes."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import evenhand

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "evenhand"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")])
DOTTED = re.compile(r"(?<![\w./-])evenhand(?:\.\w+)+")
FILE = re.compile(r"(?<![\w./-])(?:\w[\w.-]*/)+\w[\w.-]*\.(?:py|pyi|j2)\b")
ROOTED = re.compile(r"(?<![\w./-])(?!bench/out/)(?:src|tests|tools|bench|docs|examples)/[\w./*-]*[\w*]")
BARE = re.compile(r"`(\w+\.py)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
PAGE_IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


@cache
def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for at in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:at]))
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise  # the module exists; a library that it needs does not
            continue
        for part in parts[at:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_every_dotted_name_exists(page: Path) -> None:
    names = set(DOTTED.findall(page.read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_every_file_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = {*FILE.findall(text), *ROOTED.findall(text)}
    assert [name for name in sorted(named) if not (any(ROOT.glob(name)) or any(SOURCE.glob(name)))] == []
    bare = sorted(set(BARE.findall(text)))
    assert [name for name in bare if not (any(SOURCE.rglob(name)) or (page.parent / name).exists())] == []


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert exists("evenhand.audit")
    assert exists("evenhand.findings.decide.decide")
    assert not exists("evenhand.findings.no_such_module.decide")
    assert not exists("evenhand.no_such_name")
    assert DOTTED.findall("`evenhand.api.audit`, and evenhand.csv/x") == ["evenhand.api.audit", "evenhand.csv"]
    assert FILE.findall("(`engines/encode.py`, `packing.py`)") == ["engines/encode.py"]
    assert Path(evenhand.__file__ or "").parent == SOURCE
