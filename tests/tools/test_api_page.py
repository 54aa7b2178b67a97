"""Every public name is documented, its example runs, and docs/api.md is what the docstrings say."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import evenhand
from tools.api_page import METHODS, PAGE, page, sections

FACES = {"evenhand": evenhand} | {name: import_module(f"evenhand.methods.{name}") for name in METHODS}
PUBLIC = [(face, name) for face, module in FACES.items() for name in module.__all__ if not name.startswith("__")]


def public(face: str, name: str) -> Any:
    return getattr(FACES[face], name)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.api_page"


@pytest.mark.parametrize(("face", "name"), [one for one in PUBLIC if inspect.isfunction(public(*one))])
def test_every_public_function_states_its_parameters_and_what_it_returns(face: str, name: str) -> None:
    function = public(face, name)
    found = sections(inspect.getdoc(function) or "")
    assert found[""].endswith(".")
    assert found["Returns"].strip()
    assert ">>> " in found["Examples"]
    named = {
        word.strip().lstrip("*")
        for line in found["Parameters"].splitlines()
        if line[:1].strip()
        for word in line.partition(" : ")[0].split(",")
    }
    assert named == set(inspect.signature(function).parameters)
    if "BadInput(" in inspect.getsource(function):
        assert "BadInput" in found["Raises"]


@pytest.mark.parametrize(("face", "name"), [one for one in PUBLIC if one[1] not in METHODS])
def test_every_example_runs(face: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    thing = public(face, name)
    module = import_module(thing.__module__)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.IGNORE_EXCEPTION_DETAIL | doctest.ELLIPSIS)
    tests = doctest.DocTestFinder().find(thing, name, module, extraglobs={"eh": evenhand})
    failures: list[str] = []
    for test in tests:
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)
    assert runner.tries or not inspect.isfunction(thing)


def test_packages_hold_what_their_faces_name() -> None:
    for face, name in PUBLIC:
        assert public(face, name) is not None
    for module in FACES.values():
        assert list(module.__all__) == sorted(module.__all__)
        assert len(set(module.__all__)) == len(module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = FACES["service"].nothing
