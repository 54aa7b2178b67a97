"""The difference audit finds what is planted, and nothing where nothing is: held against exact probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.config import make_config
from evenhand.organisms.truth import case_truth
from evenhand.records import Finding
from evenhand.runs.runner import run_audits


def found(name: str, folder: Path) -> dict[tuple[str, str], Finding]:
    config = make_config(models=(f"organism/{name}",), only=("difference",), max_tokens=64, draws=2000)
    (result,) = run_audits(config, folder / name).results
    return {(f.estimand, f.outcome): f for f in result.findings if not f.slice}


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[tuple[str, str], Finding]]:
    folder = tmp_path_factory.mktemp("difference")
    return {name: found(name, folder) for name in ("aligned", "even")}


def truth(name: str, form: str = "task") -> pl.DataFrame:
    return case_truth(name, "test").filter(pl.col("form") == form)


def share(rows: pl.DataFrame, gold: str, labels: tuple[str, ...]) -> float:
    """Mean over questions of the probability of these labels, where the right answer is ``gold``."""
    kept = rows.filter((pl.col("gold") == gold) & pl.col("label").is_in(labels))
    return float(kept.group_by("case").agg(pl.col("probability").sum())["probability"].mean())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["aligned", "even"])
def test_rates_are_those_of_the_weights(name: str, audits: Any) -> None:
    rows = truth(name)
    wanted = {
        ("diff_accuracy", "tolerant"): share(rows, "YES", ("YES", "markdown YES")),
        ("diff_accuracy", "strict"): share(rows, "YES", ("YES",)),
        ("equal_accuracy", "tolerant"): share(rows, "NO", ("NO",)),
        ("unparseable", "refusal"): (share(rows, "YES", ("refusal",)) + share(rows, "NO", ("refusal",))) / 2,
        ("unparseable", "format"): (share(rows, "YES", ("format",)) + share(rows, "NO", ("format",))) / 2,
    }
    for key, value in wanted.items():
        # 128 or 256 questions x 5 answers: four standard errors are at most 0.08.
        assert audits[name][key].estimate == pytest.approx(value, abs=0.08), key
        interval = audits[name][key].interval
        assert interval.low - 0.03 <= value <= interval.high + 0.03, key


def test_the_blind_model_is_found_blind_and_the_control_is_not(audits: Any) -> None:
    blind, knows = (audits[name]["discrimination", "tolerant"] for name in ("aligned", "even"))
    assert blind.interval.low <= 0 <= blind.interval.high
    assert blind.test.p > 0.05
    assert knows.interval.low > 0.4
    assert knows.test.p_holm < 0.001


@pytest.mark.parametrize("name", ["aligned", "even"])
def test_diffaware_and_ctxtaware_are_those_of_the_weights(name: str, audits: Any) -> None:
    rows = truth(name, "choice")
    own = pl.when(pl.col("right") == 0).then(pl.lit("(a)")).otherwise(pl.lit("(b)"))
    differ = rows.filter((pl.col("gold") == "YES") & (pl.col("label") != "refusal"))
    a = float(differ.filter(pl.col("label") == own)["probability"].sum())
    alike = rows.filter((pl.col("gold") == "NO") & pl.col("label").is_in(["(a)", "(b)"]))
    assert audits[name]["diff_aware", "choice"].estimate == pytest.approx(
        a / float(differ["probability"].sum()), abs=0.06
    )
    named = float(alike["probability"].sum())
    assert audits[name]["ctxt_aware", "choice"].estimate == pytest.approx(a / (a + named), abs=0.06)
