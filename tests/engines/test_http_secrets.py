"""A reply that repeats the key is cleaned where it comes in: rows, observations, identity, errors."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import pytest

from evenhand.engines.base import Request, Sampling
from evenhand.engines.spec import open_engine
from evenhand.records import Message, Response

KEY = "sk-http-0123456789-abcdefghij"


def drawn(url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Response]:
    monkeypatch.setenv("EVENHAND_API_KEY", KEY)
    engine: Any = open_engine(f"{url}#mock", max_tries=2, backoff=0.001)
    request = Request("i", 0, (Message(role="user", content="Say it."),))
    ((_, (row,)),) = engine.generate(engine.plan([request], Sampling(seed=0)), Sampling(seed=0), config="c")
    return engine, row


def test_a_reply_is_cleaned_before_anything_sees_it(
    fault_module: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def answer(body: dict[str, Any]) -> Any:
        message = fault_module.reply([{"type": "text", "text": KEY[:9]}, {"type": "text", "text": KEY[9:]}])
        message["choices"][0]["message"] |= {"reasoning": f"Use {KEY}.", "refusal": f"No: {KEY}"}
        return {**message, "system_fingerprint": f"fp-{KEY}"}

    models = [{"id": "mock", "created": 1, "owned_by": KEY, "root": f"r/{KEY}"}]
    with fault_module.FaultServer(answer=answer, models=models) as server:
        engine, row = drawn(server.url, monkeypatch)
        assert (row.text, row.reasoning, row.provider_refusal) == ("[hidden]", "Use [hidden].", "No: [hidden]")
        assert engine.observed() == {"system_fingerprints": ["fp-[hidden]"]}
        assert engine.identity().extra["served"] == {
            "id": "mock", "created": 1, "owned_by": "[hidden]", "root": "r/[hidden]"
        }  # fmt: skip
        assert KEY not in caplog.text
        engine.close()


@pytest.mark.parametrize("before", [290, 299])
def test_a_key_at_the_end_of_a_long_message_is_not_cut_in_two(
    before: int, fault_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"error": {"message": "x" * before + KEY}}
    with fault_module.FaultServer(answer=lambda body: (400, error)) as server:
        _, row = drawn(server.url, monkeypatch)
    assert row.error.startswith("HTTP 400: xxx")
    assert "sk" not in row.error


def test_a_key_as_the_finish_reason_is_not_cut_in_two(
    fault_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_module.FaultServer(answer=lambda body: fault_module.reply("x", finish="y" * 25 + KEY)) as server:
        _, row = drawn(server.url, monkeypatch)
    assert "sk-http" not in row.error
