"""Every method's declaration is complete: what it names exists, and its folder, its paper and its docs page have one name."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import evenhand
from evenhand.registry import KINDS, METHODS, Method, built_in_methods, load_target

ROOT = Path(evenhand.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
TARGETS = ("audit", "settings", "sample", "section", "commands")
FOLDERS = sorted(path.parent.relative_to(ROOT / "methods") for path in (ROOT / "methods").rglob("method.py"))


def declared(folder: Path) -> Method:
    name = ".".join(folder.parts)
    method: Method = import_module(f"evenhand.methods.{name}.method").METHOD
    return method


def test_every_folder_with_an_audit_or_a_section_is_declared() -> None:
    built = {path.parent for path in (ROOT / "methods").rglob("audit.py")}
    assert built <= {ROOT / "methods" / folder for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_what_a_declaration_names_exists(folder: Path) -> None:
    method = declared(folder)
    targets = [getattr(method, name) for name in TARGETS]
    targets += [method.rows] if ":" in method.rows else []
    targets += [
        entry.target for kind in ("datasets", "graders", "classifiers", *method.sets) for entry in method.brings(kind)
    ]
    for target in filter(None, targets):
        assert callable(load_target(target)), target
    assert set(method.sets) <= set(KINDS)
    assert method.title
    assert method.summary


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_folder_paper_and_docs_page_have_one_name(folder: Path) -> None:
    method = declared(folder)
    assert method.paper == folder.parts[0]
    assert (DOCS / f"{method.paper}.md").is_file()


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if declared(folder).audit], ids=str)
def test_an_audit_has_the_name_of_its_declaration(folder: Path) -> None:
    method = declared(folder)
    assert load_target(method.audit)().name == method.name
    assert method.section, "a built-in audit has a section of its own"


def test_names_and_places_are_unique() -> None:
    methods = built_in_methods()
    assert len(methods) == len(FOLDERS)
    assert len({method.name for method in methods}) == len(methods)
    assert len({method.order for method in methods}) == len(methods)
    assert all(method.order < 1_000 for method in methods), "plug-ins come last"
    assert [method.name for method in METHODS][: len(methods)] == [method.name for method in methods]


def test_declarations_import_nothing_heavy() -> None:
    code = (
        "import sys; from evenhand.registry import built_in_methods; assert len(built_in_methods()) > 9; "
        "print([name for name in ('torch', 'polars', 'numpy', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
