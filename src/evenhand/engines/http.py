"""The http engine: any endpoint that speaks the OpenAI wire."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import urlsplit

import httpx

from evenhand.engines.base import Batch, Choice, Estimate, Identity, Question, Request, Sampling, ScoreBatch, Span, Verb
from evenhand.engines.echo_check import Abilities, EchoTraits, find_abilities
from evenhand.engines.endpoint import (
    Echo,
    Failure,
    choice_job,
    echo_job,
    generate_job,
    model_entry,
    plan_scores,
    score_row,
    settled,
    unscorable,
)
from evenhand.engines.identity import engine_version
from evenhand.engines.planning import blocks
from evenhand.engines.sender import Job, Sender, stream
from evenhand.engines.spec import EngineOptions, Spec, split_base_url
from evenhand.engines.ticks import NotedSet
from evenhand.engines.wire import choice_of, failed_choice
from evenhand.errors import BadInput, EngineError
from evenhand.records import LogProb, Response
from evenhand.redact import hide, hide_urls, redact

_OPENAI = "https://api.openai.com/v1"
_BLOCK = 16
_CHOICES = 256
_PROBE_TRIES = 3
_MOST_ECHOES = 50_000
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_Batch = TypeVar("_Batch")
_Row = TypeVar("_Row")
_Name = TypeVar("_Name")
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def open_openai(spec: Spec, options: EngineOptions) -> HttpEngine:
    """A model of the OpenAI API, or of an endpoint at ``base_url``. Raises EngineError without OPENAI_API_KEY."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key:
        raise EngineError(f"{spec.text} needs a key: set the environment variable OPENAI_API_KEY.")
    base, query = split_base_url(options.base_url or _OPENAI)
    return HttpEngine(spec.text, base, query, spec.name, key, options)


def open_http(spec: Spec, options: EngineOptions) -> HttpEngine:
    """A model behind any OpenAI-style endpoint; EVENHAND_API_KEY is sent as the key if it is set."""
    key = os.environ.get("EVENHAND_API_KEY", "").strip()
    return HttpEngine(spec.text, spec.base_url or "", spec.query, spec.name, key, options)


class _NoQuery(logging.Filter):
    """Takes the query, which may hold a key, out of the URLs that httpx logs, and secrets out of a status line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                value.copy_with(query=None)
                if isinstance(value, httpx.URL)
                else redact(value)
                if isinstance(value, str)
                else value
                for value in record.args
            )
        return True


_NO_QUERY = _NoQuery()


class HttpEngine:
    """A model behind an endpoint.

    It generates. Whether it can also score or choose is known after `probe`, which adds them to ``verbs``. The key lives
    in this object alone and is in no repr, log, identity, error or cache. Where a reply repeats it, it is replaced before
    the reply is used.
    """

    cache_unit: ClassVar[str] = "request"

    def __init__(self, spec: str, base_url: str, query: str, model: str, key: str, options: EngineOptions):
        self.spec, self.base_url, self.model, self.options = spec, base_url, model, options
        self._query, self._key = query, key
        self.on_observed: Callable[[], None] = lambda: None
        """Called, perhaps in another thread, whenever `observed` has something new."""
        self._fingerprints: set[str] = NotedSet(lambda: self.on_observed())
        self._reported: set[str] = set()
        self.verbs: frozenset[Verb] = frozenset({"generate"})
        self._abilities: Abilities | None = None
        self._echoes: dict[str, Echo] = {}
        logging.getLogger("httpx").addFilter(_NO_QUERY)

    def __repr__(self) -> str:
        return f"HttpEngine({self.spec!r} at {self.base_url!r})"

    def _client_settings(self) -> dict[str, Any]:
        hide(self._key)
        hide_urls(f"{self.base_url}?{self._query}")
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        host = urlsplit(self.base_url).hostname or ""
        return {
            "headers": headers,
            "params": httpx.QueryParams(self._query),
            "timeout": httpx.Timeout(self.options.timeout, connect=min(10.0, self.options.timeout)),
            "trust_env": host not in _LOCAL_HOSTS,  # proxies are not for this machine
            "follow_redirects": False,  # a redirect would carry the key elsewhere
        }

    @asynccontextmanager
    async def _sender(self, max_tries: int | None = None) -> AsyncIterator[Sender]:
        options = self.options if max_tries is None else self.options.model_copy(update={"max_tries": max_tries})
        limits = httpx.Limits(max_connections=options.concurrency)
        async with httpx.AsyncClient(**self._client_settings(), limits=limits) as client:
            yield Sender(client, self.base_url, self.model, options, self._fingerprints, self._reported)

    def _stream(
        self, batches: Sequence[_Batch], jobs: Callable[[_Batch], Sequence[Job[_Row]]]
    ) -> Iterator[tuple[_Batch, list[_Row]]]:
        return stream(batches, jobs, self._sender, self.options.concurrency)

    @cached_property
    def _identity(self) -> Identity:
        with httpx.Client(**self._client_settings()) as client:
            entry = model_entry(client, self.base_url, self.model)
        return Identity(
            spec=self.spec,
            weights=f"served:{self.model}",
            engine=engine_version("http"),
            extra={"base_url": self.base_url, "model": self.model, "served": entry},
        )

    def identity(self) -> Identity:
        """What the endpoint tells of the model: URL, name, and its entry under ``/models``.

        A model replaced under the same name is seen only if the endpoint says so there. Raises EngineError where the
        endpoint refuses the key.
        """
        return self._identity

    def observed(self) -> dict[str, Any]:
        """What replies reported besides text.

        ``system_fingerprints`` are several where a backend changed; ``echo`` is what the self-test found, once it passed.
        """
        facts: dict[str, Any] = {"system_fingerprints": sorted(self._fingerprints)}
        if self._abilities is not None and self._abilities.echo is not None:
            facts["echo"] = asdict(self._abilities.echo)
        return facts

    def probe(self) -> frozenset[Verb]:
        """Test once what the endpoint can do besides generating, and return its verbs.

        Scoring needs echo log-probabilities that pass the self-test of `echo_check`; choosing needs them (for plain
        texts) or ``top_logprobs`` of a chat (for chats). Raises EngineError where nothing answers or the key is refused.
        """
        if self._abilities is None:
            tries = min(_PROBE_TRIES, self.options.max_tries)
            self._abilities = find_abilities(lambda: self._sender(tries), self.model)
            self.verbs = frozenset({"generate", *self._abilities.verbs})
            self.on_observed()
        return self.verbs

    def why_not(self, verb: Verb) -> str:
        """Why the endpoint cannot do this; empty if it can. Tests the endpoint if that was not done yet."""
        self.probe()
        return "" if verb in self.verbs or self._abilities is None else self._abilities.why_not(verb)

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Blocks of 16 requests in the order of (item id, repetition). A plain request has one message."""
        for row, request in enumerate(requests, start=1):
            if request.plain and len(request.chat) != 1:
                raise BadInput(f"Item '{request.item_id}' is plain text, but has not one message (request {row}).")
        return blocks(requests, _BLOCK)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Calls, and prompt tokens at four characters a token and four tokens a message: approximate."""
        tokens = sum(
            -(-len(message.content) // _CHARACTERS_PER_TOKEN) + _TOKENS_PER_MESSAGE
            for request in requests
            for message in request.chat
        )
        why = "no request is sent for an estimate"
        return Estimate(len(requests), tokens, len(requests) * sampling.max_tokens, exact=False, not_probed=why)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Yield batches as they are completed.

        The first request goes alone: if nothing answers, or the key, address or model is refused, EngineError is
        raised before anything else is sent. Leaving the iterator early cancels what is in flight.
        """
        return self._stream(
            batches, lambda batch: [generate_job(self.model, each, sampling, config) for each in batch.requests]
        )

    def plan_scores(self, spans: Sequence[Span]) -> list[ScoreBatch]:
        """Batches of about 16 spans in the order of their keys, those of equal text and context side by side."""
        return plan_scores(spans)

    def score(self, batches: Sequence[ScoreBatch]) -> Iterator[tuple[ScoreBatch, list[LogProb]]]:
        """Yield batches as they are completed, each text echoed once.

        A span fails, with its reason, where a token spans the border between context and text (see `fit`), where it has
        no log-probability, and after all tries of its request. Raises EngineError where the endpoint cannot score.
        """
        traits = self._traits()
        parts = [(batch, tuple({s.context + s.text: 0 for s in batch.spans if not unscorable(s)})) for batch in batches]
        for (batch, texts), found in self._echoed(parts):
            echoes = dict(zip(texts, found, strict=True))
            yield batch, [score_row(span, echoes.get(span.context + span.text), traits.start) for span in batch.spans]

    def fit(self, context: str, texts: Sequence[str]) -> tuple[int, int, bool]:
        """Where to part context and text so that no token of any of the texts spans the border.

        Returns the first character of the context that is kept (always 0: an endpoint does not tell its limit), the
        border in characters of context + text, and whether it moved back. Spans made with that border are scored without
        a further request. A text that cannot be echoed has no say; it fails when it is scored. For many pairs, call
        `echo` with all joined texts first. Raises EngineError where the endpoint cannot score.
        """
        found = self.echo([context + text for text in texts if text])
        border = settled(len(context), [echo for echo in found if isinstance(echo, Echo)])
        return 0, border, border < len(context)

    def echo(self, texts: Sequence[str]) -> list[Echo | Failure]:
        """How the endpoint reads each text, in their order; kept in memory. Raises EngineError if it cannot score."""
        self._traits()
        different = tuple(dict.fromkeys(texts))
        parts = [(at, different[at : at + _BLOCK]) for at in range(0, len(different), _BLOCK)]
        found = {text: echo for (_, part), row in self._echoed(parts) for text, echo in zip(part, row, strict=True)}
        return [found[text] for text in texts]

    def choose(self, questions: Sequence[Question]) -> Iterator[Choice]:
        """Yield the options' probabilities: for chats by the first token, for plain questions by the echo of each option.

        See `read_choice` for how options are matched. A plain question fails where a token spans the border between
        prompt and option. Raises EngineError where the endpoint cannot do it; a chat is never scored as plain text.
        """
        self.probe()
        abilities, plain = cast(Abilities, self._abilities), [question for question in questions if question.plain]
        for row, question in enumerate(questions, start=1):
            if question.plain and len(question.chat) != 1:
                raise BadInput(f"Question '{question.key}' is plain text, but has not one message (row {row}).")
        if len(plain) < len(questions) and not abilities.top_tokens:
            raise EngineError(f"{self.spec} cannot choose: {abilities.chat_reason}.")
        if plain:
            self._traits()

        for at in range(0, len(questions), _CHOICES):
            part = tuple(questions[at : at + _CHOICES])
            asked = [tuple(question for question in part if not question.plain)]
            sent = self._stream(asked, lambda group: [choice_job(self.model, question) for question in group])
            chats = iter([row for _, rows in sent for row in rows])
            plains = iter(self._echo_choices([question for question in part if question.plain]) if plain else [])
            for question in part:
                yield next(plains if question.plain else chats)

    def _echo_choices(self, questions: Sequence[Question]) -> list[Choice]:
        asked = [[Span(each.key, option, each.chat[0].content) for option in each.options] for each in questions]
        joined = [span.context + span.text for spans in asked for span in spans if not unscorable(span)]
        echoes = dict(zip(joined, self.echo(joined), strict=True)) if joined else {}
        traits, choices = self._traits(), []
        for question, spans in zip(questions, asked, strict=True):
            rows = [score_row(span, echoes.get(span.context + span.text), traits.start) for span in spans]
            error = next((row.error for row in rows if row.error), "")
            totals = [row.total for row in rows if row.total is not None]
            choices.append(failed_choice(question, error) if error else choice_of(question, totals))
        return choices

    def _traits(self) -> EchoTraits:
        self.probe()
        abilities = cast(Abilities, self._abilities)
        if abilities.echo is None:
            raise EngineError(f"{self.spec} cannot score: {abilities.echo_reason}.")
        return abilities.echo

    def _echoed(
        self, parts: Sequence[tuple[_Name, tuple[str, ...]]]
    ) -> Iterator[tuple[tuple[_Name, tuple[str, ...]], list[Echo | Failure]]]:
        """The echoes of each part's texts; only those not known are asked for."""
        max_tokens = self._traits().max_tokens
        cached: dict[int, dict[str, Echo]] = {}

        def jobs(place: int) -> list[Job[Echo | Failure]]:
            texts = parts[place][1]
            cached[place] = {text: self._echoes[text] for text in texts if text in self._echoes}
            return [echo_job(self.model, text, max_tokens) for text in texts if text not in cached[place]]

        for place, rows in self._stream(range(len(parts)), jobs):
            held, new = cached.pop(place), iter(rows)
            found: list[Echo | Failure] = [held[text] if text in held else next(new) for text in parts[place][1]]
            for text, echo in zip(parts[place][1], found, strict=True):
                if isinstance(echo, Echo) and len(self._echoes) < _MOST_ECHOES:
                    self._echoes[text] = echo
            yield parts[place], found

    def close(self) -> None:
        """Forget the echoes; nothing else stays open between calls."""
        self._echoes.clear()
