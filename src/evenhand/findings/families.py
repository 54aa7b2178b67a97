"""Tests as records, adjusted within their families: Holm, Benjamini-Hochberg, and Benjamini-Hochberg over a whole audit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from evenhand.records import Finding, HypothesisTest
from evenhand.statistics.multiplicity import benjamini_hochberg, best_attainable, holm
from evenhand.statistics.permutation import PermutationTest


def record_of(
    test: PermutationTest | None,
    family: str,
    *,
    family_size: int | None = None,
    p_holm: float | None = None,
    q_bh: float | None = None,
) -> HypothesisTest | None:
    """A permutation test as a record.

    `hold_family` adjusts its p among all tests of the same family; a test that was adjusted where it was computed brings
    its ``family_size``, ``p_holm`` and ``q_bh`` along.
    """
    if test is None:
        return None
    return HypothesisTest(
        p=test.p, method=test.method, smallest_p=test.smallest_p, count=test.count, permutations=test.total,
        exact=test.exact, family=family, family_size=family_size, p_holm=p_holm, q_bh=q_bh,
    )  # fmt: skip


def q_values(tests: Iterable[PermutationTest | None]) -> list[float | None]:
    """Benjamini and Hochberg's q of each test, None if there is none."""
    return list(benjamini_hochberg([test.p if test else None for test in tests]).values)


def _tested(findings: Sequence[Finding]) -> list[tuple[int, HypothesisTest]]:
    """Position and test of every finding that has a p."""
    return [(at, f.test) for at, f in enumerate(findings) if f.test is not None and f.test.p is not None]


def _by_family(findings: Sequence[Finding]) -> list[list[tuple[int, HypothesisTest]]]:
    families: defaultdict[str, list[tuple[int, HypothesisTest]]] = defaultdict(list)
    for at, test in _tested(findings):
        if test.family:
            families[test.family].append((at, test))
    return list(families.values())


def hold_family(findings: Sequence[Finding]) -> list[Finding]:
    """Adjust every p by Holm within its named family, and add the smallest adjusted p that could be reached."""
    out = list(findings)
    for members in _by_family(findings):
        adjusted = holm([test.p for _, test in members])
        least = best_attainable([test.smallest_p for _, test in members])
        for (at, test), p, smallest in zip(members, adjusted.values, least.values, strict=True):
            out[at] = replace(
                out[at],
                test=replace(test, p_holm=p, family_size=adjusted.family_size),
                extra={**out[at].extra, "smallest_p_holm": smallest},
            )
    return out


def control_discoveries(findings: Sequence[Finding]) -> list[Finding]:
    """Adjust every p by Benjamini and Hochberg within its named family."""
    out = list(findings)
    for members in _by_family(findings):
        adjusted = benjamini_hochberg([test.p for _, test in members])
        for (at, test), q in zip(members, adjusted.values, strict=True):
            out[at] = replace(out[at], test=replace(test, q_bh=q, family_size=adjusted.family_size))
    return out


def adjust_each(findings: Sequence[Finding], by_holm: Collection[str]) -> list[Finding]:
    """Adjust by Holm the estimands in ``by_holm``, all others by Benjamini and Hochberg; the order stays."""
    held = iter(hold_family([f for f in findings if f.estimand in by_holm]))
    rest = iter(control_discoveries([f for f in findings if f.estimand not in by_holm]))
    return [next(held) if f.estimand in by_holm else next(rest) for f in findings]


def control_discoveries_over_all(findings: Sequence[Finding], belongs: Callable[[Finding], bool]) -> list[Finding]:
    """Fill ``q_bh_all``: Benjamini and Hochberg over every finding that ``belongs``, whatever its family."""
    out = list(findings)
    members = [(at, f.test) for at, f in enumerate(findings) if f.test is not None and belongs(f)]
    adjusted = benjamini_hochberg([test.p for _, test in members])
    for (at, test), q in zip(members, adjusted.values, strict=True):
        out[at] = replace(out[at], test=replace(test, q_bh_all=q))
    return out
