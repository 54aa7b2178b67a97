"""Rates, changes and the gate on small tables that can be counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evenhand.methods.tsdi.sweep.findings import SweepFindings
from evenhand.methods.tsdi.sweep.front import (
    Cells,
    Front,
    area,
    area_difference,
    change,
    evenly,
    rate,
    recommend,
)
from evenhand.methods.tsdi.sweep.grid import Sets


def cells(settings: dict[str, tuple[Any, Any]], categories: list[str]) -> Cells:
    """Cells of settings given as (safety by harmful prompt, compliance by benign prompt)."""
    safety = np.array([[[x] for x in one[0]] for one in settings.values()], dtype=float)
    comply = np.array([[[x] for x in one[1]] for one in settings.values()], dtype=float)
    harmful = tuple(f"h{k}" for k in range(safety.shape[1]))
    benign = tuple(f"b{k}" for k in range(comply.shape[1]))
    return Cells(
        tuple(settings), {"safety": harmful, "compliance": benign},
        {"safety": tuple(categories), "compliance": ("benign",) * len(benign)}, {"safety": safety, "compliance": comply},
    )  # fmt: skip


N = 400
CATEGORIES = ["a"] * 200 + ["b"] * 200


def safe(lost_a: int = 0, lost_b: int = 0) -> list[float]:
    return [0.0] * lost_a + [1.0] * (200 - lost_a) + [0.0] * lost_b + [1.0] * (200 - lost_b)


def comply(share: float) -> list[float]:
    return [1.0] * round(100 * share) + [0.0] * round(100 - 100 * share)


def gate(settings: dict[str, tuple[Any, Any]], grid: list[tuple[str, float, int]], **margins: float) -> Any:
    table = cells({"plain": (safe(), comply(0.5)), **settings}, CATEGORIES)
    return recommend(table, "plain", grid, **{"margin": 0.02, "category_margin": 0.1, **margins}, seed=0)


def test_the_largest_compliance_among_those_that_keep_safety() -> None:
    found = gate(
        {"x": (safe(), comply(0.6)), "y": (safe(), comply(0.8)), "z": (safe(30, 30), comply(0.9))},
        [("x", 0.5, 1), ("y", 0.5, 5), ("z", 1.0, 5)],
    )
    assert found.chosen.setting == "y"
    assert [one.passes for one in found.candidates] == [True, True, False]
    assert found.candidates[2].fails[0].startswith("safety could fall by ")


def test_ties_go_to_the_smaller_alpha_then_the_smaller_length() -> None:
    same = (safe(), comply(0.8))
    grid = [("a", 1.0, 1), ("b", 0.5, 10), ("c", 0.5, 2)]
    assert gate({"a": same, "b": same, "c": same}, grid).chosen.setting == "c"


def test_the_interval_decides_and_not_the_estimate() -> None:
    # One of 400 lost: -0.25 points, but 7 lost (-1.75) reach beyond 2 points with their interval.
    assert gate({"x": (safe(1), comply(0.8))}, [("x", 1.0, 1)]).chosen is not None
    found = gate({"x": (safe(4, 3), comply(0.8))}, [("x", 1.0, 1)])
    assert found.chosen is None
    assert found.closest.setting == "x"
    assert found.closest.safety_change == pytest.approx(-7 / N)
    assert found.closest.low < -0.02


def test_one_category_alone_can_close_the_gate() -> None:
    weak = {"x": (safe(0, 24), comply(0.8))}
    wide = gate(weak, [("x", 1.0, 1)], margin=0.2, category_margin=0.1)
    assert wide.chosen is None
    assert wide.closest.fails == ("B: safety fell by 12 points, the margin is 10",)
    assert wide.closest.worst == "b"
    assert gate(weak, [("x", 1.0, 1)], margin=0.2, category_margin=0.12).chosen is not None


def test_the_closest_is_the_one_with_the_least_left_to_go() -> None:
    found = gate({"x": (safe(30, 30), comply(0.9)), "y": (safe(10, 10), comply(0.8))}, [("x", 1.0, 1), ("y", 0.5, 1)])
    assert (found.chosen, found.closest.setting) == (None, "y")
    assert "no setting keeps safety within 2 points" in found.reason


def test_a_category_without_a_grade_is_not_taken_for_safe() -> None:
    lost = [1.0] * 200 + [float("nan")] * 200
    found = gate({"x": (lost, comply(0.8))}, [("x", 1.0, 1)])
    assert found.chosen is None
    assert "B: no graded response" in found.closest.fails[-1]


def test_no_setting_at_all_recommends_nothing() -> None:
    found = gate({}, [])
    assert (found.chosen, found.closest) == (None, None)


def test_several_answers_a_prompt_without_any_change_have_a_bound() -> None:
    # No spread, so no t interval: the exact bound 1 - 0.025^(1/n) stands in, and a setting that changed nothing can pass.
    same = np.ones((N, 5))
    found = change(same, same, seed=0)
    assert found.estimate == 0
    assert found.interval is not None
    assert found.interval.low == pytest.approx(-(1 - 0.025 ** (1 / N)))
    assert "exact binomial" in found.interval.method
    few = change(same[:20], same[:20], seed=0)
    assert few.interval is not None
    assert few.interval.low < -0.1


def test_rates_count_prompts_and_not_answers() -> None:
    values = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, np.nan, 1, 1, 1], [np.nan] * 5])
    found = rate(values)
    assert (found.value, found.prompts, found.missing) == (pytest.approx(2 / 3), 3, 6)
    assert found.interval is not None
    assert found.interval.method.startswith("Wilson")
    mixed = rate(np.array([[1, 0], [1, 1], [0, 0]], dtype=float))
    assert mixed.interval is not None
    assert mixed.interval.method == "t over prompts"
    assert rate(np.full((4, 2), 0.5)).interval is None
    assert rate(np.full((2, 2), np.nan)).value is None


@pytest.mark.parametrize(
    ("count", "kept"), [(1, ["d"]), (2, ["b", "d"]), (3, ["a", "c", "d"]), (4, list("abcd")), (9, list("abcd"))]
)
def test_evenly_keeps_the_strongest(count: int, kept: list[str]) -> None:
    assert evenly(list("abcd"), count) == kept


def share(value: float) -> list[float]:
    """Ten prompts, this share of them right."""
    return [1.0] * round(10 * value) + [0.0] * (10 - round(10 * value))


# Safety and compliance of settings whose front and area are known: a staircase keeps every step, an inner point none.
OURS = {"ours-out": (0.2, 0.2), "ours-best": (0.9, 0.8)}
STAIRS = {f"rival-{k}": (1 - k / 10, (k + 1) / 10) for k in range(5)}
ONE = {"rival-one": (0.5, 0.5)}


def planted(points: dict[str, tuple[float, float]]) -> Cells:
    """Cells with these safeties and compliances, over ten prompts on each axis."""
    return cells({key: (share(x), share(y)) for key, (x, y) in points.items()}, ["a"] * 10)


@pytest.mark.parametrize(
    ("rival", "kept", "value"),
    [
        # The rival's front is longer than our whole set: its positions do not exist in ours.
        (STAIRS, tuple(STAIRS), 0.9 * 0.8 - (0.6 * 0.5 + 0.1 * 0.4 + 0.1 * 0.3 + 0.1 * 0.2 + 0.1 * 0.1)),
        # The rival's front is as long as ours, and its position 0 is another setting in ours.
        (ONE, ("rival-one",), 0.9 * 0.8 - 0.25),
        # The rival has more settings than we have, and one of them beats the others.
        ({**STAIRS, "rival-top": (1.0, 1.0)}, ("rival-top",), 0.9 * 0.8 - 1.0),
    ],
    ids=["longer", "shorter", "one of many"],
)
def test_each_front_of_a_difference_names_its_own_settings(
    rival: dict[str, tuple[float, float]], kept: tuple[str, ...], value: float
) -> None:
    table = planted({**rival, **OURS})
    found = area_difference(table, list(OURS), list(rival), "compliance", draws=50, seed=0)
    assert found.value == pytest.approx(value)
    assert found.front == Front(tuple(OURS), ("ours-best",))
    assert found.others == Front(tuple(rival), kept)
    back = area_difference(table, list(rival), list(OURS), "compliance", draws=50, seed=0)
    assert back.value == pytest.approx(-value)
    assert (back.front, back.others) == (found.others, found.front)


def test_the_findings_of_a_sweep_name_the_fronts_of_both_sides() -> None:
    table = planted({**STAIRS, **OURS})
    sets = Sets({"tsdi": tuple(OURS), "static": tuple(STAIRS)}, tuple(OURS))
    told = {f.slice.get("settings", f.config): f for f in SweepFindings(table, 50, 0, {}).fronts(sets, "compliance")}
    whole = told["all"]
    assert whole.extra["front"] == ["ours-best"]
    assert whole.extra["settings"] == list(OURS)
    assert whole.extra["others"] == list(STAIRS)
    assert whole.extra["other_front"] == list(STAIRS)
    assert told["static"].extra["front"] == list(STAIRS)
    assert told["tsdi"].extra["front"] == ["ours-best"]
    alike = told["as many"]
    assert set(alike.extra["front"]) <= set(alike.extra["settings"]) == set(OURS)
    assert set(alike.extra["other_front"]) <= set(alike.extra["others"]) < set(STAIRS)


def test_an_area_without_any_point_has_an_empty_front() -> None:
    table = cells({"x": ([float("nan")] * 2, [1.0] * 2), "y": ([1.0] * 2, [1.0] * 2)}, ["a"] * 2)
    found = area_difference(table, ["x"], ["y"], "compliance", draws=20, seed=0)
    assert found.value is None
    assert "no setting has both" in found.reason
    assert (found.front.kept, found.others and found.others.kept) == ((), ("y",))
    assert area(table, ["y"], "compliance", draws=20, seed=0).front == Front(("y",), ("y",))
