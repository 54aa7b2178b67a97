"""Splits by group."""

from __future__ import annotations

from collections import Counter

import pytest

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.build_tables import SPLITS, split_by_group

SHARES = (0.8, 0.1, 0.1)
ROWS = {f"r{at:03d}": f"r{at - at % 3:03d}" for at in range(300)}
STRATA = {row: "few" if at < 30 else "many" for at, row in enumerate(ROWS)}


def test_groups_stay_together_and_domains_are_divided_alike() -> None:
    found = split_by_group(ROWS, STRATA, SHARES, seed=1)
    for row, group in ROWS.items():
        assert found[row] == found[group]
    for name, size in (("few", 30), ("many", 270)):
        counts = Counter(found[row] for row in ROWS if STRATA[row] == name)
        assert [counts[split] for split in SPLITS] == [0.8 * size, 0.1 * size, 0.1 * size]


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    found = split_by_group(ROWS, STRATA, SHARES, seed=1)
    assert split_by_group(dict(reversed(ROWS.items())), STRATA, SHARES, seed=1) == found
    assert split_by_group(ROWS, STRATA, SHARES, seed=2) != found


def test_rows_for_training_alone_take_their_group_along() -> None:
    found = split_by_group(ROWS, STRATA, SHARES, seed=1, train_only=frozenset({"r001", "r100"}))
    assert {found[row] for row in ("r000", "r001", "r002", "r099", "r100", "r101")} == {"train"}


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.8, 0.3, -0.1), (0.8, 0.1, 0.2)])
def test_shares_that_are_no_division_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match="do not divide the whole"):
        split_by_group(ROWS, STRATA, shares, seed=1)
