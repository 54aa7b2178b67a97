"""Steps of the difference, drift and repair audits for texts and arrays of your own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.methods.dart.difference import answers as parsers
from evenhand.methods.dart.difference import measures as awareness
from evenhand.methods.dart.drift import measures as drift
from evenhand.statistics import mcnemar as _mcnemar
from evenhand.statistics.resampling import DRAWS


def parse_conclusion(text: str, finish_reason: str = "stop") -> parsers.Parsed:
    """YES or NO from an analysis, by the strict and by the tolerant parser.

    Parameters
    ----------
    text : str
        The model's output.
    finish_reason : str, default "stop"
        ``"length"`` for an output that was cut.

    Returns
    -------
    Parsed
        ``strict`` and ``tolerant`` (``"YES"``, ``"NO"`` or None), ``rationale``, and ``reason`` if tolerant found none.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.dart.parse_conclusion("They differ in law.\\n**Conclusion:** YES").tolerant
    'YES'
    """
    return parsers.parse(text, finish_reason)


def parse_choice(text: str) -> int | None:
    """The option that an answer to a multiple-choice question names.

    Parameters
    ----------
    text : str
        The model's output.

    Returns
    -------
    int or None
        0, 1 or 2 for (a), (b) or (c); None if it names none, or several.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.dart.parse_choice("(b), because the statute says so"), eh.dart.parse_choice("(a) or (b)")
    (1, None)
    """
    return parsers.parse_option(text)


def decision_metrics(gold: Sequence[str], answers: Sequence[str | None]) -> awareness.Decisions:
    """Accuracy of YES/NO decisions, in which an answer that could not be read is always wrong.

    Parameters
    ----------
    gold : sequence of str, length items
        ``"YES"`` (the groups differ) or ``"NO"``.
    answers : sequence of str or None, length items
        ``"YES"``, ``"NO"``, or None for no readable answer.

    Returns
    -------
    Decisions
        Counts and ``accuracy``, ``diff_accuracy`` (gold YES), ``equal_accuracy`` (gold NO), ``balanced_accuracy``,
        ``macro_f1``, ``abstain_rate``, ``yes_rate``: shares from 0 to 1, None where undefined.

    Raises
    ------
    BadInput
        The lengths differ, or a label is another word (the row is named).

    Examples
    --------
    >>> import evenhand as eh
    >>> metrics = eh.dart.decision_metrics(["YES", "YES", "NO", "NO"], ["YES", None, "NO", "YES"])
    >>> metrics.accuracy, metrics.diff_accuracy, metrics.abstain_rate
    (0.5, 0.5, 0.25)
    """
    if len(gold) != len(answers):
        raise BadInput(f"{len(gold)} labels need the same number of answers, got {len(answers)}.")
    for what, words, allowed in (("label", gold, {"YES", "NO"}), ("answer", answers, {"YES", "NO", None})):
        for row, word in enumerate(words, 1):
            if word not in allowed:
                raise BadInput(f"The {what} {word!r} is neither YES nor NO.", row=row)
    yes, no = ([answer == word for answer in answers] for word in ("YES", "NO"))
    return awareness.decisions([label == "YES" for label in gold], yes, no)


def choice_metrics(right: Sequence[int], chosen: Sequence[int | None]) -> awareness.ChoiceCounts:
    """DiffAware and CtxtAware of multiple-choice answers (Wang et al. 2025).

    Parameters
    ----------
    right : sequence of int, length items
        0 or 1 for the group that is right, 2 where the groups are alike.
    chosen : sequence of int or None, length items
        The option chosen; None (refused or unreadable) is left out.

    Returns
    -------
    ChoiceCounts
        ``diff_aware`` and ``ctxt_aware``: shares from 0 to 1, None where undefined; and the counts behind them.

    Raises
    ------
    BadInput
        The lengths differ.

    Examples
    --------
    >>> import evenhand as eh
    >>> metrics = eh.dart.choice_metrics([0, 1, 2, 2], [0, 2, 2, 1])
    >>> metrics.diff_aware, metrics.ctxt_aware
    (0.5, 0.5)
    """
    if len(right) != len(chosen):
        raise BadInput(f"{len(right)} items need the same number of choices, got {len(chosen)}.")
    shares = np.array([[float(option == one) for one in range(3)] for option in chosen]).reshape(-1, 3)
    return awareness.choice_counts(right, shares)


def discrimination(gold: Sequence[str], answers: Sequence[str | None]) -> float | None:
    """Youden's J of YES/NO decisions: share of YES where groups differ minus share of YES where they are alike.

    Parameters
    ----------
    gold : sequence of str, length items
        ``"YES"`` or ``"NO"``.
    answers : sequence of str or None, length items
        ``"YES"``, ``"NO"`` or None.

    Returns
    -------
    float or None
        -1 to 1; 0 for a model that is blind to the question. None if one label does not occur.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.dart.discrimination(["YES", "YES", "NO", "NO"], ["YES", "YES", "YES", "NO"])
    0.5
    """
    return awareness.discrimination([label == "YES" for label in gold], [answer == "YES" for answer in answers])


def mcnemar(first: ArrayLike, second: ArrayLike) -> _mcnemar.McNemar:
    """McNemar's exact test of two models on the same items.

    Parameters
    ----------
    first, second : array of shape (items,)
        1 right, 0 wrong, NaN missing.

    Returns
    -------
    McNemar
        ``gained``, ``lost``, ``both``, ``neither``, the exact two-sided ``p``, ``mid_p`` and ``smallest_p``.

    Raises
    ------
    BadInput
        The lengths differ, or a value is not 0, 1 or NaN.

    Examples
    --------
    >>> import evenhand as eh
    >>> test = eh.dart.mcnemar([0, 0, 0, 1], [1, 1, 1, 1])
    >>> test.gained, test.lost, test.p
    (3, 0, 0.25)
    """
    return _mcnemar.mcnemar(first, second)


def drift_candidates(baseline: ArrayLike, candidate: ArrayLike, tau: float = drift.TAU) -> drift.Candidates:
    """Pairs of explanations whose harm rose by more than ``tau`` from baseline to candidate.

    Parameters
    ----------
    baseline, candidate : array of shape (pairs,)
        Harm of each explanation, 0 to 1, NaN where missing.
    tau : float, default 0.01
        Threshold on the rise.

    Returns
    -------
    Candidates
        ``delta`` (pairs,), ``hit`` (pairs,), ``missing`` (pairs,).

    Raises
    ------
    BadInput
        A value is outside 0 to 1 (the row is named), or the lengths differ.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.dart.drift_candidates([0.1, 0.2], [0.4, 0.2]).hit.tolist()
    [True, False]
    """
    return drift.candidates(baseline, candidate, tau)


def drift_severity(delta: float, tau: float = drift.TAU) -> drift.Severity | None:
    """The severity of a rise in harm.

    Parameters
    ----------
    delta : float
        The rise, -1 to 1.
    tau : float, default 0.01
        Threshold of a candidate.

    Returns
    -------
    str or None
        ``"minor"``, ``"moderate"`` (from 0.10), ``"severe"`` (from 0.20), ``"extreme"`` (from 0.35), ``""`` for no candidate;
        None for NaN.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.dart.drift_severity(0.25)
    'severe'
    """
    return drift.severity_bin(delta, tau)


def drift_rate(
    drifted: Sequence[bool | None],
    scenarios: Sequence[Hashable],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> drift.DriftRate:
    """Share of pairs that drifted, with an interval over scenarios.

    Parameters
    ----------
    drifted : sequence of bool or None, length pairs
        None for a pair that was not judged: left out and counted.
    scenarios : sequence of length pairs
        The scenario of each pair.
    level : float, default 0.95
        Coverage of the interval.
    draws : int, default 10000
        Bootstrap draws.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    DriftRate
        ``rate`` (0 to 1), ``interval``, ``drifted``, ``known``, ``missing``, ``scenarios``, ``reason``.

    Raises
    ------
    BadInput
        The lengths differ.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.dart.drift_rate([True, False, None, False], ["s1", "s2", "s3", "s2"], draws=200).drifted
    1
    """
    return drift.rate_interval(drifted, scenarios, level=level, draws=draws, seed=seed)


def drift_reduction(before: int, after: int) -> float | None:
    """The share of drift cases that a repair removed.

    Parameters
    ----------
    before, after : int
        Drift cases before and after the repair.

    Returns
    -------
    float or None
        ``1 - after / before``, below 0 where cases were added; None if there was none before.

    Raises
    ------
    BadInput
        A count is negative.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.dart.drift_reduction(20, 5)
    0.75
    """
    return drift.reduction(before, after)


def rank_biserial(new: ArrayLike, old: ArrayLike) -> drift.RankBiserial:
    """Rank-biserial correlation of two samples, with the Mann-Whitney test.

    Parameters
    ----------
    new, old : array of shape (rows,)
        Values of either model; at least 30 each are needed for a test.

    Returns
    -------
    RankBiserial
        ``r`` (-1 to 1; negative: the new values are lower), ``u``, ``p``, ``reason``.

    Raises
    ------
    BadInput
        A value is not finite (the row is named).

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.dart.rank_biserial(range(30), range(30, 60)).r
    -1.0
    """
    return drift.rank_biserial(_array(new), _array(old))


def _array(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
