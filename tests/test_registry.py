"""What is registered loads and says what it is; a plug-in joins by one entry point."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from evenhand import registry
from evenhand.cli.listing import Kind
from evenhand.cli.main import app
from evenhand.errors import BadInput
from evenhand.registry import Entry, Method


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> registry.Methods:
    """The registry of methods, emptied of what the test adds when it ends."""
    monkeypatch.setattr(registry.METHODS, "_added", dict(registry.METHODS._added))
    return registry.METHODS


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_line_loads(kind: str) -> None:
    entries = list(registry.KINDS[kind])
    assert entries
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert callable(entry.load())
        assert entry.summary


def test_the_kinds_of_the_command_are_those_of_the_registry() -> None:
    assert set(get_args(Kind)) == {"methods", "audits", *registry.KINDS}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_can_be_listed(kind: str) -> None:
    done = CliRunner().invoke(app, ["list", kind], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    expected: Any = registry.KINDS.get(kind) or (registry.audits() if kind == "audits" else registry.METHODS)
    listed = [line.split(maxsplit=1)[0] for line in done.output.splitlines()[1:] if line[:1].strip()]
    assert listed == [entry.name for entry in expected]


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(BadInput, match=r"No grader is called 'magic'\. Known: grammar, human, lexicon"):
        registry.GRADERS.get("magic")
    with pytest.raises(BadInput, match=r"No method is called 'magic'\. Known: service, reward"):
        registry.METHODS.get("magic")
    with pytest.raises(BadInput, match=r"No audit is called 'tsdi'\. Known: affirmation, difference"):
        registry.open_audit("tsdi")


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


def test_a_method_brings_its_own_entries(methods: registry.Methods) -> None:
    methods.add(
        Method(
            "mine", "Mine", "what it does", graders=(Entry("my-grader", "evenhand.graders.refusals:PrefixGrader", "a copy"),),
            sets={"safety-sets": (Entry("my-set", "evenhand.datasets.safety_prompts:shipped", "a copy"),)},
        )
    )  # fmt: skip
    assert [method.name for method in methods][-1] == "mine"
    assert "mine" in methods
    assert registry.GRADERS.get("my-grader").__name__ == "PrefixGrader"
    assert "my-set" in registry.SAFETY_SETS
    assert registry.SAFETY_SETS.get("my-set")(None).name == "shipped"
    assert "mine" not in [method.name for method in registry.audits()]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Method("service", "x", "x"), "method 'service' is registered twice"),
        (Method("My Method", "x", "x"), "'My Method' cannot be the name of a method"),
        (Method("mine", "x", "x", sets={"cakes": ()}), "brings 'cakes'.*Known kinds: engines, datasets"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(methods: registry.Methods, method: Method, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        methods.add(method)
    methods.add(Method("mine", "x", "x"))
    with pytest.raises(BadInput, match="method 'mine' is registered twice"):
        methods.add(Method("mine", "x", "x"))


def test_the_loaders_open_the_sets_that_a_plug_in_brings(methods: registry.Methods) -> None:
    from evenhand.datasets.safety_prompts import open_safety_set
    from evenhand.methods.dart.difference.items import open_cases
    from evenhand.methods.pluralism.data.items import open_rated_items

    targets = {
        "safety-sets": "evenhand.datasets.safety_prompts:shipped",
        "difference-sets": "evenhand.methods.dart.difference.cases:shipped",
        "rating-sets": "evenhand.methods.pluralism.data.items:shipped_items",
    }
    brought = {kind: (Entry("brought", target, "a copy"),) for kind, target in targets.items()}
    with pytest.raises(BadInput, match=r"no set of safety prompts called 'brought'.*Known: shipped, beavertails"):
        open_safety_set("brought")
    with pytest.raises(BadInput, match=r"Unknown rating set 'brought'.*Known: shipped, grammar"):
        open_rated_items("brought")
    with pytest.raises(BadInput, match=r"No difference set is called 'brought'.*Known: shipped, benchmarks, D1"):
        open_cases("brought")
    methods.add(Method("mine", "Mine", "what it does", sets=brought))
    assert len(open_safety_set("brought").prompts) == len(open_safety_set("shipped").prompts)
    assert open_rated_items("brought").items == open_rated_items("shipped").items
    assert open_cases("brought").cases == open_cases().cases


def test_two_methods_cannot_bring_one_name(methods: registry.Methods) -> None:
    methods.add(Method("mine", "x", "x", datasets=(Entry("xstest", "a:b", "another"),)))
    with pytest.raises(BadInput, match="dataset 'xstest' is registered twice"):
        registry.DATASETS.get("tango")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("evenhand_nowhere.graders:Mine", "there is no module evenhand_nowhere"),
        ("evenhand.graders.refusals:Mine", "evenhand.graders.refusals has no 'Mine'"),
    ],
)
def test_a_target_that_does_not_exist_is_named(target: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        registry.load_target(target)


def test_a_run_of_a_plug_in_that_is_not_installed_has_a_bare_declaration() -> None:
    bare = registry.METHODS.of_run("theirs")
    assert (bare.name, bare.audit, bare.section) == ("theirs", "", "")
    assert "not installed" in bare.summary
    assert bare.fold
