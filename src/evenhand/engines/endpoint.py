"""What an endpoint is asked: its list of models, jobs for responses and choices, and echoed texts as scores.

An endpoint tokenises by itself, so the whole text, context and y joined, is sent as one prompt and comes back with the
log-probability of each of its tokens. Which of them are y follows from the characters they cover.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import httpx
from xxhash import xxh128

from evenhand.engines.base import Choice, Question, Request, Sampling, ScoreBatch, Span
from evenhand.engines.sender import Job
from evenhand.engines.transport import ACCEPTED, NETWORK_ERRORS, BodyError, read_body
from evenhand.engines.wire import (
    failed_choice,
    first_choice,
    log_probability,
    question_body,
    read_choice,
    read_reply,
    request_body,
    request_path,
    unread,
)
from evenhand.errors import BadInput, EngineError
from evenhand.records import LogProb, Response
from evenhand.redact import redact_field, redact_message

_TRIES = 3
_FRESH_SECONDS = 86_400
_PAUSE = 1.1
_KEPT = ("id", "created", "owned_by", "root")


def model_entry(client: httpx.Client, base_url: str, model: str) -> dict[str, Any]:
    """The model's entry under ``/models``: id, created, owned_by and root, as far as reported; empty if there is none.

    Some servers state the time of the request as ``created``. A time of the last day is therefore asked for twice and
    left out if it moved. Raises EngineError where the key is refused.
    """
    entry = _fetch(client, base_url, model)
    created = entry.get("created")
    if isinstance(created, int | float) and abs(time.time() - created) < _FRESH_SECONDS:
        time.sleep(_PAUSE)
        if _fetch(client, base_url, model).get("created") != created:
            del entry["created"]
    return entry


def _fetch(client: httpx.Client, base_url: str, model: str) -> dict[str, Any]:
    for attempt in range(_TRIES):
        try:
            with client.stream("GET", f"{base_url}/models", headers={"Accept-Encoding": ACCEPTED}) as reply:
                status, raw = reply.status_code, _body_of(reply)
        except httpx.InvalidURL as error:
            raise EngineError(f"{base_url} is not a usable address ({redact_message(str(error))}).") from None
        except NETWORK_ERRORS:
            status, raw = 0, b""
        if status in (401, 403):
            raise EngineError(
                f"{base_url} refuses the key (HTTP {status}). "
                "Set OPENAI_API_KEY for openai/MODEL, EVENHAND_API_KEY for other endpoints."
            )
        if status and status < 500 and status != 429:
            return _entry(raw, model) if status == 200 else {}
        if attempt + 1 < _TRIES:
            time.sleep(0.05 * 4**attempt)
    return {}


def _body_of(reply: httpx.Response) -> bytes:
    """The body of a reply; empty where it cannot be read, so that it lists no model."""
    try:
        return read_body(reply.iter_raw(), reply.headers.get("content-encoding", ""))
    except BodyError:
        return b""


def _entry(raw: bytes, model: str) -> dict[str, Any]:
    try:
        listed = json.loads(raw)["data"]
        entry: dict[str, Any] = next((found for found in listed if found.get("id") == model), {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    kept = {name: entry[name] for name in _KEPT if _is_plain(entry.get(name))}
    return {name: redact_field(value) if isinstance(value, str) else value for name, value in kept.items()}


def _is_plain(value: Any) -> bool:
    """Whether a value of an entry can be written down: a text, or a number below 2^53 (neither infinite nor NaN)."""
    if isinstance(value, str):
        return True
    return isinstance(value, int | float) and abs(value) < 2**53


_BLOCKED = "a content filter stopped the prompt"


def generate_job(model: str, request: Request, sampling: Sampling, config: str) -> Job[Response]:
    """A response to be drawn."""
    name, repetition = request.item_id, request.repetition
    return Job(
        request_path(request),
        f"{sampling.seed}/{name!r}/{repetition}",
        lambda dialect: request_body(model, request, sampling, dialect),
        lambda payload: read_reply(payload, request, config=config),
        lambda reason: Response(config, name, repetition, "", "error", error=reason),
        lambda: Response(config, name, repetition, "", "content_filter", provider_refusal="content_filter"),
    )


def echo_job(model: str, text: str, max_tokens: int) -> Job[Echo | Failure]:
    """A text to be echoed with its log-probabilities."""
    return Job(
        "completions",
        f"echo/{text!r}",
        lambda _: echo_body(model, text, max_tokens),
        lambda payload: read_echo(payload, text, max_tokens),
        Failure,
        lambda: Failure(_BLOCKED),
    )


def choice_job(model: str, question: Question) -> Job[Choice]:
    """A question of which the likeliest first tokens are wanted."""
    return Job(
        "chat/completions",
        f"choose/{question.key!r}",
        lambda dialect: question_body(model, question, dialect),
        lambda payload: read_choice(payload, question),
        lambda reason: failed_choice(question, reason),
        lambda: failed_choice(question, _BLOCKED),
    )


Start = Literal["shown", "hidden", "none"]
"""Whether a prompt begins with a beginning-of-sequence token: the reply shows it, hides it, or there is none."""

_BLOCK = 16
_BYTES = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")
_STRADDLES = (
    "a token of the endpoint's tokenizer spans the border between context and text; give the pair a shorter context"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A reply that says nothing usable, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Echo:
    """A text as an endpoint reads it.

    ``values`` (tokens,) are log-probabilities in nats, None where there is none; ``offsets`` (tokens,) are the first and
    the end character of each token. ``shown`` says that one more token stood before them, the beginning of sequence.
    """

    tokens: tuple[str, ...]
    values: tuple[float | None, ...]
    offsets: tuple[tuple[int, int], ...]
    shown: bool = False


def echo_body(model: str, text: str, max_tokens: int) -> bytes:
    """The JSON body that asks for the log-probabilities of a prompt's own tokens."""
    body = {
        "model": model, "prompt": text, "echo": True, "logprobs": 1, "max_tokens": max_tokens, "temperature": 0.0,
        "n": 1, "stream": False,
    }  # fmt: skip
    return json.dumps(body, ensure_ascii=True).encode()


def read_echo(payload: Any, text: str, max_tokens: int) -> Echo | Failure:
    """A completions reply as the Echo of its prompt, or why it is none. Tokens written after the prompt are cut off.

    The tokens must add up to the text, byte for byte; a token that holds a part of a character may be written as
    ``bytes:\\xe2\\x80``. One token before the text, without a log-probability, is the beginning of sequence; one space
    more at the start is what some tokenizers put there. Raises WireError where the reply has another form.
    """
    choice = first_choice(payload)
    if not choice:
        raise unread(payload, "choices[0]")
    scores = choice.get("logprobs")
    if not isinstance(scores, dict) or not isinstance(scores.get("tokens"), list):
        return Failure("the endpoint ignores `logprobs`: its reply has none")
    tokens, values, starts = scores["tokens"], scores.get("token_logprobs"), scores.get("text_offset")
    if not all(isinstance(token, str) for token in tokens):
        return Failure("the reply holds a token that is no text")
    if not isinstance(values, list) or len(values) != len(tokens):
        count = len(values) if isinstance(values, list) else "no"
        return Failure(f"the reply has {len(tokens)} tokens, but {count} log-probabilities")
    if starts is not None and not _rising(starts, len(tokens)):
        return Failure("the `text_offset` of the reply does not fit its tokens")
    unscored = bool(values) and values[0] is None  # a beginning of sequence never has a log-probability, and may be ""
    for skipped in () if not values else (0,) if not unscored else (1, 0) if not tokens[0] else (0, 1):
        offsets = _walk(tokens[skipped:], text)
        if offsets is not None:
            break
    else:
        return Failure("the tokens of the reply do not add up to the text that was sent")
    end = skipped + len(offsets)
    if len(tokens) - end > max_tokens:
        return Failure(f"the endpoint wrote {len(tokens) - end} tokens after the prompt; {max_tokens} were asked for")
    numbers = [None if value is None else log_probability(value) for value in values[skipped:end]]
    if any(number is None and value is not None for number, value in zip(numbers, values[skipped:end], strict=True)):
        return Failure("the reply holds a number that is no log-probability (positive, below -1000, or no number)")
    return Echo(tuple(tokens[skipped:end]), tuple(numbers), tuple(offsets), shown=bool(skipped))


def _rising(starts: Any, count: int) -> bool:
    if not isinstance(starts, list) or len(starts) != count:
        return False
    if not all(isinstance(start, int) and not isinstance(start, bool) for start in starts):
        return False
    return all(low <= high for low, high in pairwise(starts))


def _walk(tokens: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """The characters that each token covers, up to the token that ends the text; None where they are not its tokens."""
    raw = text.encode("utf-8", "surrogatepass")
    character = [index for index, letter in enumerate(text) for _ in letter.encode("utf-8", "surrogatepass")]
    offsets: list[tuple[int, int]] = []
    at = 0
    for token in tokens:
        if at == len(raw):
            break
        piece = next((piece for piece in _spellings(token, first=not offsets) if raw.startswith(piece, at)), None)
        if piece is None:
            return None
        end = at + len(piece)
        offsets.append((character[at], character[end - 1] + 1 if piece else character[at]))
        at = end
    return offsets if at == len(raw) else None


def _spellings(token: str, *, first: bool) -> Iterable[bytes]:
    literal = token.encode("utf-8", "surrogatepass")
    yield literal
    if found := _BYTES.fullmatch(token):
        yield bytes.fromhex(found.group(1).replace("\\x", ""))
    if first and literal.startswith(b" "):
        yield literal[1:]


def unscorable(span: Span) -> str:
    """Why an endpoint cannot score a span at all; empty if it can."""
    if span.chat:
        return "an endpoint does not tell how it writes a chat, so a text after a chat cannot be scored there"
    if span.end:
        return "an endpoint takes text only, so the end-of-turn token cannot be scored there"
    return "" if span.text else "there is no text to score"


def failed_score(span: Span, reason: str) -> LogProb:
    """A failed row."""
    return LogProb(span.key, None, error=reason)


def log_prob(span: Span, echo: Echo, start: Start) -> LogProb:
    """The log-probability of a span's text, from the echo of context and text joined.

    y is every token that starts at or after the border. A span fails, with its reason, where a token spans the border or
    has no log-probability, as the first token of a prompt that nothing precedes.
    """
    border = len(span.context)
    if echo.shown != (start == "shown"):
        return failed_score(span, "the reply treats the beginning of the text otherwise than in the self-test")
    if any(low < border < high for low, high in echo.offsets):
        return failed_score(span, _STRADDLES)
    before = sum(low < border for low, _ in echo.offsets)
    values = list(echo.values)
    if start == "none" and values:
        values[0] = None
    scored = [value for value in values[before:] if value is not None]
    if len(scored) < len(values) - before:
        if before == 0:
            return failed_score(
                span, "nothing stands before the first token, so it has no log-probability; give the pair a context"
            )
        return failed_score(span, "the endpoint gives no log-probability for a token of the text")
    return LogProb(
        span.key,
        math.fsum(scored),
        values=tuple(scored),
        offsets=echo.offsets[before:],
        context_tokens=before + (start != "none"),
    )


def score_row(span: Span, echo: Echo | Failure | None, start: Start) -> LogProb:
    """`log_prob`, or a failed row where the text was not echoed, or could not be."""
    if echo is None:
        return failed_score(span, unscorable(span))
    return failed_score(span, echo.reason) if isinstance(echo, Failure) else log_prob(span, echo, start)


def settled(border: int, echoes: Iterable[Echo]) -> int:
    """The border moved back until no token of any of the texts spans it."""
    spans = [offset for echo in echoes for offset in echo.offsets]
    while over := [low for low, high in spans if low < border < high]:
        border = min(over)
    return border


def score_batch_key(spans: Sequence[Span]) -> str:
    """32 hexadecimal digits over the spans, in order."""
    digest = xxh128()
    for span in spans:
        chat = [[message.role, message.content] for message in span.chat]
        digest.update(json.dumps([span.key, span.context, span.text, chat, span.end]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def plan_scores(spans: Sequence[Span]) -> list[ScoreBatch]:
    """Batches of 16 spans or a few more in the order of their keys, those of equal text and context side by side.

    Raises BadInput where two spans have one key.
    """
    seen: set[str] = set()
    alike: dict[tuple[Any, ...], list[Span]] = {}
    for row, span in enumerate(spans, start=1):
        if span.key in seen:
            raise BadInput(f"The span '{span.key}' is asked for twice (span {row}).", do="Give every span its own key.")
        seen.add(span.key)
    for span in sorted(spans, key=lambda span: span.key):
        alike.setdefault((span.context, span.text, span.chat, span.end), []).append(span)
    batches: list[ScoreBatch] = []
    held: list[Span] = []
    for group in alike.values():
        held.extend(group)
        if len(held) >= _BLOCK:
            batches.append(ScoreBatch(score_batch_key(held), tuple(held)))
            held = []
    if held:
        batches.append(ScoreBatch(score_batch_key(held), tuple(held)))
    return batches
