"""The self-test of echo log-probabilities: a sound server passes, each kind of unsound one is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.base import Span
from evenhand.engines.echo_check import Ask, EchoTraits, Written, check_echo, read_written
from evenhand.engines.endpoint import Echo, Failure, Start, log_prob, read_echo, settled
from evenhand.engines.wire import WireError
from evenhand.errors import EngineError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "logprobs", "tokens", "token_logprobs", "text_offset"]), inner)
    ),
    max_leaves=12,
)


def check(server: Callable[[dict[str, Any]], Any]) -> EchoTraits:
    """The self-test against a server's answers, without a connection."""

    def ask(body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        found = server(body)
        return Failure(found[1]["error"]["message"]) if isinstance(found, tuple) else read(found)

    async def echo(text: str, max_tokens: int) -> Echo | Failure:
        body = {"prompt": text, "echo": True, "max_tokens": max_tokens}
        found: Echo | Failure = ask(body, lambda reply: read_echo(reply, text, max_tokens))
        return found

    async def write(text: str) -> Written | Failure:
        found: Written | Failure = ask({"prompt": text, "echo": False, "max_tokens": 8}, read_written)
        return found

    return asyncio.run(check_echo(Ask(echo, write)))


@pytest.mark.parametrize("start", ["none", "shown", "hidden"])
@pytest.mark.parametrize("fewest", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_a_sound_server_passes(fault_module: ModuleType, start: Start, fewest: int, seed: int) -> None:
    assert check(fault_module.ToyModel(start=start, fewest=fewest, seed=seed)) == EchoTraits(fewest, start, 0.0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("silent", "ignores `logprobs`: its reply has none: it cannot score"),
        ("generated", "do not add up to the text"),
        ("next", "of the next one"),
        ("previous", "a token its own"),
        ("itself", "given the token itself"),
    ],
)
@pytest.mark.parametrize("start", ["none", "shown", "hidden"])
@pytest.mark.parametrize("seed", range(5))
def test_an_unsound_server_is_refused(
    fault_module: ModuleType, fault: str, message: str, start: str, seed: int
) -> None:
    with pytest.raises(EngineError, match=message):
        check(fault_module.ToyModel(fault=fault, start=start, seed=seed))


def _noisy(size: float) -> Callable[[dict[str, Any]], None]:
    sign = [1.0]

    def change(told: dict[str, Any]) -> None:
        sign[0] *= -1
        told["token_logprobs"] = [value and value - size * (1 + sign[0]) for value in told["token_logprobs"]]

    return change


def test_noise_of_16_bit_numbers_passes_and_is_told(fault_module: ModuleType) -> None:
    assert check(fault_module.ToyModel(change=_noisy(0.005))).noise == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_noisy(0.5), "from one request to the next"),
        (lambda told: told["token_logprobs"].__setitem__(3, 0.4), "no log-probability"),
        (lambda told: told["token_logprobs"].__setitem__(3, float("nan")), "no log-probability"),
        (lambda told: told["token_logprobs"].__setitem__(3, 10**400), "no log-probability"),
        (lambda told: told["token_logprobs"].__setitem__(3, None), "leaves log-probabilities out"),
        (lambda told: told["token_logprobs"].pop(), "tokens, but"),
        (lambda told: told["text_offset"].reverse(), "text_offset"),
        (lambda told: told["tokens"].__setitem__(2, " other"), "do not add up"),
        (lambda told: told.update(token_logprobs=[-1.0] * len(told["tokens"])), "or constant"),
        (lambda told: told.update(token_logprobs=[0.0] * len(told["tokens"])), "or constant"),
    ],
)
def test_spoilt_numbers_are_refused(fault_module: ModuleType, change: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        check(fault_module.ToyModel(change=change))


def test_a_zero_in_place_of_null_is_no_hidden_start(fault_module: ModuleType) -> None:
    toy = fault_module.ToyModel(change=lambda told: told["token_logprobs"].__setitem__(0, 0.0))
    assert check(toy).start == "none"


def test_more_new_tokens_than_asked_for_are_refused(fault_module: ModuleType) -> None:
    toy = fault_module.ToyModel()
    with pytest.raises(EngineError, match="wrote 3 tokens after the prompt; 0 were asked for"):
        check(lambda body: toy({**body, "max_tokens": body["max_tokens"] + 3}))


@given(JSON, st.text(max_size=4))
def test_any_reply_is_read_or_refused(payload: Any, text: str) -> None:
    for wrapped in (payload, {"choices": [payload]}, {"choices": [{"logprobs": payload}]}):
        with suppress(WireError):
            assert isinstance(read_echo(wrapped, text, 1), Echo | Failure)
        with suppress(WireError):
            assert isinstance(read_written(wrapped), Written | Failure)


@given(st.text(min_size=1, max_size=12), st.data())
def test_any_split_of_a_text_is_walked(text: str, data: st.DataObject) -> None:
    """Tokens that cut the UTF-8 bytes anywhere, spelled as OpenAI does, cover the characters that hold their bytes."""
    raw = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=4)) | {0, len(raw)})
    pieces = [raw[low:high] for low, high in pairwise(cuts) if low < high]
    tokens = []
    for piece in pieces:
        try:
            tokens.append(piece.decode())
        except UnicodeDecodeError:
            tokens.append("bytes:" + "".join(f"\\x{byte:02x}" for byte in piece))
    values = [None, *[-1.0] * (len(tokens) - 1)]
    echo = read_echo({"choices": [{"logprobs": {"tokens": tokens, "token_logprobs": values}}]}, text, 0)
    assert isinstance(echo, Echo)
    at = 0
    for piece, (low, high) in zip(pieces, echo.offsets, strict=True):
        assert len(text[:low].encode()) <= at
        at += len(piece)
        assert len(text[:high].encode()) >= at
        assert len(text[low:high].encode()) <= len(piece) + 6
    border = data.draw(st.integers(0, len(text)))
    moved = settled(border, [echo])
    assert moved <= border
    row = log_prob(Span("k", text[moved:], text[:moved]), echo, "none") if text[moved:] else None
    assert row is None or "spans the border" not in row.error


def test_a_beginning_of_sequence_may_be_empty_and_a_space_may_be_put_first() -> None:
    def echoed(tokens: list[str], text: str) -> Echo | Failure:
        told = {"tokens": tokens, "token_logprobs": [None, *[-1.0] * (len(tokens) - 1)]}
        return read_echo({"choices": [{"logprobs": told}]}, text, 0)

    assert echoed(["", "Red", " sea"], "Red sea") == Echo(("Red", " sea"), (-1.0, -1.0), ((0, 3), (3, 7)), shown=True)
    assert echoed(["<s>", " Red", " sea"], "Red sea") == Echo(
        (" Red", " sea"), (-1.0, -1.0), ((0, 3), (3, 7)), shown=True
    )
    assert isinstance(echoed(["<s>", "<s>", "Red"], "Red"), Failure)
