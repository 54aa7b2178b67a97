"""The http engine against a server that misbehaves on purpose."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from evenhand.engines.base import Sampling
from evenhand.engines.http import HttpEngine, open_http, open_openai
from evenhand.engines.spec import EngineOptions, open_engine, parse_spec
from evenhand.errors import BadInput, EngineError

KEY = "sk-test-very-secret-0123456789"
FAST = {"backoff": 0.001, "backoff_cap": 0.01, "timeout": 0.25, "deadline": 20.0}
SAMPLING = Sampling(max_tokens=8, seed=3)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENHAND_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def connect(url: str, model: str = "mock", **options: Any) -> HttpEngine:
    return open_http(parse_spec(f"{url}#{model}"), EngineOptions(**{**FAST, **options}))


def test_every_row_ends_answered_or_failed_with_a_reason(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    scripts = ["429", "500", "slow", "cut", "short", "schema", "list", "reset", "503,429,cut", "408,409,reset,500,500"]
    hopeless = ["500," * 9 + "500", "schema," * 9 + "schema", "cut," * 9 + "cut", "reset," * 9 + "reset"]
    texts = [f"plain {n}" for n in range(20)]
    texts += [f"faults={script} row {n}" for n in range(4) for script in scripts]
    texts += [f"faults={script} hopeless" for script in hopeless] + ["faults=400 refused row", "faults=413 too long"]
    with fault_module.FaultServer() as server:
        engine = connect(server.url, concurrency=8)
        requests = tiny.ask(*texts, repetitions=2)
        rows = tiny.run(engine, requests, SAMPLING)
    assert set(rows) == {(request.item_id, request.repetition) for request in requests}
    for request in requests:
        row, text = rows[request.item_id, request.repetition], request.chat[-1].content
        if text.startswith(("plain", *(f"faults={script} row" for script in scripts))):
            assert row.text == f"Hello. {text}", text
            assert row.finish_reason == "stop"
            assert (row.prompt_tokens, row.completion_tokens) == (7, 3)
        else:
            assert row.finish_reason == "error"
            assert row.text == ""
            assert row.error
    assert all(count == 1 for count in server.answered.values())  # none twice
    assert rows["item-60", 0].error == "HTTP 500: fault 500 (6 tries)"
    assert rows["item-61", 0].error == "the reply has no choices[0].message (6 tries)"
    assert rows["item-62", 0].error == "the reply is cut off or not JSON (6 tries)"
    assert rows["item-63", 1].error.startswith("connection broken: ")
    assert rows["item-64", 0].error == "HTTP 400: fault 400"
    assert server.most_active <= 8


def test_retry_after_is_kept_by_every_request(
    fault_module: ModuleType, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_module.FaultServer(retry_after="0.2") as server:
        engine = connect(server.url, concurrency=4)
        times: list[float] = []
        import time

        answer = server.answer
        server.answer = lambda body: (times.append(time.monotonic()), answer(body))[1]
        start = time.monotonic()
        rows = tiny.run(engine, tiny.ask("faults=429 first", "b", "c"), SAMPLING)
    assert all(row.finish_reason == "stop" for row in rows.values())
    assert min(times) - start >= 0.2


def test_a_wait_beyond_the_deadline_fails_the_row_at_once(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    with fault_module.FaultServer(retry_after="3600") as server:
        rows = tiny.run(connect(server.url), tiny.ask("fine", "faults=429 x", "also fine"), SAMPLING)
    assert [rows[f"item-{n}", 0].finish_reason for n in range(3)] == ["stop", "error", "stop"]
    assert "after the deadline of 20 s" in rows["item-1", 0].error


def test_the_deadline_bounds_a_row(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    with fault_module.FaultServer(slow=0.4) as server:
        engine = connect(server.url, deadline=0.3, timeout=0.2)
        row = tiny.run(engine, tiny.ask("fine", "faults=slow,slow,slow,slow y"), SAMPLING)["item-1", 0]
    assert row.finish_reason == "error"
    assert "0.3 s" in row.error


def test_nothing_answers_is_said_at_start(tiny: SimpleNamespace) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    engine = connect(url, max_tries=2)
    requests = tiny.ask("a", "b")
    with pytest.raises(EngineError, match=r"Nothing answers at http://127.0.0.1"):
        list(engine.generate(engine.plan(requests, SAMPLING), SAMPLING, config="c"))


def test_a_server_that_goes_away_fails_the_rows_left(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    server = fault_module.FaultServer()
    with server:
        engine = connect(server.url, max_tries=2, concurrency=2)
        requests = tiny.ask(*[f"row {n}" for n in range(64)])
        stream = engine.generate(engine.plan(requests, SAMPLING), SAMPLING, config="c")
        answer, calls = server.answer, []

        def dying(body: dict[str, Any]) -> Any:
            calls.append(1)
            if len(calls) == 20:
                server._server.socket.close()  # no new connection is accepted
            return 200, answer(body), {"Connection": "close"}

        server.answer = dying
        rows = [row for _, part in stream for row in part]
    assert len(rows) == 64
    assert len({row.item_id for row in rows}) == 64
    failed = [row for row in rows if row.finish_reason == "error"]
    assert failed
    assert all(row.error for row in failed)
    assert any("no longer answers" in row.error for row in failed)


@pytest.mark.parametrize(
    ("status", "text"),
    [(401, "refuses the key"), (403, "forbids this"), (404, "knows no such address or model")],
)
def test_a_refused_key_or_model_ends_the_run_at_start(
    fault_module: ModuleType, tiny: SimpleNamespace, status: int, text: str
) -> None:
    error = {"error": {"message": f"Incorrect API key provided: {KEY}."}}
    with fault_module.FaultServer(answer=lambda _: (status, error)) as server:
        engine = connect(server.url)
        requests = tiny.ask(*[f"row {n}" for n in range(40)])
        with pytest.raises(EngineError, match=text) as caught:
            list(engine.generate(engine.plan(requests, SAMPLING), SAMPLING, config="c"))
    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)
    assert "[hidden]" in str(caught.value)


def test_a_key_withdrawn_during_the_run_ends_it(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    calls: list[int] = []

    def answer(_: dict[str, Any]) -> Any:
        calls.append(1)
        return fault_module.reply("ok") if len(calls) < 20 else (401, {"error": {"message": "revoked"}})

    with fault_module.FaultServer(answer=answer) as server:
        engine = connect(server.url)
        requests = tiny.ask(*[f"row {n}" for n in range(64)])
        with pytest.raises(EngineError, match="revoked"):
            list(engine.generate(engine.plan(requests, SAMPLING), SAMPLING, config="c"))


def test_spent_quota_ends_the_run(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    error = {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}}
    with fault_module.FaultServer(answer=lambda _: (429, error)) as server:
        engine = connect(server.url)
        with pytest.raises(EngineError, match="quota of this key is spent"):
            tiny.run(engine, tiny.ask("a"), SAMPLING)


def test_provider_signals_and_reasoning(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    reply = fault_module.reply
    replies = {
        "refusal": reply(None, refusal="I cannot help with that."),
        "filter": reply("part of", finish="content_filter"),
        "prompt filter": (400, {"error": {"code": "content_filter", "message": "blocked"}}),
        "field": reply("Yes.", reasoning_content="let me see"),
        "block": reply("<think>hm\nhm</think>\n\nYes.", reasoning="apart"),
        "spent": reply("<think>and so on", finish="length"),
        "spent apart": reply(None, finish="length", reasoning_content="on and on"),
        "parts": reply([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),  # type: ignore[arg-type]
        "unsaid": reply("fine", finish=None),
    }
    with fault_module.FaultServer(answer=lambda body: replies[body["messages"][-1]["content"]]) as server:
        rows = tiny.run(connect(server.url), tiny.ask(*replies), SAMPLING)
    got = {
        name: (row.text, row.finish_reason, row.reasoning, row.provider_refusal)
        for name, row in zip(replies, rows.values(), strict=True)
        for row in [rows[f"item-{list(replies).index(name)}", 0]]
    }
    assert got == {
        "refusal": ("", "stop", "", "I cannot help with that."),
        "filter": ("part of", "content_filter", "", "content_filter"),
        "prompt filter": ("", "content_filter", "", "content_filter"),
        "field": ("Yes.", "stop", "let me see", ""),
        "block": ("Yes.", "stop", "apart\n\nhm\nhm", ""),
        "spent": ("", "length", "and so on", ""),
        "spent apart": ("", "length", "on and on", ""),
        "parts": ("ab", "stop", "", ""),
        "unsaid": ("fine", "stop", "", ""),
    }


def test_body_and_seeds(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=11, stop=("END",), seed=5)
    with fault_module.FaultServer() as server:
        tiny.run(connect(server.url), tiny.ask("a", "b \ud800", repetitions=3, system="Be kind."), sampling)
    assert len({body["seed"] for body in server.bodies}) == 6
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("mock", 0.7, 0.9, 11)
    assert body["stop"] == ["END"]
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert {body["messages"][-1]["content"] for body in server.bodies} == {"a", "b \ud800"}


def test_max_completion_tokens_is_learnt_once(
    fault_module: ModuleType, tiny: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(body: dict[str, Any]) -> Any:
        if "max_tokens" in body:
            text = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, {"error": {"message": text, "param": "max_tokens"}}
        return fault_module.reply("ok")

    with fault_module.FaultServer(answer=answer) as server:
        rows = tiny.run(connect(server.url), tiny.ask(*"abcdef"), SAMPLING)
    assert all(row.text == "ok" for row in rows.values())
    assert sum("max_tokens" in body for body in server.bodies) == 1
    assert "max_completion_tokens instead" in caplog.text


def test_the_key_is_sent_and_leaks_nowhere(
    fault_module: ModuleType, tiny: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret_query = "api-token-in-query"

    def answer(body: dict[str, Any]) -> Any:
        if "echo" in body["messages"][-1]["content"]:
            return 400, {"error": {"message": f"bad key {KEY} and {secret_query}"}}
        return fault_module.reply("ok")

    with fault_module.FaultServer(answer=answer) as server:
        text = f"{server.url}?code={secret_query}#mock"
        engine = open_engine(text, cache=tmp_path / "cache.sqlite", **FAST)
        rows = tiny.run(engine, tiny.ask("a", "echo"), SAMPLING)
        identity = engine.identity()
        shown = "\n".join(
            [repr(engine.engine), engine.spec, repr(identity), repr(rows), repr(parse_spec(text)), caplog.text]  # type: ignore[attr-defined]
        )
        engine.close()
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert all(secret_query in path for path in server.paths)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (KEY, secret_query):
        assert secret not in shown
        assert secret.encode() not in stored
    assert rows["item-1", 0].error == "HTTP 400: bad key [hidden] and [hidden]"


def test_identity_of_a_served_model(fault_module: ModuleType) -> None:
    entry = {"id": "mock", "created": 7, "owned_by": "me", "permission": [1]}
    with fault_module.FaultServer(models=[{"id": "other"}, entry]) as server:
        first = connect(server.url).identity()
        assert first.extra["served"] == {"id": "mock", "created": 7, "owned_by": "me"}
        server.models[1]["created"] = 8
        assert connect(server.url).identity().digest != first.digest
        server.models.clear()
        assert connect(server.url).identity().extra["served"] == {}


def test_a_creation_time_that_moves_is_left_out(fault_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr("evenhand.engines.endpoint._PAUSE", 0.0)

    class Server(fault_module.FaultServer):  # type: ignore[misc, name-defined]
        @property
        def models(self) -> Any:
            return [{"id": "mock", "created": time.time_ns() / 1e9}]

        @models.setter
        def models(self, _: Any) -> None: ...

    with Server() as server:
        assert connect(server.url).identity().extra["served"] == {"id": "mock"}


def test_leaving_early_stops_the_work(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    with fault_module.FaultServer() as server:
        engine = connect(server.url, concurrency=2)
        requests = tiny.ask(*[f"row {n}" for n in range(400)])
        stream = engine.generate(engine.plan(requests, SAMPLING), SAMPLING, config="c")
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
        sent = len(server.bodies)
    assert sent < 400


def test_plan_does_not_depend_on_concurrency_or_order(tiny: SimpleNamespace) -> None:
    requests = tiny.ask(*[f"row {n}" for n in range(40)], repetitions=2)
    one = connect("http://localhost:1/v1", concurrency=1).plan(requests, SAMPLING)
    other = connect("http://localhost:1/v1", concurrency=9).plan(requests[::-1], SAMPLING)
    assert one == other
    assert sum(len(batch.requests) for batch in one) == 80


def test_estimate_is_approximate(tiny: SimpleNamespace) -> None:
    estimate = connect("http://localhost:1/v1").estimate(tiny.ask("x" * 40, "y" * 41), SAMPLING)
    assert (estimate.calls, estimate.prompt_tokens, estimate.max_completion_tokens) == (2, 14 + 15, 16)
    assert estimate.exact is False


def test_openai_needs_a_key_and_takes_a_base_url(
    fault_module: ModuleType, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_module.FaultServer() as server:
        engine = open_engine("openai/mock", base_url=server.url, **FAST)
        assert tiny.run(engine, tiny.ask("a"), SAMPLING)["item-0", 0].text == "Hello. a"
    with pytest.raises(BadInput, match="user name or password"):
        open_engine("openai/mock", base_url="https://me:pass@host/v1")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(EngineError, match="OPENAI_API_KEY"):
        open_openai(parse_spec("openai/gpt-4o-mini"), EngineOptions())


def test_cache_replays_without_a_request(fault_module: ModuleType, tiny: SimpleNamespace, tmp_path: Path) -> None:
    make: Callable[[str], Any] = lambda url: open_engine(f"{url}#mock", cache=tmp_path / "c.sqlite", **FAST)  # noqa: E731
    with fault_module.FaultServer() as server:
        requests = tiny.ask("a", "faults=400,400 b", "c \ud800", repetitions=2)
        first = tiny.run(make(server.url), requests, SAMPLING, config="one")
        sent = len(server.bodies)
        engine = make(server.url)
        assert engine.estimate(requests, SAMPLING).calls == 2
        second = tiny.run(engine, requests, SAMPLING, config="two")
        assert len(server.bodies) == sent + 2  # only the failed rows are asked again
        for key, row in first.items():
            if row.finish_reason != "error":
                assert (second[key].text, second[key].config) == (row.text, "two")
        tiny.run(make(server.url), requests, SAMPLING.model_copy(update={"seed": 4}))
        assert len(server.bodies) == sent + 2 + 6
