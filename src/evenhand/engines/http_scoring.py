"""Log-probability scores from an endpoint: the echo of a text, token by token, and the rows made of it.

An endpoint tokenises by itself, so the whole text, context and y joined, is sent as one prompt and comes back with the
log-probability of each of its tokens. Which of them are y follows from the characters they cover (implicit_reward 15.1).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from xxhash import xxh128

from evenhand.engines.base import ScoreBatch, Span
from evenhand.engines.wire import first_choice, log_probability, unread
from evenhand.errors import BadInput
from evenhand.records import LogProb

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
    told = choice.get("logprobs")
    if not isinstance(told, dict) or not isinstance(told.get("tokens"), list):
        return Failure("the endpoint ignores `logprobs`: its reply has none")
    tokens, values, starts = told["tokens"], told.get("token_logprobs"), told.get("text_offset")
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
    has no log-probability, as the first token of a prompt where nothing stands before it.
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
    """The border moved back until no token of any of the texts spans it (implicit_reward 15.1)."""
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
