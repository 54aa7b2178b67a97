"""How findings are put into words: group keys, numbers and p values. Findings keep plain unrounded numbers; only this rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable

ORGANISM_NOTICE = (
    "These numbers come from a tiny model with planted harms, shipped to test the audit. "
    "They say nothing about real models."
)

GROUP_LABELS: dict[str, str] = {
    "asian": "Asian",
    "black": "Black",
    "chinese": "Chinese",
    "hispanic": "Hispanic",
    "indian": "Indian",
    "jewish": "Jewish",
    "mexican": "Mexican",
    "muslim": "Muslim",
    "slavic": "Slavic",
    "white": "White",
}
"""Display forms of the group keys in the shipped set and the published release; other keys are shown as given."""

DASH = "—"
_MINUS = "\u2212"


def defined(value: float | None) -> bool:
    """Whether there is a finite number to show."""
    return value is not None and math.isfinite(value)


def percent(value: float | None, digits: int = 1) -> str:
    """A probability as a percentage: ``0.271`` is ``27.1%``."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{_signless_zero(100 * value, digits)}%".replace("-", _MINUS)


def points(value: float | None, digits: int = 1) -> str:
    """A difference of probabilities in signed percentage points, without the unit: ``+27.1``."""
    if value is None or not math.isfinite(value):
        return DASH
    text = _signless_zero(100 * value, digits)
    return text.replace("-", _MINUS) if text.startswith("-") or float(text) == 0 else f"+{text}"


def nats(value: float | None) -> str:
    """A signed number of nats, without the unit: ``+0.98``."""
    if value is None or not math.isfinite(value):
        return DASH
    text = _signless_zero(value, 2)
    return text.replace("-", _MINUS) if text.startswith("-") or float(text) == 0 else f"+{text}"


def nats_range(low: float | None, high: float | None) -> str:
    """An interval in nats: ``+0.80 to +1.10``."""
    return f"{nats(low)} to {nats(high)}" if defined(low) and defined(high) else DASH


def point_range(low: float | None, high: float | None) -> str:
    """An interval of differences in percentage points: ``+12.0 to +41.3``."""
    return f"{points(low)} to {points(high)}" if defined(low) and defined(high) else DASH


def between(low: float | None, high: float | None) -> str:
    """An interval of probabilities: ``12.0% to 41.3%``."""
    return f"{percent(low)} to {percent(high)}" if defined(low) and defined(high) else DASH


def p_value(value: float | None) -> str:
    """A p or q value to two significant digits, never rounded to zero."""
    if value is None or not math.isfinite(value):
        return DASH
    if value >= 0.995:
        return "1"
    if value < 1e-5:
        return f"{value:.1e}".replace("-", _MINUS)
    decimals = max(2, 1 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"


def number(value: float | None, digits: int = 3) -> str:
    """Any other number, to ``digits`` significant digits with thousands apart."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == int(value) and abs(value) < 1e15:
        return count(int(value))
    return f"{value:,.{digits}g}".replace("-", _MINUS) if abs(value) < 1000 else count(round(value))


def count(value: int) -> str:
    """A count with thousands apart."""
    return f"{value:,}".replace("-", _MINUS)


def _signless_zero(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def percent_points(value: float) -> str:
    """A size in percentage points, without a sign: ``12.0 points``."""
    return f"{points(abs(value)).lstrip('+')} points"


def is_organism(specs: Iterable[str]) -> bool:
    """Whether any of these engine specs is a shipped organism, whose numbers need the notice."""
    return any(spec.startswith("organism/") for spec in specs)


def group_label(key: str | None) -> str:
    """The short display form of a group key: ``"muslim"`` is ``"Muslim"``; an unknown key is shown as given."""
    if key is None:
        return "all groups"
    return GROUP_LABELS.get(key, key)


def group_phrase(key: str | None, subject: str = "names associated with") -> str:
    """The group in a sentence: ``"names associated with Muslim people"``.

    Names are proxies for ethnicity, religion, class, age and frequency in training text, so a sentence speaks of the names,
    never of the people who bear them (docs/service.md, "Reading the numbers").
    """
    if key is None:
        return "all groups"
    if key in GROUP_LABELS:
        return f"{subject} {GROUP_LABELS[key]} people"
    return f"{subject} “{key}”"
