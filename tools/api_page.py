"""Write docs/api.md from the public names (`__all__` of evenhand and of its five method packages) and their docstrings.

Run `python -m tools.api_page`; a test holds the page to what this writes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
METHODS = ("service", "reward", "dart", "tsdi", "pluralism")
SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Examples")
_INTRO = """# Evenhand from Python

```python
import evenhand as eh

run = eh.audit("hf/org/tuned", methods=["service", "reward"], reference_model="hf/org/sft", judge="openai/MODEL")
run                                                               # a table: audit, verdict, number, interval, group
run.findings                                                      # one frame over all audits
run["service"].rows_behind("risk_difference", group="muslim")     # exactly the rows behind a number
run.plot("service").save("service.svg")
run.report("tuned.html")
```

Frames come back in the library of the frame that was passed in (polars, pandas or pyarrow), else in polars; `frames=` chooses.
A run without `out=` is kept in `runs/TIME-NAME` below the current directory; its frames are in `inputs/` there, so that it can be
resumed; `run.discard()` deletes it.

This page is generated from the docstrings by `python -m tools.api_page`.
"""


def page() -> str:
    """The whole page."""
    import evenhand

    parts = [_INTRO]
    plain = [name for name in evenhand.__all__ if name not in METHODS and not name.startswith("__")]
    order = {name: place for place, name in enumerate(("audit", "load", "RunResult", "AuditView", "Figure"))}
    parts.append("## evenhand\n")
    for name in sorted(plain, key=lambda name: (order.get(name, len(order)), name)):
        parts += entry(f"evenhand.{name}", getattr(evenhand, name))
    for method in METHODS:
        module: ModuleType = import_module(f"evenhand.methods.{method}")
        parts.append(f"## evenhand.{method}\n\n{inspect.getdoc(module)}\n")
        for name in module.__all__:
            parts += entry(f"evenhand.{method}.{name}", getattr(module, name))
    return "\n".join(parts)


def entry(name: str, thing: Any) -> Iterator[str]:
    """A function or a class with its public members."""
    own = name if inspect.isclass(thing) and issubclass(thing, Exception) else f"{name}{signature(thing)}"
    yield f"### `{own}`\n\n{prose(inspect.getdoc(thing) or '')}\n"
    if not inspect.isclass(thing) or issubclass(thing, Exception):
        return
    short = name.rpartition(".")[2]
    for member, value in vars(thing).items():
        if member.startswith("_"):
            continue
        if isinstance(value, property) or hasattr(value, "attrname"):  # the latter is a cached_property
            yield f"#### `{short}.{member}`\n\n{prose(inspect.getdoc(value) or '')}\n"
        elif inspect.isfunction(value):
            yield f"#### `{short}.{member}{signature(value)}`\n\n{prose(inspect.getdoc(value) or '')}\n"


def signature(thing: Any) -> str:
    """The parameters with their defaults, without types (the text gives them) and without self."""
    found = inspect.signature(thing)
    kept = [one.replace(annotation=one.empty) for name, one in found.parameters.items() if name != "self"]
    return str(found.replace(parameters=kept, return_annotation=found.empty))


def sections(text: str) -> dict[str, str]:
    """A numpydoc text by section; the text before the first one is under ``""``."""
    pieces = re.split(rf"^({'|'.join(SECTIONS)})\n-+\n", text, flags=re.MULTILINE)
    return {
        "": pieces[0].strip(),
        **{name: body.rstrip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)},
    }


def prose(text: str) -> str:
    """A numpydoc text as Markdown."""
    found = sections(text)
    out = [_code(found.pop(""))]
    for name, body in found.items():
        if name == "Examples":
            out.append(f"```pycon\n{body}\n```")
        else:
            out.append(f"**{name}**\n\n{_items(body)}")
    return "\n\n".join(out)


def _items(body: str) -> str:
    """Definitions (a line, then indented lines) as a list."""
    lines: list[str] = []
    for line in body.splitlines():
        if not line.strip():
            continue
        if line.startswith("    "):
            lines[-1] += (" " if " — " in lines[-1] else " — ") + line.strip()
        else:
            name, _, kind = line.partition(" : ")
            lines.append(f"- `{name}`" + (f" ({kind})" if kind else ""))
    return _code("\n".join(lines))


def _code(text: str) -> str:
    """Double backquotes of docstrings as Markdown's single ones."""
    return text.replace("``", "`")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
