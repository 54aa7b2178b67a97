"""Replies that lie about their encoding, their length or their numbers cost one row, never the run."""

from __future__ import annotations

import logging
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.engines.base import Question, Request, Sampling, Span
from evenhand.engines.cache import CachedEngine, RequestCache
from evenhand.engines.endpoint import read_echo, score_row
from evenhand.engines.http import HttpEngine, open_http
from evenhand.engines.spec import EngineOptions, parse_spec
from evenhand.engines.transport import LONGEST, NETWORK_ERRORS, BodyError, TooLong, network_fault, read_body
from evenhand.engines.wire import WireError, read_choice, read_reply
from evenhand.records import MOST_TOKENS, Message, Response
from evenhand.runs.journal import Journal
from evenhand.runs.tables import read_table, responses_frame, responses_from, write_table

SAMPLING = Sampling(max_tokens=8, seed=3)
READABLE = ("gzip", "xgzip", "deflate", "baredeflate", "twice", "members", "identity")
REASONS = {
    "notgzip": "not in the encoding that it states (gzip)",
    "notdeflate": "not in the encoding that it states (deflate)",
    "brotli": "the encoding 'br', which was not asked for",
    "unknown": "the encoding 'zip-of-mine', which was not asked for",
    "halfgzip": "cut off within its compressed form",
    "layers": "compressed 9 times over",
    "badutf8": "not JSON",
    "deep": "not JSON",
    "nohttp": "connection broken",
    "badstatus": "connection broken",
    "badheader": "connection broken",
    "badlength": "connection broken",
    "badchunk": "connection broken",
    "longhead": "connection broken",
}


def connect(url: str, **options: Any) -> HttpEngine:
    fast = {"backoff": 0.001, "backoff_cap": 0.01, "timeout": 5.0, "deadline": 60.0, "max_tries": 2}
    return open_http(parse_spec(f"{url}#mock"), EngineOptions(**{**fast, **options}))


def test_compressed_replies_are_read(fault_module: ModuleType, tiny: SimpleNamespace) -> None:
    with fault_module.FaultServer() as server:
        rows = tiny.run(connect(server.url), tiny.ask(*(f"faults={kind} x" for kind in READABLE)), SAMPLING)
        assert {row.text for row in rows.values()} == {"packed"}
        assert server.headers[0]["Accept-Encoding"] == "gzip, deflate"  # what is undone here, and no more


@pytest.mark.parametrize("kind", REASONS)
def test_a_reply_that_cannot_be_read_is_asked_for_again(
    fault_module: ModuleType, tiny: SimpleNamespace, kind: str
) -> None:
    with fault_module.FaultServer() as server:
        rows = tiny.run(
            connect(server.url),
            tiny.ask("fine", f"faults={kind} once", f"faults={kind},{kind} always", "too"),
            SAMPLING,
        )
    assert [rows[f"item-{n}", 0].finish_reason for n in range(4)] == ["stop", "stop", "error", "stop"]
    assert REASONS[kind] in rows["item-2", 0].error
    assert rows["item-2", 0].error.endswith("(2 tries)")


@pytest.mark.parametrize("kind", ["badredirect", "oddredirect", "redirect"])
def test_a_redirect_wherever_it_leads_fails_its_row_alone(
    fault_module: ModuleType, tiny: SimpleNamespace, kind: str
) -> None:
    with fault_module.FaultServer() as server:
        rows = tiny.run(connect(server.url), tiny.ask("fine", f"faults={kind},{kind} x", "too"), SAMPLING)
    assert [rows[f"item-{n}", 0].finish_reason for n in range(3)] == ["stop", "error", "stop"]


@pytest.mark.parametrize("kind", ["bomb", "bombs"])
def test_a_reply_that_unpacks_to_a_gigabyte_is_given_up_at_32_mib(
    fault_module: ModuleType, tiny: SimpleNamespace, kind: str
) -> None:
    with fault_module.FaultServer() as server:
        assert len(fault_module.COMPRESSED[kind][1]) < 2 << 20
        tracemalloc.start()
        try:
            rows = tiny.run(connect(server.url), tiny.ask("fine", f"faults={kind},{kind} x"), SAMPLING)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert rows["item-1", 0].error == "the reply is longer than 32 MiB"
    assert server.seen["faults=" + f"{kind},{kind} x#{server.bodies[-1]['seed']}"] == 1  # it is not fetched again
    assert peak < 4 * LONGEST
    assert rows["item-0", 0].finish_reason == "stop"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_more_of_a_bomb_is_taken_than_the_limit_needs(depth: int) -> None:
    most, taken = 1 << 20, []
    raw = zlib.compress(b" " * (64 << 20))
    for _ in range(1, depth):
        raw = zlib.compress(raw)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(raw), 256):
            taken.append(256)
            yield raw[at : at + 256]

    with pytest.raises(TooLong, match="longer than 1 MiB"):
        read_body(pieces(), ", ".join(["deflate"] * depth), most)
    assert sum(taken) <= 8192


@given(st.binary(max_size=400), st.lists(st.sampled_from(["gzip", "deflate"]), max_size=3), st.integers(1, 60))
def test_what_is_packed_is_unpacked_whatever_the_pieces(data: bytes, kinds: list[str], step: int) -> None:
    raw = data
    for kind in kinds:
        pack = zlib.compressobj(wbits=31 if kind == "gzip" else 15)
        raw = pack.compress(raw) + pack.flush()
    pieces = [raw[at : at + step] for at in range(0, len(raw), step)]
    assert read_body(pieces, ", ".join(kinds), 400) == data
    if data:
        with pytest.raises(TooLong):
            read_body(pieces, ", ".join(kinds), len(data) - 1)
        if kinds:
            with pytest.raises(BodyError):
                read_body([*pieces[:-1], pieces[-1][:-1]], ", ".join(kinds), 400)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "gzip, deflate", "br", "", "identity, gzip"]))
def test_any_bytes_are_a_body_or_a_body_error(data: bytes, encoding: str) -> None:
    try:
        assert isinstance(read_body([data], encoding), bytes)
    except BodyError:
        return


def test_bytes_after_the_end_are_not_collected() -> None:
    def endless() -> Iterator[bytes]:
        yield zlib.compress(b"body")
        for _ in range(100):
            yield b"x" * 1000

    assert read_body(endless(), "deflate", 200_000) == b"body"
    with pytest.raises(TooLong):
        read_body(endless(), "deflate", 50_000)


def subclasses(kind: type[BaseException]) -> list[type[BaseException]]:
    return [kind, *(each for below in kind.__subclasses__() for each in subclasses(below))]


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for root in (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, httpx.CookieConflict)
        for kind in subclasses(root)
    ],
)
def test_every_exception_of_httpx_fails_a_row_or_is_tried_again(
    kind: type[Exception], tiny: SimpleNamespace, fault_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = kind.__new__(kind)
    error.args = ("made by the test",)
    assert isinstance(error, NETWORK_ERRORS)
    assert network_fault(error, 3.0).reason
    stream = httpx.AsyncClient.stream

    def failing(self: httpx.AsyncClient, *args: Any, content: bytes, **more: Any) -> Any:
        if b"broken" in content:
            raise error
        return stream(self, *args, content=content, **more)

    monkeypatch.setattr(httpx.AsyncClient, "stream", failing)
    with fault_module.FaultServer() as server:
        rows = tiny.run(connect(server.url), tiny.ask("fine", "broken", "too"), SAMPLING)
    assert [rows[f"item-{n}", 0].finish_reason for n in range(3)] == ["stop", "error", "stop"]
    assert rows["item-1", 0].error.endswith("(2 tries)")


def test_impossible_token_counts_become_unknown_and_are_reported_once(
    fault_module: ModuleType, tiny: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = list(fault_module.ODD_COUNTS)
    with fault_module.FaultServer() as server, caplog.at_level(logging.WARNING):
        engine = CachedEngine(connect(server.url), tmp_path / "c.sqlite")
        rows = tiny.run(engine, tiny.ask("fine", *(f"faults={kind} x" for kind in kinds)), SAMPLING)
        tiny.run(engine, tiny.ask("again", *(f"faults={kind} y" for kind in kinds)), SAMPLING)
        engine.close()
    assert (rows["item-0", 0].prompt_tokens, rows["item-0", 0].completion_tokens) == (7, 3)
    for n in range(1, len(kinds) + 1):
        row = rows[f"item-{n}", 0]
        assert (row.text, row.prompt_tokens, row.completion_tokens) == ("miscounted", None, 3), kinds[n - 1]
    assert caplog.text.count("impossible token count") == 1
    write_table(tmp_path / "t.parquet", responses_frame(list(rows.values())))
    assert read_table(tmp_path / "t.parquet").height == len(rows)


def test_an_implausible_count_in_an_older_cache_is_read_as_unknown(tiny: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    cache = RequestCache(path)
    cache.put("me", [(b"k", Response("c", "i", 0, "text", "stop", prompt_tokens=10**30, completion_tokens=2**31))])
    (found,) = cache.get([b"k"]).values()
    cache.close()
    assert (found["prompt_tokens"], found["completion_tokens"], found["text"]) == (None, None, "text")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
    | st.sampled_from(["stop", "length", "\ud800", "\0", "a\udcffb", 2**31, 10**40, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["content", "text", "refusal", "reasoning", "prompt_tokens", "completion_tokens", "type"]), inner),
    max_leaves=6,
)  # fmt: skip
REPLIES = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({
        "message": st.dictionaries(st.sampled_from(["content", "refusal", "reasoning", "reasoning_content"]), JSON),
        "finish_reason": st.sampled_from(["stop", "length", "content_filter", None]) | JSON,
        "index": JSON,
    }), min_size=1, max_size=1)},
    optional={"usage": st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens"]), JSON) | JSON},
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(REPLIES, min_size=1, max_size=4))
def test_whatever_a_reply_holds_it_fits_journal_cache_and_table(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[Any]
) -> None:
    folder, rows = tmp_path_factory.mktemp("rows"), []
    for number, payload in enumerate(payloads):
        try:
            rows.append(read_reply(payload, Request("i", number, (Message("user", "Hi"),)), config="c"))
        except WireError:
            continue
    journal = Journal(folder / "j.jsonl")
    journal.append("one", rows)
    journal.close()
    assert Journal(journal.path).read() == {"one": rows}
    cache = RequestCache(folder / "c.sqlite")
    cache.put("me", [(b"%d" % row.repetition, row) for row in rows])
    found = cache.get([b"%d" % row.repetition for row in rows])
    cache.close()
    assert [Response(config="c", **found[b"%d" % row.repetition]) for row in rows] == rows
    write_table(folder / "t.parquet", responses_frame(rows))
    back = responses_from(read_table(folder / "t.parquet"))
    assert [(row.prompt_tokens, row.completion_tokens) for row in back] == [
        (row.prompt_tokens, row.completion_tokens) for row in rows
    ]
    assert all(0 <= count <= MOST_TOKENS for row in back for count in (row.prompt_tokens or 0,))


@pytest.mark.parametrize(
    "created", ["NaN", "Infinity", "1" + "0" * 400, "-1e308", '"text"', "[1]", "null", "1735689600"]
)
def test_a_models_entry_holds_only_what_a_manifest_can(tmp_path: Path, created: str) -> None:
    from evenhand.engines.endpoint import model_entry
    from evenhand.files import write_json

    raw = f'{{"data": [{{"id": "mock", "created": {created}, "owned_by": "me"}}]}}'.encode()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=httpx.ByteStream(raw)))
    with httpx.Client(transport=transport) as client:
        entry = model_entry(client, "http://host/v1", "mock")
    write_json(tmp_path / "manifest.json", entry)
    kept = {"1735689600": {"created": 1735689600}, '"text"': {"created": "text"}}.get(created, {})
    assert entry == {"id": "mock", "owned_by": "me", **kept}


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, stream=httpx.ByteStream(b"[" * 200_000)),
        httpx.Response(200, stream=httpx.ByteStream(b" " * (LONGEST + 1))),
        httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"not gzip")),
        httpx.Response(302, headers={"Location": "http://[::1/"}),
        httpx.Response(200, stream=httpx.ByteStream(b'{"data": {"id": "mock"}}')),
        httpx.Response(200, stream=httpx.ByteStream(b'{"data": [["id"], null, 5]}')),
    ],
)
def test_an_unreadable_list_of_models_names_none(reply: httpx.Response, monkeypatch: pytest.MonkeyPatch) -> None:
    from evenhand.engines import endpoint

    monkeypatch.setattr(endpoint.time, "sleep", lambda _: None)
    with httpx.Client(transport=httpx.MockTransport(lambda _: reply)) as client:
        assert endpoint.model_entry(client, "http://host/v1", "mock") == {}


NUMBERS = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from([10**400, -(10**400), "-1", [0], {}])
)
TOKENS = st.sampled_from(["Yes", "No", " Yes", "", "\ud800", "\0", "bytes:\\xff", None, 5, ["Yes"]])
LISTED: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries({"token": TOKENS, "logprob": NUMBERS}) | NUMBERS, max_size=4
)
CHOICES = st.fixed_dictionaries({
    "message": st.just({"content": "Yes"}) | JSON,
    "logprobs": st.fixed_dictionaries({
        "content": st.lists(st.fixed_dictionaries({"top_logprobs": LISTED | JSON}), max_size=2),
    }) | JSON,
})  # fmt: skip
ECHOES = st.fixed_dictionaries({
    "text": st.just("a b"),
    "logprobs": st.fixed_dictionaries({
        "tokens": st.lists(st.sampled_from(["a", " b"]) | TOKENS, max_size=4) | st.just(["a", " b"]),
        "token_logprobs": st.lists(NUMBERS, min_size=2, max_size=2) | NUMBERS,
        "text_offset": st.lists(NUMBERS, max_size=3) | NUMBERS,
    }) | JSON,
})  # fmt: skip


@given(CHOICES)
def test_whatever_log_probabilities_a_chat_states_a_choice_is_probable_or_failed(choice: Any) -> None:
    question = Question("q", (Message("user", "Is it?"),), ("Yes", "No"))
    try:
        found = read_choice({"choices": [choice]}, question)
    except WireError:
        return
    assert found.error or (
        sum(found.probabilities) == pytest.approx(1) and all(value <= 0 for value in found.log_probs)
    )


@given(ECHOES)
def test_whatever_log_probabilities_an_echo_states_its_score_is_a_number_or_failed(choice: Any) -> None:
    try:
        found = read_echo({"choices": [choice]}, "a b", 0)
    except WireError:
        return
    row = score_row(Span("s", " b", "a"), found, "none")
    assert row.error or (row.total is not None and -2000 <= row.total <= 0)
