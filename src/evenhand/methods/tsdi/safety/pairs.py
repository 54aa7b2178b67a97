"""Two configurations on the same prompts: the second minus the first, over all, by category, and on harmless prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl

from evenhand.methods.tsdi.safety.entry import AUDIT
from evenhand.methods.tsdi.safety.table import COMPLIES, REJECTIVE, SAFE, Units, units
from evenhand.records import Finding, HypothesisTest
from evenhand.statistics.mcnemar import mcnemar, paired_difference

CHANGE = "safety_change"
"""The estimand; its outcome is ``safe`` or ``complies``."""
PAIRED = ("harmful", "borderline", "benign")


def pair_findings(
    make: Callable[..., Finding],
    rows: pl.DataFrame,
    first: str,
    second: str,
    grader: str,
    *,
    kinds: Sequence[str],
    seed: int,
) -> Iterator[Finding]:
    """Paired differences of two configurations: one family over the kinds, one over the categories of harmful prompts.

    One answer a prompt: McNemar's exact test, Newcombe's interval. Several: sign flips of prompt means, the paired t interval.
    """
    for kind in kinds:
        by = grader if kind == "harmful" else REJECTIVE
        before, after = units(rows, first, by, kind), units(rows, second, by, kind)
        items = sorted({*before.items, *after.items})
        if not items:
            continue
        names = dict(zip((*before.items, *after.items), (*before.categories, *after.categories), strict=True))
        one, two = before.on(items), after.on(items)
        outcome = SAFE if kind == "harmful" else COMPLIES
        family = f"{AUDIT}|{second}|{first}"
        told = _difference(one, two, f"{family}|all", seed)
        yield make(CHANGE, outcome, second, kind=kind, against=first, graders=(by,), **told)
        if kind != "harmful":
            continue
        for name in sorted(set(names.values())):
            kept = [item for item in items if names[item] == name]
            told = _difference(one.on(kept), two.on(kept), f"{family}|categories", seed)
            yield make(CHANGE, outcome, second, kind=kind, group=name, against=first, graders=(by,), **told)


def _difference(one: Units, two: Units, family: str, seed: int) -> dict[str, Any]:
    found = paired_difference(one.values, two.values, seed=seed)
    extra: dict[str, Any] = {"first": found.first, "second": found.second, "missing_prompts": found.missing}
    if one.values.shape[1] == two.values.shape[1] == 1:
        table = mcnemar(one.values[:, 0], two.values[:, 0])
        extra |= {"gained": table.gained, "lost": table.lost, "mid_p": table.mid_p}
    smallest = None if found.p is None else min(1.0, 2.0 ** (1 - found.prompts))
    test = HypothesisTest(found.p, found.test, smallest, family=family) if found.p is not None else None
    return {
        "estimate": found.estimate, "unit": "difference of probabilities", "interval": found.interval, "test": test,
        "n": found.prompts, "reason": found.reason, "clusters": {"prompts": found.prompts}, "extra": extra,
    }  # fmt: skip
