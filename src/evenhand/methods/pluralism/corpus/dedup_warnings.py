"""What a removal of near-duplicates must say aloud (spec pluralism, section 10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evenhand.methods.pluralism.corpus.config import DedupConfig
from evenhand.methods.pluralism.corpus.simhash import GRAM
from evenhand.wording import count, number

_TAGGED_SHARE = 0.1
_CHANCE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Seen:
    """What one pass over n rows leaves: fingerprints (n, words), numbers of features (n,), digests of the normalised texts
    (n, 2), hashes of the other columns (n,), and how many texts are shorter than a 4-gram or have speaker tags.
    """

    prints: NDArray[np.uint64]
    counts: NDArray[np.int64]
    digests: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    short: int
    tagged: int

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return len(self.prints)


def warnings_of(
    config: DedupConfig, seen: Seen, first: NDArray[np.int64], *, chance: float, crowded: bool
) -> tuple[str, ...]:
    """The warnings, most serious first. ``first`` (n,) is the first row with the same text, ``chance`` the expected number
    of pairs among unrelated texts.
    """
    found = []
    if chance > _CHANCE_SHARE * seen.rows:
        found.append(
            f"About {number(chance)} pairs of unrelated texts lie within {config.distance} of {config.bits} bits by chance, more "
            f"than 1% of {count(seen.rows)} rows. Use 128 bits with distance 20, or a smaller distance, and verify."
        )
    if config.verify == 0:
        found.append("Pairs were not verified: texts that only share frequent n-grams may have been dropped.")
    if config.features != "char4":
        found.append(
            "Words are few in a short text, and frequent ones pull unrelated texts together: on one public set of 990 dialogues "
            "single words dropped 351 rows at distance 10, character 4-grams 24. Verification makes up for it."
        )
        if seen.tagged > _TAGGED_SHARE * seen.rows and not config.strip_speakers:
            found.append(
                f"{count(seen.tagged)} texts have several lines that begin with a speaker's tag, which makes unrelated "
                f"dialogues alike. Leave the tags out with --strip-speakers."
            )
    blank = int((seen.counts == 0).sum())
    if blank:
        found.append(
            f"{count(blank)} texts have no word character, so no fingerprint. All of them stay, and are listed."
        )
    if seen.short:
        found.append(
            f"{count(seen.short)} texts are shorter than {GRAM} characters: one edit changes such a fingerprint altogether, "
            "so that only equal ones are found."
        )
    profiles = int(((first != np.arange(seen.rows)) & (seen.rest != seen.rest[first])).sum())
    if profiles:
        found.append(
            f"{count(profiles)} dropped rows repeat a text exactly while other columns differ. If these are one prompt under "
            "several profiles, they are no duplicates: join the kept prompts with the profiles through the table of dropped rows."
        )
    if crowded:
        found.append(
            "There were too many near pairs to hold, so rows were compared one block after another. The result is the same; "
            "a smaller distance is faster."
        )
    return tuple(found)
