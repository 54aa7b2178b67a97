"""Fingerprints against plain definitions, and majorities of bits against counting one by one."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.hamming import near_pairs
from evenhand.methods.pluralism.corpus.simhash import char_grams, fingerprints, majority, normalise, speaker_tags

Finder = Callable[[str], Path]
FIELDS = ("context", "context+response")


def dices(folder: Path, field: str) -> tuple[list[str], list[int]]:
    """Texts of one field, and their reference fingerprints."""
    with (folder / "dices_350_items.csv").open(encoding="utf-8", newline="") as file:
        items = {row["item_id"]: row for row in csv.DictReader(file)}
    with (folder / "simhash64_reference_350.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["field"] == field]
    texts = ["\n".join(items[row["item_id"]][part] for part in field.split("+")) for row in rows]
    return texts, [int(row["fingerprint_hex"], 16) for row in rows]


def by_hand(weights: dict[str, int], bits: int) -> int:
    """The bit rule with Python's integers: MD5, a bit where the weighted sum is above 0."""
    value = 0
    hashes = {text: int(hashlib.md5(text.encode()).hexdigest(), 16) for text in weights}
    for bit in range(bits):
        total = sum(weight if hashes[text] >> bit & 1 else -weight for text, weight in weights.items())
        value |= (total > 0) << bit
    return value


def joined(words: np.ndarray) -> int:
    return sum(int(word) << (64 * place) for place, word in enumerate(words))


@pytest.mark.data
@pytest.mark.parametrize("field", FIELDS)
def test_the_reference_fingerprints_bit_for_bit(public_data: Finder, field: str) -> None:
    texts, expected = dices(public_data("dices"), field)
    assert len(expected) == 350
    words = fingerprints(texts, interop=True).words[:, 0]
    assert [row for row, value in enumerate(expected) if int(words[row]) != value] == []


@pytest.mark.data
@pytest.mark.parametrize("field", FIELDS)
def test_the_pair_counts_of_the_reference(public_data: Finder, field: str) -> None:
    folder = public_data("dices")
    known = json.loads((folder / "reference_values.json").read_text(encoding="utf-8"))["simhash64_dices"]
    expected = known["dices350_" + field.replace("+", "_plus_")]
    words = fingerprints(dices(folder, field)[0], interop=True).words
    for distance in (3, 10, 16):
        assert len(near_pairs(words, distance)) == expected[f"pairs_le_{distance}"]


@pytest.mark.parametrize("bits", [64, 128])
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=4))
@settings(max_examples=60)
def test_interop_follows_the_rule_by_hand(bits: int, texts: list[str]) -> None:
    found = fingerprints(texts, interop=True, bits=bits)
    for text, words, count in zip(texts, found.words, found.counts, strict=True):
        letters = "".join(re.findall(r"\w+", text.lower()))
        grams = [letters[at : at + 4] for at in range(max(len(letters) - 3, 1))] if letters else []
        assert count == len(grams)
        assert joined(words) == (by_hand(Counter(grams), bits) if grams else 0)


@pytest.mark.parametrize("bits", [64, 128])
@pytest.mark.parametrize("features", ["char4", "word", "word+bigram"])
def test_a_text_has_one_fingerprint_in_any_company(features: str, bits: int) -> None:
    texts = [
        normalise(f"{'so ' * (n % 7)}what about the {n} number{n * n} thing, ma\u00f1ana?" * (n % 5)) for n in range(60)
    ]
    together = fingerprints(texts, features=features, bits=bits)  # type: ignore[arg-type]
    for row, text in enumerate(texts):
        alone = fingerprints([text], features=features, bits=bits)  # type: ignore[arg-type]
        assert (alone.words[0] == together.words[row]).all()
        assert alone.counts[0] == together.counts[row]


def test_features_are_counted_as_documented() -> None:
    texts = ["", "?!", "a", "abc", "abcd", "abcde", "a b c"]
    assert fingerprints(texts).counts.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert fingerprints(texts, features="word").counts.tolist() == [0, 0, 1, 1, 1, 1, 3]
    assert fingerprints(texts, features="word+bigram").counts.tolist() == [0, 0, 1, 1, 1, 1, 5]
    assert fingerprints([]).words.shape == (0, 1)
    assert char_grams("abcde") == ["abcd", "bcde"]


@pytest.mark.parametrize("features", ["char4", "word", "word+bigram"])
def test_bits_are_uniform_over_unrelated_texts(features: str) -> None:
    generator = np.random.default_rng(0)
    texts = ["".join(map(chr, generator.integers(97, 123, 30))) for _ in range(4000)]
    for bits in (64, 128):
        words = fingerprints(texts, features=features, bits=bits).words  # type: ignore[arg-type]
        share = np.unpackbits(words.view(np.uint8), axis=1).mean(axis=0)
        assert np.abs(share - 0.5).max() < 0.06  # a tie gives 0, so a little below one half
        apart = np.bitwise_count(words[:-1] ^ words[1:]).sum(axis=1)
        assert abs(apart.mean() - bits / 2) < 0.3


def test_distances_follow_the_cosine() -> None:
    """Spec 2.5: bits differ with p = arccos(s) / pi, so a mean distance of 13.1 at cosine .80."""
    generator = np.random.default_rng(1)
    apart = []
    for _ in range(400):
        words = generator.integers(0, 10**9, 120).astype(str)
        first, second = " ".join(words[:100]), " ".join(words[20:])
        one, other = fingerprints([first, second], features="word").words[:, 0]
        apart.append(int(np.bitwise_count(one ^ other)))
    assert np.mean(apart) == pytest.approx(64 * np.arccos(0.8) / np.pi, abs=0.6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("first\nsecond line", "first\\nsecond line"),
        ("first\nsecond line", "first\r\nsecond  line "),
        ("caf\u00e9 society", unicodedata.normalize("NFD", "caf\u00e9 society")),
        ("some words", "so\u200bme\ufeff wor\u00adds"),
        ("some words", "SOME\u00a0\u3000Words\x00"),
        ("some words", "\uff53ome words"),
        ("stra\u00dfe nach", "STRASSE NACH"),
        ("some words", "some\x00 \x00words"),
    ],
)
def test_spellings_of_one_text_have_one_fingerprint(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@given(st.text())
@settings(max_examples=200)
def test_normalised_text_holds_no_control_and_single_blanks(text: str) -> None:
    found = normalise(text)
    found.encode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200b\ufeff]", found)
    assert found == " ".join(found.split())


def test_speakers_are_left_out_only_where_asked() -> None:
    text = "USER: is it 5:30?\nLAMDA: yes: it is\\nA: no"
    assert normalise(text) == "user: is it 5:30? lamda: yes: it is a: no"
    assert normalise(text, speakers=False) == "is it 5:30? yes: it is no"
    assert speaker_tags(text) == 3


def test_what_is_not_made_is_refused() -> None:
    with pytest.raises(BadInput, match="32 bits"):
        fingerprints(["a"], bits=32)
    with pytest.raises(BadInput, match="Unknown features 'word5'"):
        fingerprints(["a"], features="word5")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="4-grams only"):
        fingerprints(["a"], features="word", interop=True)


def test_the_package_itself_agrees() -> None:
    package = pytest.importorskip("simhash")
    texts = [
        "How do I bake bread?",
        "how do I bake  bread!",
        "a",
        "Stra\u00dfe 12 \u4f60\u597d",
        "aaaa bbbb aaaa bbbb cccc",
    ]
    expected = [package.Simhash(text).value for text in texts]
    assert fingerprints(texts, interop=True).words[:, 0].tolist() == expected


def one_by_one(hashes: list[int]) -> int:
    return sum((2 * sum(value >> bit & 1 for value in hashes) > len(hashes)) << bit for bit in range(64))


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=20), max_size=12))
@settings(max_examples=100)
def test_majority_is_counting(runs: list[list[int]]) -> None:
    flat = np.array([value for run in runs for value in run], dtype=np.uint64)
    found = majority(flat, np.array([len(run) for run in runs], dtype=np.int64))
    assert found.tolist() == [one_by_one(run) for run in runs]


def test_long_runs_and_many_groups() -> None:
    generator = np.random.default_rng(0)
    lengths = np.concatenate([generator.integers(0, 40, 2100), [4095, 4096, 4097, 70_000]])
    generator.shuffle(lengths)
    values = generator.integers(0, 2**64, int(lengths.sum()), dtype=np.uint64)
    found = majority(values, lengths)
    bits = np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little").astype(np.int64)
    sums = np.concatenate([np.zeros((1, 64), dtype=np.int64), np.cumsum(bits, axis=0)])
    ends = np.cumsum(lengths)
    above = 2 * (sums[ends] - sums[ends - lengths]) > lengths[:, None]
    assert (np.packbits(above, axis=1, bitorder="little").view(np.uint64)[:, 0] == found).all()


def test_an_even_split_gives_zero() -> None:
    values = np.array([2**64 - 1, 0, 2**64 - 1, 1], dtype=np.uint64)
    assert majority(values, np.array([2, 2])).tolist() == [0, 1]
