"""The border between context and text: where tokens straddle it, where white space stands, where the context is too long."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.base import Span
from evenhand.engines.chat import ChatRenderer
from evenhand.engines.encode import STRADDLES, SpanEncoder
from evenhand.errors import EngineError
from evenhand.records import Message

Make = Callable[..., SpanEncoder]


@pytest.fixture(scope="module")
def make(tiny: SimpleNamespace) -> Make:
    tokenizer = tiny.make_tokenizer(adds_bos=True)

    def of(limit: int | None = None) -> SpanEncoder:
        return SpanEncoder(tokenizer, ChatRenderer(tokenizer, name="toy"), name="toy", limit=limit)

    return of


def test_a_token_over_the_border_is_refused_unless_the_border_is_moved(make: Make) -> None:
    encoder = make()
    (row,) = encoder.encode([Span("a", "rden.", "Write a story about a ga")])
    assert row.error == STRADDLES
    first, border, moved = encoder.fit("Write a story about a ga", ["rden.", "te."])
    assert (first, moved) == (0, True)
    whole = "Write a story about a garden."
    (row,) = encoder.encode([Span("a", whole[border:], whole[first:border])])
    assert row.error == ""
    assert encoder.tokenizer.decode(row.ids[row.start :]) == whole[border:]


def test_both_members_get_the_same_border(make: Make) -> None:
    encoder = make()
    context, texts = "Write a story about a ga", ["rden.", "."]
    _, border, _ = encoder.fit(context, texts)
    for text in texts:
        whole = context + text
        (row,) = encoder.encode([Span("a", whole[border:], whole[:border])])
        assert row.error == ""


def test_white_space_at_the_end_of_a_context_goes_to_the_text(make: Make) -> None:
    assert make().fit("Tell me ", ["a joke"]) == (0, 7, False)


def test_a_long_context_loses_as_much_for_both_members(make: Make) -> None:
    encoder = make(limit=20)
    context = "Write a short story about a garden. Help me plan a trip."
    texts = [" How do I bake bread?", " No."]
    first, border, _ = encoder.fit(context, texts)
    assert 0 < first < border == len(context)
    rows = encoder.encode([Span(text, (context + text)[border:], context[first:border]) for text in texts])
    assert [row.error for row in rows] == ["", ""]
    assert max(len(row.ids) for row in rows) <= 20
    contexts = [row.ids[: row.start].tolist() for row in rows]
    assert contexts[0] == contexts[1]
    assert contexts[0][0] == encoder.tokenizer.bos_token_id


@pytest.mark.parametrize("glue", [" ", ""])
def test_a_cut_context_fits_also_where_the_tokenizer_marks_the_beginning_of_a_text(glue: str) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    sentence = "Write a short story about the garden and help me plan a trip to the sea with cats and dogs"
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Metaspace()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=90, max_token_length=6, special_tokens=special, show_progress=False)
    core.train_from_iterator([sentence, *sentence.split()] * 5, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    texts = [glue + "cats", glue + "the sea"]
    lost = set()
    for limit in range(16, 40):
        encoder = SpanEncoder(tokenizer, ChatRenderer(tokenizer, name="toy", plain=True), name="toy", limit=limit)
        context = sentence.replace(" ", glue)
        first, border, _ = encoder.fit(context, texts)
        rows = encoder.encode([Span(text, (context + text)[border:], context[first:border]) for text in texts])
        assert [row.error for row in rows] == ["", ""]
        assert rows[0].ids[: rows[0].start].tolist() == rows[1].ids[: rows[1].start].tolist()
        assert max(len(row.ids) for row in rows) <= limit
        lost.add(first)
    assert len(lost) > 5


def test_a_text_that_does_not_fit_fails(make: Make) -> None:
    encoder = make(limit=4)
    context, text = "Tell me", " a joke about cats and dogs."
    first, border, _ = encoder.fit(context, [text])
    (row,) = encoder.encode([Span("a", (context + text)[border:], context[first:border])])
    assert "context exceeded" in row.error


def test_a_text_after_a_chat_begins_after_the_templates_last_token(make: Make) -> None:
    encoder = make()
    chat = (Message("user", "Tell me a joke."),)
    (row,) = encoder.encode([Span("a", "Of course.", chat=chat, end=True)])
    (prompt,) = encoder.renderer.prompts([chat])
    assert tuple(row.ids[: row.start].tolist()) == prompt.ids
    assert row.ids[-1] == encoder.tokenizer.eos_token_id


def test_without_any_start_token_a_first_token_has_no_probability(tiny: SimpleNamespace) -> None:
    tokenizer = tiny.make_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = None
    renderer = ChatRenderer(tokenizer, name="toy", plain=True)
    encoder = SpanEncoder(tokenizer, renderer, name="toy", limit=None)
    assert encoder.starts_with == "none"
    bare, after = encoder.encode([Span("a", "a joke"), Span("b", " a joke", "Tell me")])
    assert "has no probability" in bare.error
    assert after.error == ""


def test_a_slow_tokenizer_is_refused(tiny: SimpleNamespace) -> None:
    slow: Any = SimpleNamespace(is_fast=False)
    with pytest.raises(EngineError, match="slow tokenizer"):
        SpanEncoder(slow, slow, name="toy", limit=None)


@given(
    context=st.text(alphabet="ab .gé☃", max_size=12),
    texts=st.lists(st.text(alphabet="ab .gé☃", min_size=1, max_size=8), min_size=1, max_size=3),
)
def test_a_settled_border_never_cuts_a_token(make: Make, context: str, texts: list[str]) -> None:
    encoder = make()
    first, border, _ = encoder.fit(context, texts)
    assert first == 0
    assert 0 <= border <= len(context)
    for text in texts:
        whole = context + text
        (row,) = encoder.encode([Span("a", whole[border:], whole[:border])])
        assert row.error != STRADDLES
        if not row.error:
            ids = encoder.tokenizer(whole, add_special_tokens=False).input_ids
            assert row.ids[1:].tolist() == ids
