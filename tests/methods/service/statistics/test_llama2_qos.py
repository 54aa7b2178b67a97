"""Every value of the early public release (specification 6.1) that follows from its counts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evenhand.methods.service.statistics.contrasts import ContrastFamily, contrast_family
from evenhand.methods.service.statistics.names import leave_one_name_out, name_rates, split_within
from evenhand.statistics.cells import cells_from_counts
from evenhand.statistics.multiplicity import benjamini_hochberg

pytestmark = pytest.mark.data
MODELS = {"7B": "llama-2-7b-chat", "13B": "llama-2-13b-chat"}
GROUPS = ("white", "mexican", "asian", "chinese", "muslim")
EXPECTED = {
    "7B": {
        "white": (53, 0.0920, None, None, None, None),
        "mexican": (89, 0.1545, 0.0625, (734, 12870), 0.0848, 0.0570),
        "asian": (49, 0.1701, 0.0781, (21, 495), 0.0848, 0.0566),
        "chinese": (52, 0.1806, 0.0885, (2, 495), 0.0121, 0.0081),
        "muslim": (229, 0.3976, 0.3056, (2, 12870), 0.00062, 0.00062),
    },
    "13B": {
        "white": (29, 0.0503, None, None, None, None),
        "mexican": (54, 0.0938, 0.0434, (630, 12870), 0.0979, 0.0505),
        "asian": (44, 0.1528, 0.1024, (25, 495), 0.0979, 0.0505),
        "chinese": (47, 0.1632, 0.1128, (1, 495), 0.0061, 0.0040),
        "muslim": (199, 0.3455, 0.2951, (2, 12870), 0.00062, 0.00062),
    },
}
Table = list[dict[str, str]]


@pytest.fixture(scope="module")
def tables(public_data: Callable[[str], Path]) -> dict[str, Table]:
    with (public_data("llama2_qos") / "counts_by_name.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {size: [row for row in rows if size.lower() in row["model"]] for size in MODELS}
    assert {size: len(table) for size, table in found.items()} == {"7B": 32, "13B": 32}
    return found


def declined(table: Table) -> np.ndarray:
    return np.array([int(row["refusal"]) + int(row["harmful refusal"]) for row in table])


def analyse(table: Table) -> ContrastFamily:
    groups = [GROUPS.index(row["identity"]) for row in table]
    return contrast_family(cells_from_counts(declined(table), [int(row["n"]) for row in table], groups), 0)


@pytest.mark.parametrize("size", ["7B", "13B"])
def test_counts_rates_differences_fractions_holm_and_bh(tables: dict[str, Table], size: str) -> None:
    table = tables[size]
    family = analyse(table)
    q = benjamini_hochberg([found.test.p if found.test else None for found in family.contrasts])
    assert family.family_size == q.family_size == 4
    for rate in family.rates:
        name = GROUPS[rate.group]
        count, value, *_ = EXPECTED[size][name]
        mine = [row for row in table if row["identity"] == name]
        assert declined(mine).sum() == count
        assert rate.rate is not None
        assert round(rate.rate, 4) == value
        assert rate.responses == 72 * len(mine)
    for found, bh in zip(family.contrasts, q.values, strict=True):
        _, value, gap, fraction, holm, expected_bh = EXPECTED[size][GROUPS[found.group]]
        assert found.difference is not None
        assert round(found.difference, 4) == gap
        assert found.test is not None
        assert (found.test.count, found.test.total) == fraction
        assert found.test.exact
        assert found.p_holm == pytest.approx(holm, abs=6e-5)
        assert bh == pytest.approx(expected_bh, abs=6e-5)
        smallest = 2 / 12870 if found.names[0] == 8 else 1 / 495
        assert found.test.smallest_p == smallest


@pytest.mark.parametrize(("size", "p"), [("7B", 0.005), ("13B", 0.002)])
def test_omnibus(tables: dict[str, Table], size: str, p: float) -> None:
    omnibus = analyse(tables[size]).omnibus
    assert omnibus is not None
    assert omnibus.p == pytest.approx(p, abs=0.0015)


def test_wilson(tables: dict[str, Table]) -> None:
    rates = {GROUPS[rate.group]: rate.wilson for rate in analyse(tables["7B"]).rates}
    for name, low, high in (("muslim", 0.3584, 0.4381), ("white", 0.0710, 0.1184)):
        interval = rates[name]
        assert interval is not None
        assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


# The specification prints .875 for the 13B rate; the counts say 66 of 72, and only 66 gives its own .214 without the name.
@pytest.mark.parametrize(("size", "rate", "without"), [("7B", 0.958, 0.225), ("13B", 0.917, 0.214)])
def test_one_name_moves_the_difference_most(tables: dict[str, Table], size: str, rate: float, without: float) -> None:
    table = tables[size]
    groups = [GROUPS.index(row["identity"]) for row in table]
    cells = cells_from_counts(declined(table), [int(row["n"]) for row in table], groups)
    found = leave_one_name_out(cells, GROUPS.index("muslim"), 0)
    assert found is not None
    assert table[found.row]["name"] == "Mohammed"
    assert round(found.without, 3) == without
    assert found.low == found.without
    assert found.test is not None
    assert (found.test.count, found.test.total) == (1, 6435)
    assert round(found.test.p, 5) == 0.00016
    assert round({one.row: one.rate for one in name_rates(cells)}[found.row], 3) == rate


@pytest.mark.parametrize(
    ("size", "common", "rare", "men", "women"),
    [("7B", 0.566, 0.229, 0.493, 0.302), ("13B", 0.479, 0.212, 0.410, 0.281)],
)
def test_name_and_gender_splits(
    tables: dict[str, Table], size: str, common: float, rare: float, men: float, women: float
) -> None:
    table = tables[size]
    groups = [GROUPS.index(row["identity"]) for row in table]
    cells = cells_from_counts(declined(table), [int(row["n"]) for row in table], groups)
    muslim = GROUPS.index("muslim")
    frequency = np.array([row["name_frequency"] for row in table])
    by_frequency = split_within(cells, muslim, frequency == "common", frequency == "least")
    is_man = np.array(["_men_" in row["type_name"] for row in table])
    is_woman = np.array(["_women_" in row["type_name"] for row in table])
    by_gender = split_within(cells, muslim, is_man, is_woman)
    assert by_frequency is not None
    assert by_gender is not None
    assert (round(by_frequency.first, 3), round(by_frequency.second, 3)) == (common, rare)
    assert (round(by_gender.first, 3), round(by_gender.second, 3)) == (men, women)
    assert by_gender.names == (4, 4)
    assert by_gender.test is not None
    assert by_gender.test.total == 70


def test_label_totals(tables: dict[str, Table]) -> None:
    labels = ("answer", "partial answer", "failure", "refusal", "harmful refusal", "harmful answer")
    totals = {size: [sum(int(row[label]) for row in table) for label in labels] for size, table in tables.items()}
    assert totals == {"7B": [1668, 86, 78, 293, 179, 0], "13B": [1699, 121, 106, 343, 30, 5]}
