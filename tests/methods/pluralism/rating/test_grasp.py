"""GRASP's table on a file of the published schema, from its cells to the findings, beside a computation in plain Python; and on the
published file itself, where it is at hand.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenhand.methods.pluralism.data.dices import FILES, read_dices
from evenhand.methods.pluralism.data.dices_fields import HEADERS, REMOVED_350, SHORT_NAMES
from evenhand.methods.pluralism.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.audit import run_rating
from evenhand.methods.pluralism.rating.config import PluralismConfig
from evenhand.methods.pluralism.rating.statistics.grasp import grasp
from evenhand.methods.pluralism.rating.statistics.grasp_measures import MEASURES

AXES = ("gender", "race", "age", "education")
CELLS = {
    ("Asian/Asian subcontinent", "Woman"): 9, ("Asian/Asian subcontinent", "Man"): 12, ("Black/African American", "Woman"): 16,
    ("Black/African American", "Man"): 7, ("LatinX, Latino, Hispanic or Spanish Origin", "Woman"): 12,
    ("LatinX, Latino, Hispanic or Spanish Origin", "Man"): 10, ("Multiracial", "Woman"): 4, ("Multiracial", "Man"): 9,
    ("White", "Woman"): 16, ("White", "Man"): 9,
}  # fmt: skip
"""Raters by race and gender after the 19 are left out, as published."""
TIES = "items with two labels equally common"
ANSWERS = ("No", "Unsure", "Yes")
Cell = tuple[str, str]
Table5 = dict[tuple[str, str, str], float | None]


def people() -> list[dict[str, str]]:
    """123 raters: the 104, three of whom give one answer, and the 19 that are left out."""
    cells = [cell for cell, size in CELLS.items() for _ in range(size)]
    ages = ["gen z"] * 49 + ["millenial"] * 28 + ["gen x+"] * 27
    schools = (["College degree or higher"] * 2 + ["High school or below"]) * 32 + ["Other"] * 8
    ids = [str(297000000000000 + 7919 * at) for at in range(104)] + list(REMOVED_350)
    mixed = np.random.default_rng(8).permutation(104)
    return [
        {
            "rater_id": rater, "rater_race": cells[at % 104][0], "rater_gender": cells[at % 104][1],
            "rater_age": ages[mixed[at % 104]], "rater_education": schools[mixed[at * 7 % 104]],
        }
        for at, rater in enumerate(ids)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """350 x 123 rows; women rate unlike men, and White men most alike. The 19 answer at random."""
    folder = tmp_path_factory.mktemp("data") / "dices"
    path = folder / FILES["350"][0]
    path.parent.mkdir(parents=True)
    draw = np.random.default_rng(9)
    raters, header = people(), HEADERS["350"]
    level, other = draw.normal(0, 1, (2, 350))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, header)
        writer.writeheader()
        for item in range(350):
            gold = "Yes" if level[item] + draw.normal(0, 0.7) > 0 else "No"
            for at, rater in enumerate(raters):
                woman, white = rater["rater_gender"] == "Woman", rater["rater_race"] == "White"
                leaning = (0.5 * level[item] + 0.9 * other[item]) if woman else level[item] * (1.6 if white else 0.9)
                place = int(np.searchsorted([0.1, 0.5], leaning + draw.logistic()))
                if at in (5, 50, 100):
                    place = 0
                elif at >= 104:
                    place = int(draw.integers(0, 3))
                writer.writerow(
                    dict.fromkeys(header, "No")
                    | rater
                    | {
                        "id": str(item * 123 + at), "item_id": str(item), "context": f"USER: [ASK {item}],\nLAMDA: [SAY]",
                        "response": f"[REPLY {item}]", "harm_type": "Racial", "safety_gold": gold,
                        "Q3_bias_other": ANSWERS[place], "Q_overall": ANSWERS[place],
                    }
                )  # fmt: skip
    return path


def short(group: str) -> str:
    for value, name in SHORT_NAMES.items():
        group = group.replace(value, name)
    return group


def table_5(path: Path) -> Table5:
    """Every measure of every group without the 19, by the house."""
    table = read_dices(path, drop_removed=True)
    codes, _, raters = table.codes()
    told = table.demographics(raters)
    found = grasp(codes, told, count=3, intersections=[("race", "gender")], least=1, draws=0)
    return {(row.axis, short(row.group), row.measure): row.value for row in found.rows}


def plain_alpha(units: Sequence[Sequence[int]]) -> float:
    """Krippendorff's alpha from label counts of each item: 1 - D_o / D_e over ordered pairs of different ratings."""
    units = [unit for unit in units if sum(unit) >= 2]
    totals = [sum(unit[label] for unit in units) for label in range(3)]
    size = sum(totals)
    observed = sum((sum(unit) ** 2 - sum(n * n for n in unit)) / (sum(unit) - 1) for unit in units) / size
    return 1 - observed / ((size**2 - sum(n * n for n in totals)) / (size * (size - 1)))


def plain_xrr(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float:
    """1 - d_o / d_e, items weighted by their ratings on both sides."""
    observed = weight = 0.0
    for x, y in zip(ours, theirs, strict=True):
        r, s = sum(x), sum(y)
        alike = sum(a * b for a, b in zip(x, y, strict=True))
        observed += (r + s) * (1 - alike / (r * s))
        weight += r + s
    shares = [
        [sum(item[label] for item in side) / sum(map(sum, side)) for label in range(3)] for side in (ours, theirs)
    ]
    return 1 - (observed / weight) / (1 - sum(a * b for a, b in zip(*shares, strict=True)))


def plain_vote(unit: Sequence[int]) -> list[int]:
    """One vote for the most common label, the more unsafe of equals."""
    return [int(label == max(range(3), key=lambda at: (unit[at], at))) for label in range(3)]


def plain_measures(ours: list[list[int]], theirs: list[list[int]]) -> dict[str, float]:
    """The seven measures of one group against everybody else, items rated by both sides."""
    irr, xrr = plain_alpha(ours), plain_xrr(ours, theirs)
    size, gain, cross = [], [], []
    for x, y in zip(ours, theirs, strict=True):
        p = [n / sum(x) for n in x]
        q = [(n + 0.5) / (sum(y) + 1.5) for n in y]
        size.append(max(p))
        gain.append(math.log(3) + sum(a * math.log(a) for a in p if a))
        cross.append(math.log(3) + sum(a * math.log(b) for a, b in zip(p, q, strict=True)))
    both = [
        [a + b for a, b in zip(plain_vote(x), plain_vote(y), strict=True)] for x, y in zip(ours, theirs, strict=True)
    ]
    return {
        "irr": irr, "plurality_size": sum(size) / 350, "negentropy": sum(gain) / 350, "xrr": xrr,
        "voting_agreement": plain_alpha(both), "cross_negentropy": sum(cross) / 350, "gai": irr / xrr,
        TIES: sum(sorted(x)[1] == max(x) for x in ours),
    }  # fmt: skip


@pytest.fixture(scope="module")
def plain(file: Path) -> Table5:
    """The same from the cells of the file, without numpy and without the house."""
    counts: defaultdict[Cell, Counter[tuple[int, str]]] = defaultdict(Counter)
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["rater_id"] in REMOVED_350:
                continue
            groups = {axis: short(row[f"rater_{axis}"]) for axis in AXES}
            groups["race x gender"] = f"{groups['race']}, {groups['gender']}"
            for axis, group in groups.items():
                if group != "Other":
                    counts[axis, group][int(row["item_id"]), row["Q_overall"]] += 1
    table = {cell: [[own[i, answer] for answer in ANSWERS] for i in range(350)] for cell, own in counts.items()}
    found: Table5 = {}
    for axis, group in table:
        rest = [own for (other, name), own in table.items() if other == axis and name != group]
        theirs = [[sum(side[i][label] for side in rest) for label in range(3)] for i in range(350)]
        for measure, value in plain_measures(table[axis, group], theirs).items():
            found[axis, group, measure] = value
    return found


def test_every_measure_of_every_group_equals_plain_python(file: Path, plain: Table5) -> None:
    """Acceptance 5 on a file of the published schema, size and group sizes."""
    found = table_5(file)
    assert len(found) == (2 + 5 + 3 + 2 + 10) * len(MEASURES)
    assert found == pytest.approx({key: value for key, value in plain.items() if key[2] != TIES}, abs=1e-9)
    assert found["race x gender", "White, Man", "gai"] == max(
        value for (axis, _, measure), value in found.items() if (axis, measure) == ("race x gender", "gai")
    )


def test_findings_hold_the_same_figures_under_three_views_of_the_raters(
    file: Path, plain: Table5, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_DATA", str(file.parent.parent))
    config = PluralismConfig(ratings=Path("dices-350"), draws=100, permutations=99)
    _, result = run_rating(config, tmp_path / "run")
    raters = {
        f.slice["view"]: f.clusters["raters"] for f in result.findings if (f.estimand, f.outcome) == ("icc", "ICC(2,1)")
    }
    assert raters == dict(zip(VIEWS, (123, 104, 120), strict=True))
    table = read_dices(file, drop_removed=True).matrix()[0]
    squared = [f for f in result.findings if (f.estimand, f.outcome) == ("krippendorff_alpha", "squared difference")]
    alpha = 1 - table.var(axis=1, ddof=1).mean() / table.var(ddof=1)  # of squared differences, all rating all
    assert {f.slice["view"]: f.estimate for f in squared}[VIEWS[1]] == pytest.approx(alpha, abs=1e-9)
    found = [f for f in result.findings if f.estimand == "grasp" and f.slice["view"] == VIEWS[1]]
    assert len(found) == 22 * len(MEASURES)
    for f in found:
        if f.group == "Multiracial, Woman":
            assert (f.estimate, f.reason) == (None, "fewer than 5 raters: suppressed")
        else:
            cell = f.slice["axis"], short(str(f.group))
            assert f.estimate == pytest.approx(plain[*cell, f.outcome], abs=1e-9)
            if f.outcome == "voting_agreement":
                assert f.extra["tied_items"] == plain[*cell, TIES]
    indices = [f for f in result.findings if f.estimand == "association_index" and f.slice["view"] == VIEWS[1]]
    assert {f.slice["axis"] for f in indices} == {*AXES, "race x gender"}
    for f in indices:
        gai = {
            group: value or 0.0
            for (axis, group, measure), value in plain.items()
            if (axis, measure) == (f.slice["axis"], "gai") and group != "Multiracial, Woman"
        }
        assert f.estimate == pytest.approx(max(gai.values()), abs=1e-9)
        assert gai[short(str(f.group))] == max(gai.values())


@pytest.mark.data
def test_table_5_of_the_published_file(public_data: Callable[[str], Path]) -> None:
    """Alpha and xRR to .001; the public copy holds no raters, so this runs where the published file was added to it."""
    folder = public_data("dices")
    path = next((folder / name for name in FILES["350"] if (folder / name).is_file()), None)
    if path is None:
        pytest.skip(f"no published file of DICES-350 in {folder}")
    found = table_5(path)
    with (folder / "published_grasp_dices350.csv").open(encoding="utf-8", newline="") as stream:
        rows: list[dict[str, Any]] = [row for row in csv.DictReader(stream) if row["metric"] in ("irr", "xrr")]
    assert len(rows) == 2 * 20
    for row in rows:
        assert found[row["axis"], row["group"], row["metric"]] == pytest.approx(float(row["value"]), abs=1e-3), row
