"""Valid, excluded and shared ids of a pair of models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand.engines.spec import open_engine
from evenhand.errors import BadInput
from evenhand.methods.tsdi.estimate.tokens import (
    OPENERS,
    OPENERS_VERSION,
    control_ids,
    opener_ids,
    shared_ids,
    token_space,
)


def folder(tiny: Any, path: Path, tokenizer: Any, **config: Any) -> Any:
    return open_engine(f"hf/{tiny.save(path, tiny.make_model(**config), tokenizer)}", device="cpu")


def test_special_tokens_and_ends_of_a_turn_are_excluded(pair: SimpleNamespace) -> None:
    engines: list[Any] = [open_engine(f"hf/{path}", device="cpu") for path in (pair.aligned, pair.reference)]
    space = token_space(*engines)
    assert space.excluded == (0, 1, 2, 3, 4, 5)
    assert len(space.valid) == space.vocabulary == len(pair.tokenizer)
    study = token_space(*engines, include_eos=True)
    assert study.excluded == (0, 2, 3, 4, 5)


def test_ids_beyond_the_tokenizer_are_in_neither_softmax(tiny: Any, tmp_path: Path) -> None:
    tokenizer = tiny.make_tokenizer()
    wide = folder(tiny, tmp_path / "wide", tokenizer, vocab_size=352)
    plain = folder(tiny, tmp_path / "plain", tokenizer)
    space = token_space(wide, plain)
    assert space.vocabulary == len(tokenizer)
    assert space.valid.max() == len(tokenizer) - 1
    grown = tiny.make_tokenizer(added=["<|new|>", "<|more|>"])  # two ids that no head has a row for
    narrow = folder(tiny, tmp_path / "narrow", grown, vocab_size=len(tokenizer))
    space = token_space(narrow, plain)
    assert space.excluded[-2:] == (len(tokenizer), len(tokenizer) + 1)
    assert space.valid.max() == len(tokenizer) - 1


def test_added_tokens_of_one_family_are_left_out_and_counted(tiny: Any, tmp_path: Path) -> None:
    old, new = tiny.make_tokenizer(), tiny.make_tokenizer(added=["<|tool|>", "<|result|>"])
    aligned = folder(tiny, tmp_path / "aligned", new, vocab_size=len(new))
    reference = folder(tiny, tmp_path / "reference", old)
    space = token_space(aligned, reference)
    assert space.unshared == 2
    assert {len(old), len(old) + 1} <= set(space.excluded)
    assert len(space.valid) == len(old)
    back = token_space(reference, aligned)
    assert back.unshared == 0
    assert back.vocabulary == len(old)


def test_a_renamed_placeholder_is_not_shared(tiny: Any) -> None:
    one, two = tiny.make_tokenizer(added=["<|reserved_0|>"]), tiny.make_tokenizer(added=["<|call|>"])
    assert len(one) - 1 not in shared_ids(one, two, ("a", "b"))


def test_different_tokenizers_are_refused_with_both_names(tiny: Any, tmp_path: Path) -> None:
    other = tiny.make_tokenizer(corpus=["Zebras zigzag lazily. Quite a puzzle for wizards, vexing and jolly."] * 30)
    aligned = folder(tiny, tmp_path / "aligned", tiny.make_tokenizer())
    reference = folder(tiny, tmp_path / "reference", other)
    with pytest.raises(
        BadInput, match=r"aligned and hf/.*reference have different tokenizers: \d+ of 320 and 3\d\d ordinary"
    ):
        token_space(aligned, reference)


def test_tool_and_reasoning_tags_are_control_tokens_and_added_words_are_not(tiny: Any) -> None:
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_tokens(["<tool_call>", "[INST]", "Evenhand"])
    control = control_ids(tokenizer)
    ids = [tokenizer.convert_tokens_to_ids(text) for text in ("<tool_call>", "[INST]", "Evenhand")]
    assert [i in control for i in ids] == [True, True, False]


def test_openers_are_found_with_and_without_a_space_and_fragments_are_not(tiny: Any) -> None:
    text = "Sorry Sorry Sorry, No No No. I I I"
    tokenizer = tiny.make_tokenizer(corpus=[text, " " + text, "No", "Sorry"] * 40)
    found = {tokenizer.decode([i]) for i in opener_ids(tokenizer)}
    assert {"Sorry", " Sorry", "No", "I"} <= found
    assert "U" not in found  # of "Unfortunately", in pieces here
    assert not opener_ids(tokenizer, range(320))
    assert OPENERS_VERSION == 1
    assert len(set(OPENERS)) == len(OPENERS)
