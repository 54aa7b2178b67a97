"""The settings of `evenhand corpus build`, of which the command line and Python are views."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PUBLISHED = ("delta", "distance", "temperature", "top_p", "max_tokens", "seed")
"""Settings whose default is the published value. All others are choices of the specification, or ours."""


class BuildConfig(BaseModel):
    """Everything that decides which prompts are in the corpus, and how engines are run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    items: str = Field(
        description="shipped, grammar, dices, dices-350, dices-990, demo_safetybench, or a file with texts."
    )
    classifier: str = Field(description="Engine spec of the model that sorts texts into domains.")
    generator: str = Field(description="Engine spec of the model that writes prompts for thin domains.")
    columns: dict[str, str] = Field(
        {}, description="Column mapping of a file: text, id, reply, gender, race, age, education (text=COLUMN)."
    )
    data_root: Path | None = Field(None, description="Folder of the public sets (default: EVENHAND_DATA).")
    licence: str = Field("", description="Licence of the source, for the data card; named sets bring their own.")
    with_reply: bool = Field(False, description="Take conversation and reply together as the text.")
    delta: float = Field(0.5, ge=0, le=1, description="Least probability of a domain; below it the class is None.")
    mode: Literal["auto", "choose", "json"] = Field(
        "auto", description="choose (yes/no probabilities), json (numbers that the model writes), or auto."
    )
    classifier_tokens: int = Field(512, ge=1, description="Longest JSON reply of the classifier, in its tokens.")
    bits: int = Field(64, description="Width of a fingerprint, 64 or 128.")
    distance: int = Field(10, description="Largest Hamming distance of near-duplicates (tau), in bits.")
    features: Literal["char4", "word", "word+bigram"] = Field(
        "char4", description="Features of a fingerprint: char4, word, word+bigram."
    )
    verify: float = Field(
        0.5, ge=0, le=1, description="Least Jaccard similarity at which a real row is dropped; 0 takes every near pair."
    )
    floor: int = Field(200, ge=0, description="A domain with fewer real prompts is low-resource.")
    floor_share: float = Field(0.01, ge=0, le=1, description="The same, as a share of all labelled prompts.")
    expand: tuple[str, ...] = Field((), description="Expand these domains alone, by slug (default: all that are thin).")
    attempts: int = Field(
        20, ge=0, description="Attempts at the most, for each row that a domain lacks; 0 generates none."
    )
    seeds: int = Field(3, ge=0, le=10, description="Examples of the domain in a generation prompt, at the most.")
    temperature: float = Field(0.7, ge=0, description="Softmax temperature of the generator.")
    top_p: float = Field(0.9, gt=0, le=1, description="Nucleus mass of the generator.")
    max_tokens: int = Field(64, ge=1, description="Longest generated line, in the generator's tokens.")
    shortest: int = Field(3, ge=1, description="Fewest words and marks of a generated line.")
    longest: int = Field(64, ge=1, description="Most words and marks of a generated line.")
    language: Literal["en", "any"] = Field("en", description="Language of generated lines: en, or any (no check).")
    spot_share: float = Field(0.05, ge=0, le=1, description="Share of synthetic rows that a person is to check.")
    train: float = Field(0.8, gt=0, le=1, description="Share of prompts in the training split.")
    val: float = Field(
        0.1, ge=0, lt=1, description="Share of prompts in the validation split; the rest is the test split."
    )
    synthetic_in: Literal["all", "train"] = Field(
        "all", description="Where synthetic rows may stand: in all splits, or in train alone."
    )
    seed: int = Field(42, ge=0, description="Seed of sampling, seeds of prompts, spot check and split.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N (local engines).")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Weights' type (local engines)."
    )
    concurrency: int = Field(8, ge=1, le=1024, description="Requests under way at once (http engines).")
    base_url: str | None = Field(None, description="Base address for openai/MODEL, for a compatible server.")

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
        """How many prompts a domain needs, of so many that have a label: max(floor, share x N), rounded up."""
        return max(self.floor, math.ceil(self.floor_share * labelled - 1e-9))
