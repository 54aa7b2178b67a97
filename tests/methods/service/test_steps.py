"""Contrasts of any frame are those of the audit."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest

import evenhand as eh
from evenhand.errors import BadInput

COLUMNS: dict[str, Any] = {"group": "who", "outcome": "refused", "units": ["name", "stem"]}


def frame() -> pl.DataFrame:
    rows = [
        (group, f"{group}{name}", f"S{stem}", int((7 * name + 5 * stem) % 9 < share))
        for group, share in (("a", 2), ("b", 5), ("c", 3))
        for name in range(5)
        for stem in range(6)
    ]
    return pl.DataFrame(rows, schema=["who", "name", "stem", "refused"], orient="row")


def test_contrasts_and_rates_are_those_of_the_audit() -> None:
    run = eh.audit(
        labels=frame(), group="who", clusters=["name", "stem"], outcome="refused", reference_group="a", draws=300,
        report=False,
    )  # fmt: skip
    found = eh.service.contrasts(frame(), **COLUMNS, draws=300)
    audit = run.findings.filter(pl.col("outcome") == "declined", pl.col("slice") == "")
    differences = audit.filter(pl.col("estimand") == "risk_difference")
    assert found["group"].to_list() == differences["group"].to_list() == ["b", "c"]
    for mine, theirs in (
        ("risk_difference", "estimate"),
        ("low", "low"),
        ("high", "high"),
        ("p_adjusted", "p_adjusted"),
    ):
        assert found[mine].to_list() == pytest.approx(differences[theirs].to_list()), mine
    rates = audit.filter(pl.col("estimand") == "rate").sort("group")
    assert eh.service.rates(frame(), **COLUMNS)["rate"].to_list() == pytest.approx(rates["estimate"].to_list())


def test_frames_come_back_in_their_library_and_the_reference_can_be_chosen() -> None:
    found = eh.service.contrasts(frame().to_pandas(), **COLUMNS, draws=200, reference="b")
    assert type(found) is pd.DataFrame
    assert found["group"].tolist() == ["a", "c"]
    assert set(found["reference"]) == {"b"}
    assert type(eh.service.rates(frame().to_arrow(), **COLUMNS)).__name__ == "Table"


def test_groups_of_any_type_and_missing_outcomes_are_taken() -> None:
    odd = frame().with_columns(
        who=pl.col("who") == "a", refused=pl.when(pl.col("name") == "c1").then(None).otherwise(pl.col("refused"))
    )
    found = eh.service.rates(odd, **COLUMNS)
    assert found["group"].to_list() == ["false", "true"]
    assert found["n"].to_list() == [54, 30]


def test_what_cannot_be_used_is_named() -> None:
    for change, message in (
        ({"outcome": "x"}, r"has no column 'x'\. It has: who, name, stem, refused"),
        ({"units": []}, "Give one or two columns of randomised units"),
        ({"units": "name"}, "Give one or two columns of randomised units"),
        ({"reference": "z"}, r"There is no group 'z'\. The groups are: a, b, c"),
    ):
        with pytest.raises(BadInput, match=message):
            eh.service.contrasts(frame(), **{**COLUMNS, **change})
    with pytest.raises(BadInput, match="No row has a group and its units"):
        eh.service.contrasts(frame().with_columns(who=pl.lit(None, pl.String)), **COLUMNS)
