"""Measures of served responses (words, sentiment, toxicity): only where both groups were served at all.

Source: service_quality section 4 ("Helpful content"). A group that is refused on hard stems is served on easy ones
only, so a plain mean over served responses compares different stems. Kept are stems on which both groups have at
least one served response; cells are averaged first, stems then weigh equally.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evenhand.errors import BadInput
from evenhand.methods.service.statistics.contrasts import ContrastFamily, contrast_family
from evenhand.statistics.cells import cells_from_rows
from evenhand.statistics.resampling import DRAWS


@dataclass(frozen=True, slots=True, eq=False)
class HelpfulContent:
    """Contrasts of a measure on served responses, with how much of the material they rest on.

    Each contrast states its stems and the stems dropped. ``served`` maps a group code to its served and all responses;
    ``unmeasured`` counts served responses without a value.
    """

    family: ContrastFamily
    served: dict[int, tuple[int, int]]
    unmeasured: int


def helpful_contrasts(
    names: ArrayLike,
    stems: ArrayLike,
    values: ArrayLike,
    served: NDArray[np.bool_],
    groups: ArrayLike,
    reference: int,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> HelpfulContent:
    """Compare groups on a real-valued measure of their served responses.

    ``names``, ``stems`` (rows,) codes from 0, ``values`` (rows,) the measure (words, a probability), ``served``
    (rows,) whether the response counts as served, ``groups`` (names,). Raises BadInput where the reference has no
    served response.
    """
    name, group = np.asarray(names, dtype=np.int64), np.asarray(groups, dtype=np.int64)
    kept = np.asarray(served, dtype=bool)
    value = np.asarray(values, dtype=np.float64)
    if not kept.shape == value.shape == name.shape:
        raise BadInput(f"Rows of unequal length: {name.size} names, {value.size} values, {kept.size} served flags.")
    cells = cells_from_rows(name, stems, np.where(kept, value, np.nan), group, binary=False)
    counts = {
        int(code): (int(kept[group[name] == code].sum()), int((group[name] == code).sum())) for code in np.unique(group)
    }
    if reference in counts and counts[reference][0] == 0:
        raise BadInput(f"Reference group {reference} has no served response.", do="Choose another reference group.")
    family = contrast_family(cells, reference, level=level, draws=draws, seed=seed)
    return HelpfulContent(family, counts, int((kept & np.isnan(value)).sum()))
