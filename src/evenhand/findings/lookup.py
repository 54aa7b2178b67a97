"""Finding a finding: by estimand, configuration, outcome, group and slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from evenhand.records import Finding

ANY: Final[Any] = object()
"""In place of a group: whatever it is, None included."""


def select(
    findings: Iterable[Finding],
    estimand: str,
    config: str | None = None,
    outcome: str = "",
    *,
    group: Any = ANY,
    part: Mapping[str, str] | None = None,
    having: Mapping[str, str] | None = None,
) -> list[Finding]:
    """The findings of an estimand, in their order; what is not given is not asked for.

    ``part`` is the exact slice (an empty mapping: the whole set), ``having`` some of its entries.
    """
    return [
        f
        for f in findings
        if f.estimand == estimand
        and config in (None, f.config)
        and outcome in ("", f.outcome)
        and (group is ANY or f.group == group)
        and (part is None or dict(f.slice) == dict(part))
        and all(f.slice.get(key) == value for key, value in (having or {}).items())
    ]


def first(
    findings: Iterable[Finding], estimand: str, config: str | None = None, outcome: str = "", **where: Any
) -> Finding | None:
    """The first finding that `select` gives, if there is one."""
    return next(iter(select(findings, estimand, config, outcome, **where)), None)
