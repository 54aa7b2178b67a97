"""Rendering chat templates as transformers does, with limits of steps, time and memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, wraps
from types import GeneratorType
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from evenhand.engines.template_limits import (
    Meter,
    TemplateTooLarge,
    before_call,
    before_filter,
    before_operator,
    current,
    metered,
    size_of,
)

LONGEST_TEMPLATE = 300_000
"""Characters of the longest template that is compiled."""

_UNWANTED_FILTERS = ("lipsum", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr")
_ENTERED = "evenhand_step"
_MEASURED = "evenhand_measured"


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = False,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """The chat as the template writes it; ``variables`` are the tokenizer's special tokens by name.

    Raises jinja2's TemplateError where the template refuses the chat, TemplateTooLarge where it takes too many steps, more
    than 5 seconds or too much memory, and whatever else an expression of the template raises.
    """
    if len(template) > LONGEST_TEMPLATE:
        raise TemplateTooLarge(f"it has {len(template):,} characters, more than {LONGEST_TEMPLATE:,}")
    chat = [dict(message) for message in messages]
    with metered(Meter(size_of(chat, 1 << 28))) as meter:
        pieces: list[str] = []
        compiled = _compiled(template)
        for piece in compiled.generate(
            messages=chat,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **(variables or {}),
        ):
            meter.step()
            pieces.append(meter.take(piece))
        return "".join(pieces)


@lru_cache(maxsize=32)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    found = _Environment(
        optimized=False,  # constants are folded before anything is counted
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    for name in _UNWANTED_FILTERS:
        found.filters.pop(name, None)
        found.globals.pop(name, None)
    found.filters["tojson"] = _tojson
    found.filters = {name: _limited(name, function) for name, function in found.filters.items()}
    found.filters |= {_ENTERED: _step, _MEASURED: _take}
    found.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, dict=_Dictionary(), namespace=_Namespace
    )
    return found


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox of transformers, in which every step and every value made is counted."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.finalize = _take

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a macro or block wrote, if it is not too large."""
        pieces = list(parts)
        meter = current()
        size = sum(map(len, pieces))
        meter.fits(size)
        meter.left -= size
        return "".join(pieces)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator, refused before it is done where the result would be too large."""
        before_operator(operator, left, right)
        return current().take(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call, refused before it is done where the result would be too large."""
        before_call(__obj, args, kwargs)
        return current().take(super().call(__context, __obj, *args, **kwargs))

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        counted = _Counted().visit(source)
        counted.set_environment(self)
        return super()._generate(counted, name, filename, defer_init)


class _Counted(NodeTransformer):
    """Counts each turn of a loop, and measures the operands of what the sandbox cannot intercept."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        step = nodes.ExprStmt(nodes.Filter(nodes.Const(None), _ENTERED, [], [], None, None))
        node.body.insert(0, step.set_lineno(node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_measured(entry) for entry in node.nodes]
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _measured(node) if node.items else node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _measured(node) if node.ctx == "load" and node.items else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _measured(node) if node.items else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _measured(node.expr)
        return node


def _step(_: Any) -> None:
    """Count a turn of a loop."""
    current().step()


def _take(value: Any) -> Any:
    """Count a value that becomes part of a text, a list or a comparison."""
    return current().take(value)


def _measured(node: nodes.Expr) -> nodes.Expr:
    if isinstance(node, (nodes.Const, nodes.TemplateData)):
        return node
    measured = nodes.Filter(node, _MEASURED, [], [], None, None)
    measured.set_lineno(node.lineno)
    return measured


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks an assistant's text for training; here it writes its body."""

    tags = {"generation"}  # noqa: RUF012  (as jinja2 declares it)

    def parse(self, parser: Any) -> nodes.Node:
        """The body in a block of its own, with its scope."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dictionary:
    """``dict`` of a template: a limited one, so that no template reaches the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """``dict.fromkeys``."""
        return dict.fromkeys(*args, **kwargs)


class _Namespace(Namespace):
    """``namespace`` of a template, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, rest = args[0], args[1:]
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold the name {name!r}")


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:  # noqa: A002  (the name that templates use)
    if len(format) > 1000:
        raise TemplateTooLarge("it formats the time with too long a text")
    return datetime.now().strftime(format)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter with its arguments checked before and its result counted after."""
    skipped = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        meter = current()
        context, given = args[:skipped], list(args[skipped:])
        if given and isinstance(given[0], GeneratorType):
            given[0] = meter.take([_stepped(entry, meter) for entry in given[0]])
        before_filter(name, given[0] if given else "", [*given[1:], *kwargs.values()])
        if given:
            meter.take(given[0])
        found = function(*context, *given, **kwargs)
        return _counted(found, meter) if isinstance(found, GeneratorType) else meter.take(found)

    return limited


def _stepped(entry: Any, meter: Meter) -> Any:
    meter.step()
    return entry


def _counted(entries: Iterable[Any], meter: Meter) -> Any:
    for entry in entries:
        meter.step()
        yield meter.take(entry)
