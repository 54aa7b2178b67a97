"""Settings of `evenhand corpus`: removing near-duplicates, building a corpus, and sweeping over its thresholds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from evenhand.settings import EngineSettings, Settings, StatisticsSettings

PUBLISHED = ("delta", "distance", "temperature", "top_p", "max_tokens", "seed")
"""Settings whose default is the published value. All other defaults are chosen, not published."""
PUBLISHED_DELTA = 0.5
PUBLISHED_TAU = 10


class DedupConfig(Settings):
    """Everything that decides which rows are dropped; the number of threads does not."""

    bits: int = Field(64, description="Width of a fingerprint: 64 or 128 bits.")
    distance: int = Field(
        10, description="Largest Hamming distance of a pair, in bits (20 suits 128-bit fingerprints)."
    )
    features: Literal["char4", "word", "word+bigram"] = Field(
        "char4",
        description="Features of a fingerprint: char4 (character 4-grams), word, or word+bigram, weighted by frequency.",
    )
    verify: float = Field(
        0.5, ge=0, le=1, description="Minimum Jaccard similarity of the 4-gram sets of a pair; 0 accepts every pair."
    )
    keep: Literal["first", "components"] = Field(
        "first",
        description="Rows to keep: first (drop a row if an earlier kept row is near) or components (one row per chain of pairs).",
    )
    interop: bool = Field(
        False, description="Use the fingerprints of the PyPI package simhash, bit for bit (MD5, char4)."
    )
    strip_speakers: bool = Field(False, description="Ignore a word and a colon at the start of a line (USER:).")
    method: Literal["auto", "brute", "blocks", "multi-index"] = Field(
        "auto", description="Search method: auto, brute, blocks or multi-index. All find the same pairs."
    )
    columns: dict[str, str] = Field({}, description="Column mapping, text=COLUMN or id=COLUMN.")

    @model_validator(mode="after")
    def _sensible(self) -> DedupConfig:
        if self.bits not in (64, 128):
            raise ValueError(f"fingerprints have 64 or 128 bits, not {self.bits}")
        if not 0 <= self.distance < self.bits // 2:
            raise ValueError(
                f"the distance {self.distance} is not within 0 and {self.bits // 2 - 1}: unrelated texts are "
                f"{self.bits // 2} of {self.bits} bits apart on average"
            )
        if self.interop and self.features != "char4":
            raise ValueError("the package simhash has character 4-grams only: choose the features char4")
        return self


class BuildConfig(EngineSettings):
    """Everything that decides which prompts are in the corpus, and how engines are run."""

    heading: ClassVar[str] = "Corpus"

    items: str = Field(description="Texts: shipped, grammar, dices, dices-350, dices-990, demo_safetybench, or a file.")
    classifier: str = Field(description="Engine spec of the model that classifies texts by domain.")
    generator: str = Field(description="Engine spec of the model that writes prompts for low-resource domains.")
    columns: dict[str, str] = Field(
        {}, description="Column mapping of a file: text, id, reply, gender, race, age, education (text=COLUMN)."
    )
    data_root: Path | None = Field(None, description="Folder of the public sets (default: EVENHAND_DATA).")
    licence: str = Field("", description="Licence of the source, for the data card. Named sets have their own.")
    with_reply: bool = Field(False, description="Use conversation and reply together as the text.")
    delta: float = Field(0.5, ge=0, le=1, description="Minimum probability of a domain; below it the class is None.")
    mode: Literal["auto", "choose", "json"] = Field(
        "auto",
        description="Classification: choose (yes/no probabilities), json (numbers that the model writes), or auto.",
    )
    classifier_tokens: int = Field(
        512, ge=1, description="Maximum length of the classifier's JSON reply, in its tokens."
    )
    bits: int = Field(64, description="Width of a fingerprint: 64 or 128 bits.")
    distance: int = Field(10, description="Largest Hamming distance of near-duplicates (tau), in bits.")
    features: Literal["char4", "word", "word+bigram"] = Field(
        "char4", description="Features of a fingerprint: char4, word, or word+bigram."
    )
    verify: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Minimum Jaccard similarity at which a real row is dropped; 0 accepts every near pair.",
    )
    floor: int = Field(200, ge=0, description="A domain with fewer real prompts is low-resource.")
    floor_share: float = Field(
        0.01, ge=0, le=1, description="The same floor as a share of all labelled prompts; the larger one applies."
    )
    expand: tuple[str, ...] = Field((), description="Domains to expand, by slug (default: every low-resource domain).")
    attempts: int = Field(
        20, ge=0, description="Maximum number of attempts per missing row of a domain; 0 generates none."
    )
    seeds: int = Field(3, ge=0, le=10, description="Maximum number of examples of the domain in a generation prompt.")
    temperature: float = Field(0.7, ge=0, description="Sampling temperature of the generator.")
    top_p: float = Field(0.9, gt=0, le=1, description="Nucleus sampling mass of the generator.")
    max_tokens: int = Field(64, ge=1, description="Maximum length of a generated line, in the generator's tokens.")
    shortest: int = Field(3, ge=1, description="Minimum number of words and punctuation marks in a generated line.")
    longest: int = Field(64, ge=1, description="Maximum number of words and punctuation marks in a generated line.")
    language: Literal["en", "any"] = Field("en", description="Language of generated lines: en, or any (no check).")
    spot_share: float = Field(0.05, ge=0, le=1, description="Share of synthetic rows for a person to check.")
    train: float = Field(0.8, gt=0, le=1, description="Share of prompts in the training split.")
    val: float = Field(
        0.1, ge=0, lt=1, description="Share of prompts in the validation split; the rest is the test split."
    )
    synthetic_in: Literal["all", "train"] = Field(
        "all", description="Splits that may hold synthetic rows: all, or train only."
    )
    seed: int = Field(42, ge=0, description="Random seed of sampling, example choice, spot check and split.")

    @model_validator(mode="after")
    def _sensible(self) -> BuildConfig:
        from evenhand.methods.pluralism.corpus.wording import SLUGS

        DedupConfig(bits=self.bits, distance=self.distance, features=self.features, verify=self.verify)
        unknown = [slug for slug in self.expand if slug not in SLUGS]
        if unknown:
            raise ValueError(f"unknown domain '{unknown[0]}'; known: {' '.join(SLUGS)}")
        if self.shortest > self.longest:
            raise ValueError(f"the shortest line ({self.shortest}) is longer than the longest ({self.longest})")
        if self.train + self.val > 1:
            raise ValueError(f"train {self.train} and val {self.val} sum to more than 1")
        return self

    def floor_of(self, labelled: int) -> int:
        """Number of prompts that a domain needs, given the number of labelled ones: max(floor, share x N), rounded up."""
        return max(self.floor, math.ceil(self.floor_share * labelled - 1e-9))


class SweepConfig(StatisticsSettings):
    """Which thresholds are tried on a built corpus, and on whose ratings."""

    heading: ClassVar[str] = "Sweep"

    deltas: tuple[float, ...] = Field(
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1, description="Domain thresholds; 0.5 is always included."
    )
    taus: tuple[int, ...] = Field(
        (0, 3, 6, 8, 10, 12, 16, 20), min_length=1, description="Distances in bits; 10 is always included."
    )
    ratings: Path | None = Field(
        None,
        description="Ratings of the items, which add ICC and DS: a file (csv, tsv, jsonl, parquet), dices-350, dices-990, or a "
        "run of `evenhand rate`.",
    )
    columns: dict[str, str] = Field({}, description="Column mapping of the ratings (item=COLUMN).")
    values: dict[str, str] = Field(
        {}, description="Meaning of rating words, WORD=safe|unsure|unsafe (--value Yes=unsafe)."
    )
    scale: tuple[float, ...] | None = Field(
        None, description="Ends of a numeric rating scale, the safe one first (--scale 1 --scale 5)."
    )
    with_none: bool = Field(False, description="Include rows without a domain in ICC and DS.")
    draws: int = Field(2000, ge=100, description="Number of bootstrap draws of items and raters together.")
    reml_draws: int = Field(
        100, ge=20, description="Number of bootstrap draws for the ICC of incomplete ratings, where each draw is a fit."
    )
    permutations: int = Field(
        999, ge=99, description="Number of permutations of the raters' groups for the null distribution of DS."
    )

    @field_validator("deltas")
    @classmethod
    def _probabilities(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [value for value in values if not 0 <= value <= 1]
        if wrong:
            raise ValueError(f"the threshold delta {wrong[0]} is not a probability, 0 to 1")
        return tuple(sorted({*values, PUBLISHED_DELTA}))

    @field_validator("taus")
    @classmethod
    def _distances(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [value for value in values if value < 0]
        if wrong:
            raise ValueError(f"the distance {wrong[0]} is below 0")
        return tuple(sorted({*values, PUBLISHED_TAU}))
