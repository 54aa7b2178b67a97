"""What other thresholds would have kept: delta x tau over the stored probabilities and fingerprints, without a model call.

The published point is (0.5, 10) (arXiv 2602.07376), found by ablations that were not published. Synthetic rows were
accepted under the thresholds of the build: a higher delta removes some, a lower one brings none back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenhand.errors import BadInput, EvenhandError
from evenhand.files import write_json
from evenhand.methods.pluralism.corpus.build import AUDIT
from evenhand.methods.pluralism.corpus.build_tables import write_csv
from evenhand.methods.pluralism.corpus.card import CLASSES
from evenhand.methods.pluralism.corpus.classify import label_of
from evenhand.methods.pluralism.corpus.config import PUBLISHED_DELTA, PUBLISHED_TAU, SweepConfig
from evenhand.methods.pluralism.corpus.dedup import CHANCE_SHARE
from evenhand.methods.pluralism.corpus.hamming import chance_pairs, check_distance, near_pairs
from evenhand.methods.pluralism.corpus.pairs import Pairs, columns
from evenhand.methods.pluralism.corpus.removal import MOST_HELD, first_come, gram_set, jaccard
from evenhand.methods.pluralism.corpus.simhash import normalise
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.runs.run import Run
from evenhand.runs.tables import read_table
from evenhand.safe_text import csv_restore
from evenhand.wording import count, number

if TYPE_CHECKING:
    import polars as pl

    from evenhand.methods.pluralism.corpus.sweep_ratings import Agreement, Rated
    from evenhand.methods.pluralism.data.rating_table import RatingTable
    from evenhand.runs.respond import Progress


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One pair of thresholds: rows kept, real and synthetic, and rows of each class (``None`` included), which add up."""

    delta: float
    tau: int
    published: bool
    built: bool
    rows: int
    real: int
    synthetic: int
    counts: Mapping[str, int]
    agreement: Agreement | None = None

    @property
    def with_domain(self) -> int:
        """Rows that have a domain."""
        return self.rows - self.counts[NONE]


@dataclass(frozen=True, slots=True)
class SweepResult:
    """All cells, by delta and then tau, with what must be said about them."""

    cells: tuple[SweepCell, ...]
    deltas: tuple[float, ...]
    taus: tuple[int, ...]
    notes: tuple[str, ...]


class _Pool:
    """The stored pool of a build, and which of its rows stay at a distance."""

    def __init__(self, frame: pl.DataFrame, settings: Mapping[str, Any], most: int):
        self.keys: list[str] = frame["key"].to_list()
        self.synthetic: list[bool] = frame["synthetic"].to_list()
        self.values: list[tuple[float, ...]] = list(frame.select(f"p.{slug}" for slug in SLUGS).iter_rows())
        self.texts = [normalise(text) for text in frame["text"]]
        self.verify = float(settings["verify"])
        bits = int(settings["bits"])
        with_features = np.flatnonzero(frame["features"].to_numpy() > 0)
        prints = np.array(
            [
                [int(text[16 * (bits // 64 - 1 - word) :][:16], 16) for word in range(bits // 64)]
                for text in frame["fingerprint"]
            ],
            dtype=np.uint64,
        ).reshape(-1, bits // 64)
        near = near_pairs(prints[with_features], most)
        if len(near) > MOST_HELD:
            raise BadInput(f"{len(near):,} pairs lie within {most} bits, too many for a sweep.", do="Try smaller taus.")
        self.pairs = Pairs(with_features[near.first], with_features[near.second], near.distance)
        self.columns = columns(prints)
        self._similar: dict[tuple[int, int], float] = {}

    def similar(self, first: int, second: int) -> bool:
        """Whether a pair is verified."""
        if self.verify == 0:
            return True
        pair = (int(first), int(second))
        if pair not in self._similar:
            self._similar[pair] = jaccard(*(gram_set(self.texts[at]) for at in pair))
        return self._similar[pair] >= self.verify

    def kept(self, tau: int, there: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows stay, of those that are ``there``."""
        pairs = self.pairs
        use = (pairs.distance <= tau) & there[pairs.first] & there[pairs.second]
        some = Pairs(pairs.first[use], pairs.second[use], pairs.distance[use])
        keeper, _ = first_come([some], self.columns, tau, self.similar)
        stays: np.ndarray[Any, np.dtype[np.bool_]] = there & (keeper == np.arange(len(keeper)))
        return stays


def run_sweep(
    folder: Path, config: SweepConfig, *, ratings: RatingTable | None = None,
    progress: Progress = lambda what, done, total: None,
) -> SweepResult:  # fmt: skip
    """Every pair of thresholds over a finished build in ``folder``.

    ``ratings`` (or what ``config`` names) are of the corpus, or of items of its source, by their ids. Raises BadInput for a folder
    without a finished build, a tau of half the fingerprint and more, and ratings of other items.
    """
    from evenhand.methods.pluralism.corpus.sweep_ratings import Rated

    run = Run.open(folder)
    if run.manifest["plan"].get("audits") != [AUDIT] or run.manifest["state"] != "done":
        raise BadInput("The folder holds no finished corpus.", file=folder, do="Build one, or finish it with --resume.")
    settings = run.manifest["plan"]["config"]
    for tau in config.taus:
        check_distance(settings["bits"], tau)
    pool = _Pool(read_table(run.table(AUDIT, "pool")), settings, max(config.taus))
    items_of, notes = dict[str, list[str]](), _notes(config, settings, len(pool.keys))
    rated = Rated.of_table(ratings, config) if ratings is not None else Rated.named(config)
    if rated is not None:
        items_of, note = _items(pool, read_table(run.table(AUDIT, "rows")), rated, folder)
        notes += [*rated.notes, *note]
    cells = []
    for delta in config.deltas:
        labels = [label_of(values, delta) for values in pool.values]
        there = np.array([not (made and label == NONE) for made, label in zip(pool.synthetic, labels, strict=True)])
        for tau in config.taus:
            kept = np.flatnonzero(pool.kept(tau, there)).tolist()
            counts = dict.fromkeys(CLASSES, 0)
            for at in kept:
                counts[labels[at]] += 1
            if sum(counts.values()) != len(kept):
                raise EvenhandError(f"The domains count {sum(counts.values())} rows of {len(kept)}.")
            made = sum(pool.synthetic[at] for at in kept)
            agreement = None
            if rated is not None:
                used = [pool.keys[at] for at in kept if config.with_none or labels[at] != NONE]
                agreement = rated.on(frozenset(item for key in used for item in items_of.get(key, ())))
            cells.append(
                SweepCell(
                    delta, tau, (delta, tau) == (PUBLISHED_DELTA, PUBLISHED_TAU),
                    (delta, tau) == (settings["delta"], settings["distance"]),
                    len(kept), len(kept) - made, made, counts, agreement,
                )
            )  # fmt: skip
            progress("thresholds", len(cells), len(config.deltas) * len(config.taus))
    return SweepResult(tuple(cells), config.deltas, config.taus, tuple(notes))


def _notes(config: SweepConfig, settings: Mapping[str, Any], rows: int) -> list[str]:
    notes = [
        "A real row below delta stays, without a domain. A synthetic row below delta is dropped; none returns below the "
        f"thresholds of the build ({settings['delta']}, {settings['distance']}).",
        f"The width of the published fingerprints is unknown; these have {settings['bits']} bits.",
    ]
    many = [tau for tau in config.taus if chance_pairs(rows, settings["bits"], tau) > CHANCE_SHARE * rows]
    if many:
        pairs = chance_pairs(rows, settings["bits"], min(many))
        notes.append(
            f"From tau {min(many)} on, more than 1% of {count(rows)} rows have a chance pair ({number(pairs)} expected "
            f"at {min(many)}); they are {'verified' if settings['verify'] else 'NOT verified'} by similarity."
        )
    return notes


def _items(pool: _Pool, rows: pl.DataFrame, rated: Rated, folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Prompt to the rated items that have its text, and notes on items without a counterpart.

    The ratings are of the prompts of the corpus, by their ids, or else of items of its source. All builds use the same prompt
    ids, so the texts are compared if they are known.
    """
    keys, place = pool.keys, rated.place
    rated_prompts = {key: [key] for key in keys if key in place}
    for key, text in zip(keys, pool.texts, strict=True):
        rated_text = rated.texts.get(key) if key in rated_prompts else None
        if rated_text is not None and text not in (normalise(rated_text), normalise(csv_restore(rated_text))):
            raise BadInput(f"The rated text of '{key}' differs from the corpus.", file=folder, do="Rate this corpus.")
    if rated_prompts:
        sides = {"rows of the pool have no rating": len(keys), "rated items are not in the corpus": len(place)}
        both = len(rated_prompts)
        return rated_prompts, [f"{count(n - both)} {what} and are ignored." for what, n in sides.items() if n > both]
    items_of: dict[str, list[str]] = {}
    met = set()
    for item, prompt in rows.select("item_id", "prompt_id").unique(maintain_order=True).iter_rows():
        if item in place:
            items_of.setdefault(prompt, []).append(item)
            met.add(item)
    if not met:
        raise BadInput(
            "None of the rated items is in the corpus.", file=folder, do="Rate items of the source under their ids."
        )
    lost = len(place) - len(met)
    return items_of, [f"{count(lost)} rated items are not in the corpus and are ignored."] if lost else []


def sweep_frame(result: SweepResult) -> pl.DataFrame:
    """One row per cell: thresholds, rows, ``n.SLUG`` for each class, and ICC and ``ds.AXIS`` columns where there are ratings."""
    import polars as pl

    rows = []
    for cell in result.cells:
        row: dict[str, Any] = {
            name: getattr(cell, name)
            for name in ("delta", "tau", "published", "built", "rows", "real", "synthetic", "with_domain")
        }
        row |= {f"n.{slug}": size for slug, size in cell.counts.items()}
        if cell.agreement is not None:
            row |= _columns(cell.agreement)
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def _columns(agreement: Agreement) -> dict[str, Any]:
    row: dict[str, Any] = {"rated_items": agreement.items, "raters": agreement.raters, "icc_k": agreement.averaged_over}
    measures = {"icc_2_1": agreement.single, "icc_2_k": agreement.average}
    measures |= {f"ds.{axis}": shift.ds for axis, shift in agreement.shifts.items()}
    for name, one in measures.items():
        row[name] = one.value
        row[f"{name}.low"] = one.interval.low if one.interval else None
        row[f"{name}.high"] = one.interval.high if one.interval else None
        row[f"{name}.reason"] = one.reason
    for axis, shift in agreement.shifts.items():
        row |= {f"ds.{axis}.null": shift.null_mean, f"ds.{axis}.p": shift.p}
    return row


def figure(result: SweepResult) -> dict[str, Any]:
    """Heat maps over tau (x) and delta (y) as plain data, the published point named; ``low`` and ``high`` where known."""
    frame = sweep_frame(result)
    width = len(result.taus)

    def grid(name: str) -> list[list[Any]]:
        values = frame[name].to_list()
        return [values[start : start + width] for start in range(0, len(values), width)]

    named = {"rows": "rows kept", "with_domain": "rows with a domain", "icc_2_1": "ICC(2,1)", "icc_2_k": "ICC(2,k)"}
    named |= {
        name: f"DS, {name.removeprefix('ds.')}"
        for name in frame.columns
        if name.startswith("ds.") and f"{name}.low" in frame.columns
    }
    panels = []
    for name, title in named.items():
        if name not in frame.columns:
            continue
        panel = {"name": name, "title": title, "values": grid(name)}
        if f"{name}.low" in frame.columns:
            panel |= {"low": grid(f"{name}.low"), "high": grid(f"{name}.high")}
        panels.append(panel)
    return {
        "kind": "heat maps",
        "x": {"name": "tau, bits", "values": list(result.taus)},
        "y": {"name": "delta", "values": list(result.deltas)},
        "published": {"delta": PUBLISHED_DELTA, "tau": PUBLISHED_TAU},
        "panels": panels,
    }


def write_sweep(result: SweepResult, out: Path) -> None:
    """Write ``sweep.csv`` (a row a cell) and ``sweep.json`` (cells, figure, notes)."""

    write_csv(out / "sweep.csv", sweep_frame(result))
    cells = [{**asdict(cell), "with_domain": cell.with_domain} for cell in result.cells]
    write_json(out / "sweep.json", {"cells": cells, "figure": figure(result), "notes": list(result.notes)})
