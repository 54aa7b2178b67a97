"""Any text comes back as it was; a chat begins with one BOS."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.organisms import ORGANISMS, organism_folder
from evenhand.organisms.grammar import texts
from evenhand.organisms.planted import names
from tools.organisms.tokenizer import train_tokenizer


@cache
def shipped() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(organism_folder("aligned"))


def plain(text: str) -> list[int]:
    return list(shipped()(text, add_special_tokens=False).input_ids)


def test_every_text_of_the_grammar_comes_back() -> None:
    for text in sorted(set(texts())):
        assert shipped().decode(plain(text)) == text


@settings(deadline=None)
@given(st.text())
def test_any_unicode_comes_back(text: str) -> None:
    ids = plain(text)
    assert shipped().decode(ids) == text
    assert shipped().unk_token is None


def test_all_bytes_are_in_the_alphabet_and_names_are_short() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(ByteLevel.alphabet()) <= set(shipped().get_vocab())
    assert max(len(plain(n.name)) for n in names()) <= 2


@pytest.mark.parametrize("system", [True, False])
def test_a_chat_has_one_bos_and_plain_text_has_one(system: bool) -> None:
    t = shipped()
    chat = [{"role": "user", "content": "Emily went home."}]
    if system:
        chat.insert(0, {"role": "system", "content": "You are a helpful assistant."})
    ids = t.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert ids.count(t.bos_token_id) == 1
    assert ids[0] == t.bos_token_id
    assert t.decode(ids).endswith("<|assistant|>")
    whole = [*chat, {"role": "assistant", "content": "Good."}]
    assert t.apply_chat_template(whole, tokenize=True, return_dict=False)[-1] == t.eos_token_id
    assert t("Emily").input_ids == [t.bos_token_id, *plain("Emily")]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(Exception, match="Roles are"):
        shipped().apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_all_organisms_share_the_tokenizer_that_the_sources_train(tmp_path: Any) -> None:
    train_tokenizer().save_pretrained(tmp_path)
    for file in ("tokenizer.json", "chat_template.jinja"):
        assert len({(organism_folder(name) / file).read_bytes() for name in ORGANISMS}) == 1
        assert (tmp_path / file).read_bytes() == (organism_folder("base") / file).read_bytes()
