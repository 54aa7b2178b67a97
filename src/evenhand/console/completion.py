"""Values that the shell completes after an option or argument: engines, registered names, run folders, fixed choices.

Commands and options are completed by typer itself (`evenhand --install-completion`). Whatever gets no value from here is left to
the shell, which completes file names.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from evenhand.console.commands import RUNS

Values = Callable[[], Iterable[tuple[str, str]]]
"""Makes pairs of a value and one line about it, which may be empty."""

_PLAIN = re.compile(r"[\w./+@=-]+")
"""Values that every shell takes as they are: some shells evaluate what they are given."""


def _engines(*more: str) -> Iterator[tuple[str, str]]:
    """Engine specs, but for addresses: bash splits words at a colon."""
    from evenhand.organisms import DESCRIPTIONS

    yield from ((f"organism/{name}", text) for name, text in DESCRIPTIONS.items())
    yield from (("hf/", "transformers model on this machine"), ("openai/", "model of the OpenAI API"))
    yield from ((word, "") for word in more)


def _organisms() -> Iterator[tuple[str, str]]:
    from evenhand.organisms import DESCRIPTIONS

    yield from DESCRIPTIONS.items()


def _audits() -> Iterator[tuple[str, str]]:
    from evenhand.registry import audits

    yield from ((audit.name, audit.summary) for audit in audits())


def _registered(registry: str) -> Iterator[tuple[str, str]]:
    from evenhand import registry as registries

    yield from ((entry.name, entry.summary) for entry in getattr(registries, registry))


def _runs() -> Iterator[tuple[str, str]]:
    """Run folders below ``runs``, the newest first."""
    with suppress(OSError):
        manifests = sorted(RUNS.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        yield from ((path.parent.as_posix(), "") for path in manifests)


_DATASETS, _CLASSIFIERS = partial(_registered, "DATASETS"), partial(_registered, "CLASSIFIERS")

_BY_NAME: dict[str, Values] = {
    **dict.fromkeys(
        (
            "models",
            "model",
            "baseline",
            "candidate",
            "base",
            "sft",
            "dpo",
            "sft_dpo",
            "reference",
            "judge",
            "generator",
        ),
        _engines,
    ),
    "only": _audits,
    "audit": _audits,
    "dataset": _DATASETS,
    "pair_set": partial(_registered, "PAIR_SETS"),
    "grader": partial(_registered, "GRADERS"),
    "classifier": _CLASSIFIERS,
    "scorers": _CLASSIFIERS,
    "run": _runs,
}
"""Values by the name of a parameter."""

_BY_COMMAND: dict[tuple[str, ...], Values] = {
    ("corpus", "build", "classifier"): _engines,
    ("corpus", "sweep", "folder"): _runs,
    ("datasets", "show", "name"): _DATASETS,
    ("drift", "judge"): partial(_engines, "rule"),
    ("organism", "truth", "name"): _organisms,
    ("repair", "dart", "teacher"): partial(_engines, "scripted"),
    ("repair", "dart", "judge"): partial(_engines, "rule"),
    ("repair", "dart", "second"): partial(_engines, "echo", "rule"),
}
"""Values of one command's parameter, whose name alone does not determine them."""


def complete_values(command: Any, path: tuple[str, ...] = ()) -> None:
    """Give every parameter of a click command, and of the commands below it, the values that are known for it."""
    for name, part in getattr(command, "commands", {}).items():
        complete_values(part, (*path, name))
    types = _types(command.callback)
    for param in command.params:
        values = _values((*path, param.name), types.get(param.name))
        if param.name == "out" and "resume" in types:
            values = _runs
        if values is not None:
            param.shell_complete = partial(_items, param, values)


def _types(callback: Any) -> dict[str, Any]:
    """The types of a command's parameters; of settings, those of the model, which know the choices."""
    if callback is None:
        return {}
    parameters = inspect.signature(callback, eval_str=True).parameters.values()
    fields = getattr(getattr(callback, "settings_model", None), "model_fields", {})
    types = {one.name: one.annotation for one in parameters}
    choices = {name: one.annotation for name, one in fields.items() if "Path" not in str(types.get(name))}
    return types | choices


def _values(path: tuple[str, ...], annotation: Any) -> Values | None:
    values_of_command = _BY_COMMAND.get(path)
    if values_of_command is not None:
        return values_of_command
    choices = [(str(choice), "") for choice in _choices(annotation)]
    if choices:
        return lambda: choices
    # A table of models is a file, although the option is called like the argument that takes engines.
    is_file = "Path" in str(annotation) and path[-1] != "run"
    return None if is_file else _BY_NAME.get(path[-1])


def _choices(annotation: Any) -> Iterator[Any]:
    """The values of every Literal in a type."""
    if typing.get_origin(annotation) is typing.Literal:
        yield from typing.get_args(annotation)
        return
    for part in typing.get_args(annotation):
        yield from _choices(part)


def _items(param: Any, values: Values, context: Any, incomplete: str) -> list[Any]:
    """Completion items, in the class of the copy of click that ``param`` comes from."""
    base = next(kind for kind in type(param).__mro__ if kind.__name__ == "Parameter")
    item = import_module(f"{base.__module__.rpartition('.')[0]}.shell_completion").CompletionItem
    return [
        item(value, help=text or None)
        for value, text in values()
        if value.startswith(incomplete) and _PLAIN.fullmatch(value)
    ]
