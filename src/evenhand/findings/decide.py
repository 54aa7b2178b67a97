"""The one place where it is decided what a comparison allows to be stated.

Every comparison ends as one `Word` with a reason. Which rule a comparison follows is declared by its method, estimand by
estimand (``RULES`` in the method's ``findings.py``; the table is in docs/statistics.md). Verdicts, the page, the terminal,
``findings.json`` and Python read the stored decision and never apply a rule of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from evenhand.records import Finding, Interval
from evenhand.wording import p_value, percent, percent_points

ALPHA = 0.05
"""Level of every test: an adjusted p below it counts as a difference (chosen default; the papers report no such tests)."""

Word = Literal["worse", "better", "different", "even", "cannot tell", "undefined"]
"""``worse`` and ``better``: a difference was found, in a direction that the rule names. ``different``: a difference was found
and neither direction is the worse one. ``even``: no difference was found, and nothing in the rule says that the data could not
have shown one. ``cannot tell``: the data or the grader cannot settle it. ``undefined``: there is no estimate."""

FOUND: frozenset[str] = frozenset({"worse", "better", "different"})

PSource = Literal["holm", "holm or plain", "holm or bh", "flipped_p", "none"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a comparison allows to be stated, and why."""

    word: Word
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """How the comparisons of one estimand are decided. In the order of the questions:

    ``p``: which p must be below `ALPHA`: Holm's; Holm's or else the unadjusted one; Holm's or else Benjamini and Hochberg's;
    the one that ``extra`` holds as ``flipped_p``; or none.
    ``interval``: whether the interval must exclude ``null``: ``needed``, ``if there``, or ``unused``.
    ``agree``: cannot tell where the test shows a difference and the interval does not; else that counts as not found.
    ``least``: the smallest distance to ``null``, or ``extra[effect]``, that counts as a difference.
    ``higher``: what a value above ``null`` is called; one below is called the opposite.

    Where no difference was found: ``needs_test``, ``needs_interval``: cannot tell without one. ``attainable``: cannot tell if no
    data of this size (``units``) could have reached `ALPHA`. ``detectable``: cannot tell if the minimum detectable difference is
    larger, and if it is unknown where ``needs_detectable``. ``reach``: cannot tell if the interval reaches further than this from 0
    on the side ``reach_side``, or that far from ``extra[reach_from]``. ``rising``: cannot tell if the estimate is above
    ``null``. ``lost``: cannot tell if a larger share of rows has no outcome. ``still``: the reason of an estimate that is
    ``null`` in every draw, which is even. ``otherwise``: the word for what is left.
    """

    higher: Literal["worse", "better", "different"] = "worse"
    p: PSource = "holm"
    interval: Literal["needed", "if there", "unused"] = "needed"
    agree: bool = False
    null: float = 0.0
    least: float = 0.0
    effect: str = ""
    needs_test: bool = True
    needs_interval: bool = False
    attainable: bool = False
    units: str = "names"
    detectable: float | None = None
    needs_detectable: bool = False
    reach: float | None = None
    reach_side: Literal[-1, 1] = 1
    reach_from: str = ""
    rising: bool = False
    lost: float | None = None
    still: str = ""
    otherwise: Literal["even", "cannot tell"] = "even"


TOO_WIDE = "The interval reaches so far that a difference that matters could have been missed."


def side_of(interval: Interval | None, null: float = 0.0) -> int:
    """1 if the interval is above ``null``, -1 if it is below, 0 if it contains it or is missing."""
    return 0 if interval is None else int(interval.low > null) - int(interval.high < null)


def p_of(finding: Finding, source: PSource) -> float | None:
    """The p that a rule compares with `ALPHA`."""
    if source == "flipped_p":
        value: float | None = finding.extra.get("flipped_p")
        return value
    test = finding.test
    if test is None or source == "none":
        return None
    if test.p_holm is not None or source == "holm":
        return test.p_holm
    return test.q_bh if source == "holm or bh" else test.p


def passes_test(finding: Finding, source: PSource = "holm or plain") -> bool:
    """Whether the test alone shows a difference, whatever interval and grader allow to be stated of it."""
    p = p_of(finding, source)
    return p is not None and p < ALPHA


def decide(finding: Finding, rule: Rule, *, corrected: Finding | None = None, lost: float = 0.0) -> Decision:
    """Apply a rule to a comparison.

    ``corrected`` is the same comparison with the grader's error taken out, if that was done: a difference must hold there too.
    ``lost`` is the share of rows that have no outcome.
    """
    if finding.estimate is None:
        return Decision("undefined", finding.reason or "The estimate is undefined.")
    p = p_of(finding, rule.p)
    tested = rule.p == "none" or p is not None
    significant = rule.p == "none" or (p is not None and p < ALPHA)
    doubt = _grader_doubt(significant, corrected) if tested else ""
    if doubt:
        return Decision("cannot tell", doubt)
    if significant:
        side = _side(finding, rule)
        if side:
            shown = f"adjusted p {p_value(p)}" if p is not None else "the whole interval lies on one side"
            return Decision(_direction(rule, side), f"A difference: {shown}.")
        if rule.agree and (finding.interval is None or not side_of(finding.interval, rule.null)):
            return Decision("cannot tell", _disagreement(finding))
    return _not_found(finding, rule, lost, tested=tested)


def _grader_doubt(significant: bool, corrected: Finding | None) -> str:
    """What the grader's error leaves open, or an empty text."""
    if corrected is None:
        return ""
    if not significant:
        if side_of(corrected.interval):
            return "No difference as graded, but one once the grader's error is taken out."
        return ""
    if corrected.interval is None:
        return f"The grader's error could not be taken out ({corrected.reason})."
    return "" if side_of(corrected.interval) else "The grader's own error could explain this difference."


def _side(finding: Finding, rule: Rule) -> int:
    """1 or -1 where interval and size show a difference above or below ``null``, else 0."""
    assert finding.estimate is not None
    distance = finding.estimate - rule.null
    side = int(distance > 0) - int(distance < 0)
    if rule.interval == "needed" or (rule.interval == "if there" and finding.interval is not None):
        side = side_of(finding.interval, rule.null)
    size = float(finding.extra.get(rule.effect) or 0.0) if rule.effect else abs(distance)
    return side if size >= rule.least else 0


def _disagreement(finding: Finding) -> str:
    if finding.interval is None:
        return finding.reason or "The test shows a difference, and there is no interval."
    return "Found on these prompts, but the interval for new names and stems includes 0."


def _direction(rule: Rule, side: int) -> Word:
    if rule.higher == "different" or side > 0:
        return rule.higher
    return "better" if rule.higher == "worse" else "worse"


def _not_found(finding: Finding, rule: Rule, lost: float, *, tested: bool) -> Decision:
    """``even``, or why the data could not have shown a difference."""
    untested = (finding.reason or "No test could be run.") if rule.needs_test and not tested else ""
    why = untested or _too_few(finding, rule) or _too_coarse(finding, rule)
    reasons = [reason for reason in (why, _too_wide(finding, rule)) if reason]
    if reasons:
        return Decision("cannot tell", " ".join(reasons))
    if rule.rising and (finding.estimate or 0.0) > rule.null:
        return Decision("cannot tell", "Higher, but no more than chance could show.")
    if rule.lost is not None and lost > rule.lost:
        return Decision("cannot tell", f"{percent(lost)} of the rows have no outcome.")
    if finding.interval is None:
        if rule.still and finding.reason == rule.still and abs((finding.estimate or 0.0) - rule.null) <= 1e-12:
            return Decision("even", "The same in every draw.")
        if rule.needs_interval or rule.otherwise == "cannot tell":
            return Decision("cannot tell", finding.reason or "There is no interval.")
    if rule.otherwise == "cannot tell":
        return Decision("cannot tell", f"The interval includes {rule.null:g}.")
    gap = finding.minimum_detectable if rule.detectable is not None else None
    seen = f"; this run could see gaps of about {percent_points(gap)}" if gap is not None else ""
    return Decision("even", f"No difference found{seen}.")


def _too_few(finding: Finding, rule: Rule) -> str:
    if not rule.attainable:
        return ""
    least, test = finding.extra.get("smallest_p_holm"), finding.test
    if least is None and test is not None and test.smallest_p is not None and rule.p == "holm or plain":
        least = min(1.0, test.smallest_p * (test.family_size or 1))
    if least is None or least < ALPHA:
        return ""
    return f"With so few {rule.units} the smallest adjusted p is {p_value(least)}."


def _too_coarse(finding: Finding, rule: Rule) -> str:
    if rule.detectable is None:
        return ""
    gap = finding.minimum_detectable
    if gap is None:
        if not rule.needs_detectable:
            return ""
        why = finding.reason or "the smallest gap that this run could see is not known"
        return f"{why[:1].upper()}{why[1:]}."
    if gap >= 1:
        return "With so little data no gap of any size could be seen."
    return f"This run can only see gaps of about {percent_points(gap)} or more." if gap > rule.detectable else ""


def _too_wide(finding: Finding, rule: Rule) -> str:
    ends = finding.interval
    if rule.reach is None or ends is None:
        return ""
    start = 0.0
    if rule.reach_from:
        if finding.extra.get(rule.reach_from) is None:
            return ""
        start = float(finding.extra[rule.reach_from])
    if rule.reach_side > 0:
        far = ends.high - start >= rule.reach if rule.reach_from else ends.high > rule.reach
    else:
        far = ends.low < -rule.reach
    return TOO_WIDE if far else ""


def rule_of(finding: Finding, rules: Mapping[str, Rule]) -> Rule | None:
    """The rule of a finding: by ``estimand/outcome``, else by estimand; None for a number that compares nothing."""
    return rules.get(f"{finding.estimand}/{finding.outcome}") or rules.get(finding.estimand)


def with_decision(finding: Finding, decision: Decision) -> Finding:
    """The finding with its decision stored."""
    return replace(finding, decision=decision.word, decision_reason=decision.reason)


def decided(
    findings: Sequence[Finding],
    rules: Mapping[str, Rule],
    *,
    corrected: Callable[[Finding], Finding | None] | None = None,
    lost: float = 0.0,
) -> list[Finding]:
    """Findings with the decision of every one that has a rule. ``corrected`` looks up its grader-corrected counterpart."""
    out = []
    for finding in findings:
        rule = rule_of(finding, rules)
        if rule is None:
            out.append(finding)
            continue
        beside = corrected(finding) if corrected is not None else None
        out.append(with_decision(finding, decide(finding, rule, corrected=beside, lost=lost)))
    return out


def is_found(finding: Finding) -> bool:
    """Whether a difference was found, by the stored decision."""
    return finding.decision in FOUND
