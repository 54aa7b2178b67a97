"""Bootstrap weights for a complete or incomplete (items, raters) table: items, raters or both are resampled as wholes.

Source: the pigeonhole bootstrap (McCullagh 2000; Owen 2007). A draw is a
weight for every item and every rater, so a statistic that is a sum over cells is two matrix products and no table is
rebuilt. Unlike `evenhand.statistics.resampling`, raters are drawn without regard to a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from evenhand.errors import BadInput
from evenhand.statistics.cells import FloatArray, IntArray

Resample = Literal["both", "items", "raters"]
"""What is drawn anew: items and raters, items alone, or raters alone."""

_CHUNK_CELLS = 4_000_000


def rating_table(ratings: ArrayLike) -> FloatArray:
    """``ratings`` as an (items, raters) table of numbers, NaN where a rater gave none.

    Raises BadInput for another shape, and naming the first item that holds an infinite rating.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise BadInput(f"Ratings must be an (items, raters) table, got the shape {table.shape}.")
    endless = np.isinf(table).any(axis=1)
    if endless.any():
        raise BadInput("A rating is infinite.", row=int(np.argmax(endless)) + 1, do="Use NaN for a missing rating.")
    return table


def label_table(labels: ArrayLike, count: int | None = None) -> tuple[IntArray, int]:
    """``labels`` as an (items, raters) table of codes from 0, -1 where missing, and the number of labels.

    ``count`` is the number of labels that a rater could choose from; without it, the largest code plus one. Raises
    BadInput for another shape, and naming the first item that holds a code outside -1 to ``count`` - 1.
    """
    table = np.asarray(labels)
    if table.ndim != 2:
        raise BadInput(f"Labels must be an (items, raters) table, got the shape {table.shape}.")
    if table.size and table.dtype.kind not in "iub":
        raise BadInput("Label codes must be whole numbers.", do="Use codes from 0, and -1 for missing.")
    codes = table.astype(np.int64)
    known = int(codes.max(initial=-1)) + 1 if count is None else count
    wrong = ((codes < -1) | (codes >= known)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong)) + 1
        raise BadInput(f"A label code is outside -1 to {known - 1}.", row=row, do="Use codes from 0, -1 for missing.")
    return codes, known


def resampled_indices(items: int, raters: int, resample: Resample, draws: int, seed: int) -> Iterator[_Indices]:
    """For each draw the items and the raters drawn, (items,) and (raters,), with replacement."""
    _check(items, raters, resample, draws)
    of_items, of_raters = _generators(seed)
    for _ in range(draws):
        yield (
            of_items.integers(0, items, items) if resample != "raters" else np.arange(items),
            of_raters.integers(0, raters, raters) if resample != "items" else np.arange(raters),
        )


_Indices = tuple[IntArray, IntArray]


def two_way_weights(
    items: int, raters: int, *, resample: Resample, draws: int, seed: int, width: int = 0
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Chunks of ``(item weights, rater weights)``, (chunk, items) and (chunk, raters), each row summing to its length.

    ``width`` is how many numbers the caller makes of one draw (default: items + raters); it bounds the chunk, not the
    draws: they are the same for every width, and the same as those of `resampled_indices`.
    """
    _check(items, raters, resample, draws)
    of_items, of_raters = _generators(seed)
    step = max(1, _CHUNK_CELLS // max(1, width or items + raters))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        yield (
            _counts(of_items, items, size) if resample != "raters" else np.ones((size, items)),
            _counts(of_raters, raters, size) if resample != "items" else np.ones((size, raters)),
        )


def _generators(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    return np.random.default_rng([seed, 21]), np.random.default_rng([seed, 22])


def _counts(generator: np.random.Generator, units: int, draws: int) -> FloatArray:
    """How often each unit is drawn, (draws, units); bincount is several times faster than multinomial draws."""
    drawn = generator.integers(0, units, (draws, units)) + np.arange(draws)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float64)


def _check(items: int, raters: int, resample: str, draws: int) -> None:
    if resample not in ("both", "items", "raters"):
        raise BadInput(f"Nothing is resampled as '{resample}'.", do="Known: both, items, raters.")
    if items < 1 or raters < 1:
        raise BadInput(f"The bootstrap needs an item and a rater, got {items} and {raters}.")
    if draws < 1:
        raise BadInput(f"The bootstrap needs at least one draw, got {draws}.")
