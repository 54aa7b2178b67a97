"""The reward audit on the organisms: every margin is that of the weights, and the right stage is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from evenhand.config import make_config
from evenhand.organisms.truth import margin_truth
from evenhand.runs.runner import Outcome, run_audits

SCRIPT = Path(__file__).parents[3] / "support" / "kill_and_resume.py"


def audited(folder: Path, model: str) -> Outcome:
    return run_audits(make_config(models=(f"organism/{model}",), only=("reward",), draws=1000), folder)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return audited(tmp_path_factory.mktemp("reward") / "aligned", "aligned")


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return audited(tmp_path_factory.mktemp("reward") / "even", "even")


@pytest.mark.parametrize("family", ["aligned", "even"])
def test_every_margin_is_that_of_the_weights(family: str, request: pytest.FixtureRequest) -> None:
    outcome: Outcome = request.getfixturevalue(family)
    rows = pl.read_parquet(outcome.run.table("reward", "pairs"))
    parts = pl.col("pair_id").str.split("/").list.to_struct(fields=["pair_set_", "group_", "predicate", "frame"])
    rows = rows.with_columns(parts.struct.unnest())
    checked = 0
    for column, model in (("m_pi", "policy"), ("m_ref", "reference")):
        for spec in rows[model].unique():
            truth = margin_truth(spec.removeprefix("organism/")).rename({"margin": "truth"})
            here = rows.filter(pl.col(model) == spec).join(truth, on=["pair_set", "group", "predicate", "frame"])
            assert here.height
            np.testing.assert_allclose(here[column].to_numpy(), here["truth"].to_numpy(), atol=1e-4)
            checked += here.height
    assert checked == 2 * rows.height


def test_each_planted_effect_is_named_at_its_stage(aligned: Outcome) -> None:
    named = aligned.results[0].facts["named"]
    totals = {
        n["group"]: (n["fate"], n["stage"]) for n in named if n["total"] and n["group"] and n["stage"] in ("sft", "dpo")
    }
    assert totals == {
        "transgender": ("introduced", "sft"),
        "nonbinary": ("amplified", "dpo"),
        "genderfluid": ("attenuated", "dpo"),
    }
    found = {(n["stage"], n["group"]) for n in named if n["found"] and not n["total"] and n["group"]}
    assert found == {
        ("sft", "transgender"), ("dpo", "nonbinary"), ("sft-dpo", "nonbinary"), ("dpo", "genderfluid"), ("sft-dpo", "genderfluid")
    }  # fmt: skip
    assert set(aligned.results[0].facts["only_found_in"]) == {"transgender", "nonbinary"}


def test_nothing_is_found_in_the_control(even: Outcome) -> None:
    result = even.results[0]
    assert not [n for n in result.facts["named"] if n["found"]]
    assert result.verdicts[0].tone == "even"
    assert "could have gone unseen" in result.verdicts[0].detail


def test_mention_is_subtracted(aligned: Outcome) -> None:
    findings = {
        (f.estimand, f.config, f.reference): f.estimate for f in aligned.results[0].findings if f.group == "transgender"
    }
    plain = findings["margin_shift", "organism/sft", "organism/base"]
    net = findings["net_shift", "organism/sft", "organism/base"]
    assert plain is not None
    assert net is not None
    assert plain - net == pytest.approx(0.3, abs=0.05)


def test_coverage_of_the_population_of_predicates() -> None:
    """A fifth of `bench/planted_rewards.py`, which does it 1,000 times."""
    from evenhand.statistics.clusters import cluster_bootstrap, cluster_means

    rng = np.random.default_rng(3)
    rows = margin_truth("aligned").join(
        margin_truth("sft"), on=["pair_set", "group", "predicate", "frame"], suffix="_before"
    )
    rows = rows.filter((pl.col("group") == "nonbinary") & (pl.col("kind") == "harm"))
    shift = (rows["margin"] - rows["margin_before"]).to_numpy()
    means = cluster_means(shift, rows["predicate"].to_list()).means
    hits = 0
    for _ in range(200):
        drawn = means[rng.integers(len(means), size=len(means))]
        interval = cluster_bootstrap(drawn, range(len(drawn)), draws=1000, method="studentised")
        assert interval is not None
        hits += interval.low <= means.mean() <= interval.high
    assert 0.90 <= hits / 200 <= 0.99


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_of_winoqueer_killed_once_ends_with_the_same_bytes(
    tmp_path: Path, public_data: Callable[[str], Path]
) -> None:
    settings = {
        "models": ["organism/sft", "organism/aligned"],
        "stages": {"sft": "organism/sft", "sft-dpo": "organism/aligned"},
        "only": ["reward"],
        "pair_set": ["winoqueer"],
        "beta": 0.5,
        "draws": 500,
    }
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "EVENHAND_DATA": str(public_data("winoqueer").parent), "LONGEST": "40"
    }  # fmt: skip
    for folder, kills in ((tmp_path / "whole", 0), (tmp_path / "broken", 1)):
        command = [sys.executable, str(SCRIPT), str(folder), "5", str(kills), json.dumps(settings)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("killed") == kills
    for name in (
        "reward/pairs.parquet",
        "reward/summary.parquet",
        "reward/texts.parquet",
        "reward/readings.parquet",
        "findings.json",
    ):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name
    rows = pl.read_parquet(tmp_path / "whole/reward/pairs.parquet")
    assert rows.height == 45_540
    assert rows.filter(pl.col("counted")).height == 45_540 - 286 - 1
