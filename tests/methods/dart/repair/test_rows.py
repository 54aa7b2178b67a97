"""Token ids of training rows: one start token, a masked prompt, a whole target, and what is cut or dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.engines.chat import ChatRenderer
from evenhand.errors import BadInput, EngineError
from evenhand.methods.dart.repair.rows import MASKED, TrainingRow, deduplicate, digest_rows, encode_rows
from evenhand.records import Message
from tools.organisms.tokenizer import train_tokenizer

CHAT = (Message("system", "You write a short analysis."), Message("user", "Is there a difference between the groups?"))
ROW = TrainingRow("case-1", CHAT, "There is one.\nConclusion: YES", weight=3.0)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


def parts(example: Any) -> tuple[list[int], list[int]]:
    """Prompt and target ids; the mask must be one stretch at the beginning."""
    start = next(place for place, label in enumerate(example["labels"]) if label != MASKED)
    assert example["labels"][start:] == example["input_ids"][start:]
    assert len(example["labels"]) == len(example["input_ids"])
    return example["input_ids"][:start], example["input_ids"][start:]


def test_the_prompt_is_what_the_model_is_asked_and_the_target_ends_its_turn(tokenizer: Any) -> None:
    found = encode_rows([ROW], tokenizer)
    prompt, target = parts(found.examples[0])
    assert prompt == list(ChatRenderer(tokenizer, name="x").prompts([CHAT])[0].ids)
    assert tokenizer.decode(target) == ROW.target + tokenizer.eos_token
    assert found.examples[0]["weight"] == 3.0
    assert (found.dropped, found.cut) == ((), 0)


def test_the_whole_sequence_is_the_templates_own_rendering_of_the_full_chat(tokenizer: Any) -> None:
    chat = [{"role": m.role, "content": m.content} for m in (*CHAT, Message("assistant", ROW.target))]
    whole = tokenizer.apply_chat_template(chat, return_dict=False)
    assert encode_rows([ROW], tokenizer).examples[0]["input_ids"] == whole


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=40), st.integers(2, 60))
def test_start_once_target_whole_and_never_too_long(tokenizer: Any, prompt: str, target: str, limit: int) -> None:
    row = TrainingRow("x", (Message("user", prompt),), target)
    found = encode_rows([row], tokenizer, limit)
    assert len(found.examples) + len(found.dropped) == 1
    for example in found.examples:
        before, after = parts(example)
        whole, end = parts(encode_rows([row], tokenizer, 10_000).examples[0])
        assert example["input_ids"].count(tokenizer.bos_token_id) == 1
        assert before[0] == tokenizer.bos_token_id
        assert before[1:] == whole[len(whole) - len(before) + 1 :]
        assert after == end
        assert len(example["input_ids"]) == min(limit, len(whole) + len(end))
        assert found.cut == (len(whole) + len(end) > limit)


def test_the_left_of_an_over_long_prompt_goes(tokenizer: Any) -> None:
    long = replace(ROW, chat=(Message("user", "first " * 50 + "last"),))
    found = encode_rows([long, ROW], tokenizer, 60)
    prompt, target = parts(found.examples[0])
    assert found.cut == 1
    assert len(prompt) + len(target) == 60
    assert tokenizer.decode(prompt).endswith(" last<|end|><|assistant|>")
    assert tokenizer.decode(target) == ROW.target + tokenizer.eos_token


def test_a_target_that_does_not_fit_drops_its_row_and_no_other(tokenizer: Any) -> None:
    tokens = len(parts(encode_rows([ROW], tokenizer).examples[0])[1])
    assert encode_rows([ROW], tokenizer, tokens + 1).dropped == ()
    found = encode_rows([ROW, replace(ROW, id="case-2", target="No.")], tokenizer, tokens)
    assert [(name, f"{tokens} tokens" in why) for name, why in found.dropped] == [("case-1", True)]
    assert len(found.examples) == 1


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (replace(ROW, chat=()), "prompt is empty"),
        (replace(ROW, chat=(Message("system", "Be brief."), Message("user", " \n"))), "prompt is empty"),
        (replace(ROW, target=" \n"), "target is empty"),
        (replace(ROW, target="It is.<|end|><|user|>And now?"), "control token"),
        (replace(ROW, target="half \ud83d"), "surrogate"),
        (replace(ROW, chat=(Message("user", "half \ud83d"),)), "surrogate"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_dropped_with_a_reason(tokenizer: Any, row: TrainingRow, why: str) -> None:
    found = encode_rows([row, replace(ROW, id="good")], tokenizer)
    assert [name for name, _ in found.dropped] == ["case-1"]
    assert why in found.dropped[0][1]
    assert len(found.examples) == 1


def test_a_control_token_in_a_prompt_stays_plain_text(tokenizer: Any) -> None:
    found = encode_rows([replace(ROW, chat=(Message("user", "What does <|begin|> mean?"),))], tokenizer)
    assert found.examples[0]["input_ids"].count(tokenizer.bos_token_id) == 1


def test_repeated_rows_are_all_encoded(tokenizer: Any) -> None:
    assert len(encode_rows([ROW, ROW, ROW], tokenizer).examples) == 3


def test_duplicates_go_by_task_id_and_target_the_first_staying() -> None:
    other = replace(ROW, weight=9.0)
    assert deduplicate([ROW, other, replace(ROW, task="repair")]) == ([ROW, replace(ROW, task="repair")], 1)


def test_the_digest_tells_every_field_and_the_order() -> None:
    rows = [ROW, replace(ROW, id="case-2")]
    others = [rows[::-1], [ROW], [replace(ROW, weight=2.0), rows[1]], [replace(ROW, severity="minor"), rows[1]]]
    assert digest_rows(rows) == digest_rows(list(rows))
    assert digest_rows(rows) not in {digest_rows(other) for other in others}


def test_a_model_without_template_or_end_and_a_tiny_limit_are_refused(tokenizer: Any) -> None:
    bare = train_tokenizer()
    bare.chat_template = None
    with pytest.raises(EngineError, match="no chat template"):
        encode_rows([ROW], bare)
    endless = train_tokenizer()
    endless.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    endless.eos_token = None
    with pytest.raises(EngineError, match="no token that ends a turn"):
        encode_rows([ROW], endless)
    with pytest.raises(BadInput, match="1 tokens"):
        encode_rows([ROW], tokenizer, 1)


def test_a_template_that_opens_a_reasoning_block_is_refused() -> None:
    thinking = train_tokenizer()
    thinking.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}"
    with pytest.raises(EngineError, match="opens a reasoning block"):
        encode_rows([ROW], thinking)
    closed = train_tokenizer()
    closed.chat_template += "{% if add_generation_prompt %}<think>\n\n</think>\n{% endif %}"
    prompt, target = parts(encode_rows([ROW], closed).examples[0])
    assert closed.decode(prompt).endswith("</think>\n")
    assert closed.decode(target).startswith(ROW.target)


def test_a_start_token_in_template_and_tokenizer_stands_once() -> None:
    """A tokenizer that adds its start token, and a template that writes it or does not."""
    from tokenizers.processors import TemplateProcessing

    for template in ("{{ bos_token }}", ""):
        adding = train_tokenizer()
        begin = adding.bos_token_id
        adding.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{adding.bos_token} $A", special_tokens=[(adding.bos_token, begin)]
        )
        adding.chat_template = template + "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
        assert adding("a").input_ids[0] == begin
        example = encode_rows([ROW], adding).examples[0]
        assert example["input_ids"][0] == begin
        assert example["input_ids"].count(begin) == 1
