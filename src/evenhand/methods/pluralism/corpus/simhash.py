"""SimHash fingerprints of short texts.

The paper (arXiv 2602.07376) names SimHash and the threshold 10, and no more. Width, normalisation, features, weights and hash are
chosen defaults: 64 bits, NFKC with case folding, character 4-grams weighted by count. ``interop`` computes the fingerprints of
the PyPI package simhash (version 2.1.2) bit for bit.

Bit b of a fingerprint is 1 if the weights of the features whose hash has bit b exceed the weights of all others; a tie gives 0.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from evenhand.errors import BadInput
from evenhand.safe_text import surrogate_free

Features = Literal["char4", "word", "word+bigram"]
FEATURES: tuple[Features, ...] = ("char4", "word", "word+bigram")
HASHES = {"char4": "mix64-v1 of four code points", "word": "xxh3-64, mix64-v1", "interop": "low bits of MD5"}
NORMALISATION = (
    "v1: escaped and real white space to one blank, NFKC, case folded, control and format characters removed"
)

GRAM = 4
_CHUNK = 8192
_ESCAPED = re.compile(r"\\[nrt]", re.IGNORECASE)
_SPEAKER = re.compile(r"^[^\S\n]*[A-Za-z][A-Za-z0-9_]{0,15}:(?=\s)", re.MULTILINE)
_WORD = re.compile(r"\w+")
_INTEROP = re.compile(r"[\w\u4e00-\u9fcc]+")
_REMOVED: dict[int, None] = dict.fromkeys(
    code
    for low, high in (
        *((0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x84), (0x86, 0x9F)),  # control, less white space
        *((0xAD, 0xAD), (0x034F, 0x034F), (0x061C, 0x061C), (0x180E, 0x180E)),  # soft hyphen, joiner, marks
        *((0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F)),  # zero width, direction
        *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),  # variation selectors, byte order mark
    )
    for code in range(low, high + 1)
)
_GROUP = 1024
_LONG = 4096


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Fingerprints of n texts.

    ``words`` is (n, bits / 64), the lowest 64 bits first; ``counts`` (n,) is the number of features with repeats. A
    text without features has count 0 and no fingerprint: its words are 0 and mean nothing.
    """

    words: NDArray[np.uint64]
    counts: NDArray[np.int64]


def normalise(text: str, *, speakers: bool = True) -> str:
    """The text as it is compared.

    Written-out ``\\n``, ``\\r`` and ``\\t`` count as white space; then NFKC, case folding, removal of control and
    zero-width characters, and every run of white space as one blank. ``speakers=False`` also removes a word and a colon
    at the start of a line (``USER:``), since tags that all dialogues share pull unrelated dialogues together.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", surrogate_free(text))
    if not text.isprintable():
        text = text.translate(_REMOVED)
    if "\\" in text:
        text = _ESCAPED.sub("\n", text)
    if not speakers:
        text = _SPEAKER.sub(" ", text.replace("\r", "\n"))
    text = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.split())


def speaker_tags(text: str) -> int:
    """How many lines begin with a word and a colon."""
    if ":" not in text:
        return 0
    return len(_SPEAKER.findall(_ESCAPED.sub("\n", text) if "\\" in text else text))


def char_grams(text: str) -> list[str]:
    """The character 4-grams of a normalised text, with repeats; a shorter text is one gram, an empty one has none."""
    if len(text) <= GRAM:
        return [text] if text else []
    return [text[at : at + GRAM] for at in range(len(text) - GRAM + 1)]


def fingerprints(
    texts: Sequence[str], *, features: Features = "char4", bits: int = 64, interop: bool = False
) -> Fingerprints:
    """Fingerprints of texts.

    ``texts`` must come from ``normalise``, but for ``interop``, which takes them as they are, lowers them, joins their
    word characters, and hashes character 4-grams by the low bits of MD5. A text without any word character has no
    features.
    Raises BadInput for a width other than 64 and 128, unknown features, and ``interop`` with word features.
    """
    if bits not in (64, 128):
        raise BadInput(f"Fingerprints cannot have {bits} bits.", do="Choose 64 or 128.")
    if features not in FEATURES:
        raise BadInput(f"Unknown features '{features}'.", do=f"Known: {', '.join(FEATURES)}.")
    if interop and features != "char4":
        raise BadInput("The package simhash has character 4-grams only.", do="Choose the features char4.")
    hashed: Callable[[Sequence[str], int], tuple[NDArray[np.uint64], NDArray[np.int64]]]
    if interop:
        hashed = _interop_hashes
    elif features == "char4":
        hashed = _char_hashes
    else:
        hashed = _Words(bigrams=features == "word+bigram")
    words = np.zeros((len(texts), bits // 64), dtype=np.uint64)
    counts = np.zeros(len(texts), dtype=np.int64)
    for start in range(0, len(texts), _CHUNK):
        stop = min(start + _CHUNK, len(texts))
        hashes, lengths = hashed(texts[start:stop], bits)
        counts[start:stop] = lengths
        for word in range(bits // 64):
            words[start:stop, word] = majority(hashes[:, word], lengths)
    return Fingerprints(words, counts)


def _char_hashes(texts: Sequence[str], bits: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all 4-grams, text after text, (features, bits / 64), and how many each text has.

    Each text is padded with NULs, which no normalised text holds, to at least four characters.
    """
    kept = [text if _WORD.search(text) else "" for text in texts]
    padded = "".join([text if len(text) >= GRAM else text.ljust(GRAM, "\0") if text else "" for text in kept])
    sizes = np.fromiter((max(len(text), GRAM) if text else 0 for text in kept), np.int64, len(kept))
    lengths = np.maximum(sizes - (GRAM - 1), 0)
    codes = np.frombuffer(padded.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if codes.size == 0:
        return np.zeros((0, bits // 64), dtype=np.uint64), lengths
    hashes = codes[: -(GRAM - 1)] | (codes[1:-2] << np.uint64(21))
    hashes |= codes[2:-1] << np.uint64(42)
    _mix(hashes)
    hashes ^= codes[3:] * np.uint64(0x9E3779B97F4A7C15)
    _mix(hashes)
    return _widen(hashes[_starts(sizes, lengths)], bits), lengths


def _starts(sizes: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the running 4-grams lie within one text."""
    inside = np.ones(int(sizes.sum()), dtype=np.bool_)
    ends = np.cumsum(sizes)[lengths > 0]
    for back in range(1, GRAM):
        inside[ends - back] = False
    return inside[: -(GRAM - 1)]


def _mix(values: NDArray[np.uint64]) -> None:
    """The finaliser of SplitMix64, in place."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(factor)
    values ^= values >> np.uint64(31)


def _widen(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    """(features,) to (features, bits / 64); the second word is a fresh hash of the first."""
    if bits == 64:
        return hashes[:, None]
    second = hashes ^ np.uint64(0xD1B54A32D192ED03)
    _mix(second)
    return np.stack([hashes, second], axis=1)


class _Words:
    """Hashes of words, and of pairs of neighbouring words; remembers the words it has seen, up to a limit."""

    def __init__(self, *, bigrams: bool) -> None:
        self.bigrams = bigrams
        self.known: dict[str, int] = {}

    def __call__(self, texts: Sequence[str], bits: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        if len(self.known) > 1_000_000:
            self.known.clear()
        token_hashes: list[int] = []
        lengths = np.zeros(len(texts), dtype=np.int64)
        for number, text in enumerate(texts):
            tokens = _WORD.findall(text)
            if self.bigrams:
                tokens += [f"{left} {right}" for left, right in itertools.pairwise(tokens)]
            lengths[number] = len(tokens)
            token_hashes += [self.known.get(token) or self._hash(token) for token in tokens]
        hashes = np.array(token_hashes, dtype=np.uint64)
        _mix(hashes)
        return _widen(hashes, bits), lengths

    def _hash(self, token: str) -> int:
        self.known[token] = value = xxh3_64_intdigest(token.encode())
        return value


def _interop_hashes(texts: Sequence[str], bits: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    digests: dict[str, bytes] = {}
    hashes: list[bytes] = []
    lengths = np.zeros(len(texts), dtype=np.int64)
    for number, text in enumerate(texts):
        grams = char_grams("".join(_INTEROP.findall(surrogate_free(text).lower())))
        lengths[number] = len(grams)
        for gram in grams:
            digest = digests.get(gram)
            if digest is None:
                digest = digests[gram] = hashlib.md5(gram.encode(), usedforsecurity=False).digest()
            hashes.append(digest)
    pairs: NDArray[Any] = np.frombuffer(b"".join(hashes), dtype=">u8").reshape(-1, 2)
    return pairs[:, ::-1][:, : bits // 64].astype(np.uint64), lengths


def majority(hashes: NDArray[np.uint64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The majority word of each run of hashes.

    ``hashes`` (features,) holds the runs one after the other, ``lengths`` (texts,) their sizes. Bit b of entry t is 1
    where more than half of the hashes of run t have bit b set; an even split gives 0, and so does an empty run.

    The sums are kept bit by bit: word l of a text holds binary digit l of 64 sums at once, and a full adder takes three
    words of one digit to one of that digit and one of the next. Texts of like length go together, padded with zeros.
    """
    words = np.zeros(lengths.size, dtype=np.uint64)
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    short = order[lengths[order] <= _LONG]
    for at in range(0, short.size, _GROUP):
        group = short[at : at + _GROUP]
        steps = np.arange(int(lengths[group[-1]]))[:, None]
        inside = steps < lengths[group]
        index = np.where(inside, starts[group] + steps, 0)
        rows = hashes[index]
        rows *= inside
        words[group] = _above(_digits(rows), lengths[group] // 2)
    for text in order[short.size :]:
        words[text] = _long_majority(hashes[starts[text] : starts[text] + lengths[text]])
    return words


def _digits(rows: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Column sums of the bits of (steps, texts) words, as binary digits: entry l is digit l, (texts,) words."""
    digits: list[NDArray[np.uint64]] = []
    waiting = list(rows)
    while waiting:
        carries: list[NDArray[np.uint64]] = []
        while len(waiting) > 1:
            first, second = waiting.pop(), waiting.pop()
            third = waiting.pop() if waiting else None
            differ = first ^ second
            carry = first & second
            if third is not None:
                carry |= differ & third
                differ ^= third
            carries.append(carry)
            waiting.append(differ)
        digits.append(waiting[0])
        waiting = carries
    return digits


def _above(digits: list[NDArray[np.uint64]], threshold: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Words whose bit b is 1 where sum b of a text is greater than that text's threshold."""
    full = np.uint64(0xFFFFFFFFFFFFFFFF)
    above = np.zeros(threshold.size, dtype=np.uint64)
    equal = np.full(threshold.size, full)
    for place in range(len(digits) - 1, -1, -1):
        wanted = np.where((threshold >> place) & 1, full, np.uint64(0))
        above |= equal & digits[place] & ~wanted
        equal &= ~(digits[place] ^ wanted)
    return above


def _long_majority(hashes: NDArray[np.uint64]) -> np.uint64:
    sums = np.zeros(64, dtype=np.int64)
    for at in range(0, hashes.size, 65536):
        block = np.ascontiguousarray(hashes[at : at + 65536]).astype("<u8").view(np.uint8).reshape(-1, 8)
        sums += np.unpackbits(block, axis=1, bitorder="little").sum(axis=0, dtype=np.int64)
    packed: NDArray[np.uint64] = np.packbits(2 * sums > hashes.size, bitorder="little").view("<u8").astype(np.uint64)
    return np.uint64(packed[0])
