"""Steps of the rating audit and of the corpus builder as functions on your own tables and texts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus import simhash as _simhash
from evenhand.methods.pluralism.rating.statistics import disparity, raters
from evenhand.methods.pluralism.rating.statistics import sensitivity as _sensitivity
from evenhand.statistics import icc as _icc
from evenhand.statistics import krippendorff as _krippendorff
from evenhand.statistics.resampling import DRAWS

Distance = Literal["nominal", "ordinal", "interval"]


def icc(ratings: ArrayLike, *, level: float = 0.95, draws: int = 2_000, seed: int = 0) -> _icc.Icc:
    """All six intraclass correlations of a table of ratings.

    Parameters
    ----------
    ratings : array of shape (items, raters)
        NaN where missing; an incomplete table is fitted by REML.
    level : float, default 0.95
        Coverage of the intervals.
    draws : int, default 2000
        Bootstrap draws (at most 500 for an incomplete table); 0 for no interval.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Icc
        ``of("ICC(2,1)").coefficient`` and ``.interval``; variances of items, raters and residuals.

    Raises
    ------
    BadInput
        The table has another shape, or a rating is infinite.

    Examples
    --------
    >>> import evenhand as eh
    >>> table = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    >>> round(eh.pluralism.icc(table, draws=0).of("ICC(3,1)").coefficient, 6)
    1.0
    """
    return _icc.icc(ratings, level=level, draws=draws, reml_draws=min(draws, _icc.REML_DRAWS), seed=seed)


def krippendorff_alpha(
    labels: ArrayLike,
    *,
    distance: Distance = "nominal",
    values: Sequence[float] | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> _krippendorff.Alpha:
    """Krippendorff's alpha of a table of labels, items and raters resampled.

    Parameters
    ----------
    labels : array of int of shape (items, raters)
        Codes from 0, and -1 where missing.
    distance : {"nominal", "ordinal", "interval"}, default "nominal"
        How far two labels are apart.
    values : sequence of float, optional
        What the codes are worth, for the interval distance.
    level : float, default 0.95
        Coverage of the interval.
    draws : int, default 10000
        Bootstrap draws; 0 for no interval.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Alpha
        ``coefficient`` (1 perfect, 0 chance; None if undefined), ``interval``, ``items``, ``ratings``, ``reason``.

    Raises
    ------
    BadInput
        The table has another shape, or a code is below -1.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.pluralism.krippendorff_alpha([[0, 0], [1, 1], [0, 0]], draws=0).coefficient
    1.0
    """
    return _krippendorff.krippendorff(labels, distance=distance, values=values, level=level, draws=draws, seed=seed)


def demographic_sensitivity(
    ratings: ArrayLike,
    groups: Sequence[str | None],
    *,
    least: int = raters.LEAST_RATERS,
    permutations: int = _sensitivity.PERMUTATIONS,
    seed: int = 0,
    within: Sequence[Hashable] | None = None,
) -> _sensitivity.Sensitivities:
    """How far ratings of an item move with the rater's group, compared with shuffled groups.

    Parameters
    ----------
    ratings : array of shape (items, raters)
        0 (safe) to 1 (unsafe), NaN where missing.
    groups : sequence of str or None, length raters
        The group of each rater; None is left out.
    least : int, default 5
        Smallest group that is kept.
    permutations : int, default 9999
        Shuffles of the group labels; 0 for no test.
    seed : int, default 0
        Seed of the shuffles.
    within : sequence of length raters, optional
        Strata inside which labels are shuffled.

    Returns
    -------
    Sensitivities
        ``of("absolute")`` (mean distance of two groups) and other forms, each with ``value``, ``null_mean``, ``excess``, ``p``.

    Raises
    ------
    BadInput
        The number of raters differs, or a group is not a text.

    Examples
    --------
    >>> import evenhand as eh
    >>> table = [[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 0.5]]
    >>> eh.pluralism.demographic_sensitivity(table, ["a", "a", "b", "b"], least=2, permutations=99).of("absolute").value
    0.75
    """
    named = raters.rater_groups(groups, least=least)
    return _sensitivity.sensitivities(ratings, named, draws=permutations, seed=seed, within=within)


def parity_difference(
    ratings: ArrayLike,
    groups: Sequence[str | None],
    *,
    least: int = raters.LEAST_RATERS,
    unsafe_above: float = disparity.UNSAFE_ABOVE,
    draws: int = DRAWS,
    permutations: int = _sensitivity.PERMUTATIONS,
    seed: int = 0,
) -> disparity.Disparity:
    """Demographic parity difference: highest minus lowest share of ratings above a threshold, over groups.

    Parameters
    ----------
    ratings : array of shape (items, raters)
        0 (safe) to 1 (unsafe), NaN where missing.
    groups : sequence of str or None, length raters
        The group of each rater.
    least : int, default 5
        Smallest group that is kept.
    unsafe_above : float, default 0.5
        A rating above this counts as unsafe.
    draws : int, default 10000
        Bootstrap draws of raters and items.
    permutations : int, default 9999
        Shuffles of the group labels; 0 for no test.
    seed : int, default 0
        Seed of draws and shuffles.

    Returns
    -------
    Disparity
        ``value`` (difference of probabilities), ``interval``, ``p``, ``highest`` and ``lowest`` group, ``reason``.

    Raises
    ------
    BadInput
        The number of raters differs, or a group is not a text.

    Examples
    --------
    >>> import evenhand as eh
    >>> found = eh.pluralism.parity_difference(
    ...     [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], ["a", "a", "b", "b"], least=2, draws=200, permutations=99
    ... )
    >>> found.value, found.highest
    (0.75, 'a')
    """
    named = raters.rater_groups(groups, least=least)
    return disparity.disparities(
        ratings, named, unsafe_above=unsafe_above, draws=draws, permutations=permutations, seed=seed
    ).dpd


def simhash(
    texts: Sequence[str], *, bits: Literal[64, 128] = 64, features: _simhash.Features = "char4"
) -> NDArray[np.uint64]:
    """SimHash fingerprints of texts, after normalisation (NFKC, case folded, white space joined).

    Parameters
    ----------
    texts : sequence of str, length n
        The texts.
    bits : {64, 128}, default 64
        Width of a fingerprint.
    features : {"char4", "word", "word+bigram"}, default "char4"
        What is hashed.

    Returns
    -------
    array of uint64 of shape (n, bits / 64)
        The lowest 64 bits first; 0 for a text without features.

    Raises
    ------
    BadInput
        Another width, or unknown features.

    Examples
    --------
    >>> import evenhand as eh
    >>> one, two = eh.pluralism.simhash(["How do I bake bread?", "how do I  bake bread?"])
    >>> bool((one == two).all())
    True
    """
    return _simhash.fingerprints([_simhash.normalise(text) for text in texts], features=features, bits=bits).words


def near_duplicates(
    texts: Sequence[str], *, distance: int = 10, verify: float = 0.5, bits: Literal[64, 128] = 64
) -> NDArray[np.int64]:
    """For each text the earlier text that it nearly repeats.

    Parameters
    ----------
    texts : sequence of str, length n
        The texts, in order of preference: the first of near-duplicates is kept.
    distance : int, default 10
        Largest Hamming distance of two fingerprints, in bits.
    verify : float, default 0.5
        Least Jaccard similarity of the character 4-grams, 0 to 1; 0 accepts every pair of near fingerprints.
    bits : {64, 128}, default 64
        Width of a fingerprint.

    Returns
    -------
    array of int of shape (n,)
        Position of the text that is kept in place of each; its own position for a text that is kept.

    Raises
    ------
    BadInput
        ``distance`` is negative, or half of ``bits`` or more.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.pluralism.near_duplicates(["How do I bake bread?", "Who won?", "How do I bake bread"]).tolist()
    [0, 1, 0]
    """
    from array import array

    from evenhand.methods.pluralism.corpus.config import DedupConfig
    from evenhand.methods.pluralism.corpus.dedup import decide, gathered, measured
    from evenhand.methods.pluralism.corpus.hamming import check_distance, pair_batches

    check_distance(bits, distance)
    if not 0 <= verify <= 1:
        raise BadInput(f"verify must be from 0 to 1, not {verify}.")
    keeper = np.arange(len(texts))
    if not len(texts):
        return keeper
    config = DedupConfig(bits=bits, distance=distance, verify=verify)
    chunk = measured(list(texts), config)
    plain = [text.decode() for text in chunk.texts]
    seen = gathered([chunk], array("Q", [0] * len(texts)))
    result = decide(seen, config, plain, lambda prints, how, _: pair_batches(prints, distance, how), {}, None)
    keeper[result.dropped.row - 1] = result.dropped.keeper - 1
    return keeper
