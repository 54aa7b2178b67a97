"""The settings of the removal of near-duplicates, of which the command line and Python are views."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from evenhand.settings import Settings


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
