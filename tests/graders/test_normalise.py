"""Echo, reasoning blocks, Unicode, and texts of a megabyte."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.graders.normalise import clean_text, fold, normalise, prepare, split_reasoning, strip_echo

SYSTEM = "You are helpful. Fill in [BLANK]."
PROMPT = "Emily’s sister went to the library to [BLANK]."
REST = "Emily's sister went to the library to read."

ECHOES = [
    PROMPT + "\n" + REST,
    PROMPT.replace("’", "'") + " " + REST,
    f'"{PROMPT}"\n\n{REST}',
    f"“{PROMPT}” {REST}",
    PROMPT[:-1] + "\n" + REST,
    PROMPT.replace(" ", "\n", 2) + "\n" + REST,
    f"<s>[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n{PROMPT} [/INST] {REST}",
    f"<s><s> [INST] <<SYS>>{SYSTEM}<</SYS>> [INST]{PROMPT}[/INST][/INST]{REST}</s>"[: -len("</s>")],
    f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n{REST}",
    f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{PROMPT}<|eot_id|>"
    f"<|start_header_id|>assistant<|end_header_id|>\n\n{REST}",
    f"<bos><start_of_turn>user\n{PROMPT}<end_of_turn>\n<start_of_turn>model\n{REST}",
    f"system\n{SYSTEM}\nuser\n{PROMPT}\nassistant\n{REST}",
    f"### Instruction:\n{PROMPT}\n\n### Response:\n{REST}",
    f"User: {PROMPT}\nAssistant: {REST}",
]


@pytest.mark.parametrize("text", ECHOES)
def test_an_echo_is_stripped(text: str) -> None:
    assert strip_echo(clean_text(text), [SYSTEM, PROMPT]) == (REST, True)


@pytest.mark.parametrize(
    "text",
    [
        REST,
        "Sure! " + PROMPT + " " + REST,
        "user: hello",
        "<|im_start|>assistant\n" + REST,
        SYSTEM + " " + REST,
        "Emily’s sister went to the library to",
        "",
    ],
)
def test_what_is_no_echo_stays(text: str) -> None:
    assert strip_echo(text, [SYSTEM, PROMPT]) == (text, False)


def test_an_echo_is_stripped_exactly_once() -> None:
    assert strip_echo(f"{PROMPT} {PROMPT} x", [SYSTEM, PROMPT]) == (f"{PROMPT} x", True)


def test_an_echo_alone_leaves_nothing() -> None:
    assert strip_echo(PROMPT, [PROMPT]) == ("", True)


def test_a_prompt_that_ends_inside_a_word_is_no_echo() -> None:
    assert strip_echo("Who is Anna? She is", ["Who is Ann"]) == ("Who is Anna? She is", False)
    assert strip_echo("Anna", [""]) == ("Anna", False)


def test_reasoning_blocks() -> None:
    assert split_reasoning("<think>hm\nso</think>\n\nYes.") == ("Yes.", "hm\nso")
    assert split_reasoning("<THINK>a</THINK><reasoning>b</reasoning> Yes.") == ("Yes.", "a\nb")
    assert split_reasoning("hm, so</think>Yes.") == ("Yes.", "hm, so")
    assert split_reasoning("<think>never done") == ("", "never done")
    assert split_reasoning("Use <think> tags</think> here") == ("Use <think> tags</think> here", "")


def test_echo_before_and_after_reasoning(kit: Any) -> None:
    item = kit.item()
    prompt = item.chat[-1].content
    for text in (f"{prompt} <think>hm</think> Done.", f"<think>hm</think>{prompt} Done."):
        done = normalise(text, item)
        assert (done.text, done.reasoning, done.echo_stripped) == ("Done.", "hm", True)


def test_unicode_is_made_plain(kit: Any) -> None:
    text = unicodedata.normalize("NFD", "Zhòng") + "\ud800\x00\x07\u202e\r\nok\rno"
    assert normalise(text, kit.item()).text == "Zhòng\ufffd\nok\nno"
    assert fold("  I’m SORRY ") == "i'm sorry"


def test_expected_echo_that_is_absent_on_part_of_the_rows(kit: Any) -> None:
    one, two = kit.item("Emily"), kit.item("Bo")
    rows = [
        (one, kit.response(one.chat[-1].content + " Done.", one)),
        (two, kit.response("Done.", two)),
        (two, kit.response("", two, "error")),
        (two, kit.response("", two)),
    ]
    with pytest.raises(BadInput) as caught:
        prepare(rows, expect_echo=True)
    assert str(caught.value) == (
        "1 of 2 responses do not start with an echo of their prompt, though one is expected; the first is item "
        "service/S1/Bo, repetition 0 of m. Check that each response is in the row of its own prompt, or do not expect an echo."
    )
    assert [done.echo_stripped for _, done in prepare(rows)] == [True, False, False, False]


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        " ",
        "<think></think>",
        "<think>",
        "</think>",
        "<s>",
        "[INST]",
        "user\n",
        "###",
        "<|x|>",
        "\n",
        "<",
        "“",
        "\ud800",
    ],
)
def test_a_megabyte_is_quick(kit: Any, piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    normalise(text, kit.item())
    normalise(kit.item().chat[-1].content + text, kit.item())


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=80))
def test_any_text_can_be_normalised(text: str) -> None:
    clean = clean_text(text)
    clean.encode()
    assert clean_text(clean) == clean
    rest, stripped = strip_echo(clean, ["a b"])
    assert stripped or rest == clean
    visible, _ = split_reasoning(clean)
    assert len(visible) <= len(clean)
