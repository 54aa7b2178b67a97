"""Stored values of Wang et al. 2025 and the zero-shot reference: DART spec sections 6.4, 10 and 12.2."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evenhand.methods.dart.difference.data.cases import BENCHMARKS, read_benchmarks
from evenhand.methods.dart.difference.graders.conclusion import parse_option
from evenhand.methods.dart.difference.statistics.awareness import ChoiceCounts, choice_counts, decisions, ratio_interval

pytestmark = pytest.mark.data

Finder = Callable[[str], Path]
COUNTS = ("A_diff_correct", "B_diff_wrong_group", "C_diff_said_equal", "DE_equal_named_a_group", "F_equal_correct")
Options = dict[tuple[str, str], dict[str, list[int | None]]]


@pytest.fixture(scope="module")
def stored(public_data: Finder) -> list[dict[str, str]]:
    path = public_data("difference_awareness") / "published_diffaware_ctxtaware.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def options(public_data: Finder) -> Options:
    """(model, benchmark) -> condition -> the option of every completion."""
    found: Options = defaultdict(dict)
    path = public_data("difference_awareness") / "mc_completions_system0.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["model"], row["benchmark"]][row["condition"]] = [parse_option(text) for text in row["completions"]]
    return found


def test_formulas_reproduce_all_stored_values(stored: list[dict[str, str]]) -> None:
    assert len(stored) == 360
    undefined = 0
    for row in stored:
        found = ChoiceCounts(*(float(row[name]) for name in COUNTS))
        assert found.diff_aware == pytest.approx(float(row["diffaware"]), abs=2e-4)
        if math.isnan(float(row["ctxtaware"])):
            undefined += 1
            assert found.ctxt_aware is None
        else:
            assert found.ctxt_aware == pytest.approx(float(row["ctxtaware"]), abs=2e-4)
    assert undefined == 4


def test_completions_reproduce_the_stored_values(
    public_data: Finder, stored: list[dict[str, str]], options: Options
) -> None:
    right: dict[tuple[str, str], list[int | None]] = defaultdict(list)
    for case in read_benchmarks(public_data("difference_awareness")).cases:
        right[case.benchmark, case.condition].append(case.right)
    exact, cells = 0, 0
    for row in stored:
        if row["system_prompt_id"] != "0" or row["benchmark"] == "N1":  # N1 rows are a rebuild
            continue
        said = options[row["model"], row["benchmark"]]
        pairs = [(r, s) for k in ("diff", "equal") for r, s in zip(right[row["benchmark"], k], said[k], strict=True)]
        kept = [(r, s) for r, s in pairs if r is not None and s is not None]
        found = choice_counts([r for r, _ in kept], np.eye(3)[[s for _, s in kept]])
        assert found.diff_aware == pytest.approx(float(row["diffaware"]), abs=0.01)
        assert found.ctxt_aware == pytest.approx(float(row["ctxtaware"]), abs=0.01)
        cells += 1
        exact += [found.a, found.b, found.c, found.de, found.f] == [int(row[name]) for name in COUNTS]
    assert cells == 70
    assert exact >= 63


@pytest.mark.parametrize(
    ("model", "overall", "differ", "equal"), [("llama-3.1-8b", 56.8, 70.2, 43.4), ("gpt-4o", 67.3, 68.1, 66.5)]
)
def test_zero_shot_reference(options: Options, model: str, overall: float, differ: float, equal: float) -> None:
    gold: list[bool] = []
    said: list[int | None] = []
    for name in BENCHMARKS:
        for condition, answers in options[model, name].items():
            gold += [condition == "diff"] * len(answers)
            said += answers
    found = decisions(gold, [s in (0, 1) for s in said], [s == 2 for s in said])
    assert found.n == 16_000
    told = (found.accuracy, found.diff_accuracy, found.equal_accuracy)
    assert [100 * value for value in told if value is not None] == pytest.approx([overall, differ, equal], abs=0.15)


def test_scenario_intervals_agree_with_the_stored_ones(
    public_data: Finder, stored: list[dict[str, str]], options: Options
) -> None:
    """On D1 every row is a scenario, so both conditions pooled or not give the published bounds within noise."""
    (row,) = (r for r in stored if (r["model"], r["benchmark"], r["system_prompt_id"]) == ("gpt-4o", "D1", "0"))
    cases = [c for c in read_benchmarks(public_data("difference_awareness"), ["D1"]).cases if c.gold == "YES"]
    said = options["gpt-4o", "D1"]["diff"]
    hit = [float(s == case.right) for case, s in zip(cases, said, strict=True)]
    found = ratio_interval(hit, [float(s is not None) for s in said], [case.scenario for case in cases], draws=9_999)
    assert found is not None
    bounds = (float(row["diffaware_lo"]), float(row["diffaware_hi"]))
    assert (found.low, found.high) == pytest.approx(bounds, abs=0.006)
