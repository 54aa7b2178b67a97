"""Command-line options made from a pydantic model, so that the two cannot part, grouped in the help by what they are about."""

from __future__ import annotations

import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from evenhand.config import AuditConfig, audit_model
from evenhand.errors import BadInput
from evenhand.settings import Settings

# Settings whose option has another name than the field.
_RENAMED = {"columns": "--map", "values": "--value", "stages": "--stage"}
_WIDTH = 100
_COMMON = "Options"
_ALL = "help_all"


def option_name(field: str) -> str:
    """``max_failed`` -> ``--max-failed``."""
    return _RENAMED.get(field, "--" + field.replace("_", "-"))


class Group(str):
    """Heading of options in a command's help. Those of one method are listed by name only, unless all help is asked for."""

    method: str

    def __new__(cls, heading: str, method: str = "") -> Group:
        """``method`` is the name of the method whose options these are; empty for options that are always explained."""
        made = super().__new__(cls, heading)
        made.method = method
        return made


class GroupedCommand(TyperCommand):
    """A command whose help lists its options by group, at most 100 columns wide."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.context_settings.setdefault("max_content_width", _WIDTH)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, the command's own options, then each group; the groups of methods in full after ``--help-all``."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], _COMMON: []}
        methods: dict[str, list[str]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            group = getattr(parameter, "rich_help_panel", None) or _COMMON
            method = group.method if isinstance(group, Group) else ""
            if parameter.param_type_name == "argument":
                groups["Arguments"].append(record)
            elif method and not ctx.meta.get(_ALL):
                methods.setdefault(method, []).append(parameter.opts[0])
            else:
                groups.setdefault(str(group), []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        if methods:
            with formatter.section("Options of one method (explained by --help-all)"):
                _write_names(formatter, methods)


class CommandApp(typer.Typer):
    """A typer app or group whose commands are all `GroupedCommand`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(no_args_is_help=True, rich_markup_mode=None, **settings)

    def command(self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **settings: Any) -> Any:
        """As `typer.Typer.command`; ``cls`` is `GroupedCommand` by default."""
        return super().command(name, cls=cls or GroupedCommand, **settings)


def _write_names(formatter: Any, methods: Mapping[str, Sequence[str]]) -> None:
    """One row for each method with the names of its options, none of them broken at a hyphen."""
    indent = " " * formatter.current_indent
    column = max(map(len, methods)) + 2
    for method, options in methods.items():
        formatter.write(
            textwrap.fill(
                " ".join(options), formatter.width, break_on_hyphens=False, break_long_words=False,
                initial_indent=f"{indent}{method:<{column}}", subsequent_indent=indent + " " * column,
            ) + "\n"
        )  # fmt: skip


def _help_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        ctx.meta[_ALL] = True
        typer.echo(ctx.get_help())
        raise typer.Exit()


class _Option(typing.NamedTuple):
    """A setting of a model, and the group of its option."""

    field: FieldInfo
    group: Group


def model_options(model: type[BaseModel]) -> dict[str, _Option]:
    """The settings of a model by their flat names: its own, then inherited ones; for an audit those of each method at the end."""
    if model is AuditConfig:
        model = audit_model()
    options: dict[str, _Option] = {}
    methods: dict[str, _Option] = {}
    for name, field in sorted(model.model_fields.items(), key=lambda entry: _declaring(model, entry[0])):
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            group = Group(f"{field.title} ({name})", name)
            methods |= {setting: _Option(inner, group) for setting, inner in kind.model_fields.items()}
        else:
            heading = getattr(model.__mro__[_declaring(model, name)], "heading", "")
            options[name] = _Option(field, Group(heading or _COMMON))
    return options | methods


def _declaring(model: type[BaseModel], name: str) -> int:
    """The place in the model's ancestry of the most general class that has a field."""
    return max(at for at, cls in enumerate(model.__mro__) if name in inspect.get_annotations(cls))


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


def _described(name: str, field: FieldInfo) -> str:
    """The line of help of a setting, with its default if that is not simply nothing."""
    default = field.default
    shown = "" if default is None or default is False or default == {} else str(default)
    if isinstance(default, tuple):
        shown = " ".join(map(str, default))
    if field.annotation is bool and default:
        shown = option_name(name)
    return f"{field.description}" + (f"  [default: {shown}]" if shown else "")


def _metavar(annotation: Any) -> str | None:
    """``<str>...`` for an option that may be given several times; None for others, which typer names itself."""
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return next((_metavar(part) for part in typing.get_args(annotation) if _metavar(part)), None)
    if origin is dict:
        return "<name=value>..."
    if origin is not tuple:
        return None
    inner = typing.get_args(annotation)[0]
    return f"<{'str' if typing.get_origin(inner) is typing.Literal else inner.__name__.lower()}>..."


class _ModelCommand:
    """A command with one option for each setting of a model; the options are made when the command line is built.

    So a plug-in's settings are among them, and a plug-in that cannot be loaded is reported like any other error.
    """

    def __init__(
        self, command: Callable[..., None], model: type[BaseModel], argument: str, without: Collection[str]
    ) -> None:
        self._command, self._model, self._argument, self._without = command, model, argument, without
        self.__name__, self.__doc__ = command.__name__, command.__doc__

    @cached_property
    def _options(self) -> dict[str, _Option]:
        return {name: option for name, option in model_options(self._model).items() if name not in self._without}

    @cached_property
    def __signature__(self) -> inspect.Signature:
        only = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(
                name, only, default=None,
                annotation=Annotated[_option_type(option.field.annotation), self._typer(name, option)],
            )
            for name, option in self._options.items()
        ]  # fmt: skip
        for name, parameter in inspect.signature(self._command, eval_str=True).parameters.items():
            if name != "settings":
                parameters.append(parameter.replace(kind=only))
        if any(option.group.method for option in self._options.values()):
            shown = typer.Option("--help-all", is_eager=True, callback=_help_all, help="Show every option and exit.")
            parameters.append(inspect.Parameter(_ALL, only, default=False, annotation=Annotated[bool, shown]))
        return inspect.Signature(parameters)

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return {name: parameter.annotation for name, parameter in self.__signature__.parameters.items()}

    def _typer(self, name: str, option: _Option) -> Any:
        described = _described(name, option.field)
        if name == self._argument:
            return typer.Argument(help=described, show_default=False)
        return typer.Option(
            option_name(name), help=described, show_default=False, metavar=_metavar(option.field.annotation),
            rich_help_panel=option.group,
        )  # fmt: skip

    def __call__(self, **values: Any) -> None:
        values.pop(_ALL, None)
        settings = {name: values.pop(name) for name in self._options}
        self._command(settings=_given(self._options, settings), **values)


def with_model_options(
    model: type[BaseModel], *, argument: str = "", without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command with one option for each setting of ``model``; ``argument`` becomes the positional argument.

    Settings named in ``without`` get no option: the command sets them itself. The command receives the given settings as a
    dict in its parameter ``settings``, those of methods by their flat names. For a model with methods, ``--help-all`` is added.
    """
    return lambda command: _ModelCommand(command, model, argument, without)


def _given(options: Mapping[str, _Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the user gave, in the shape of the model's fields."""
    given: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or value == []:
            continue
        if typing.get_origin(options[name].field.annotation) is dict:
            pairs = [part.partition("=") for part in value]
            wrong = [part for part in value if "=" not in part]
            if wrong:
                raise BadInput(f"{option_name(name)} takes NAME=VALUE, not '{wrong[0]}'.")
            given[name] = {key.strip(): column.strip() for key, _, column in pairs}
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    return given
