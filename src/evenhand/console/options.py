"""Command-line options made from a pydantic model, so that the two cannot part."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from evenhand.errors import BadInput

# Settings whose option has another name than the field.
_RENAMED = {"columns": "--map", "values": "--value", "stages": "--stage"}


def option_name(field: str) -> str:
    """``max_failed`` -> ``--max-failed``."""
    return _RENAMED.get(field, "--" + field.replace("_", "-"))


def _option_type(annotation: Any) -> Any:
    """The command line's type for a field: a list for tuples and mappings, text for literals; None means 'not given'."""
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        (inner,) = [part for part in typing.get_args(annotation) if part is not type(None)]
        return _option_type(inner)
    if origin is tuple:
        inner = typing.get_args(annotation)[0]
        return list[str if typing.get_origin(inner) is typing.Literal else inner] | None  # type: ignore[misc]
    if origin is dict:
        return list[str] | None
    if origin is typing.Literal:
        return str | None
    return annotation | None


def _default_text(value: Any) -> str:
    if value is None or value == () or value == {}:
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def with_model_options(
    model: type[BaseModel], *, argument: str = "", without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command with one option for each field of ``model``; ``argument`` becomes the positional argument.

    Fields named in ``without`` get no option: the command sets them itself.

    The command receives the given settings as a dict in its parameter ``settings``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields = {name: field for name, field in model.model_fields.items() if name not in without}
        own = inspect.signature(command, eval_str=True).parameters
        parameters = []
        for name, field in fields.items():
            kind = _option_type(field.annotation)
            default = _default_text(field.default)
            info: Any
            if name == argument:
                info = typer.Argument(help=field.description, show_default=default or False)
            else:
                info = typer.Option(option_name(name), help=field.description, show_default=default or False)
            parameters.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, info])
            )
        parameters += [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in own.items()
            if name != "settings"
        ]

        def run(**values: Any) -> None:
            settings = {name: values.pop(name) for name in fields}
            command(settings=given(model, settings), **values)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def given(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the user gave, in the shape of the model's fields."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or value == []:
            continue
        if typing.get_origin(model.model_fields[name].annotation) is dict:
            pairs = [part.partition("=") for part in value]
            wrong = [part for part in value if "=" not in part]
            if wrong:
                raise BadInput(f"{option_name(name)} takes NAME=VALUE, not '{wrong[0]}'.")
            found[name] = {key.strip(): column.strip() for key, _, column in pairs}
        else:
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def existing(path: Path) -> Path:
    """The path, or BadInput where nothing lies there."""
    if not path.exists():
        raise BadInput("There is nothing here.", file=path)
    return path
