"""Other thresholds over a finished build."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from evenhand.config import checked
from evenhand.errors import BadInput
from evenhand.files import read_json, write_json
from evenhand.methods.pluralism.corpus.build import run_build
from evenhand.methods.pluralism.corpus.config import BuildConfig, SweepConfig
from evenhand.methods.pluralism.corpus.removal import gram_set, jaccard
from evenhand.methods.pluralism.corpus.simhash import fingerprints, normalise
from evenhand.methods.pluralism.corpus.sweep import SweepResult, figure, run_sweep, sweep_frame, write_sweep
from evenhand.methods.pluralism.corpus.sweep_ratings import sensitivity_interval
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.methods.pluralism.data.ratings import read_ratings
from evenhand.methods.pluralism.rating.statistics.raters import rater_groups
from evenhand.methods.pluralism.rating.statistics.sensitivity import sensitivities
from evenhand.statistics.icc import icc
from evenhand.wording import ORGANISM_NOTICE

from .scripted import ScriptedClassifier, ScriptedGenerator, line, write_prompts

RATERS = 12
WEAK = [line(f"weak {at}", 6, "weak") for at in range(5)]
NEAR = [line(f"3 {at}", 3)[:-2] for at in range(4)] + [line(f"3 {at}", 3)[:-9] for at in range(4, 10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("sweep")
    texts = write_prompts(where / "in.csv", {3: 40, 4: 5}, none=4, extra=[*WEAK, *NEAR])
    config = checked(
        BuildConfig, items=str(where / "in.csv"), classifier="scripted/a", generator="scripted/b", floor=12,
        expand=(SLUGS[3],),
    )  # fmt: skip
    engines = {"classifier": ScriptedClassifier(), "generator": ScriptedGenerator(texts)}
    run_build(config, where / "run", engines=engines)
    rows = ["item,rater,rating,gender"]
    draw = np.random.default_rng(3)
    for at in range(len(texts)):
        base = draw.random()
        for rater in range(RATERS):
            shift = 0.2 if rater % 2 else 0.0
            value = min(1.0, max(0.0, 0.6 * base + shift + 0.1 * draw.random()))
            rows.append(f"i{at:04d},r{rater:02d},{value:.4f},{'Man' if rater % 2 else 'Woman'}")
    (where / "ratings.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return where


@pytest.fixture(scope="module")
def swept(folder: Path) -> SweepResult:
    config = checked(
        SweepConfig, deltas=(0.3, 0.95), taus=(0, 4, 20), ratings=folder / "ratings.csv", draws=200, permutations=99
    )
    return run_sweep(folder / "run", config)


def test_the_published_point_is_always_there_and_marked(swept: SweepResult) -> None:
    assert swept.deltas == (0.3, 0.5, 0.95)
    assert swept.taus == (0, 4, 10, 20)
    assert [(cell.delta, cell.tau) for cell in swept.cells if cell.published] == [(0.5, 10)]
    assert [(cell.delta, cell.tau) for cell in swept.cells if cell.built] == [(0.5, 10)]


def test_the_built_point_is_the_build(folder: Path, swept: SweepResult) -> None:
    facts = json.loads((folder / "run" / "corpus" / "card.json").read_text())
    (cell,) = (cell for cell in swept.cells if cell.built)
    assert {slug: cell.counts[slug] for slug in (*SLUGS, NONE)} == {r["domain"]: r["rows"] for r in facts["domains"]}
    rows = facts["rows"]
    assert (cell.rows, cell.real, cell.synthetic) == (rows["final"], rows["real"], rows["synthetic"])
    assert cell.synthetic == 7


def test_counts_add_up_and_thresholds_act_as_they_should(swept: SweepResult) -> None:
    cells = {(cell.delta, cell.tau): cell for cell in swept.cells}
    for cell in cells.values():
        assert sum(cell.counts.values()) == cell.rows == cell.real + cell.synthetic
    assert cells[0.3, 10].counts[SLUGS[5]] == 5  # weakly of a domain: 0.4
    assert cells[0.5, 10].counts[SLUGS[5]] == 0
    assert cells[0.3, 10].counts[NONE] == cells[0.5, 10].counts[NONE] - 5
    assert cells[0.95, 10].synthetic == 0  # they have 0.9
    assert cells[0.95, 10].counts[NONE] == cells[0.95, 10].rows
    assert cells[0.5, 0].rows > cells[0.5, 4].rows > cells[0.5, 10].rows >= cells[0.5, 20].rows


def test_kept_rows_are_those_of_a_plain_first_come_removal(folder: Path, swept: SweepResult) -> None:
    pool = pl.read_parquet(folder / "run" / "corpus" / "pool.parquet")
    texts = [normalise(text) for text in pool["text"]]
    prints = [int(text, 16) for text in pool["fingerprint"]]
    assert prints == fingerprints(texts).words[:, 0].tolist()
    for tau in swept.taus:
        kept: list[int] = []
        for at, text in enumerate(texts):
            near = [i for i in kept if (prints[i] ^ prints[at]).bit_count() <= tau]
            if not any(jaccard(gram_set(texts[i]), gram_set(text)) >= 0.5 for i in near):
                kept.append(at)
        (cell,) = (cell for cell in swept.cells if (cell.delta, cell.tau) == (0.5, tau))
        assert cell.rows == len(kept)


def test_the_table_agrees_with_the_measures_themselves(folder: Path, swept: SweepResult) -> None:
    cells = {(cell.delta, cell.tau): cell for cell in swept.cells}
    table = read_ratings(folder / "ratings.csv")
    pool = pl.read_parquet(folder / "run" / "corpus" / "pool.parquet")
    rows = pl.read_parquet(folder / "run" / "corpus" / "rows.parquet")
    kept = pool.filter((pl.col("key") == pl.col("keeper")) & (pl.col("domain") != NONE))["key"].to_list()
    items = set(rows.filter(pl.col("prompt_id").is_in(kept))["item_id"].to_list())
    values, names, raters = table.matrix(table.frame.filter(pl.col("item_id").is_in(sorted(items))))
    assert len(names) == len(items)
    found = cells[0.5, 10].agreement
    assert found is not None
    assert (found.items, found.raters, found.averaged_over) == (len(items), RATERS, RATERS)
    expected = icc(values, draws=200, seed=0)
    assert found.single.value == pytest.approx(expected.of("ICC(2,1)").coefficient)
    assert found.average.value == pytest.approx(expected.of("ICC(2,k)").coefficient)
    groups = rater_groups(table.demographics(raters)["gender"])
    ds = sensitivities(values, groups, draws=99).of("absolute")
    shift = found.shifts["gender"]
    assert shift.ds.value == pytest.approx(ds.value)
    assert shift.ds.value == pytest.approx(0.2, abs=0.03)
    assert shift.ds.interval is not None
    assert shift.ds.interval.low < shift.ds.value < shift.ds.interval.high
    assert shift.null_mean is not None
    assert shift.null_mean < 0.1
    nothing = cells[0.95, 10].agreement
    assert nothing is not None
    assert (nothing.items, nothing.single.value) == (0, None)
    assert nothing.single.reason


def test_rows_of_no_domain_can_be_taken_in(folder: Path) -> None:
    config = SweepConfig(
        deltas=(0.95,), taus=(10,), ratings=folder / "ratings.csv", with_none=True, draws=100, permutations=99
    )
    cells = {cell.delta: cell for cell in run_sweep(folder / "run", config).cells}
    assert cells[0.95].agreement is not None
    assert cells[0.95].agreement.items == cells[0.95].real


def test_table_and_figure_are_written(tmp_path: Path, swept: SweepResult) -> None:
    write_sweep(swept, tmp_path)
    with (tmp_path / "sweep.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert [row["tau"] for row in rows if row["published"] == "True"] == ["10"]
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert told["figure"] == json.loads(json.dumps(figure(swept)))
    assert told["figure"]["published"] == {"delta": 0.5, "tau": 10}
    panels = {panel["name"]: panel for panel in told["figure"]["panels"]}
    assert set(panels) == {"rows", "with_domain", "icc_2_1", "icc_2_k", "ds.gender"}
    at = (told["figure"]["y"]["values"].index(0.5), told["figure"]["x"]["values"].index(10))
    (cell,) = (cell for cell in swept.cells if cell.published)
    assert panels["rows"]["values"][at[0]][at[1]] == cell.rows
    assert panels["ds.gender"]["low"][at[0]][at[1]] is not None
    assert told["notes"] == list(swept.notes)


def test_without_ratings_there_are_only_counts(folder: Path) -> None:
    result = run_sweep(folder / "run", SweepConfig(deltas=(0.5,), taus=(10,)))
    assert not any("icc" in name for name in sweep_frame(result).columns)
    assert [panel["name"] for panel in figure(result)["panels"]] == ["rows", "with_domain"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"deltas": (1.5,)}, "not a probability"),
        ({"deltas": (-0.1,)}, "not a probability"),
        ({"taus": (-1,)}, "below 0"),
    ],
)
def test_senseless_thresholds_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        checked(SweepConfig, **values)


def test_a_tau_of_half_the_bits_is_refused_and_chance_is_warned_of(folder: Path) -> None:
    with pytest.raises(BadInput, match="32 is out of range for 64 bits"):
        run_sweep(folder / "run", SweepConfig(taus=(32,)))
    notes = run_sweep(folder / "run", SweepConfig(deltas=(0.5,), taus=(24,))).notes
    assert any(note.startswith("From tau 24 on, more than 1%") for note in notes)


def test_folders_and_ratings_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no run"):
        run_sweep(tmp_path, SweepConfig())
    (tmp_path / "r.csv").write_text("item,rater,rating\nelse,r1,0\nelse,r2,1\n", encoding="utf-8")
    with pytest.raises(BadInput, match="None of the rated items"):
        run_sweep(folder / "run", SweepConfig(ratings=tmp_path / "r.csv"))
    text = pl.read_parquet(folder / "run" / "corpus" / "pool.parquet")["text"][0]
    for said, refused in ((text.upper(), False), ("A text of another build.", True)):
        rows = [f'p000001,r{at},{at},"{said}"' for at in range(2)]
        (tmp_path / "r.csv").write_text("\n".join(["item,rater,rating,text", *rows]) + "\n", encoding="utf-8")
        config = SweepConfig(deltas=(0.5,), taus=(10,), ratings=tmp_path / "r.csv")
        if refused:
            with pytest.raises(BadInput, match="rated text of 'p000001' differs from the corpus"):
                run_sweep(folder / "run", config)
        else:
            assert "rows of the pool have no rating" in run_sweep(folder / "run", config).notes[-1]
    rows = [f"p00000{at},r{at % 2},{word}" for at, word in enumerate(("Yes", "No", "5", "Maybe", "Yes"), start=1)]
    (tmp_path / "r.csv").write_text("\n".join(["item,rater,rating", *rows, "else,r1,1"]) + "\n", encoding="utf-8")
    words = {"values": {"Yes": "unsafe", "No": "safe"}, "scale": (1, 5)}
    config = checked(SweepConfig, deltas=(0.5,), taus=(10,), ratings=tmp_path / "r.csv", **words)
    *_, left_out, unrated, foreign = run_sweep(folder / "run", config).notes
    assert left_out.startswith("1 ratings were left out, the first because")
    assert "row 4: The rating 'Maybe'" in left_out
    assert unrated.endswith("rows of the pool have no rating and are ignored.")
    assert foreign == "1 rated items are not in the corpus and are ignored."
    manifest = read_json(folder / "run" / "manifest.json")
    (tmp_path / "half").mkdir()
    write_json(tmp_path / "half" / "manifest.json", {**manifest, "state": "started"})
    with pytest.raises(BadInput, match="no finished corpus"):
        run_sweep(tmp_path / "half", SweepConfig())


def test_the_interval_of_ds_is_that_of_plain_resampling() -> None:
    draw = np.random.default_rng(5)
    ratings = draw.random((40, 16))
    ratings[draw.random(ratings.shape) < 0.1] = np.nan
    ratings[:, :8] += 0.5
    groups = rater_groups(["a"] * 8 + ["b"] * 8)
    value = sensitivities(ratings, groups, draws=0).of("absolute").value
    assert value is not None
    found = sensitivity_interval(ratings, groups, value, draws=600, seed=1)
    plain = []
    for _ in range(600):
        items, raters = draw.integers(0, 40, 40), draw.integers(0, 16, 16)
        sides = [raters[raters < 8], raters[raters >= 8]]
        apart = []
        for item in items:
            told = [[v for v in ratings[item, side] if v == v] for side in sides]
            if all(told):
                apart.append(abs(sum(told[0]) / len(told[0]) - sum(told[1]) / len(told[1])))
        plain.append(sum(apart) / len(apart))
    low, high = np.quantile(plain, [0.025, 0.975])
    assert found is not None
    assert (found.low, found.high) == (
        pytest.approx(low - (np.mean(plain) - value), abs=0.03),
        pytest.approx(high - (np.mean(plain) - value), abs=0.03),
    )


@pytest.fixture(scope="module")
def toy(support: Callable[[str], ModuleType]) -> Any:
    return support("rating_toy")


def by_gender(one: Any) -> float:
    """A level of each text of its own, .1 more under Woman, .05 towards the first option."""
    level = 0.3 + 0.4 * (sum(map(ord, one.text)) % 7) / 6
    return level + (0.1 if one.profile.get("gender") == "Woman" else 0.0) + (0.05 if one.order == "down" else -0.05)


def test_a_run_of_ratings_by_profile_is_swept_too(folder: Path, toy: Any, tmp_path: Path) -> None:
    rated = tmp_path / "rated"
    settings = {"rating_set": str(folder / "run/corpus/prompts.csv"), "rating_items": 0, "rating_axes": ("gender",)}
    toy.run_ratings(rated, [toy.Rater("hf/toy", by_gender)], **settings)
    config = checked(SweepConfig, deltas=(0.3,), taus=(10,), ratings=rated, with_none=True, draws=200, permutations=199)
    swept = run_sweep(folder / "run", config)
    cell = next(cell for cell in swept.cells if cell.built)
    assert cell.agreement is not None
    assert cell.agreement.items == cell.rows  # synthetic rows as well: they have ids of their own
    assert cell.agreement.raters == 2
    assert cell.agreement.shifts["gender"].ds.value == pytest.approx(0.1, abs=1e-6)
    assert cell.agreement.shifts["gender"].null_mean < 0.1
    assert cell.agreement.shifts["gender"].ds.interval.method == "bootstrap of items, percentiles less the bias"
    assert set(cell.agreement.shifts) == {"gender"}
    assert ORGANISM_NOTICE not in swept.notes
    toy.run_ratings(tmp_path / "organism", [toy.Rater("organism/toy", by_gender)], **settings)
    told = run_sweep(folder / "run", config.model_copy(update={"ratings": tmp_path / "organism"})).notes
    assert ORGANISM_NOTICE in told
    several = tmp_path / "several"
    toy.run_ratings(several, [toy.Rater("hf/a", by_gender), toy.Rater("hf/b", by_gender)], **settings)
    with pytest.raises(BadInput, match="ratings of hf/a, hf/b"):
        run_sweep(folder / "run", config.model_copy(update={"ratings": several}))
    with pytest.raises(BadInput, match="no ratings of a model"):
        run_sweep(folder / "run", config.model_copy(update={"ratings": folder / "run"}))
