"""The page, and its rendering to one self-contained HTML file.

It starts with the verdicts, then has a section for each audit, then how the numbers were made. Styles, script and evidence are
inlined, nothing is fetched, and hostile text is inert.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

from evenhand.files import write_atomically
from evenhand.redact import redact
from evenhand.report.blocks import Block, Details, Filter, Panels
from evenhand.report.evidence import Evidence, pack, script_json
from evenhand.safe_text import clean
from evenhand.wording import count, number

if TYPE_CHECKING:
    from jinja2 import Environment


Tone = Literal["worse", "provisional", "even", "unknown"]


@dataclass(frozen=True, slots=True)
class KeyNumber:
    """A number of the first screen: the value, what it is, and its uncertainty or reading."""

    value: str
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class GlanceRow:
    """One bar of the picture next to the verdict; ``value`` is a share in [0, 1]."""

    title: str
    value: float | None
    text: str
    label: str
    low: float | None = None
    high: float | None = None
    strong: bool = False
    evidence: Filter | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """The picture next to the verdict: one quantity for each group."""

    title: str
    rows: tuple[GlanceRow, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one audit found, in plain words.

    ``tone`` is ``"worse"`` (some group is treated worse), ``"provisional"`` (the grader is not calibrated, so no
    group is named as worse), ``"even"`` (no difference found, and the run could have seen one) or ``"unknown"`` (we
    cannot tell). ``unknowns`` says what could not be settled and why; ``actions`` what to do next, commands as ``code``.
    ``label`` replaces the tone's own words if an audit is not about groups treated worse.
    """

    audit: str
    tone: Tone
    headline: str
    detail: str
    numbers: tuple[KeyNumber, ...] = ()
    glance: Glance | None = None
    more: tuple[str, ...] = ()
    unknowns: tuple[str, ...] = ()
    actions: tuple[tuple[str, str], ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One audit's part of the page. ``id`` is lower-case letters, digits and hyphens, and unique on the page."""

    id: str
    title: str
    lede: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report.

    ``identity`` holds rows of (what, value) for each model; ``timings`` rows of (stage, text); ``left_out`` rows of
    (audit, reason). ``created`` is shown as given, so that the same run gives the same bytes.
    """

    title: str
    run_name: str
    created: str
    verdicts: tuple[Verdict, ...]
    sections: tuple[Section, ...]
    evidence: Evidence
    methods: tuple[tuple[str, str], ...] = ()
    caveats: tuple[str, ...] = ()
    identity: tuple[tuple[str, str], ...] = ()
    timings: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    notice: str = ""
    version: str = ""
    lang: str = field(default="en")


def all_blocks(blocks: tuple[Block, ...]) -> Iterator[Block]:
    """Every block, those inside panels and details too, in the order of the page."""
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from all_blocks(block.blocks)
        elif isinstance(block, Panels):
            for panel in block.panels:
                yield from all_blocks(panel.blocks)


_ID = re.compile(r"[a-z][a-z0-9-]*")
_RESERVED = frozenset({"verdict", "methods", "caveats", "responses", "evidence"})
_TONES = {
    "worse": ("A group is treated worse", "!"),
    "provisional": ("Provisional", "?"),
    "even": ("No difference found", "="),
    "unknown": ("We cannot tell", "?"),
}


def evidence_link(evidence: Filter) -> str:
    """The address, inside the page, of the responses that a filter selects."""
    pairs = [(clean(key), clean(value)) for key, value in evidence.items()]
    return "#responses?" + urlencode(pairs, quote_via=quote)


def render(page: Page) -> str:
    """The report as one HTML document.

    Raises
    ------
    ValueError : an id on the page is malformed, reserved, or used twice.
    """
    _check_ids(page)
    style, script = _static("report.css"), _static("report.js")
    packed = pack(page.evidence)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            tones=_TONES,
            style=_trusted(style),
            script=_trusted(script),
            policy=_policy(style, script),
            evidence=_trusted(script_json(packed)),
            shown=len(packed["rows"]),
            total=packed["total"],
        )
    )


def write(page: Page, path: Path) -> Path:
    """Write the report, whole or not at all, and return its path."""
    write_atomically(path, redact(render(page)).encode("utf-8"))
    return path


def _ids(page: Page) -> Iterator[str]:
    for section in page.sections:
        yield section.id
        yield from (str(block.id) for block in all_blocks(section.blocks) if hasattr(block, "id"))


def _check_ids(page: Page) -> None:
    for name, times in Counter(_ids(page)).items():
        if not _ID.fullmatch(name) or name in _RESERVED:
            raise ValueError(
                f"'{name}' cannot be an id: use lower-case letters, digits and hyphens, and no reserved name."
            )
        if times > 1:
            raise ValueError(f"The id '{name}' is used {times} times on the page; ids must be unique.")


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that runs this style and this script and nothing else, and fetches nothing."""

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {digest(style)}",
            f"script-src {digest(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _static(name: str) -> str:
    return files("evenhand.report").joinpath("static", name).read_text(encoding="utf-8")


def _trusted(text: str) -> Any:
    """Text that a template prints as it is: our own style and script, and JSON that `script_json` made safe."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


def _finalize(value: Any) -> Any:
    """Clean every plain string that a template prints; markup made here passes."""
    from markupsafe import Markup

    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _template_of(block: Block) -> str:
    return f"blocks/{block.kind}.html.j2"


def _tick(value: float, factor: float) -> str:
    return number(round(value * factor, 9))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evenhand.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {"link": evidence_link, "count": count, "tick": _tick, "template_of": _template_of}
    return environment
