"""The settings of `evenhand corpus build`, of which the command line and Python are views."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from evenhand.settings import EngineSettings

PUBLISHED = ("delta", "distance", "temperature", "top_p", "max_tokens", "seed")
"""Settings whose default is the published value. All others are choices of the specification, or ours."""


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
        from evenhand.methods.pluralism.corpus.classify_text import SLUGS
        from evenhand.methods.pluralism.corpus.config import DedupConfig

        DedupConfig(bits=self.bits, distance=self.distance, features=self.features, verify=self.verify)
        unknown = [slug for slug in self.expand if slug not in SLUGS]
        if unknown:
            raise ValueError(f"there is no domain '{unknown[0]}'; known: {' '.join(SLUGS)}")
        if self.shortest > self.longest:
            raise ValueError(f"the shortest line ({self.shortest}) is longer than the longest ({self.longest})")
        if self.train + self.val > 1:
            raise ValueError(f"train {self.train} and val {self.val} are more than everything")
        return self

    def floor_of(self, labelled: int) -> int:
        """Number of prompts that a domain needs, given the number of labelled ones: max(floor, share x N), rounded up."""
        return max(self.floor, math.ceil(self.floor_share * labelled - 1e-9))
