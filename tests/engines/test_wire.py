"""Replies of the OpenAI wire, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.base import Request
from evenhand.engines.wire import Dialect, WireError, error_text, filtered, read_reply
from evenhand.records import Message, Response

REQUEST = Request("i", 0, (Message("user", "Hi"),))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["choices", "message", "content", "finish_reason", "refusal", "usage", "error", "text", "prompt_tokens"]), inner),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_json_is_a_response_or_a_wire_error(payload: Any) -> None:
    try:
        assert isinstance(read_reply(payload, REQUEST, config="c"), Response)
    except WireError:
        return


@given(st.fixed_dictionaries({"finish_reason": JSON, "message": JSON}))
def test_any_choice_is_a_response_or_a_wire_error(choice: Any) -> None:
    try:
        assert isinstance(read_reply({"choices": [choice]}, REQUEST, config="c"), Response)
    except WireError:
        return


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "no choices"),
        ({"choices": []}, "no choices"),
        ({"error": {"message": "overloaded"}}, "the reply is an error: overloaded"),
        ({"choices": [{"message": {}}]}, "no content"),
        ({"choices": [{"message": {"content": 5}}]}, "content is a int"),
        ({"choices": [{"message": {"content": "a"}, "finish_reason": "error"}]}, "unknown reason 'error'"),
    ],
)
def test_wrong_schemas(payload: Any, message: str) -> None:
    with pytest.raises(WireError, match=message):
        read_reply(payload, REQUEST, config="c")


def test_a_filtered_reply_may_lack_content() -> None:
    reply = read_reply({"choices": [{"message": {}, "finish_reason": "content_filter"}]}, REQUEST, config="c")
    assert (reply.text, reply.finish_reason, reply.provider_refusal) == ("", "content_filter", "content_filter")


def test_error_texts() -> None:
    assert error_text({"error": {"message": "a\n b"}}, b"") == "a b"
    assert error_text({"error": "plain"}, b"") == "plain"
    assert error_text({"message": "top"}, b"") == "top"
    assert error_text(None, b"<html>" + b"x" * 999) == "<html>" + "x" * 294
    assert filtered({"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}})
    assert not filtered({"error": "text"})


def test_a_dialect_learns_once() -> None:
    dialect = Dialect()
    assert dialect.learn("temperature is wrong") == ""
    assert dialect.learn("use max_completion_tokens, not max_tokens")
    assert dialect.learn("use max_completion_tokens, not max_tokens") == ""
    assert dialect.learn("unknown field: seed")
    assert dialect.learn("unknown field: seed") == ""
