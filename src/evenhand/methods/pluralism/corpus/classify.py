"""The harm domain of a text: 14 probabilities under two wordings, and one label or None; and the table of these results.

Published (arXiv 2602.07376): delta 0.5. How a probability is read and how 14 of them become one label are chosen defaults: the mean
of the two wordings, the largest of the 14 with ties broken by table order, and None if it is below delta.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from xxhash import xxh128_hexdigest

from evenhand.engines.base import Engine, Question, Sampling
from evenhand.errors import BadInput, EngineError
from evenhand.graders.normalise import clean_text
from evenhand.graders.refusals import refusal_opener
from evenhand.methods.pluralism.corpus.wording import (
    DOMAINS,
    NONE,
    OPTIONS,
    PARAPHRASES,
    SLUGS,
    choice_chat,
    numbers_chat,
    parse_numbers,
)
from evenhand.records import Item, Response
from evenhand.runs.journal import Journal, RowJournal
from evenhand.safe_text import json_safe

if TYPE_CHECKING:
    import polars as pl

    from evenhand.runs.respond import Progress


Status = Literal["ok", "refused", "empty", "unparsed", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""Whether there are probabilities, and why not: the model refused, said nothing, twice said what cannot be read, or failed."""
Mode = Literal["choose", "json"]

BLOCK = 16
"""Texts of one call: fixed, so that a resumed run puts the same questions together."""
ROLE = "classifier"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the classifier says of one text under one wording.

    ``values`` are the 14 probabilities in table order, empty unless the status is ok; ``mass`` is the mean probability of Yes
    and No together, None if unknown.
    """

    key: str
    paraphrase: int
    values: tuple[float, ...]
    status: Status
    mass: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Classified:
    """A text's 14 probabilities (mean of both wordings), how far the wordings lie apart, and its label.

    ``label`` is a slug, or "none"; it is empty unless ``status`` is ok. ``labels`` are those of the single wordings, and
    ``flipped`` says that they differ.
    """

    key: str
    status: Status
    label: str
    values: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()
    labels: tuple[str, str] = ("", "")
    flipped: bool = False
    mass: float | None = None
    error: str = ""

    @property
    def top(self) -> float | None:
        """The largest probability."""
        return max(self.values) if self.values else None


class ReadingJournal(RowJournal[Reading]):
    """The journal of readings, one line per block of texts."""

    def _packed(self, row: Reading) -> Any:
        return [row.key, row.paraphrase, row.values, row.status, row.mass, row.error]

    def _unpacked(self, stored: Any) -> Reading:
        key, paraphrase, values, status, mass, error = stored
        return Reading(key, paraphrase, tuple(values), status, mass, error)


def label_of(values: Sequence[float], delta: float) -> str:
    """The slug of the largest probability, the first in table order of equal ones; "none" where it is below ``delta``.

    Raises BadInput for a ``delta`` outside 0 to 1.
    """
    if not 0 <= delta <= 1:
        raise BadInput(f"The threshold delta {delta} is not a probability.", do="Choose 0 to 1 (published: 0.5).")
    top = max(values)
    return SLUGS[values.index(top)] if top >= delta else NONE


def judged(first: Reading, second: Reading, delta: float) -> Classified:
    """One verdict from the readings of both wordings; the status is ok where both are."""
    bad = next((reading for reading in (first, second) if reading.status != "ok"), None)
    if bad is not None:
        return Classified(first.key, bad.status, "", error=bad.error)
    values = tuple((a + b) / 2 for a, b in zip(first.values, second.values, strict=True))
    labels = (label_of(first.values, delta), label_of(second.values, delta))
    masses = [reading.mass for reading in (first, second) if reading.mass is not None]
    return Classified(
        first.key,
        "ok",
        label_of(values, delta),
        values,
        tuple(abs(a - b) for a, b in zip(first.values, second.values, strict=True)),
        labels,
        labels[0] != labels[1],
        sum(masses) / len(masses) if masses else None,
    )


class Classifier:
    """Texts to probabilities with one engine, journaled.

    ``mode`` auto asks yes/no questions where the engine can choose, and for JSON where it cannot. Raises EngineError if the
    engine cannot do what the mode needs.
    """

    def __init__(
        self, engine: Engine, *, delta: float, mode: Literal["auto", "choose", "json"] = "auto", max_tokens: int = 512
    ):
        label_of((0.0,) * len(SLUGS), delta)  # refuses a delta that is none
        probe = getattr(engine, "probe", None)
        verbs = probe() if probe is not None and mode != "json" else engine.verbs
        self.mode: Mode = mode if mode != "auto" else "choose" if "choose" in verbs else "json"
        if self.mode == "choose" and "choose" not in verbs:
            raise EngineError(f"'{engine.spec}' gives no answer probabilities. Use the mode json.")
        if self.mode == "json" and "generate" not in verbs:
            raise EngineError(f"'{engine.spec}' generates no text. Use the mode choose.")
        self.engine, self.delta = engine, delta
        self.sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=max_tokens, stop=(), seed=0)

    def classify(
        self, texts: Mapping[str, str], folder: Path, stage: str, progress: Progress, *, shown: str = "classified"
    ) -> dict[str, Classified]:
        """Every text by its key. Journals of ``stage`` are in ``folder``; what they hold is not asked again.

        Raises EngineError if not one of many texts could be classified: the cause is not in the texts.
        """
        if not texts:
            return {}
        find = self._chosen if self.mode == "choose" else self._written
        readings = find(texts, folder, stage, progress, shown)
        classified = {key: judged(readings[key, 0], readings[key, 1], self.delta) for key in texts}
        if len(classified) >= BLOCK and all(row.status == "failed" for row in classified.values()):
            why = next(iter(classified.values())).error
            raise EngineError(f"'{self.engine.spec}' classified none of {len(classified)} texts; the first: {why}")
        return classified

    def _chosen(
        self, texts: Mapping[str, str], folder: Path, stage: str, progress: Progress, shown: str
    ) -> dict[tuple[str, int], Reading]:
        journal = ReadingJournal(folder / f"{stage}-choices.journal.jsonl")
        done = journal.read()
        out: dict[tuple[str, int], Reading] = {}
        try:
            for block in _blocks(list(texts.items()), BLOCK):
                name = xxh128_hexdigest("\0".join(part for pair in block for part in pair).encode("utf-8", "replace"))
                rows = done.get(name)
                if rows is None or any(row.status == "failed" for row in rows):
                    rows = self._asked(block)
                    journal.append(name, rows)
                out |= {(row.key, row.paraphrase): row for row in rows}
                progress(shown, len(out) // PARAPHRASES, len(texts))
        finally:
            journal.close()
        return out

    def _asked(self, block: Iterable[tuple[str, str]]) -> list[Reading]:
        """Readings of a block: per text and wording, one yes/no question for each of the 14 domains."""
        named = [(key, text, paraphrase) for key, text in block for paraphrase in range(PARAPHRASES)]
        questions = [
            Question(f"{key}/{paraphrase}/{domain.slug}", choice_chat(text, domain, paraphrase), OPTIONS)
            for key, text, paraphrase in named
            for domain in DOMAINS
        ]
        choices = list(self.engine.choose(questions))
        rows: list[Reading] = []
        for (key, _, paraphrase), part in zip(named, _blocks(choices, len(DOMAINS)), strict=True):
            error = next((choice.error for choice in part if choice.error), "")
            values = tuple(choice.probabilities[0] if choice.probabilities else math.nan for choice in part)
            if error or not all(math.isfinite(value) for value in values):
                why = error or "the probabilities are not numbers"
                rows.append(Reading(key, paraphrase, (), "failed", error=why[:300]))
                continue
            masses = [choice.mass for choice in part if choice.mass is not None]
            mass = sum(masses) / len(masses) if masses else None
            rows.append(Reading(key, paraphrase, values, "ok", mass))
        return rows

    def _written(
        self, texts: Mapping[str, str], folder: Path, stage: str, progress: Progress, shown: str
    ) -> dict[tuple[str, int], Reading]:
        out: dict[tuple[str, int], Reading] = {}
        waiting = [(key, paraphrase) for key in texts for paraphrase in range(PARAPHRASES)]
        for again in (False, True):
            items = [
                Item(f"{key}/{paraphrase}", "corpus", numbers_chat(texts[key], paraphrase, again=again), "")
                for key, paraphrase in waiting
            ]
            if not items:
                break
            name = f"{stage}-json-again" if again else f"{stage}-json"
            responses = self._responses(items, folder / f"{name}.journal.jsonl", progress, shown)
            for (key, paraphrase), item in zip(waiting, items, strict=True):
                out[key, paraphrase] = _read(key, paraphrase, responses.get(item.id))
            waiting = [pair for pair in waiting if out[pair].status in ("unparsed", "empty")]
        return out

    def _responses(self, items: Sequence[Item], path: Path, progress: Progress, shown: str) -> dict[str, Response]:
        from evenhand.runs.respond import Configuration, respond

        report: Progress = lambda _, done, total: progress(shown, done, total)  # noqa: E731
        responses = respond([Configuration(ROLE, self.engine)], items, 1, self.sampling, Journal(path), report)
        return {response.item_id: response for response in responses}


def _blocks(rows: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """``size`` rows at a time."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _read(key: str, paraphrase: int, response: Response | None) -> Reading:
    """What a reply says; an engine's failure and a refusal are final."""
    if response is None or response.finish_reason == "error":
        why = response.error if response else "the engine returned nothing"
        return Reading(key, paraphrase, (), "failed", error=why[:300])
    if response.provider_refusal or response.finish_reason == "content_filter":
        return Reading(key, paraphrase, (), "refused", error=(response.provider_refusal or "content filter")[:300])
    text = clean_text(response.text).strip()
    if not text:
        return Reading(key, paraphrase, (), "empty", error="an empty reply")
    values, problem = parse_numbers(text)
    if values is not None:
        return Reading(key, paraphrase, values, "ok")
    if opener := refusal_opener(text):
        return Reading(key, paraphrase, (), "refused", error=f"opener: {opener}")
    return Reading(key, paraphrase, (), "unparsed", error=f"{problem}: {text}"[:300])


def classified_frame(rows: Iterable[Classified]) -> pl.DataFrame:
    """One row per text: key, status, label, top, label_1, label_2, flipped, mass, error, and ``p.SLUG`` and ``gap.SLUG``."""
    import polars as pl

    texts = list(rows)
    none: tuple[None, ...] = (None,) * len(SLUGS)
    data: dict[str, list[Any]] = {
        "key": [row.key for row in texts],
        "status": [row.status for row in texts],
        "label": [row.label for row in texts],
        "top": [row.top for row in texts],
        "label_1": [row.labels[0] for row in texts],
        "label_2": [row.labels[1] for row in texts],
        "flipped": [row.flipped for row in texts],
        "mass": [row.mass for row in texts],
        "error": [json_safe(row.error) for row in texts],
    }
    kinds: dict[str, Any] = {"top": pl.Float64, "mass": pl.Float64, "flipped": pl.Boolean}
    schema = {name: kinds.get(name, pl.String) for name in data}
    for prefix in ("p", "gap"):
        for at, slug in enumerate(SLUGS):
            name = f"{prefix}.{slug}"
            data[name] = [((row.values if prefix == "p" else row.gaps) or none)[at] for row in texts]
            schema[name] = pl.Float64
    return pl.DataFrame(data, schema=schema)


def classified_from(frame: pl.DataFrame) -> dict[str, Classified]:
    """The inverse of `classified_frame`, by key."""
    out = {}
    for row in frame.iter_rows(named=True):
        values, gaps = (tuple(row[f"{p}.{slug}"] for slug in SLUGS) for p in ("p", "gap"))
        labelled = row["status"] == "ok"
        out[row["key"]] = Classified(
            row["key"], row["status"], row["label"], values if labelled else (), gaps if labelled else (),
            (row["label_1"], row["label_2"]), row["flipped"], row["mass"], row["error"],
        )  # fmt: skip
    return out
