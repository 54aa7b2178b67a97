"""Retry-After and back-off."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.transport import backoff, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("", None), ("3", 3.0), ("0.5", 0.5), ("-4", 0.0), ("nan", None), ("inf", None), ("soon", None),
        ("Sun, 01 Mar 2026 12:00:07 GMT", 7.0), ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Mar 2026 13:00:07 +0100", 7.0),
    ],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=NOW) == seconds


@given(st.text())
def test_retry_after_takes_anything(value: str) -> None:
    found = retry_after(value, now=NOW)
    assert found is None or found >= 0


@given(st.integers(1, 10_000), st.integers())
def test_backoff_is_bounded_and_seeded(attempt: int, seed: int) -> None:
    wait = backoff(attempt, 0.5, 30, random.Random(seed))
    assert 0 <= wait <= min(30, 0.5 * 2.0 ** min(attempt - 1, 60))
    assert wait == backoff(attempt, 0.5, 30, random.Random(seed))
