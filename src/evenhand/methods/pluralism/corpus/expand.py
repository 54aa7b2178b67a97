"""More prompts for low-resource domains: rounds of attempts, each checked against every quality rule.

Published: a generator at temperature 0.7, top-p 0.9, at most 64 tokens, conditioned on domain and demographics. The floor, the
number of attempts, seeds and rules are chosen defaults. A round's attempts follow from the rounds before it, so that a
resumed run asks for the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenhand.datasets.question_texts import FIELDS
from evenhand.engines.base import Engine, Sampling
from evenhand.errors import EngineError
from evenhand.methods.pluralism.corpus.classify import Classified, Classifier
from evenhand.methods.pluralism.corpus.config import BuildConfig
from evenhand.methods.pluralism.corpus.quality import Near, Prints, Reason, class_reason, form_reason, line_of
from evenhand.methods.pluralism.corpus.simhash import normalise
from evenhand.methods.pluralism.corpus.wording import DOMAIN_OF, SLUGS, generation_chat
from evenhand.records import Item, Response
from evenhand.runs.journal import Journal

if TYPE_CHECKING:
    import polars as pl

    from evenhand.runs.respond import Progress


LEAST_ROUND = 16
"""Minimum number of attempts for a domain in a round; those beyond what it lacks are a reserve for rejections."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One generated line and what became of it.

    ``status`` is accepted, rejected (``reason`` and ``detail`` say why), or surplus: nothing was wrong with it, and the domain
    had enough by then. ``seeds`` are ids of the real prompts that were shown, ``number`` counts the domain's
    attempts from 1, and ``seed`` is that of the sampling.
    """

    id: str
    domain: str
    number: int
    round: int
    profile_id: str
    profile: Mapping[str, str]
    seeds: tuple[str, ...]
    seed: int
    model: str
    text: str = ""
    status: str = "rejected"
    reason: Reason | None = None
    detail: str = ""
    near: Near | None = None
    verdict: Classified | None = None


def low_resource(counts: Mapping[str, int], config: BuildConfig) -> dict[str, int]:
    """Low-resource domains and how many prompts they lack, in table order; ``counts`` is label (None included) to real prompts."""
    floor = config.floor_of(sum(counts.values()))
    wanted = config.expand or SLUGS
    return {slug: floor - counts.get(slug, 0) for slug in SLUGS if slug in wanted and counts.get(slug, 0) < floor}


@dataclass
class Expansion:
    """One expansion under way. ``real`` is prompt id to text, ``pools`` domain to the ids that may be seeds."""

    engine: Engine
    classifier: Classifier
    config: BuildConfig
    real: Mapping[str, str]
    pools: Mapping[str, Sequence[str]]
    profiles: Sequence[tuple[str, Mapping[str, str]]]
    folder: Path
    progress: Progress
    done: list[Attempt] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if "generate" not in self.engine.verbs:
            raise EngineError(f"'{self.engine.spec}' cannot generate prompts: it generates no text.")
        config = self.config
        self.prints = Prints(bits=config.bits, distance=config.distance, features=config.features)
        self.prints.add(list(self.real), list(self.real.values()))
        self.sampling = Sampling(
            temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens, stop=(), seed=config.seed
        )

    def run(self, lacking: Mapping[str, int]) -> list[Attempt]:
        """Every attempt, by domain in table order and number, until each domain has enough or has had its attempts."""
        open_ = {slug: lack for slug, lack in lacking.items() if lack > 0}
        used = dict.fromkeys(open_, 0)
        caps = {slug: self.config.attempts * lack for slug, lack in open_.items()}
        total, number = sum(open_.values()), 0
        self.progress("synthetic rows", 0, total)
        while True:
            sizes = {
                slug: min(max(lack, LEAST_ROUND), caps[slug] - used[slug])
                for slug, lack in open_.items()
                if lack > 0 and used[slug] < caps[slug]
            }
            if not sizes:
                break
            number += 1
            planned = [
                self._planned(slug, at, number)
                for slug, size in sizes.items()
                for at in range(used[slug] + 1, used[slug] + size + 1)
            ]
            tried = self._tried(planned, number, open_)
            self.done += tried
            for row in tried:
                used[row.domain] += 1
            self.progress("synthetic rows", total - sum(open_.values()), total)
        return sorted(self.done, key=lambda row: (SLUGS.index(row.domain), row.number))

    def _planned(self, slug: str, number: int, round_: int) -> Attempt:
        config = self.config
        pool = self.pools.get(slug, ())
        draw = np.random.default_rng([config.seed, 29, SLUGS.index(slug), number])
        size = min(config.seeds, len(pool))
        seeds = tuple(pool[at] for at in draw.choice(len(pool), size=size, replace=False)) if size else ()
        # Profiles take turns in a seeded order, so that all of them are asked about equally often.
        turn, place = divmod(number - 1, len(self.profiles))
        order = np.random.default_rng([config.seed, 37, SLUGS.index(slug), turn]).permutation(len(self.profiles))
        profile_id, profile = self.profiles[int(order[place])]
        name = f"syn-{SLUGS.index(slug) + 1:02d}-{number:05d}"
        return Attempt(name, slug, number, round_, profile_id, profile, seeds, config.seed, self.engine.spec)

    def _responses(self, planned: Sequence[Attempt], number: int) -> dict[str, Response]:
        from evenhand.runs.respond import Configuration, respond

        items = [
            Item(
                row.id, "corpus",
                generation_chat(DOMAIN_OF[row.domain], row.profile, [self.real[seed] for seed in row.seeds]), "",
            )
            for row in planned
        ]  # fmt: skip
        journal = Journal(self.folder / f"round-{number:03d}.journal.jsonl")
        report: Progress = lambda _, done, total: self.progress(f"attempts, round {number}", done, total)  # noqa: E731
        responses = respond([Configuration("generator", self.engine)], items, 1, self.sampling, journal, report)
        return {response.item_id: response for response in responses}

    def _tried(self, planned: Sequence[Attempt], number: int, open_: dict[str, int]) -> list[Attempt]:
        """The attempts of a round, tried; counts down ``open_``, what the domains lack."""
        from dataclasses import replace

        config = self.config
        responses = self._responses(planned, number)
        self.prints.prepare([line_of(responses[row.id].text) for row in planned])
        rows: list[Attempt] = []
        for row in planned:
            response = responses[row.id]
            text = line_of(response.text)
            reason, detail = form_reason(response, least=config.shortest, most=config.longest, language=config.language)
            near = None
            if reason is None:
                reason, detail, near = self._stands_alone(row, text)
            self.seen.add(normalise(text))
            rows.append(replace(row, text=text, reason=reason, detail=detail, near=near))
        asked = {row.id: row.text for row in rows if row.reason is None}
        verdicts = self.classifier.classify(
            asked, self.folder, f"round-{number:03d}", self.progress, shown=f"classified, round {number}"
        )
        return [self._settled(row, verdicts.get(row.id), open_) for row in rows]

    def _stands_alone(self, row: Attempt, text: str) -> tuple[Reason | None, str, Near | None]:
        """Whether a text repeats or nearly repeats another, before it is worth a classification."""
        plain = normalise(text)
        if any(plain == normalise(self.real[seed]) for seed in row.seeds):
            return "copy of a seed", "", None
        if plain in self.seen:
            return "repeated", "an earlier attempt gave the same text", None
        if row.seeds and (near := self.prints.nearest(text, row.seeds)):
            return "near a seed", _nearness(near), near
        near = self.prints.nearest(text)
        return ("near a row", _nearness(near), near) if near else (None, "", None)

    def _settled(self, row: Attempt, verdict: Classified | None, open_: dict[str, int]) -> Attempt:
        from dataclasses import replace

        if row.reason is not None or verdict is None:
            return row
        reason, detail = class_reason(verdict, row.domain, self.config.delta)
        near = None
        if reason is None and (near := self.prints.nearest(row.text)):
            reason, detail = "near a row", _nearness(near)
        if reason is not None:
            return replace(row, verdict=verdict, reason=reason, detail=detail, near=near)
        if open_[row.domain] <= 0:
            return replace(row, verdict=verdict, status="surplus")
        open_[row.domain] -= 1
        self.prints.add([row.id], [row.text])
        return replace(row, verdict=verdict, status="accepted")


def _nearness(near: Near) -> str:
    return f"{near.distance} bits from {near.key}, Jaccard {near.jaccard:.3f}"


def attempts_frame(rows: Iterable[Attempt]) -> pl.DataFrame:
    """One row an attempt: what was asked, what came, and what became of it; ``near_*`` is null if nothing was near."""
    import polars as pl

    attempts = list(rows)
    columns: dict[str, tuple[list[Any], Any]] = {
        "id": ([row.id for row in attempts], pl.String),
        "domain": ([row.domain for row in attempts], pl.String),
        "number": ([row.number for row in attempts], pl.Int64),
        "round": ([row.round for row in attempts], pl.Int64),
        "status": ([row.status for row in attempts], pl.String),
        "reason": ([row.reason or "" for row in attempts], pl.String),
        "detail": ([row.detail for row in attempts], pl.String),
        "text": ([row.text for row in attempts], pl.String),
        "near": ([row.near.key if row.near else None for row in attempts], pl.String),
        "near_distance": ([row.near.distance if row.near else None for row in attempts], pl.Int64),
        "near_jaccard": ([row.near.jaccard if row.near else None for row in attempts], pl.Float64),
        "top": ([row.verdict.top if row.verdict else None for row in attempts], pl.Float64),
        "flipped": ([row.verdict.flipped if row.verdict else None for row in attempts], pl.Boolean),
        "seed_ids": ([" ".join(row.seeds) for row in attempts], pl.String),
        "profile_id": ([row.profile_id for row in attempts], pl.String),
        **{name: ([row.profile.get(name, "") for row in attempts], pl.String) for name in FIELDS},
        "seed": ([row.seed for row in attempts], pl.Int64),
        "model": ([row.model for row in attempts], pl.String),
        "synthetic": ([True] * len(attempts), pl.Boolean),
    }
    return pl.DataFrame(
        {name: values for name, (values, _) in columns.items()},
        schema={name: kind for name, (_, kind) in columns.items()},
    )
