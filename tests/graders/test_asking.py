"""Texts put to a judge: cut, and unable to forge the fence around them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from evenhand.graders.asking import defused, fence_name, shortened

MARK = re.compile(r"<<<FENCE-[0-9a-f]{16}>>>|FENCE-[0-9a-f]{8}")


@given(st.text(alphabet="<>⟨⟩FENCfenc-0123456789abd \n", max_size=120))
def test_no_text_keeps_a_fence(text: str) -> None:
    assert not MARK.search(defused(text))


def test_plain_text_is_left_alone() -> None:
    text = "if a < b << c: a fence of wood, 12345678"
    assert defused(text) == text


def test_the_name_follows_every_part_and_its_borders() -> None:
    names = {fence_name("a", "b"), fence_name("ab", ""), fence_name("a", "c"), fence_name("b", "a")}
    assert len(names) == 4
    assert all(re.fullmatch(r"FENCE-[0-9a-f]{16}", name) for name in names)


def test_long_texts_keep_both_ends() -> None:
    assert shortened("x" * 8000) == "x" * 8000
    cut = shortened("a" * 6000 + "b" * 5000 + "c" * 2000)
    assert "5000 characters left out" in cut
    assert "b" not in cut
