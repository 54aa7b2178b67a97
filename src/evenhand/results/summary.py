"""A run in a few lines: audit, verdict, main number, interval and group, as text and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evenhand.safe_text import clean, terminal_safe

HEAD = ("audit", "verdict", "main number", "95% interval", "group")
TONES = {"worse": "worse", "provisional": "provisional", "even": "even", "unknown": "cannot tell"}
_WIDTHS = (12, 52, 36, 20, 16)


def table(audits: Mapping[str, Mapping[str, Any] | None]) -> list[tuple[str, ...]]:
    """A row for each verdict of each audit, in the columns of `HEAD`.

    The main number is the first of the audit's closing table, and is shown once. An audit without findings has one row.
    """
    rows: list[tuple[str, ...]] = []
    for name, result in audits.items():
        if result is None:
            rows.append((name, "no findings", "", "", ""))
            continue
        first = result["headlines"][0] if result["headlines"] else {}
        number = (f"{first['what']}: {first['value']}", str(first.get("interval", ""))) if first else ("", "")
        verdicts = result["verdicts"] or [{}]
        several = len({verdict.get("config") for verdict in verdicts}) > 1
        for place, verdict in enumerate(verdicts):
            words = f"{verdict['config']}: {verdict['headline']}" if several else verdict.get("headline", "")
            tone = verdict.get("tone", "")
            said = f"{TONES.get(tone, tone)}: {words}" if tone else "no verdict"
            shown = number if place == 0 else ("", "")
            rows.append((name if place == 0 else "", said, *shown, verdict.get("group") or ""))
    return rows


def as_text(title: str, rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """The table in plain text, cells folded to their column; nothing in a cell acts on the terminal."""
    if not rows:
        return "\n".join(map(terminal_safe, (title, *notes)))
    folded = [
        [textwrap.wrap(terminal_safe(cell), width) or [""] for cell, width in zip(row, _WIDTHS, strict=True)]
        for row in (HEAD, *rows)
    ]
    widths = [max(len(line) for row in folded for line in row[at]) for at in range(len(HEAD))]
    lines = [terminal_safe(title)]
    for place, cells in enumerate(folded):
        for at in range(max(map(len, cells))):
            parts = [
                (cell[at] if at < len(cell) else "").ljust(width) for cell, width in zip(cells, widths, strict=True)
            ]
            lines.append("  ".join(parts).rstrip())
        if place == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join([*lines, *map(terminal_safe, notes)])


def as_html(title: str, rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """The table as HTML without script or style sheet; every text is escaped."""
    left = ' style="text-align:left;vertical-align:top"'
    head = "".join(f'<th scope="col"{left}>{_html(cell)}</th>' for cell in HEAD)
    body = "".join("<tr>" + "".join(f"<td{left}>{_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    below = "".join(f"<div>{_html(note)}</div>" for note in notes)
    caption = f'<caption style="text-align:left">{_html(title)}</caption>'
    return f"<div><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}</div>"


def _html(text: str) -> str:
    return escape(clean(text))
