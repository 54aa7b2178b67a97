"""The http engine: any endpoint that speaks the OpenAI chat-completions wire."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import httpx

from evenhand.engines.base import Batch, Estimate, Identity, Request, Sampling, Verb
from evenhand.engines.endpoint import model_entry
from evenhand.engines.identity import engine_version
from evenhand.engines.planning import blocks
from evenhand.engines.sender import Sender
from evenhand.engines.spec import EngineOptions, Spec, split_base_url
from evenhand.engines.wire import redact
from evenhand.errors import EngineError
from evenhand.records import Response

__all__ = ["HttpEngine", "open_http", "open_openai"]

_OPENAI = "https://api.openai.com/v1"
_BLOCK = 16
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
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
    """Takes the query, which may hold a key, out of the URLs that httpx logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                value.copy_with(query=None) if isinstance(value, httpx.URL) else value for value in record.args
            )
        return True


_NO_QUERY = _NoQuery()


class HttpEngine:
    """A model behind an endpoint. It generates text only: such endpoints do not tell the probability of a given text.

    The key lives in this object alone; it is in no repr, log, identity, error or cache.
    """

    verbs: frozenset[Verb] = frozenset({"generate"})
    cache_unit: ClassVar[str] = "request"

    def __init__(self, spec: str, base_url: str, query: str, model: str, key: str, options: EngineOptions):
        self.spec, self.base_url, self.model, self.options = spec, base_url, model, options
        self._query, self._key = query, key
        self._fingerprints: set[str] = set()
        logging.getLogger("httpx").addFilter(_NO_QUERY)

    def __repr__(self) -> str:
        return f"HttpEngine({self.spec!r} at {self.base_url!r})"

    def _client_settings(self) -> dict[str, Any]:
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

    @cached_property
    def _identity(self) -> Identity:
        with httpx.Client(**self._client_settings()) as client:
            entry = model_entry(client, self.base_url, self.model, lambda text: redact(text, self._secrets))
        return Identity(
            spec=self.spec,
            weights=f"served:{self.model}",
            engine=engine_version("http"),
            extra={"base_url": self.base_url, "model": self.model, "served": entry},
        )

    @property
    def _secrets(self) -> tuple[str, ...]:
        return (self._key, self._query, *(value for _, value in parse_qsl(self._query)))

    def identity(self) -> Identity:
        """What the endpoint tells of the model: URL, name, and its entry under ``/models``.

        A model replaced under the same name is seen only if the endpoint says so there. Raises EngineError where the
        endpoint refuses the key.
        """
        return self._identity

    def observed(self) -> dict[str, Any]:
        """What replies told beside text: the ``system_fingerprint`` values, several where a backend changed."""
        return {"system_fingerprints": sorted(self._fingerprints)}

    def plan(self, requests: Sequence[Request], sampling: Sampling) -> list[Batch]:
        """Blocks of 16 requests in the order of (item id, repetition)."""
        return blocks(requests, _BLOCK)

    def estimate(self, requests: Sequence[Request], sampling: Sampling) -> Estimate:
        """Calls, and prompt tokens at four characters a token and four tokens a message: approximate."""
        tokens = sum(
            -(-len(message.content) // _CHARACTERS_PER_TOKEN) + _TOKENS_PER_MESSAGE
            for request in requests
            for message in request.chat
        )
        return Estimate(len(requests), tokens, len(requests) * sampling.max_tokens, exact=False)

    def generate(
        self, batches: Sequence[Batch], sampling: Sampling, *, config: str
    ) -> Iterator[tuple[Batch, list[Response]]]:
        """Yield batches as they are completed.

        The first request goes alone: if nothing answers, or the key, address or model is refused, EngineError is
        raised before anything else is sent. Leaving the iterator early cancels what is in flight.
        """
        done: queue.SimpleQueue[tuple[Batch, list[Response]] | BaseException | None] = queue.SimpleQueue()
        started = threading.Event()
        handle: dict[str, Any] = {}

        async def work() -> None:
            handle["loop"], handle["task"] = asyncio.get_running_loop(), asyncio.current_task()
            started.set()
            async with httpx.AsyncClient(
                **self._client_settings(),
                limits=httpx.Limits(max_connections=self.options.concurrency),
            ) as client:
                sender = Sender(
                    client, self.base_url, self.model, sampling, config, self.options, self._secrets, self._fingerprints
                )
                await _complete(batches, sender, self.options.concurrency, done)

        def run() -> None:
            outcome: BaseException | None = None
            try:
                asyncio.run(work())
            except asyncio.CancelledError:
                pass
            except BaseExceptionGroup as group:
                outcome = _first(group)
            except BaseException as error:
                outcome = error
            finally:
                started.set()
                done.put(outcome)

        thread = threading.Thread(target=run, name="evenhand-http", daemon=True)
        thread.start()
        try:
            while (piece := done.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            started.wait()
            if thread.is_alive() and "task" in handle:
                handle["loop"].call_soon_threadsafe(handle["task"].cancel)
            thread.join()

    def close(self) -> None:
        """Nothing stays open between calls of `generate`."""


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the run, out of those that the workers raised."""
    known = group.subgroup(EngineError)
    error: BaseException = (known or group).exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _complete(batches: Sequence[Batch], sender: Sender, workers: int, done: Any) -> None:
    """Send every request once, at most ``workers`` at a time, and hand over each batch when its last reply is in."""
    results: list[list[Response | None]] = [[None] * len(batch.requests) for batch in batches]
    left = [len(batch.requests) for batch in batches]
    todo = iter([(b, r, request) for b, batch in enumerate(batches) for r, request in enumerate(batch.requests)])

    async def one(place: tuple[int, int, Request], *, first: bool = False) -> None:
        at, row, request = place
        results[at][row] = await sender.send(request, first=first)
        left[at] -= 1
        if not left[at]:
            done.put((batches[at], [response for response in results[at] if response is not None]))
            results[at] = []

    async def worker() -> None:
        for place in todo:
            await one(place)

    place = next(todo, None)
    if place is None:
        return
    await one(place, first=True)
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())
