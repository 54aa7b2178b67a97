"""Sending one request until it is answered or has failed for good."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from dataclasses import dataclass
from typing import Any

import httpx

from evenhand.engines.base import Request, Sampling
from evenhand.engines.retry import RETRIED, backoff, retry_after
from evenhand.engines.spec import EngineOptions
from evenhand.engines.wire import Dialect, WireError, error_text, filtered, read_reply, redact, request_body
from evenhand.errors import EngineError
from evenhand.records import Response

__all__ = ["Sender"]

_LOG = logging.getLogger(__name__)
_LONGEST_REPLY = 32 << 20


@dataclass(frozen=True, slots=True)
class _Again:
    """Another try may help: why, the wait that the server asked for, and whether nothing answered at all."""

    reason: str
    wait: float | None = None
    unreachable: bool = False
    free: bool = False


class Sender:
    """Sends requests of one run over one client; what one request learns of the endpoint serves all later ones.

    A Retry-After holds back every request, not only the one that was told. When as many rows in a row as there are
    connections found nothing that answers, the endpoint is taken as gone and the rows left fail at once.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        model: str,
        sampling: Sampling,
        config: str,
        options: EngineOptions,
        secrets: tuple[str, ...],
        fingerprints: set[str],
    ):
        self.client, self.base_url, self.model = client, base_url, model
        self.sampling, self.config, self.options = sampling, config, options
        self.secrets, self.fingerprints = secrets, fingerprints
        self.dialect = Dialect()
        self._not_before = 0.0
        self._unreached = 0
        self._patience = max(5, options.concurrency)

    async def send(self, request: Request, *, first: bool = False) -> Response:
        """The response to one request; a failed row, with its reason, after all tries.

        Raises EngineError where no request can succeed: key, address or model refused, quota spent, or, for the
        ``first`` request of a run, nothing that answers.
        """
        options = self.options
        draw = random.Random(f"{self.sampling.seed}/{request.item_id!r}/{request.repetition}")
        loop = asyncio.get_running_loop()
        end = loop.time() + options.deadline
        attempt, last, unreachable = 0, "it was never sent", False
        while attempt < options.max_tries:
            if self._unreached >= self._patience:
                return self._failed(request, f"the endpoint no longer answers ({last})")
            attempt += 1
            try:
                async with asyncio.timeout_at(end):
                    if (hold := self._not_before - loop.time()) > 0:
                        await asyncio.sleep(hold)
                    outcome = await self._try(request)
            except TimeoutError:
                return self._failed(request, f"no answer within {options.deadline:g} s; last: {last}")
            if isinstance(outcome, Response):
                self._unreached = 0
                return outcome
            last, unreachable = outcome.reason, outcome.unreachable
            if outcome.free:
                attempt -= 1
                continue
            if attempt < options.max_tries:
                wait = backoff(attempt, options.backoff, options.backoff_cap, draw)
                if outcome.wait is not None:
                    wait = outcome.wait or wait
                    if wait < options.deadline:  # one that asks for more fails its row, and each row finds out alone
                        self._not_before = max(self._not_before, loop.time() + outcome.wait)
                if loop.time() + wait >= end:
                    return self._failed(
                        request, f"{last}; the next try would be after the deadline of {options.deadline:g} s"
                    )
                await asyncio.sleep(wait)
        if unreachable:
            if first:
                raise EngineError(
                    f"Nothing answers at {self.base_url} ({last}). Check the address and that the server is running."
                )
            self._unreached += 1
        return self._failed(request, f"{last} ({attempt} tries)")

    async def _try(self, request: Request) -> Response | _Again:
        body = request_body(self.model, request, self.sampling, self.dialect)
        known = self.dialect.completion_tokens, frozenset(self.dialect.without)
        try:
            reply = await self.client.post(f"{self.base_url}/chat/completions", content=body)
        except httpx.TimeoutException as error:
            slow_connect = isinstance(error, httpx.ConnectTimeout)
            return _Again(f"time-out ({self.options.timeout:g} s)", unreachable=slow_connect)
        except (httpx.ConnectError, httpx.UnsupportedProtocol) as error:
            return _Again(f"connection refused or host not found: {self._hidden(str(error))}", unreachable=True)
        except httpx.TransportError as error:
            return _Again(f"connection broken: {self._hidden(str(error)) or type(error).__name__}")
        self._unreached = 0
        return self._read(request, reply, known)

    def _read(self, request: Request, reply: httpx.Response, known: tuple[bool, frozenset[str]]) -> Response | _Again:
        raw, status = reply.content, reply.status_code
        try:
            payload: Any = json.loads(raw) if len(raw) <= _LONGEST_REPLY else None
        except ValueError:
            payload = None
        if status == 200:
            if payload is None:
                return _Again("the reply is cut off, too long or not JSON")
            try:
                response = read_reply(payload, request, config=self.config)
            except WireError as error:
                return _Again(self._hidden(str(error)))
            self._note(payload)
            return response
        message = self._hidden(error_text(payload, raw))
        if status in (401, 403, 404):
            raise EngineError(_REFUSED[status].format(url=self.base_url, model=self.model, message=message))
        if status == 429 and "insufficient_quota" in message + json.dumps(payload):
            raise EngineError(f"{self.base_url}: the quota of this key is spent ({message}).")
        if filtered(payload):
            return Response(
                self.config,
                request.item_id,
                request.repetition,
                "",
                "content_filter",
                provider_refusal="content_filter",
            )
        if status in RETRIED or status >= 500:
            return _Again(f"HTTP {status}: {message}", retry_after(reply.headers.get("retry-after")))
        if status in (400, 422):
            now = self.dialect.completion_tokens, frozenset(self.dialect.without)
            if now != known:  # another request has learnt meanwhile
                return _Again(f"HTTP {status}: {message}", free=True)
            if learnt := self.dialect.learn(message):
                _LOG.warning("%s: %s.", self.base_url, learnt)
                return _Again(f"HTTP {status}: {message}", free=True)
        return self._failed(request, f"HTTP {status}: {message}")

    def _note(self, payload: dict[str, Any]) -> None:
        found = payload.get("system_fingerprint")
        if isinstance(found, str) and found and found not in self.fingerprints:
            if self.fingerprints:
                _LOG.warning("%s: the backend changed during the run (system_fingerprint %s).", self.base_url, found)
            self.fingerprints.add(found)

    def _hidden(self, text: str) -> str:
        return redact(text, self.secrets)

    def _failed(self, request: Request, reason: str) -> Response:
        return Response(self.config, request.item_id, request.repetition, "", "error", error=reason)


_REFUSED = {
    401: "{url} refuses the key (HTTP 401: {message}). Set OPENAI_API_KEY for openai/MODEL, else EVENHAND_API_KEY.",
    403: "{url} forbids this (HTTP 403: {message}). Check that the key may use model '{model}'.",
    404: "{url} knows no such address or model (HTTP 404: {message}). Check the base URL (often it ends in /v1) and "
    "the model name '{model}'.",
}
