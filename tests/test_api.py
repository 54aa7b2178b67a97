"""Evenhand from Python: frames of any library, yes/no outcomes, and runs that can be loaded again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import evenhand
from evenhand.errors import BadInput


def rows(outcome: Callable[[bool], Any]) -> list[dict[str, Any]]:
    draw = random.Random(3)
    return [
        {"who": group, "first_name": f"{group}{name}", "template": f"T{stem}", "refused": outcome(draw.random() < p)}
        for group, p in (("a", 0.2), ("b", 0.6))
        for name in range(6)
        for stem in range(6)
    ]


SETTINGS: dict[str, Any] = {
    "group": "who", "clusters": ["first_name", "template"], "outcome": "refused", "reference": "a", "draws": 200,
}  # fmt: skip


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame, lambda r: pl.DataFrame(r).to_arrow()])
@pytest.mark.parametrize("outcome", [bool, int, float, lambda yes: "refusal" if yes else "answer"])
def test_any_frame_and_any_yes_or_no_gives_the_same_findings(make: Any, outcome: Any) -> None:
    run = evenhand.audit(labels=make(rows(outcome)), report=False, **SETTINGS)
    frame = run.findings_frame().filter((pl.col("estimand") == "risk_difference") & (pl.col("outcome") == "declined"))
    expected = evenhand.audit(labels=pl.DataFrame(rows(bool)), report=False, **SETTINGS).findings_frame()
    assert frame["estimate"].to_list() == expected.filter(pl.col("id") == frame["id"][0])["estimate"].to_list()
    assert frame["p_holm"][0] < 0.05


def test_a_missing_value_of_a_pandas_column_is_a_missing_label() -> None:
    frame = pd.DataFrame(rows(int))
    frame["refused"] = frame["refused"].astype(float)
    frame.loc[3, "refused"] = None
    run = evenhand.audit(labels=frame, report=False, **SETTINGS)
    assert run.result["missing"] == 1
    assert run.rows.filter(pl.col("label").is_null())["missing"].to_list() == ["label_missing"]


def test_a_run_is_kept_where_it_is_asked_for_and_loads_again(tmp_path: Path) -> None:
    run = evenhand.audit(labels=pl.DataFrame(rows(bool)), out=tmp_path / "run", **SETTINGS)
    assert (tmp_path / "run" / "report.html").exists()
    assert evenhand.load(tmp_path / "run").findings == run.findings


def test_what_is_not_a_frame_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'labels' is a list\. Give a path, or a polars, pandas or Arrow frame"):
        evenhand.audit(labels=rows(bool), **SETTINGS)
    with pytest.raises(BadInput, match="at most two are used: names, then stems"):
        evenhand.audit(labels=pl.DataFrame(rows(bool)), **{**SETTINGS, "clusters": ["a", "b", "c"]})


def test_a_nullable_outcome_of_pandas_is_read() -> None:
    frame = pd.DataFrame(rows(bool))
    frame["refused"] = frame["refused"].astype("boolean")
    frame.loc[3, "refused"] = pd.NA
    run = evenhand.audit(labels=frame, report=False, **SETTINGS)
    assert run.result["missing"] == 1


def test_units_may_be_named_and_a_unit_left_out_is_not_looked_for() -> None:
    frame = pl.DataFrame(rows(bool)).rename({"template": "stem"})

    def stems(clusters: Any) -> int | None:
        run = evenhand.audit(labels=frame, report=False, **{**SETTINGS, "clusters": clusters})
        (found,) = (f for f in run.findings if f.estimand == "omnibus" and f.outcome == "declined")
        assert found.test is not None
        return len({f.slice["stem"] for f in run.findings if f.estimand == "stem_rate"})

    assert stems(["first_name", "stem"]) == stems({"stem": "stem", "name": "first_name"}) == 6
    assert stems(["first_name"]) == stems({"name": "first_name"}) == 0
    with pytest.raises(BadInput, match=r"'first_name' does not say which unit it is"):
        stems("first_name")
    with pytest.raises(BadInput, match=r"There is no unit 'template'\. The units are: name, stem\."):
        stems({"template": "stem"})


def test_a_column_that_is_left_out_stays_an_attribute(tmp_path: Path) -> None:
    frame = pl.DataFrame(rows(bool)).rename({"template": "stem"})
    run = evenhand.audit(
        labels=frame.unique(["who", "first_name"]), report=False, **{**SETTINGS, "clusters": ["first_name"]}
    )
    assert "attribute.stem" in run.rows.columns
    assert "stem" not in run.rows.columns


def test_errors_name_the_frame_and_never_a_temporary_file() -> None:
    frame = pl.DataFrame(rows(lambda yes: "refusal" if yes else "nonsense"))
    with pytest.raises(BadInput, match=r"^the frame 'labels', row \d+: The label 'nonsense' is not known"):
        evenhand.audit(labels=frame, **SETTINGS)
