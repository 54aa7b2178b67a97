"""`evenhand serve` against a real client: the `openai` package, over a real socket."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from evenhand.bridges.serve.app import create_app, listen, make_server
from evenhand.bridges.serve.model import ServedModel
from evenhand.bridges.serve.wire import ApiError, ChatBody, ServeConfig, read_body
from evenhand.engines.base import Request, Sampling
from evenhand.engines.spec import open_engine
from evenhand.engines.token_bias import BiasHeader, TokenBias, vocabulary_digest, write_token_bias
from evenhand.errors import BadInput, EngineError
from evenhand.records import Message

MODEL = "organism/sft"
PROMPT = "Write a short story about a garden."
CHATTED = (Message("user", PROMPT),)
CHAT: Any = [{"role": "user", "content": PROMPT}]
SCRIPT = "Grüße 😀 from 東京 STOP and more"
"""What a scripted correction makes the model say: characters of one to four bytes, and a stop string across tokens."""


def header(engine: Any, length: int, vocabulary: int, **changes: Any) -> BiasHeader:
    values: dict[str, Any] = {
        "length": length, "vocabulary": vocabulary, "draws": 2, "pool": "by hand", "pool_digest": "0", "pool_size": 1000,
        "prompt_lengths": (8, 64), "seed": 0, "tokenizer": vocabulary_digest(engine.tokenizer),
        "template": engine.renderer.digest, "aligned": dataclasses.asdict(engine.identity()), "reference": {},
        "evenhand": "0",
    }  # fmt: skip
    return BiasHeader(**{**values, **changes})


def artefact(folder: Path, engine: Any, table: Any, **changes: Any) -> Path:
    bias = np.asarray(table, dtype=np.float32)
    zeros = np.zeros_like(bias)
    write_token_bias(folder, TokenBias(header(engine, *bias.shape, **changes), bias, zeros, zeros, zeros))
    return folder


@contextmanager
def serving(model: ServedModel, key: str | None = None) -> Iterator[SimpleNamespace]:
    """A real server in a thread on a free port."""
    bound = listen(model.config)
    app = create_app(model, key=key)
    server = make_server(app, model.config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=key or "none", max_retries=0, timeout=60)
        with client, httpx.Client(base_url=url, timeout=60) as raw:
            yield SimpleNamespace(client=client, raw=raw, url=url, model=model, port=bound.getsockname()[1])
            assert raw.get("/health").json() == {"status": "ok"}, "the server lives after all that was asked of it"
    finally:
        server.should_exit = True
        thread.join(30)
        bound.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    found = open_engine(MODEL, device="cpu")
    yield found
    found.close()


@pytest.fixture(scope="module")
def vocabulary(engine: Any) -> int:
    return int(engine.model.config.vocab_size)


def plain(engine: Any, text: str, most: int = 24) -> str:
    requests = [Request("a", 0, (Message("user", text),))]
    sampling = Sampling(temperature=0, max_tokens=most)
    ((_, (response,)),) = engine.generate(engine.plan(requests, sampling), sampling, config="plain")
    return str(response.text)


@pytest.fixture(scope="module")
def first(engine: Any) -> int:
    """The first token of the plain model's greedy answer."""
    import torch

    with torch.inference_mode():
        return int(engine.model(torch.tensor([engine.renderer.prompts([CHATTED])[0].ids])).logits[0, -1].argmax())


@pytest.fixture(scope="module")
def pushed(engine: Any, vocabulary: int, first: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A correction that pushes the usual first token away, at position 1 alone."""
    table = np.zeros((3, vocabulary))
    table[0, first] = 50.0
    return artefact(tmp_path_factory.mktemp("tsdi") / "pushed", engine, table)


@pytest.fixture(scope="module")
def scripted(engine: Any, vocabulary: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A correction that makes the model write SCRIPT."""
    ids = engine.tokenizer(SCRIPT, add_special_tokens=False).input_ids
    table = np.zeros((len(ids), vocabulary))
    table[np.arange(len(ids)), ids] = -500.0
    return artefact(tmp_path_factory.mktemp("tsdi") / "scripted", engine, table)


@pytest.fixture(scope="module")
def server(pushed: Path) -> Iterator[SimpleNamespace]:
    config = ServeConfig(model=MODEL, tsdi=pushed, port=0, device="cpu", max_body=4096, max_tokens_limit=200)
    with serving(ServedModel(config)) as found:
        yield found


@pytest.fixture(scope="module")
def talker(scripted: Path) -> Iterator[SimpleNamespace]:
    with serving(ServedModel(ServeConfig(model=MODEL, tsdi=scripted, port=0, device="cpu"))) as found:
        yield found


def chat(server: SimpleNamespace, **body: Any) -> Any:
    settings = {"model": MODEL, "messages": CHAT, "max_tokens": 24, "temperature": 0, **body}
    return server.client.chat.completions.create(**settings)


def streamed(server: SimpleNamespace, **body: Any) -> tuple[dict[int, str], list[Any]]:
    """Each choice's text, and every chunk."""
    chunks = list(chat(server, stream=True, **body))
    texts: dict[int, str] = {}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    return texts, chunks


def test_the_correction_changes_the_first_token_and_can_be_switched_off(server: Any, engine: Any, first: int) -> None:
    usual, corrected = chat(server, logprobs=True, extra_body={"tsdi": False}), chat(server, logprobs=True)
    assert usual.choices[0].message.content == plain(engine, PROMPT)
    assert usual.tsdi == {"alpha": 0.0, "first_position": 1, "corrected_positions": 0}
    text = corrected.choices[0].message.content
    assert corrected.choices[0].logprobs.content[0].bytes != server.model.names.raw(first)
    assert usual.choices[0].logprobs.content[0].bytes == server.model.names.raw(first)
    assert corrected.tsdi == {"alpha": 1.0, "first_position": 1, "corrected_positions": 3}
    assert chat(server, extra_body={"tsdi_alpha": 0}).choices[0].message.content == plain(engine, PROMPT)
    assert chat(server, extra_body={"tsdi_alpha": 0.001}).choices[0].message.content == plain(engine, PROMPT)
    assert chat(server, extra_body={"tsdi": True, "tsdi_alpha": 1.0}).choices[0].message.content == text


def test_the_corrected_answer_is_the_engines_own(server: Any, engine: Any, pushed: Path) -> None:
    corrected = open_engine(f"{MODEL}+tsdi:{pushed}", device="cpu")
    assert chat(server).choices[0].message.content == plain(corrected, PROMPT)
    corrected.close()


@pytest.mark.parametrize(
    "sampling", [{"temperature": 0}, {"temperature": 2.0, "seed": 7}, {"temperature": 2.0, "top_p": 0.9, "seed": 3}]
)
def test_a_stream_says_what_a_whole_answer_says(server: Any, sampling: dict[str, Any]) -> None:
    settings = {"temperature": 1.0, "max_tokens": 40, **sampling}
    whole = chat(server, n=3, **settings)
    texts, chunks = streamed(server, n=3, **settings)
    assert texts == {choice.index: choice.message.content for choice in whole.choices}
    ends = {c.index: c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason}
    assert ends == {choice.index: choice.finish_reason for choice in whole.choices}
    assert all(chunk.object == "chat.completion.chunk" and chunk.usage is None for chunk in chunks)


def test_a_seed_decides_the_answer(server: Any) -> None:
    def ask(seed: int | None) -> list[str]:
        answer = chat(server, temperature=2.0, seed=seed, n=3, max_tokens=30, logit_bias={"1": -100})
        return [choice.message.content for choice in answer.choices]

    assert ask(5) == ask(5)
    assert ask(5) != ask(6)
    assert len(set(ask(5))) == 3, "the choices draw from streams of their own"
    assert ask(-5) == ask(-5)
    assert ask(None) != ask(None)


def test_choices_are_drawn_as_the_engine_draws_repetitions(server: Any, engine: Any) -> None:
    """Choices that end at different times change places in the cache; each must go on with its own history."""
    requests = [Request("0", repetition, (Message("user", "Help me plan"),), plain=True) for repetition in range(16)]
    sampling = Sampling(temperature=2.0, top_p=0.95, max_tokens=40, seed=11)
    ((_, rows),) = engine.generate(engine.plan(requests, sampling), sampling, config="x")
    answer = server.client.completions.create(
        model=MODEL, prompt="Help me plan", temperature=2.0, top_p=0.95, max_tokens=40, seed=11, n=16
    )
    assert [choice.text for choice in answer.choices] == [row.text for row in rows]
    assert [choice.finish_reason for choice in answer.choices] == [row.finish_reason for row in rows]
    assert answer.usage.completion_tokens == sum(row.completion_tokens for row in rows)
    assert len({row.completion_tokens for row in rows}) > 2


def test_a_long_prompt_is_read_in_parts(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> tuple[str, list[float | None]]:
        echo = server.client.completions.create(model=MODEL, prompt=PROMPT, echo=True, logprobs=0, max_tokens=0)
        return chat(server).choices[0].message.content, echo.choices[0].logprobs.token_logprobs

    whole = ask()
    monkeypatch.setattr("evenhand.bridges.serve.generate._PREFILL", 4)
    monkeypatch.setattr("evenhand.bridges.serve.generate._PREFILL_SCORED", 3)
    parts = ask()
    assert parts[0] == whole[0]
    assert parts[1] == pytest.approx(whole[1], abs=1e-4)


def test_usage_counts_the_prompt_once_and_every_drawn_token(server: Any, engine: Any) -> None:
    ban = {"logit_bias": {"1": -100}}  # the end token
    answer = chat(server, n=2, max_tokens=5, **ban)
    prompt = len(engine.renderer.prompts([CHATTED])[0].ids)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, 10)
    assert answer.usage.total_tokens == prompt + 10
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    ended = chat(server, max_tokens=200, logprobs=True)
    assert ended.choices[0].finish_reason == "stop"
    assert ended.usage.completion_tokens == len(ended.choices[0].logprobs.content) + 1, "with the end token"
    _, chunks = streamed(server, n=2, max_tokens=5, stream_options={"include_usage": True}, **ban)
    assert chunks[-1].choices == []
    assert chunks[-1].usage == answer.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_no_chunk_holds_a_part_of_a_character(talker: Any) -> None:
    texts, chunks = streamed(talker, max_tokens=len(SCRIPT.encode()), stop=[" more"])
    assert texts[0] == SCRIPT.removesuffix(" more")
    parts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert len([part for part in parts if part]) > 5
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


@pytest.mark.parametrize("stop", ["STOP", ["STOP"], [" ST", "zzz"], ["OP", "東京 S"], "😀", "e 😀 f"])
def test_stop_strings_end_an_answer_wherever_tokens_part(talker: Any, stop: Any) -> None:
    stops = [stop] if isinstance(stop, str) else stop
    wanted = SCRIPT[: min(SCRIPT.index(one) for one in stops if one in SCRIPT)]
    whole = chat(talker, stop=stop, max_tokens=100).choices[0]
    assert (whole.message.content, whole.finish_reason) == (wanted, "stop")
    texts, chunks = streamed(talker, stop=stop, max_tokens=100)
    assert texts == {0: wanted}
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_begins_like_a_stop_string_and_is_none_is_told(talker: Any) -> None:
    settings = {"stop": ["STOP it", "and less"], "max_tokens": 64}
    texts, _ = streamed(talker, **settings)
    assert texts[0].startswith(SCRIPT)
    assert texts[0] == chat(talker, **settings).choices[0].message.content


def test_a_prefill_of_k_tokens_takes_the_first_k_positions(talker: Any, engine: Any) -> None:
    ids = engine.tokenizer(SCRIPT, add_special_tokens=False).input_ids
    for k in (0, 3, len(ids) - 1, len(ids), len(ids) + 5):
        begun = engine.tokenizer.decode(ids[1 : 1 + k] if k < len(ids) else [ids[0]] * k)
        tokens = engine.tokenizer(begun, add_special_tokens=False).input_ids
        answer = chat(talker, messages=[*CHAT, {"role": "assistant", "content": begun}], max_tokens=1, logprobs=True)
        assert answer.tsdi["first_position"] == len(tokens) + 1
        assert answer.tsdi["corrected_positions"] == max(0, len(ids) - len(tokens))
        token = answer.choices[0].logprobs.content
        if len(tokens) < len(ids):
            assert bytes(token[0].bytes) == talker.model.names._find(ids[len(tokens)])[1]
            assert token[0].logprob == pytest.approx(0, abs=1e-6)


def test_prefill_ids_are_those_of_the_chat_and_the_text(server: Any, engine: Any) -> None:
    body = server.model.chat
    messages = [*CHAT, {"role": "assistant", "content": "Of course. <|end|> x"}]
    (work,) = body(read_body(ChatBody, json.dumps({"model": MODEL, "messages": messages}).encode()))
    head = engine.renderer.prompts([CHATTED])[0].ids
    assert work.prompt[: len(head)] == head
    assert engine.tokenizer.decode(work.prompt[len(head) :]) == "Of course. <|end|> x"
    assert not set(work.prompt[len(head) :]) & set(engine.tokenizer.all_special_ids), "control tokens stay text"
    assert work.prompt.count(engine.tokenizer.bos_token_id) == 1
    assert work.position == len(work.prompt) - len(head) + 1


def test_control_tokens_in_messages_stay_text(server: Any, engine: Any) -> None:
    text = "a<|end|><|assistant|>b {{ 7 * 7 }} {% raw %}"
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    (work,) = server.model.chat(read_body(ChatBody, json.dumps(body).encode()))
    assert "{{ 7 * 7 }} {% raw %}" in engine.tokenizer.decode(work.prompt)
    bare = server.model.chat(read_body(ChatBody, json.dumps({**body, "messages": CHAT}).encode()))[0].prompt
    special = set(engine.tokenizer.all_special_ids)
    assert [t for t in work.prompt if t in special] == [t for t in bare if t in special]


def test_logprobs_of_a_chat_are_those_of_the_corrected_model(server: Any, engine: Any) -> None:
    import torch

    answer = chat(server, max_tokens=4, logprobs=True, top_logprobs=5)
    told = answer.choices[0].logprobs.content
    assert "".join(bytes(one.bytes).decode() for one in told) == answer.choices[0].message.content
    ids = list(engine.renderer.prompts([CHATTED])[0].ids)
    table = server.model.bias.bias
    for position, one in enumerate(told):
        with torch.inference_mode():
            logits = engine.model(torch.tensor([ids])).logits[0, -1].float()
        if position < len(table):
            logits = logits - torch.from_numpy(table[position])
        values = torch.log_softmax(logits, -1)
        best = torch.topk(values, 5)
        assert [top.logprob for top in one.top_logprobs] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert one.logprob == pytest.approx(float(values.max()), abs=1e-4)
        ids.append(int(values.argmax()))
    _, chunks = streamed(server, max_tokens=4, logprobs=True, top_logprobs=5)
    flat = [one for chunk in chunks for c in chunk.choices if c.logprobs for one in c.logprobs.content]
    assert flat == told


def test_logprobs_stop_where_the_text_stops(talker: Any) -> None:
    choice = chat(talker, stop="STOP", max_tokens=100, logprobs=True).choices[0]
    *before, last = [bytes(one.bytes) for one in choice.logprobs.content]
    shown, text = b"".join(before), choice.message.content.encode()
    assert len(shown) < len(text) <= len(shown + last), "the last token is the last of which anything is shown"
    assert (shown + last).startswith(text)
    assert choice.logprobs.content[0].top_logprobs == []


def test_logit_bias_bans_and_forces(server: Any, engine: Any, first: int) -> None:
    banned = chat(server, extra_body={"tsdi": False}, logit_bias={str(first): -100}, logprobs=True)
    assert all(one.bytes != server.model.names.raw(first) for one in banned.choices[0].logprobs.content)
    token = engine.tokenizer(" the", add_special_tokens=False).input_ids[0]
    forced = chat(server, logit_bias={str(token): 100}, max_tokens=3).choices[0].message.content
    assert forced == engine.tokenizer.decode([token] * 3)


def test_completions_echo_the_prompt_with_its_log_probabilities(server: Any, engine: Any) -> None:
    import torch

    text = "Dear friend, ü 😀 I write"
    answer = server.client.completions.create(
        model=MODEL, prompt=text, echo=True, logprobs=2, max_tokens=3, temperature=0,
        logit_bias={str(engine.tokenizer.eos_token_id): -100},
    )  # fmt: skip
    told, choice = answer.choices[0].logprobs, answer.choices[0]
    ids = engine.tokenizer(text, add_special_tokens=False).input_ids
    assert choice.text.startswith(text)
    assert len(told.tokens) == len(ids) + 3 == len(told.text_offset) == len(told.top_logprobs)
    start = [engine.tokenizer.bos_token_id]
    with torch.inference_mode():
        values = torch.log_softmax(engine.model(torch.tensor([start + ids])).logits[0].float(), -1)
    wanted = [float(values[at, token]) for at, token in enumerate(ids)]
    assert told.token_logprobs[: len(ids)] == pytest.approx(wanted, abs=1e-4)
    assert told.text_offset == sorted(told.text_offset)
    assert choice.text[told.text_offset[len(ids)] :] == "".join(told.tokens[len(ids) :])
    given = server.client.completions.create(
        model=MODEL, prompt=start + ids, echo=True, logprobs=0, max_tokens=0, temperature=0
    ).choices[0]
    assert given.text == text
    assert given.logprobs.token_logprobs[0] is None, "nothing stands before the first token"
    assert given.logprobs.token_logprobs[1:] == pytest.approx(wanted, abs=1e-4)
    assert given.finish_reason == "length"


def test_the_houses_own_endpoint_engine_scores_against_it(server: Any, engine: Any) -> None:
    from evenhand.engines.base import Span

    remote = open_engine(f"{server.url}/v1#{MODEL}", concurrency=2)
    assert remote.probe() == {"generate", "score", "choose"}, remote.why_not("score")
    spans = [Span("a", " in the garden.", "Help me plan a trip"), Span("b", " by the sea.", "We met on Monday")]
    theirs = [row for _, rows in remote.score(remote.plan_scores(spans)) for row in rows]
    ours = [row for _, rows in engine.score(engine.plan_scores(spans)) for row in rows]
    assert [row.error for row in theirs] == ["", ""]
    totals = {row.span: row.total for row in ours}
    assert {row.span: row.total for row in theirs} == pytest.approx(totals, abs=1e-3)
    remote.close()


def test_completions_are_corrected_only_when_asked(server: Any, engine: Any) -> None:
    rendered = engine.tokenizer.decode(engine.renderer.prompts([CHATTED])[0].ids)

    def complete(**extra: Any) -> Any:
        return server.client.completions.create(
            model=MODEL, prompt=rendered, max_tokens=24, temperature=0, extra_body=extra
        )

    assert complete().choices[0].text == plain(engine, PROMPT)
    assert complete(tsdi=True).choices[0].text == chat(server).choices[0].message.content
    assert complete().tsdi["alpha"] == 0


def test_completions_of_several_prompts_stream_as_they_are(server: Any) -> None:
    settings: dict[str, Any] = {
        "model": MODEL, "prompt": ["Help me plan", "How do I"], "n": 2, "seed": 1, "max_tokens": 12, "stop": ".",
    }  # fmt: skip
    whole = server.client.completions.create(**settings)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    texts: dict[int, str] = {}
    options = {"include_usage": True}
    chunks = list(server.client.completions.create(**settings, stream=True, stream_options=options))
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] = texts.get(choice.index, "") + choice.text
    assert texts == {choice.index: choice.text for choice in whole.choices}
    assert chunks[-1].usage == whole.usage


def test_models_are_listed(server: Any) -> None:
    assert [model.id for model in server.client.models.list()] == [MODEL]
    assert server.client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        server.client.models.retrieve("organism/none")


def test_many_at_once_get_what_one_alone_gets(server: Any) -> None:
    def ask(seed: int) -> str:
        return str(chat(server, temperature=2.0, seed=seed, max_tokens=20).choices[0].message.content)

    alone = [ask(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == alone


def body(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": CHAT, "max_tokens": 2, **changes}


WRONG: list[tuple[str, dict[str, Any], str, int]] = [
    ("unknown model", {"model": "organism/none"}, "model", 404),
    ("no messages", {"messages": []}, "messages", 400),
    ("a role that is none", {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", 400),
    ("an image", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content", 400),
    ("a name", {"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0.name", 400),
    ("an assistant alone", {"messages": [{"role": "assistant", "content": "x"}]}, "messages", 400),
    ("text for a number", {"temperature": "1"}, "temperature", 400),
    ("true for a number", {"top_p": True}, "top_p", 400),
    ("too hot", {"temperature": 2.5}, "temperature", 400),
    ("no mass", {"top_p": 0}, "top_p", 400),
    ("too many choices", {"n": 17}, "n", 400),
    ("no tokens", {"max_tokens": 0}, "max_tokens", 400),
    ("more than the server gives", {"max_tokens": 201}, "max_tokens", 400),
    ("two limits", {"max_completion_tokens": 3}, "max_tokens", 400),
    ("an empty stop string", {"stop": ""}, "stop", 400),
    ("a stop that is none", {"stop": 3}, "stop", 400),
    ("a token that is none", {"logit_bias": {"x": 1}}, "logit_bias", 400),
    ("a token beyond the model", {"logit_bias": {"999999": 1}}, "logit_bias", 400),
    ("a bias too large", {"logit_bias": {"5": 101}}, "logit_bias", 400),
    ("alternatives of nothing", {"top_logprobs": 2}, "top_logprobs", 400),
    ("usage of no stream", {"stream_options": {"include_usage": True}}, "stream_options", 400),
    ("a penalty", {"presence_penalty": 0.5}, "presence_penalty", 400),
    ("tools", {"tools": [{"type": "function"}]}, "tools", 400),
    ("a format", {"response_format": {"type": "json_object"}}, "response_format", 400),
    ("an unknown field", {"zork": 1}, "zork", 400),
    ("a strength below zero", {"tsdi_alpha": -1}, "tsdi_alpha", 400),
    ("a strength of what is off", {"tsdi": False, "tsdi_alpha": 0.5}, "tsdi_alpha", 400),
    ("too long", {"messages": [{"role": "user", "content": "xq " * 1200}]}, "messages", 400),
    ("no room", {"messages": [{"role": "user", "content": "xq " * 480}], "max_tokens": 200}, "messages", 400),
]


@pytest.mark.parametrize(("changes", "param", "status"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_fields_are_named(server: Any, changes: dict[str, Any], param: str, status: int) -> None:
    reply = server.raw.post("/v1/chat/completions", json=body(**changes))
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert reply.headers.get("access-control-allow-origin") is None


def test_harmless_fields_and_neutral_values_pass(server: Any) -> None:
    more = {
        "user": "u", "metadata": {"a": "b"}, "store": True, "presence_penalty": 0, "tools": [], "n": None, "stop": None,
        "response_format": {"type": "text"}, "service_tier": "auto", "parallel_tool_calls": True, "logit_bias": None,
    }  # fmt: skip
    assert server.raw.post("/v1/chat/completions", json=body(**more)).status_code == 200


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": NaN}', b"[" * 3000, b'{"a":' * 600, b'"\\ud800"']
)
def test_malformed_bodies_are_answered(server: Any, raw: bytes) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/v1/chat/completions", "/v1/completions"):
        reply = server.raw.post(path, content=raw, headers=headers)
        assert reply.status_code == 400
        assert reply.json()["error"]["message"]


def test_lone_surrogates_are_answered(server: Any) -> None:
    raw = b'{"model": "organism/sft", "messages": [{"role": "user", "content": "\\ud800"}]}'
    reply = server.raw.post("/v1/chat/completions", content=raw, headers={"content-type": "application/json"})
    assert reply.status_code == 400


def test_an_oversized_body_is_answered(server: Any) -> None:
    with pytest.raises(openai.APIStatusError) as found:
        chat(server, messages=[{"role": "user", "content": "x" * 20_000}])
    assert found.value.status_code == 413
    assert found.value.code == "request_too_large"
    # without a content length, and far beyond what is read to the end
    pieces = (b" " * 1024 for _ in range(8))
    reply = server.raw.post("/v1/completions", content=pieces, headers={"content-type": "application/json"})
    assert reply.status_code == 413
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        link.sendall(head + b"Content-Length: 99999999999\r\n\r\n{")
        assert b" 413 " in link.recv(4096)


def test_other_addresses_methods_types_and_hosts(server: Any) -> None:
    assert server.raw.get("/v1/nothing").json()["error"]["code"] == "unknown_url"
    assert server.raw.get("/v1/chat/completions").status_code == 405
    assert server.raw.options("/v1/chat/completions", headers={"origin": "http://x.example"}).status_code == 405
    assert server.raw.post("/v1/completions", data={"a": "b"}).status_code == 415
    reply = server.raw.get("/v1/models", headers={"host": "evil.example"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden_host")
    assert server.raw.get("/v1/models", headers={"host": "[::1]:80"}).status_code == 200


def test_wrong_completion_bodies(server: Any) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"prompt": 3}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [10**6]}, "prompt"), ({"prompt": [-1]}, "prompt"), ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "best_of": 3}, "best_of"), ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "logprobs": True}, "logprobs"), ({"prompt": "xq " * 1200}, "prompt"), ({}, "prompt"),
    ]  # fmt: skip
    for changes, param in wrong:
        reply = server.raw.post("/v1/completions", json={"model": MODEL, **changes})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), changes
    assert server.raw.post("/v1/completions", json={"model": MODEL, "prompt": ""}).status_code == 200


def test_a_key_is_asked_for(engine: Any) -> None:
    with serving(ServedModel(ServeConfig(model=MODEL, port=0, device="cpu")), key="sesame") as found:
        assert chat(found, max_tokens=1).choices
        other = found.client.with_options(api_key="wrong")
        with pytest.raises(openai.AuthenticationError) as error:
            other.chat.completions.create(model=MODEL, messages=CHAT)
        assert error.value.code == "invalid_api_key"
        assert found.raw.get("/v1/models").status_code == 401
        assert found.raw.get("/v1/models", headers={"authorization": "Basic sesame"}).status_code == 401
        assert found.raw.post("/v1/completions", content=b"{" * 9999).status_code == 401, "before anything is read"
        reply = found.raw.post("/v1/chat/completions", json=body(tsdi=True), headers={"authorization": "Bearer sesame"})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "tsdi")


@pytest.fixture
def slow(vocabulary: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[SimpleNamespace, list[int]]]:
    """A server with one place and one seat to wait, whose model needs 20 ms a token; and a count of its steps."""
    model = ServedModel(ServeConfig(model=MODEL, port=0, device="cpu", active=1, queue=1))
    steps = [0]
    forward: Callable[..., Any] = model._loop._forward

    def slowly(*given: Any, **named: Any) -> Any:
        steps[0] += 1
        time.sleep(0.02)
        return forward(*given, **named)

    monkeypatch.setattr(model._loop, "_forward", slowly)
    with serving(model) as found:
        yield found, steps


ENDLESS = {"max_tokens": 900, "logit_bias": {"1": -100}}


def test_a_client_that_goes_away_stops_the_work(slow: Any) -> None:
    server, steps = slow
    stream = chat(server, stream=True, **ENDLESS)
    assert next(iter(stream)).choices
    stream.close()
    settled(steps)
    with pytest.raises(httpx.ReadTimeout):
        server.raw.post("/v1/chat/completions", json=body(**ENDLESS), timeout=0.5)
    settled(steps)
    with pytest.raises(httpx.ReadTimeout):
        server.raw.post(
            "/v1/chat/completions", json=body(**ENDLESS, stream=True), timeout=httpx.Timeout(0.01, read=0.001)
        )
    settled(steps)


def settled(steps: list[int]) -> None:
    """Wait until the model rests: long before the 900 tokens are written."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        before = steps[0]
        time.sleep(0.3)
        if steps[0] == before:
            assert before < 600
            return
    pytest.fail("the model still works for a client that has gone")


def test_too_many_requests_are_turned_away(slow: Any) -> None:
    server, _ = slow

    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            sent = [client.post("/v1/chat/completions", json=body(max_tokens=20)) for _ in range(6)]
            return [reply.status_code for reply in await asyncio.gather(*sent)]

    codes = asyncio.run(ask())
    assert sorted(codes) == [200, 200, 429, 429, 429, 429]
    assert chat(server, max_tokens=1).choices


def test_a_failure_of_the_model_fails_one_request_alone(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    model = ServedModel(ServeConfig(model=MODEL, port=0, device="cpu"))
    forward: Callable[..., Any] = model._loop._forward
    fault: list[Any] = [None]

    def faulty(*given: Any, **named: Any) -> Any:
        logits = forward(*given, **named)
        if isinstance(fault[0], Exception):
            raise fault[0]
        return logits * float("nan") if fault[0] == "nan" else logits

    monkeypatch.setattr(model._loop, "_forward", faulty)
    with serving(model) as found:
        fault[0] = "nan"
        with pytest.raises(openai.InternalServerError, match="not numbers"):
            chat(found)
        with pytest.raises(openai.APIError, match="not numbers"):
            streamed(found)
        fault[0] = ValueError("what the client wrote")
        with pytest.raises(openai.InternalServerError) as error:
            chat(found)
        assert "client wrote" not in str(error.value) + caplog.text
        assert "ValueError" in caplog.text
        fault[0] = None
        assert chat(found, max_tokens=1).choices


def test_artefacts_of_other_models_are_refused(engine: Any, vocabulary: int, tmp_path: Path, caplog: Any) -> None:
    table = np.zeros((1, vocabulary))
    other = artefact(tmp_path / "other", engine, table, tokenizer="f" * 32, aligned={"spec": "hf/some/other"})
    with pytest.raises(BadInput, match=f"tokenizer ffff.*hf/some/other.*{MODEL} has the tokenizer"):
        ServedModel(ServeConfig(model=MODEL, tsdi=other))
    template = artefact(tmp_path / "template", engine, table, template="f" * 32)
    with pytest.raises(BadInput, match="chat template"):
        ServedModel(ServeConfig(model=MODEL, tsdi=template))
    weights = artefact(tmp_path / "weights", engine, table, aligned={"spec": "organism/x", "weights": "0"})
    assert any("other weights" in text for text in ServedModel(ServeConfig(model=MODEL, tsdi=weights)).warnings)
    own = artefact(tmp_path / "own", engine, table, warnings=("a word of the estimate",))
    assert ServedModel(ServeConfig(model=MODEL, tsdi=own, alpha=2.0)).warnings == ["a word of the estimate"]
    assert "above 1" in caplog.text


def test_templates_that_open_a_reasoning_block(engine: Any, vocabulary: int, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(engine.checkpoint.folder, folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{% if messages[0].content == 'think' %}<think>{% endif %}")
    spec = f"hf/{folder}"
    thinker = open_engine(spec, device="cpu")
    own = artefact(tmp_path / "own", thinker, np.zeros((1, vocabulary)))
    model = ServedModel(ServeConfig(model=spec, tsdi=own, device="cpu"))

    def ask(**changes: Any) -> list[Any]:
        raw = {"model": spec, "messages": [{"role": "user", "content": "think"}], **changes}
        return model.chat(read_body(ChatBody, json.dumps(raw).encode()))

    with pytest.raises(ApiError, match="reasoning block"):
        ask()
    assert ask(tsdi=False)[0].kernel is None
    assert ask(messages=CHAT)[0].kernel is not None
    template.write_text(template.read_text() + "<think>")
    thinker = open_engine(spec, device="cpu")
    always = artefact(tmp_path / "always", thinker, np.zeros((1, vocabulary)))
    with pytest.raises(EngineError, match="reasoning block"):
        ServedModel(ServeConfig(model=spec, tsdi=always, device="cpu"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "openai/gpt-4o"}, "local models"),
        ({"model": "organism/sft+tsdi:."}, "--tsdi DIR"),
        ({"model": "http://localhost:1/v1#m"}, "local models"),
        ({"model": "organism/none"}, "no organism"),
        ({"model": MODEL, "alpha": 0.5}, "--tsdi"),
        ({"model": MODEL, "length": 4}, "--tsdi"),
        ({"model": MODEL, "tsdi": Path("/nonexistent")}, "no such folder"),
    ],
)
def test_settings_that_cannot_be_served(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ServedModel(ServeConfig(**settings))


def test_an_address_in_use_is_refused() -> None:
    with listen(ServeConfig(model=MODEL, port=0)) as bound:
        bound.listen()
        with pytest.raises(BadInput, match="cannot be used"):
            listen(ServeConfig(model=MODEL, port=bound.getsockname()[1]))
