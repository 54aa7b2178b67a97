"""The steps of the service audit as functions of frames and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.frames import in_library, library_of, polars_frame
from evenhand.graders.refusals import refusal_opener, refusal_wording
from evenhand.methods.service.statistics import spread
from evenhand.methods.service.statistics.contrasts import contrast_family
from evenhand.methods.service.statistics.rates import group_rates
from evenhand.records import Interval
from evenhand.statistics.cells import Cells, cells_from_rows
from evenhand.statistics.permutation import PermutationTest
from evenhand.statistics.permutation import permutation_test as _permutation_test
from evenhand.statistics.resampling import DRAWS


def _cells(frame: Any, group: str, outcome: str, units: Sequence[str]) -> tuple[Cells, list[str]]:
    """Cells of a frame (names by stems) with the names of the group codes."""
    rows = polars_frame(frame, "the frame")
    if isinstance(units, str) or not 1 <= len(units) <= 2:
        raise BadInput("Give one or two columns of randomised units, for example units=['name', 'stem'].")
    for column in (group, outcome, *units):
        if column not in rows.columns:
            raise BadInput(f"The frame has no column '{column}'.", do=f"It has: {', '.join(rows.columns)}.")
    rows = rows.filter(pl.col(group).is_not_null() & pl.all_horizontal(pl.col(*units).is_not_null()))
    if rows.is_empty():
        raise BadInput("No row has a group and its units.")
    groups: list[str] = sorted(rows[group].cast(pl.String).unique().to_list())
    labels = rows.select(
        g=pl.col(group).cast(pl.String), u=pl.concat_str(pl.col(group, units[0]).cast(pl.String), separator="\x1f")
    )
    names = labels.unique("u", maintain_order=True)
    place = {name: code for code, name in enumerate(names["u"].to_list())}
    stems: list[str] = rows[units[1]].cast(pl.String).to_list() if len(units) == 2 else [""] * rows.height
    stem_code = {stem: code for code, stem in enumerate(dict.fromkeys(stems))}
    cells = cells_from_rows(
        [place[name] for name in labels["u"].to_list()],
        [stem_code[stem] for stem in stems],
        rows[outcome].cast(pl.Float64).to_numpy(),
        [groups.index(name) for name in names["g"].to_list()],
    )
    return cells, groups


def rates(frame: Any, *, group: str, outcome: str, units: Sequence[str], level: float = 0.95) -> Any:
    """The rate of an outcome in each group, with an interval that generalises to other units.

    Parameters
    ----------
    frame : DataFrame of shape (responses, columns)
        A polars, pandas or Arrow frame with one row a response.
    group, outcome : str
        The columns of the group and of the outcome (0 or 1, true or false, missing: left out).
    units : sequence of str
        One or two columns of the randomised units: names, and stems (tasks).
    level : float, default 0.95
        Coverage of the intervals.

    Returns
    -------
    DataFrame of shape (groups, 5)
        In the library of ``frame``: ``group``, ``rate`` (0 to 1), ``low``, ``high``, ``n`` (responses).

    Raises
    ------
    BadInput
        A column is missing, or an outcome is not between 0 and 1.

    Examples
    --------
    >>> import evenhand as eh, polars as pl
    >>> frame = pl.DataFrame({"group": ["a", "a", "b", "b"], "name": ["x", "y", "u", "v"], "refused": [0, 0, 1, 0]})
    >>> eh.service.rates(frame, group="group", outcome="refused", units=["name"])["rate"].to_list()
    [0.0, 0.5]
    """
    cells, groups = _cells(frame, group, outcome, units)
    rows = [
        {"group": groups[one.group], "rate": one.rate, **_ends(one.interval), "n": one.responses}
        for one in group_rates(cells, level=level)
    ]
    schema = {"group": pl.String, "rate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "n": pl.Int64}
    return in_library(pl.DataFrame(rows, schema=schema), library_of(frame))


def contrasts(
    frame: Any,
    *,
    group: str,
    outcome: str,
    units: Sequence[str],
    reference: str | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Any:
    """Each group against a reference group: risk difference and ratios, permutation test, Holm's adjustment.

    Parameters
    ----------
    frame : DataFrame of shape (responses, columns)
        A polars, pandas or Arrow frame with one row a response.
    group, outcome : str
        The columns of the group and of the outcome (0 or 1, true or false, missing: left out).
    units : sequence of str
        One or two columns of the randomised units: names, and stems (tasks). Repetitions are averaged in their cell.
    reference : str, optional
        The group that the others are compared with; the first in alphabetical order if left out.
    level : float, default 0.95
        Coverage of the intervals.
    draws : int, default 10000
        Bootstrap draws.
    seed : int, default 0
        Seed of draws and permutations.

    Returns
    -------
    DataFrame of shape (groups - 1, 13)
        In the library of ``frame``: ``group``, ``reference``, ``rate``, ``reference_rate``, ``risk_difference`` with ``low``
        and ``high``, ``risk_ratio``, ``odds_ratio``, ``p`` (names permuted), ``p_adjusted`` (Holm), ``n`` (responses of both
        groups), ``reason`` (why something is null).

    Raises
    ------
    BadInput
        A column or the reference group is missing, or an outcome is not between 0 and 1.

    Examples
    --------
    >>> import evenhand as eh, polars as pl
    >>> rows = [(g, f"{g}{n}", t, (n + t) % 4 < k) for g, k in (("a", 1), ("b", 3)) for n in range(4) for t in range(4)]
    >>> frame = pl.DataFrame(rows, schema=["group", "name", "stem", "refused"], orient="row")
    >>> found = eh.service.contrasts(frame, group="group", outcome="refused", units=["name", "stem"], draws=200)
    >>> found.select("group", "reference", "risk_difference").row(0)
    ('b', 'a', 0.5)
    """
    cells, groups = _cells(frame, group, outcome, units)
    base = groups[0] if reference is None else str(reference)
    if base not in groups:
        raise BadInput(f"There is no group '{base}'.", do=f"The groups are: {', '.join(groups)}.")
    family = contrast_family(cells, groups.index(base), level=level, draws=draws, seed=seed)
    rows = [
        {
            "group": groups[one.group],
            "reference": base,
            "rate": one.rate,
            "reference_rate": one.reference_rate,
            "risk_difference": one.difference,
            **_ends(one.interval),
            "risk_ratio": one.ratio,
            "odds_ratio": one.odds_ratio,
            "p": one.test.p if one.test else None,
            "p_adjusted": one.p_holm,
            "n": sum(one.responses),
            "reason": "; ".join(f"{name}: {why}" for name, why in (one.reasons or {}).items()) or None,
        }
        for one in family.contrasts
    ]
    text = ("group", "reference", "reason")
    schema = (
        {name: pl.String if name in text else pl.Int64 if name == "n" else pl.Float64 for name in rows[0]}
        if rows
        else {}
    )
    return in_library(pl.DataFrame(rows, schema=schema), library_of(frame))


def permutation_test(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> PermutationTest | None:
    """Two-sided permutation test of the difference of two means; every split is counted if there are few enough.

    Parameters
    ----------
    first, second : array of shape (units,)
        One value a unit (the rate of a name, for example); the lengths may differ.
    seed : int, default 0
        Seed of the random splits of large samples.

    Returns
    -------
    PermutationTest or None
        None if a sample has fewer than two units.
        ``p``, ``smallest_p`` (the least that the sample could give), ``count`` of ``total`` splits, ``exact``, ``method``.

    Raises
    ------
    BadInput
        A value is not finite.

    Examples
    --------
    >>> import evenhand as eh
    >>> found = eh.service.permutation_test([1.0, 0.9, 0.8], [0.1, 0.0, 0.2])
    >>> found.p, found.exact
    (0.1, True)
    """
    return _permutation_test(first, second, seed=seed)


def is_refusal(text: str) -> bool:
    """Whether a response declines by its wording: a refusal opener at its start, or a refusal anywhere in it.

    Parameters
    ----------
    text : str
        The response.

    Returns
    -------
    bool

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.service.is_refusal("I'm sorry, but I can't help with that."), eh.service.is_refusal("Here is the recipe.")
    (True, False)
    """
    return bool(refusal_opener(text)) or bool(refusal_wording(text))


def pareto_front(over_refusal: ArrayLike, safety: ArrayLike) -> tuple[int, ...]:
    """Configurations that no other beats on both axes: less over-refusal, more safety.

    Parameters
    ----------
    over_refusal, safety : array of shape (configurations,)
        Shares from 0 to 1; NaN leaves a configuration out.

    Returns
    -------
    tuple of int
        Positions in ascending over-refusal.

    Raises
    ------
    BadInput
        The arrays differ in length.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.service.pareto_front([0.1, 0.3, 0.4], [0.7, 0.9, 0.8])
    (0, 1)
    """
    return spread.pareto_front(over_refusal, safety)


def price_of_safety(over_refusal: tuple[float, float], safety: tuple[float, float]) -> float | None:
    """Over-refusal added per unit of safety gained from one configuration to another.

    Parameters
    ----------
    over_refusal, safety : pair of float
        The share under the first and under the second configuration, 0 to 1.

    Returns
    -------
    float or None
        None if safety changes by less than 0.01, or if a configuration declines everything or nothing.

    Raises
    ------
    BadInput
        A share is not between 0 and 1.

    Examples
    --------
    >>> import evenhand as eh
    >>> round(eh.service.price_of_safety((0.1, 0.3), (0.5, 0.9)), 3)
    0.5
    """
    return spread.price_of_safety(over_refusal, safety).price


def _ends(interval: Interval | None) -> dict[str, float | None]:
    return {"low": interval.low if interval else None, "high": interval.high if interval else None}
