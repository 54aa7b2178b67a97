"""Steps of the reward and affirmation audits, for arrays and frames."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.methods.reward.coverage import mentions as _mentions
from evenhand.methods.reward.margins import measures as _margins
from evenhand.methods.reward.pronouns import measures as _pronouns
from evenhand.statistics.resampling import DRAWS

FloatArray = NDArray[np.float64]


def implicit_reward(policy: ArrayLike, reference: ArrayLike, beta: float) -> FloatArray:
    """The implicit reward of each text under direct preference optimisation, without the term that a context shares.

    Parameters
    ----------
    policy, reference : array of shape (texts,)
        Log-probability of each text under the tuned model and under the one it was tuned from, in nats.
    beta : float
        DPO's beta, above 0.

    Returns
    -------
    array of shape (texts,)
        ``beta * (policy - reference)``; comparable between texts in one context.

    Raises
    ------
    BadInput
        ``beta`` is not a finite number above 0.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.reward.implicit_reward([-10.0, -12.0], [-11.0, -11.0], beta=0.1).round(3).tolist()
    [0.1, -0.1]
    """
    return _margins.implicit_reward(policy, reference, beta)


def reward_margin(policy: ArrayLike, reference: ArrayLike, beta: float) -> FloatArray:
    """How much more the tuning step rewarded the harmful text of each pair than its counterpart.

    Parameters
    ----------
    policy, reference : array of shape (pairs,)
        Log-probability of the harmful text minus that of the comparison, in nats, under both models.
    beta : float
        DPO's beta, above 0.

    Returns
    -------
    array of shape (pairs,)
        Above 0: the harmful text was rewarded more.

    Raises
    ------
    BadInput
        ``beta`` is not a finite number above 0.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.reward.reward_margin([2.0], [1.0], beta=0.5).tolist()
    [0.5]
    """
    return _margins.reward_margin(policy, reference, beta)


def bradley_terry(margin: ArrayLike) -> FloatArray:
    """Probability that a judge with these rewards prefers the harmful text.

    Parameters
    ----------
    margin : array of shape (pairs,)
        Reward margins, beta included.

    Returns
    -------
    array of shape (pairs,)
        The logistic function of the margin, 0 to 1.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.reward.bradley_terry([0.0]).tolist()
    [0.5]
    """
    return _margins.bradley_terry(margin)


def fates(reference: ArrayLike, policy: ArrayLike, eps: float = 0.1) -> NDArray[np.str_]:
    """What became of each pair's preference for the harmful text between reference and policy.

    Parameters
    ----------
    reference, policy : array of shape (pairs,)
        Likelihood margins in nats: log-probability of the harmful text minus that of the comparison.
    eps : float, default 0.1
        Smallest change that counts, in nats; it should exceed the noise of the scores.

    Returns
    -------
    array of str of shape (pairs,)
        ``"amplified"``, ``"preserved"``, ``"attenuated"``, ``"reversed"``, ``"introduced"`` or ``"none"``.

    Raises
    ------
    BadInput
        A margin is not finite, or the lengths differ.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.reward.fates([1.0, 1.0, -1.0], [2.0, -1.0, 1.0]).tolist()
    ['amplified', 'reversed', 'introduced']
    """
    return _margins.fate(reference, policy, eps)


def net_margins(
    margins: ArrayLike, keys: Sequence[Hashable], neutral: ArrayLike, neutral_keys: Sequence[Hashable]
) -> FloatArray:
    """Margins less the mean margin of the neutral control pairs with the same key.

    Parameters
    ----------
    margins : array of shape (pairs,)
        Margins of the harmful pairs, in nats.
    keys : sequence of length pairs
        What a pair shares with its controls, for example template and identity term.
    neutral : array of shape (controls,)
        Margins of the neutral pairs, in nats.
    neutral_keys : sequence of length controls
        Their keys.

    Returns
    -------
    array of shape (pairs,)
        NaN where no control has the key.

    Raises
    ------
    BadInput
        A margin is not finite, or the lengths differ.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.reward.net_margins([1.0, 2.0], ["x", "y"], [0.5, 0.7], ["x", "x"]).round(2).tolist()
    [0.4, nan]
    """
    return _margins.net_margins(margins, keys, neutral, neutral_keys).values


def margin_summary(
    margins: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    beta: float | None = None,
    tau: float = 0.1,
    draws: int = DRAWS,
    seed: int = 0,
) -> _margins.RewardSummary:
    """Mean margin and stigma-selection rate of a set of pairs, with intervals and tests over clusters.

    Parameters
    ----------
    margins : array of shape (pairs,)
        Margin of the policy minus margin of the reference, in nats.
    clusters : sequence of length pairs
        The randomised unit of each pair (its predicate).
    beta : float, optional
        DPO's beta; without it no number in units of reward is given.
    tau : float, default 0.1
        Smallest margin that counts as decisive, in nats.
    draws : int, default 10000
        Bootstrap draws.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    RewardSummary
        ``mu_nats`` (mean over clusters) with ``interval_mu_nats`` and ``test_mu``, ``ssr`` (share of pairs whose harmful text
        is favoured), ``mu`` (in units of reward), and ``reasons`` for what is None.

    Raises
    ------
    BadInput
        A margin is not finite, or the lengths differ.

    Examples
    --------
    >>> import evenhand as eh
    >>> found = eh.reward.margin_summary([1.0, 2.0, 3.0, 2.0], ["p", "p", "q", "q"], draws=200)
    >>> found.mu_nats, found.ssr
    (2.0, 1.0)
    """
    return _margins.summarise(margins, clusters, beta=beta, tau=tau, draws=draws, seed=seed)


def misgendering(
    outcomes: Sequence[str], clusters: Sequence[Hashable], *, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> _pronouns.Misgendering:
    """Misgendering rate of continuations by their first third-person pronoun.

    Parameters
    ----------
    outcomes : sequence of str, length continuations
        ``"consistent"``, ``"inconsistent"`` or ``"none"`` (no pronoun).
    clusters : sequence of length continuations
        The template of each continuation.
    draws : int, default 10000
        Bootstrap draws.
    seed : int, default 0
        Seed of the draws.
    level : float, default 0.95
        Coverage of the interval.

    Returns
    -------
    Misgendering
        ``rate`` (0 to 1, over continuations with a pronoun), ``interval``, ``none_share``, counts.

    Raises
    ------
    BadInput
        An outcome is none of the three (the row is named), or the lengths differ.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.reward.misgendering(["consistent", "inconsistent", "none"], ["t1", "t2", "t3"], draws=200).rate
    0.5
    """
    return _pronouns.misgendering(outcomes, clusters, draws=draws, seed=seed, level=level)


def identity_coverage(source: Any, *, excerpts: int = 0) -> _mentions.Coverage:
    """Which identities a prompt or preference set mentions, and which it does not.

    Parameters
    ----------
    source : path or DataFrame of shape (rows, columns)
        csv, tsv, jsonl, parquet or txt, or a polars, pandas or Arrow frame; every column with text is searched.
    excerpts : int, default 0
        Texts kept for each identity.

    Returns
    -------
    Coverage
        ``identities()`` with rows and mentions of each, ``missing()`` by axis.

    Raises
    ------
    BadInput
        The file cannot be read, or no column holds text.

    Examples
    --------
    >>> import evenhand as eh, polars as pl
    >>> found = eh.reward.identity_coverage(pl.DataFrame({"prompt": ["My friend is nonbinary."]}))
    >>> [one.identity for one in found.identities() if one.mentions]
    ['nonbinary people']
    """
    return _mentions.coverage(source, excerpts=excerpts)
