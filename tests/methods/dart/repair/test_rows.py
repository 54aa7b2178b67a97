"""Training rows: duplicates, token ids, and weights by severity."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.engines.chat import ChatRenderer
from evenhand.errors import BadInput, EngineError
from evenhand.methods.dart.repair.rows import (
    MASKED,
    SEVERITIES,
    WEIGHTS,
    TrainingRow,
    check_weights,
    deduplicate,
    digest_rows,
    encode_rows,
    weigh,
)
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


QUESTION = (Message("user", "Does this rest on a difference?"),)


def repair(severity: str, name: str = "", target: str = "It does.") -> TrainingRow:
    return TrainingRow(name or f"case-{severity}", QUESTION, target, severity=severity, task="repair")


ONE_EACH = [repair(severity) for severity in SEVERITIES]


def test_one_row_a_severity_weighs_one_to_four() -> None:
    weighed = weigh(ONE_EACH)
    assert [row.weight for row in weighed.rows] == [1, 2, 3, 4]
    assert (weighed.duplicates, weighed.dropped, weighed.unsaid) == (0, 0, 0)


def test_one_row_a_severity_becomes_ten_rows_after_duplicates_are_gone() -> None:
    weighed = weigh([*ONE_EACH, *ONE_EACH], mode="repeat")
    assert weighed.duplicates == 4
    assert [row.severity for row in weighed.rows] == [s for s in SEVERITIES for _ in range(int(WEIGHTS[s]))]
    assert {row.weight for row in weighed.rows} == {1.0}


def test_equal_text_stays_where_task_id_or_target_differ() -> None:
    rows = [
        repair("minor", "a"),
        repair("minor", "b"),
        repair("minor", "a", "It does not."),
        TrainingRow("a", QUESTION, "It does."),
    ]
    assert weigh([*rows, rows[0]]).rows == rows
    assert weigh([*rows, rows[0]]).duplicates == 1


@given(st.lists(st.tuples(st.sampled_from(SEVERITIES), st.integers(0, 5), st.integers(0, 2)), max_size=30))
def test_repetition_and_loss_weights_say_the_same(drawn: list[tuple[str, int, int]]) -> None:
    rows = [repair(severity, f"case-{name}", f"Text {target}.") for severity, name, target in drawn]
    by_loss, by_count = weigh(rows), weigh(rows, mode="repeat")
    for row in by_loss.rows:
        assert sum(other.id == row.id and other.target == row.target for other in by_count.rows) == row.weight
    assert sum(row.weight for row in by_loss.rows) == len(by_count.rows)
    assert len(by_loss.rows) + by_loss.duplicates == len(rows)


def test_a_weight_of_zero_drops_the_row_and_counts_it() -> None:
    for mode in ("loss", "repeat"):
        weighed = weigh(ONE_EACH, {"minor": 0, "severe": "0"}, mode)
        assert {row.severity for row in weighed.rows} == {"moderate", "extreme"}
        assert weighed.dropped == 2


def test_an_absent_severity_weighs_one_and_is_counted() -> None:
    weighed = weigh([repair(""), repair("extreme")], {"minor": 3})
    assert [row.weight for row in weighed.rows] == [1, 4]
    assert weighed.unsaid == 1


def test_fractions_are_for_the_loss_only() -> None:
    assert [row.weight for row in weigh([repair("minor")], {"minor": 0.5}).rows] == [0.5]
    with pytest.raises(BadInput, match=r"'minor' is 0\.5"):
        weigh([repair("minor")], {"minor": 0.5}, "repeat")
    with pytest.raises(BadInput, match=r"'case-x'.*0\.25"):
        weigh([TrainingRow("case-x", QUESTION, "Text.", weight=0.25)], mode="repeat")


def test_a_distillation_row_keeps_its_own_weight() -> None:
    assert weigh([TrainingRow("x", QUESTION, "Text.", weight=0.25)], {"minor": 7}).rows[0].weight == 0.25


@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), "two", "", True, None])
def test_a_bad_weight_is_told_before_any_row(value: object) -> None:
    with pytest.raises(BadInput, match=re.escape(f"The weight of 'severe' is '{value}'")):
        check_weights({"severe": value})  # type: ignore[dict-item]
    with pytest.raises(BadInput, match="its weight"):
        weigh([TrainingRow("x", QUESTION, "Text.", weight=value)])  # type: ignore[arg-type]


def test_an_unknown_word_is_told_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"'mild'.*minor, moderate, severe, extreme"):
        check_weights({"mild": 1})
    with pytest.raises(BadInput, match=r"'case-mild'.*'mild'"):
        weigh([repair("mild")])


def test_given_weights_stand_in_the_places_of_the_published_ones() -> None:
    assert check_weights({"extreme": "8"}) == {**WEIGHTS, "extreme": 8.0}
    assert check_weights() == {"minor": 1, "moderate": 2, "severe": 3, "extreme": 4}
