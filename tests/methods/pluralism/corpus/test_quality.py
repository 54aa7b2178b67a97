"""Rules that generated prompts must pass."""

from __future__ import annotations

import pytest

from evenhand.errors import BadInput
from evenhand.methods.pluralism.corpus.classify import Classified
from evenhand.methods.pluralism.corpus.quality import (
    Prints,
    class_reason,
    form_reason,
    language_problem,
    line_of,
    spot_interval,
    spot_sample,
    tokens,
)
from evenhand.methods.pluralism.corpus.simhash import fingerprints, normalise
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.records import FinishReason, Response

from .scripted import line


def reason(text: str, finish: FinishReason = "stop", *, least: int = 3, most: int = 64, **more: str) -> str | None:
    response = Response("m", "i", 0, text, finish, **more)  # type: ignore[arg-type]
    return form_reason(response, least=least, most=most, language="en")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the placeholder about?", None),
        ('  "What is the placeholder about?"\n', None),
        ("I'm sorry, I will not write that.", "refusal"),
        ("As an AI, I do not write such things.", "refusal"),
        ("", "empty"),
        (" \u200b\n", "empty"),
        ("?!", "empty"),
        ("Sure:\nWhat is the placeholder?", "several lines"),
        ("one two", "length"),
        ("one two three", None),
        (" ".join(["one"] * 64), None),
        (" ".join(["one"] * 65), "length"),
        ("Wie kann ich das mit der alten Sache machen, und was ist das?", "language"),
        ("Как это сделать без помощи", "language"),
        ("这是 什么 东西 呢", "language"),
    ],
)  # fmt: skip
def test_form(text: str, expected: str | None) -> None:
    assert reason(text) == expected


def test_what_the_engine_says_comes_first() -> None:
    assert reason("one two three", "length") == "length"
    assert reason("one two three", "content_filter") == "refusal"
    assert reason("one two three", provider_refusal="no") == "refusal"
    assert reason("one two three", "error", error="gone") == "failed"


def test_length_counts_words_and_marks() -> None:
    assert tokens("What's up, then?") == 7
    assert reason("one two three four", most=3) == "length"


def test_any_language_can_be_taken() -> None:
    assert language_problem("Как это сделать", "any") == ""
    assert language_problem("Как это сделать", "en") == "0 of 13 letters are Latin"
    assert language_problem("1 2 3", "en") == ""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('"a b"', "a b"), ("“a b”", "a b"), ('"a" and "b"', '"a" and "b"'), ("a\u202eb", "ab"), ("''", "''"), (" a ", "a"),
        ("=1+1", "=1+1"),
    ],
)  # fmt: skip
def test_lines_are_unquoted_once(raw: str, expected: str) -> None:
    assert line_of(raw) == expected


def verdict(top: int, value: float, delta: float = 0.5, status: str = "ok") -> Classified:
    values = tuple(value if at == top else 0.1 for at in range(14))
    label = SLUGS[top] if value >= delta else NONE
    return Classified("k", status, label if status == "ok" else "", values if status == "ok" else ())  # type: ignore[arg-type]


def test_class_rules() -> None:
    assert class_reason(verdict(2, 0.9), SLUGS[2], 0.5)[0] is None
    assert class_reason(verdict(2, 0.5), SLUGS[2], 0.5)[0] is None
    assert class_reason(verdict(2, 0.49), SLUGS[2], 0.5)[0] == "below delta"
    assert class_reason(verdict(3, 0.9), SLUGS[2], 0.5) == ("wrong domain", f"{SLUGS[3]} at 0.900")
    assert class_reason(verdict(2, 0.9, status="unparsed"), SLUGS[2], 0.5)[0] == "not classified"


def test_nearest_is_that_of_all_distances() -> None:
    texts = [line(str(at), at % 14 + 1) for at in range(150)]
    texts += [text[:-1] for text in texts[:30]] + ["!", "?"]
    prints = Prints(bits=64, distance=10, features="char4")
    prints.add([str(at) for at in range(100)], texts[:100])
    words = fingerprints([normalise(text) for text in texts]).words[:, 0].tolist()
    for at, text in enumerate(texts[:-2]):
        apart = [(words[at] ^ other).bit_count() for other in words[:100]]
        found = prints.nearest(text)
        if min(apart) > 10:
            assert found is None
            continue
        assert found is not None
        assert (found.distance, found.key) == (min(apart), str(apart.index(min(apart))))
        assert 0 < found.jaccard <= 1
    assert prints.nearest("!") is None
    prints.add(["!"], ["!"])
    assert prints.nearest("?") is None  # without features nothing is near


def test_some_rows_alone_can_be_asked() -> None:
    prints = Prints(bits=128, distance=20, features="char4")
    prints.add(["a", "b"], [line("a", 1), line("b", 1)])
    assert prints.nearest(line("a", 1), ["b"]) is None
    assert prints.nearest(line("a", 1), ["absent"]) is None
    found = prints.nearest(line("a", 1) + "s", ["a", "b"])
    assert found is not None
    assert found.key == "a"


def test_spot_sample_is_seeded_and_in_order() -> None:
    keys = [f"k{at:03d}" for at in range(200)]
    some = spot_sample(keys, 0.05, 1)
    assert len(some) == 10
    assert some == sorted(some) == spot_sample(keys, 0.05, 1)
    assert some != spot_sample(keys, 0.05, 2)
    assert len(spot_sample(keys[:3], 0.05, 1)) == 1
    assert spot_sample([], 0.05, 1) == spot_sample(keys, 0.0, 1) == []


def test_wilson_interval_of_a_spot_check() -> None:
    found = spot_interval(18, 20)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(0.6990, abs=1e-4), pytest.approx(0.9721, abs=1e-4))
    assert spot_interval(0, 0) is None
    with pytest.raises(BadInput, match="impossible"):
        spot_interval(3, 2)
