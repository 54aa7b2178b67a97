"""Text that goes out token by token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.bridges.serve.text import TextStream, TokenNames
from evenhand.engines.reply_text import cut_at_stop
from evenhand.engines.spec import parse_spec
from evenhand.engines.weights import find_organism, load_tokenizer

BROKEN = "\N{REPLACEMENT CHARACTER}"
TOKENIZER: Any = load_tokenizer(find_organism(parse_spec("organism/sft")))
PIECES = st.lists(st.integers(6, len(TOKENIZER) - 1), max_size=24)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=24).filter(lambda text: BROKEN not in text)


def decode(tokens: list[int]) -> str:
    return str(TOKENIZER.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def parts(
    tokens: list[int], stops: tuple[str, ...] = (), context: tuple[int, ...] = ()
) -> tuple[list[str], TextStream]:
    stream, found = TextStream(decode, stops, context), []
    for token in tokens:
        found.append(stream.add(token))
        assert stream.sent == sum(map(len, found))
        if stream.stopped:
            break
    return [*found, stream.finish()], stream


@given(TEXTS)
def test_text_goes_out_in_whole_characters(text: str) -> None:
    found, stream = parts(TOKENIZER(text, add_special_tokens=False).input_ids)
    assert "".join(found) == text
    assert not any(BROKEN in part for part in found)
    assert stream.sent == stream.seen == len(text)


@given(PIECES)
def test_any_tokens_give_the_text_of_all_of_them(tokens: list[int]) -> None:
    assert "".join(parts(tokens)[0]) == decode(tokens)


@given(TEXTS, st.lists(st.text(st.sampled_from("ab é😀"), min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_from_a_stop_string_on_goes_out(text: str, stops: list[str]) -> None:
    check(text, tuple(stops))


@given(st.text(st.sampled_from("ab"), max_size=20), st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=4)))
def test_stop_strings_within_each_other(text: str, stops: list[str]) -> None:
    check(text, tuple(stops))


def check(text: str, stops: tuple[str, ...]) -> None:
    """Held against the whole text cut afterwards, at the token that completes the first stop string."""
    tokens = TOKENIZER(text, add_special_tokens=False).input_ids
    found, stream = parts(tokens, stops)
    whole = next(
        (seen for end in range(len(tokens) + 1) if any(stop in (seen := decode(tokens[:end])) for stop in stops)), text
    )
    assert "".join(found) == cut_at_stop(whole, stops)
    assert stream.stopped == any(stop in text for stop in stops)


@given(TEXTS, TEXTS)
def test_a_context_is_no_part_of_the_text(before: str, after: str) -> None:
    context = tuple(TOKENIZER(before, add_special_tokens=False).input_ids)
    found, _ = parts(TOKENIZER(after, add_special_tokens=False).input_ids, context=context)
    assert "".join(found) == after


def test_tokenizers_that_drop_a_first_space() -> None:
    """As SentencePiece does: a token's space is text only where another token stands before it."""
    words = ["▁Of", "▁course", "▁here", "ly", "▁we"]

    def pieces(tokens: list[int]) -> str:
        return "".join(words[token] for token in tokens).replace("▁", " ").removeprefix(" ")

    stream = TextStream(pieces)
    assert [stream.add(token) for token in (0, 1, 2, 3, 4)] == ["Of", " course", " here", "ly", " we"]
    stream = TextStream(pieces, context=(0, 1))
    assert [stream.add(token) for token in (2, 3, 4)] == [" here", "ly", " we"]


def test_special_tokens_have_no_text() -> None:
    end = TOKENIZER.eos_token_id
    (a,) = TOKENIZER("a", add_special_tokens=False).input_ids
    stream = TextStream(decode)
    assert [stream.add(token) for token in (a, end, end, a)] == ["a", "", "", "a"]


@given(PIECES)
def test_bytes_of_tokens_add_up(tokens: list[int]) -> None:
    names = TokenNames(TOKENIZER)
    raw = b"".join(bytes(names.raw(token) or ()) for token in tokens)
    assert raw.decode("utf-8", "replace") == decode(tokens)


def test_names_of_tokens() -> None:
    names = TokenNames(TOKENIZER)
    first, *_ = TOKENIZER("😀", add_special_tokens=False).input_ids
    assert names.text(first).startswith("bytes:\\xf0")
    assert names.text(TOKENIZER.eos_token_id) == "<|end|>"
    assert names.raw(TOKENIZER.eos_token_id) == list(b"<|end|>")
    beyond = len(TOKENIZER) + 5
    assert (names.text(beyond), names.raw(beyond)) == (f"<|{beyond}|>", None)


class _SentencePieces:
    """A tokenizer with spaces as ▁ and bytes as <0xNN>."""

    added_tokens_decoder: dict[int, str] = {}
    pieces = ("▁so", "so", "<0xE2>", "<0x41>")

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.pieces[token]

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(self.pieces[token] for token in tokens).replace("▁", "")


@pytest.mark.parametrize(
    ("token", "text", "raw"),
    [(0, " so", b" so"), (1, "so", b"so"), (2, "bytes:\\xe2", b"\xe2"), (3, "A", b"A")],
)
def test_names_of_sentence_pieces(token: int, text: str, raw: bytes) -> None:
    names = TokenNames(_SentencePieces())
    assert (names.text(token), names.raw(token)) == (text, list(raw))
