"""Settings files: YAML with the scalars of YAML 1.2, and nothing in it that reads differently than it looks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from evenhand.errors import BadInput
from evenhand.text_input import read_text

_DEEPEST, _MOST_VALUES, _LONGEST, _DIGITS = 20, 10_000, 1 << 20, 18
_NULL, _BOOL = ("", "~", "null", "Null", "NULL"), {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}  # fmt: skip
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Settings:
    """The value of a settings file, and the line of every name at its top and, as ``outer.inner``, one level below."""

    value: Any
    lines: Mapping[str, int]


class _Built(NamedTuple):
    value: Any
    size: int


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read."""

    value: Any
    anchor: str | None
    key: str | None = None
    waits: bool = False
    size: int = 1
    lines: dict[str, int] = field(default_factory=dict)


def read_yaml(path: Path) -> Settings:
    """A YAML file of one document.

    Plain scalars are those of YAML 1.2: ``yes``, ``1:30`` and ``2024-01-01`` are text. Raises BadInput with the line, and the
    setting where it is known, for what is not YAML, several documents, repeated names, names that are not text, explicit
    tags, numbers with a leading zero, numbers that are not finite or have more than 18 digits, nesting beyond 20 levels and
    more than 10,000 values.
    """
    text = read_text(path)
    if len(text) > _LONGEST:
        raise BadInput(f"The file has {len(text):,} characters; a settings file has at most {_LONGEST:,}.", file=path)
    import yaml

    try:
        return _Reader(path).read(yaml.parse(text, yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise BadInput(f"The file is not valid YAML: {error.problem or error.context}{line}.", file=path) from None
    except yaml.reader.ReaderError as error:
        line_number = text[: error.position].count("\n") + 1
        raise BadInput(
            f"The file is not valid YAML: the character {error.character:#x} is not allowed, line {line_number}.",
            file=path,
        ) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadInput(f"The file is not valid YAML: {error}.", file=path) from None


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.open: list[_Open] = []
        self.anchors: dict[str, _Built] = {}
        self.root: _Built | None = None
        self.lines: dict[str, int] = {}
        self.count = 0

    def read(self, events: Any) -> Settings:
        from yaml import events as kinds

        documents = 0
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, kinds.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._bad("A second document begins; a settings file holds one.", line)
            elif isinstance(event, kinds.AliasEvent):
                self._alias(str(event.anchor), line)
            elif isinstance(event, kinds.ScalarEvent):
                self._tag(event, line)
                self._add(event.value if event.style else self._plain(event.value, line), event.anchor, 1, line)
            elif isinstance(event, (kinds.MappingStartEvent, kinds.SequenceStartEvent)):
                self._tag(event, line)
                if len(self.open) >= _DEEPEST:
                    raise self._bad(f"It is nested more than {_DEEPEST} levels deep", line)
                if self._expects_key():
                    raise self._bad("A name must be text, not a list or a mapping", line)
                mapping = isinstance(event, kinds.MappingStartEvent)
                self.open.append(_Open({} if mapping else [], event.anchor))
            elif isinstance(event, (kinds.MappingEndEvent, kinds.SequenceEndEvent)):
                done = self.open.pop()
                if not self.open:
                    self.lines = done.lines
                elif isinstance(done.value, dict) and isinstance(self.open[-1].value, dict):
                    at = self.open[-1]
                    at.lines |= {f"{at.key}.{name}": done.lines[name] for name in done.value}
                self._add(done.value, done.anchor, done.size, line)
        return Settings(self.root.value if self.root else None, self.lines)

    def _expects_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].value, dict) and not self.open[-1].waits

    def _alias(self, name: str, line: int) -> None:
        if name not in self.anchors:
            raise self._bad(f"The alias *{name} has no anchor before it", line)
        value, size = self.anchors[name]
        self._add(value, None, size, line)

    def _add(self, value: Any, anchor: str | None, size: int, line: int) -> None:
        if not self.open:
            self.root = _Built(value, size)
            return
        at = self.open[-1]
        if self._expects_key():
            if not isinstance(value, str):
                raise self._bad(f"The name {value!r} is not text; write it in quotes", line)
            if value in at.value:
                first = f", first on line {at.lines[value]}" if value in at.lines else ""
                raise self._bad(f"The name '{value[:60]}' is given more than once{first}", line)
            at.key, at.waits = value, True
            at.lines[value] = line
            at.value[value] = None
        elif isinstance(at.value, dict):
            at.value[at.key], at.waits = value, False
        else:
            at.value.append(value)
        at.size += size
        if at.size > _MOST_VALUES:
            raise self._bad(f"It holds more than {_MOST_VALUES:,} values", line)
        if anchor is not None:
            self.anchors[anchor] = _Built(value, size)

    def _tag(self, event: Any, line: int) -> None:
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            raise self._bad(f"The tag {event.tag[:60]} is not supported; leave it out", line)

    def _plain(self, text: str, line: int) -> Any:
        """The value of a scalar without quotes."""
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _NOT_FINITE.fullmatch(text):
            raise self._bad(f"The number {text} is not finite", line)
        digits = text.lstrip("+-")
        if _INT.fullmatch(text) or _BASED.fullmatch(text):
            if len(digits) > _DIGITS:
                raise self._bad(
                    f"A number has {len(digits)} digits, at most {_DIGITS} are read; write text in quotes", line
                )
            if len(digits) > 1 and digits[0] == "0" and digits[1] not in "ox":
                plain = digits.lstrip("0") or "0"
                raise self._bad(f"The number {text} begins with a zero; write {plain}, or '{text}' for text", line)
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            value = float(text)
            if not math.isfinite(value):
                raise self._bad(f"The number {text[:40]} is not finite", line)
            return value
        return text

    def _bad(self, what: str, line: int) -> BadInput:
        named = [at.key for at in self.open if at.waits and at.key is not None]
        setting = f" (in '{'.'.join(named)[:80]}')" if named else ""
        return BadInput(f"{what.rstrip('.')}{setting}, line {line}.", file=self.path)
