"""When to try again: Retry-After, and exponential back-off with full jitter."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses worth another try; other 5xx are tried again as well."""


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header (seconds, or an HTTP date) asks to wait; None if it says nothing."""
    if value is None or not value.strip():
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError, TypeError, IndexError):  # dates that no calendar holds
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None


def backoff(attempt: int, base: float, cap: float, draw: random.Random) -> float:
    """Seconds before the try after number ``attempt`` (1, 2, ...): uniform in [0, min(cap, base x 2^(attempt-1))]."""
    return draw.uniform(0.0, min(cap, base * 2.0 ** min(attempt - 1, 60)))
