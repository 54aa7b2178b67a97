"""The values of the early public release (specification section 6.1), through the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.records import Finding
from evenhand.runs.load import LoadedRun, load

pytestmark = pytest.mark.data
SEVEN, THIRTEEN = "llama-2-7b-chat", "llama-2-13b-chat"

COUNTS = {
    SEVEN: {
        "answer": 1668,
        "partial answer": 86,
        "failure": 78,
        "refusal": 293,
        "harmful refusal": 179,
        "harmful answer": 0,
    },
    THIRTEEN: {
        "answer": 1699,
        "partial answer": 121,
        "failure": 106,
        "refusal": 343,
        "harmful refusal": 30,
        "harmful answer": 5,
    },
}
# group: n, then (declined, risk difference, count, splits, Holm, BH) for each model
CONTRASTS = {
    "mexican": (576, (89, 0.0625, 734, 12870, 0.0848, 0.0570), (54, 0.0434, 630, 12870, 0.0979, 0.0505)),
    "asian": (288, (49, 0.0781, 21, 495, 0.0848, 0.0566), (44, 0.1024, 25, 495, 0.0979, 0.0505)),
    "chinese": (288, (52, 0.0885, 2, 495, 0.0121, 0.0081), (47, 0.1128, 1, 495, 0.0061, 0.0040)),
    "muslim": (576, (229, 0.3056, 2, 12870, 0.00062, 0.00062), (199, 0.2951, 2, 12870, 0.00062, 0.00062)),
}


@pytest.fixture(scope="module")
def published(public_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    file = public_data("llama2_qos") / "counts_by_name.csv"
    out = tmp_path_factory.mktemp("published") / "run"
    command = [sys.executable, "-c", "from evenhand.cli.main import main; main()"]
    done = subprocess.run(
        [*command, "audit", "--only", "service", "--labels", str(file), "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return load(out)


def pick(
    run: LoadedRun, config: str, estimand: str, group: str | None, outcome: str = "declined", **part: str
) -> Finding:
    found = [
        f
        for f in run.findings
        if (f.config, f.estimand, f.group, f.outcome, dict(f.slice)) == (config, estimand, group, outcome, part)
    ]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("config", [SEVEN, THIRTEEN])
def test_label_counts(published: LoadedRun, config: str) -> None:
    totals = dict.fromkeys(COUNTS[config], 0)
    for finding in published.findings:
        if finding.estimand == "label_share" and finding.config == config:
            totals[finding.outcome] += finding.extra["count"]
    assert totals == COUNTS[config]


@pytest.mark.parametrize("config", [SEVEN, THIRTEEN])
@pytest.mark.parametrize("group", list(CONTRASTS))
def test_rates_differences_and_exact_tests(published: LoadedRun, config: str, group: str) -> None:
    n, *by_model = CONTRASTS[group]
    declined, difference, count, splits, p_holm, q_bh = by_model[0 if config == SEVEN else 1]
    rate = pick(published, config, "rate", group)
    assert (rate.n, rate.estimate) == (n, pytest.approx(declined / n, abs=1e-12))
    found = pick(published, config, "risk_difference", group)
    assert found.estimate == pytest.approx(difference, abs=5e-5)
    assert found.reference == "white"
    assert found.test is not None
    assert (found.test.count, found.test.permutations, found.test.exact) == (count, splits, True)
    assert found.test.p == pytest.approx(count / splits, abs=1e-15)
    assert found.test.p_holm == pytest.approx(p_holm, abs=6e-5)
    assert found.test.q_bh == pytest.approx(q_bh, abs=6e-5)
    assert found.test.family_size == 4


def test_wilson_intervals(published: LoadedRun) -> None:
    muslim, white = pick(published, SEVEN, "rate", "muslim"), pick(published, SEVEN, "rate", "white")
    assert muslim.interval is not None
    assert white.interval is not None
    assert (muslim.interval.low, muslim.interval.high) == pytest.approx((0.3584, 0.4381), abs=5e-5)
    assert (white.interval.low, white.interval.high) == pytest.approx((0.0710, 0.1184), abs=5e-5)
    assert "within-sample" in muslim.interval.method
    assert white.estimate == pytest.approx(53 / 576)
    assert pick(published, THIRTEEN, "rate", "white").estimate == pytest.approx(29 / 576)


@pytest.mark.parametrize(("config", "p"), [(SEVEN, 0.005), (THIRTEEN, 0.002)])
def test_omnibus(published: LoadedRun, config: str, p: float) -> None:
    found = pick(published, config, "omnibus", None)
    assert found.test is not None
    assert found.test.p == pytest.approx(p, abs=0.001)


# The specification prints 87.5 % for the 13B model; the file has 66 of 72 (91.7 %), which alone fits the .214 without the name.
@pytest.mark.parametrize(("config", "without", "alone"), [(SEVEN, 0.225, 69 / 72), (THIRTEEN, 0.214, 66 / 72)])
def test_one_name_dominates(published: LoadedRun, config: str, without: float, alone: float) -> None:
    found = pick(published, config, "leave_one_name_out", "muslim")
    assert found.extra["name"] == "Mohammed"
    assert found.estimate == pytest.approx(without, abs=5e-4)
    assert found.test is not None
    assert (found.test.count, found.test.permutations) == (1, 6435)
    name = pick(published, config, "name_rate", "muslim", name="Mohammed")
    assert name.estimate == pytest.approx(alone, abs=5e-4)


@pytest.mark.parametrize(
    ("config", "common", "rare", "men", "women"),
    [(SEVEN, 0.566, 0.229, 0.493, 0.302), (THIRTEEN, 0.479, 0.212, 0.410, 0.281)],
)
def test_splits(published: LoadedRun, config: str, common: float, rare: float, men: float, women: float) -> None:
    by_frequency = pick(published, config, "common_minus_rare", "muslim")
    by_gender = pick(published, config, "men_minus_women", "muslim")
    assert (by_frequency.extra["first"], by_frequency.extra["second"]) == pytest.approx((common, rare), abs=6e-4)
    assert (by_gender.extra["first"], by_gender.extra["second"]) == pytest.approx((men, women), abs=6e-4)


def test_small_groups_say_that_we_cannot_tell(published: LoadedRun) -> None:
    verdicts = {row["config"]: row for row in published.result["verdicts"]}
    assert verdicts[SEVEN]["tone"] == "worse"
    assert "Muslim" in verdicts[SEVEN]["headline"]
    assert verdicts[SEVEN]["group"] == "muslim"
    (unknown,) = verdicts[SEVEN]["unknowns"]
    assert unknown.startswith("Only large gaps could be seen: ")
    assert "Asian" in unknown
