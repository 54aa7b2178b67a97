"""Registered things load, say what they are, and plug-ins join by one entry point."""

from __future__ import annotations

from typing import Any

import pytest

from evenhand import registry
from evenhand.errors import BadInput


@pytest.mark.parametrize("name", ["AUDITS", "ENGINES", "DATASETS", "GRADERS", "CLASSIFIERS", "SECTIONS"])
def test_every_line_loads(name: str) -> None:
    entries = list(getattr(registry, name))
    assert entries
    for entry in entries:
        assert entry.load() is not None
        assert entry.summary


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(BadInput, match=r"No grader is called 'magic'\. Known: grammar, human, lexicon"):
        registry.GRADERS.get("magic")


def test_a_plug_in_adds_its_lines_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = registry.Registry("grader", ("own", "evenhand.graders.refusals:PrefixGrader", "ours"))

    class Point:
        def load(self) -> Any:
            return lambda: made.add("theirs", "evenhand.graders.refusals:LexiconGrader", "a plug-in's")

    monkeypatch.setattr(registry, "_plugins_loaded", False)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Point()] if group == "evenhand" else [])
    assert [entry.name for entry in made] == ["own", "theirs"]
    assert made.get("theirs").__name__ == "LexiconGrader"
    with pytest.raises(BadInput, match="registered twice"):
        made.add("own", "a:b", "again")
