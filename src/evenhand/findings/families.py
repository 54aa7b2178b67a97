"""Tests as records, adjusted within their families."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from evenhand.records import Finding, HypothesisTest
from evenhand.statistics.multiplicity import best_attainable, holm
from evenhand.statistics.permutation import PermutationTest


def test_record(test: PermutationTest | None, family: str) -> HypothesisTest | None:
    """A permutation test as a record; `hold_family` adjusts its p among all of the same family."""
    if test is None:
        return None
    return HypothesisTest(
        p=test.p, method=test.method, smallest_p=test.smallest_p, count=test.count, permutations=test.total,
        exact=test.exact, family=family,
    )  # fmt: skip


def hold_family(findings: Sequence[Finding]) -> list[Finding]:
    """Adjust every p by Holm within its named family, and add the smallest adjusted p that could be reached."""
    by_family: defaultdict[str, list[int]] = defaultdict(list)
    for position, finding in enumerate(findings):
        if finding.test is not None and finding.test.p is not None and finding.test.family:
            by_family[finding.test.family].append(position)
    out = list(findings)
    for positions in by_family.values():
        tests = [test for position in positions if (test := out[position].test) is not None]
        adjusted = holm([test.p for test in tests])
        least = best_attainable([test.smallest_p for test in tests])
        for position, test, p, smallest in zip(positions, tests, adjusted.values, least.values, strict=True):
            out[position] = replace(
                out[position],
                test=replace(test, p_holm=p, family_size=adjusted.family_size),
                extra={**out[position].extra, "smallest_p_holm": smallest},
            )
    return out
