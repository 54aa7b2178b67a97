"""Sending requests until each is answered or has failed for good."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

from evenhand.engines.spec import EngineOptions
from evenhand.engines.transport import (
    ACCEPTED,
    NETWORK_ERRORS,
    RETRIED,
    BodyError,
    TooLong,
    backoff,
    network_fault,
    read_body_async,
    retry_after,
)
from evenhand.engines.wire import Dialect, WireError, error_text, filtered
from evenhand.errors import EngineError
from evenhand.records import implausible_count
from evenhand.redact import redact_field, redact_message, redact_row

_LOG = logging.getLogger(__name__)
_Batch = TypeVar("_Batch")
_Row = TypeVar("_Row")


class NoSuchAddress(EngineError):
    """The endpoint knows no such address or model (HTTP 404)."""


@dataclass(frozen=True, slots=True)
class Job(Generic[_Row]):
    """One request and what its reply means.

    ``path`` follows the base URL; ``name`` seeds the waits between tries. ``body`` makes the JSON to be sent, ``read`` the
    row of a reply (WireError: another try may help), ``failed`` the row of a reason, and ``blocked`` the row of a prompt
    that a content filter stopped.
    """

    path: str
    name: str
    body: Callable[[Dialect], bytes]
    read: Callable[[Any], _Row]
    failed: Callable[[str], _Row]
    blocked: Callable[[], _Row]


@dataclass(frozen=True, slots=True)
class _Again:
    """Another try may help: why, the wait that the server asked for, and whether nothing answered at all."""

    reason: str
    wait: float | None = None
    unreachable: bool = False
    free: bool = False


class Sender:
    """Sends requests of one run over one client; what one request learns of the endpoint serves all later ones.

    A Retry-After holds back every request, not only the one that received it. When as many rows in a row as there are
    connections found nothing that answers, the endpoint is taken as gone and the rows left fail at once.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        model: str,
        options: EngineOptions,
        fingerprints: set[str],
        reported: set[str] | None = None,
    ):
        self.client, self.base_url, self.model, self.options = client, base_url, model, options
        self.fingerprints = fingerprints
        self.reported = set[str]() if reported is None else reported
        """What was said once of the endpoint and need not be said again; an engine shares it among its senders."""
        self.dialect = Dialect()
        self._not_before = 0.0
        self._unreached = 0
        self._patience = max(5, options.concurrency)

    async def send(self, job: Job[_Row], *, first: bool = False) -> _Row:
        """The row of one request; a failed row, with its reason, after all tries.

        Raises EngineError where no request can succeed: key, address or model refused, quota spent, or, for the
        ``first`` request of a run, nothing that answers.
        """
        options = self.options
        draw = random.Random(job.name)
        loop = asyncio.get_running_loop()
        end = loop.time() + options.deadline
        attempt, last, unreachable = 0, "it was never sent", False
        while attempt < options.max_tries:
            if self._unreached >= self._patience:
                return job.failed(f"the endpoint no longer answers ({last})")
            attempt += 1
            try:
                async with asyncio.timeout_at(end):
                    if (hold := self._not_before - loop.time()) > 0:
                        await asyncio.sleep(hold)
                    outcome = await self._try(job)
            except TimeoutError:
                return job.failed(f"no answer within {options.deadline:g} s; last: {last}")
            if not isinstance(outcome, _Again):
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
                    return job.failed(f"{last}; the next try would be after the deadline of {options.deadline:g} s")
                await asyncio.sleep(wait)
        if unreachable:
            if first:
                raise EngineError(
                    f"Nothing answers at {self.base_url} ({last}). Check the address and that the server is running."
                )
            self._unreached += 1
        return job.failed(f"{last} ({attempt} tries)")

    async def _try(self, job: Job[_Row]) -> _Row | _Again:
        body = job.body(self.dialect)
        dialect_before = self.dialect.completion_tokens, frozenset(self.dialect.without)
        try:
            headers = {"Accept-Encoding": ACCEPTED}
            url = f"{self.base_url}/{job.path}"
            async with self.client.stream("POST", url, content=body, headers=headers) as reply:
                self._unreached = 0
                raw, fault = await _body_of(reply)
        except NETWORK_ERRORS as error:
            found = network_fault(error, self.options.timeout)
            return _Again(redact_message(found.reason), unreachable=found.unreachable)
        try:
            return self._read(job, reply, raw, fault, dialect_before)
        except RecursionError:
            return _Again("the reply is nested too deeply")

    def _read(
        self, job: Job[_Row], reply: httpx.Response, raw: bytes, fault: BodyError | None, known: tuple[bool, frozenset[str]]
    ) -> _Row | _Again:  # fmt: skip
        status = reply.status_code
        try:
            payload: Any = json.loads(raw) if fault is None else None
        except (ValueError, RecursionError):
            payload = None
        if status == 200:
            if isinstance(fault, TooLong):
                return job.failed(str(fault))
            if payload is None:
                return _Again(str(fault) if fault else "the reply is cut off or not JSON")
            try:
                row = redact_row(job.read(payload))
            except WireError as error:
                return _Again(redact_message(str(error)))
            self._note(payload)
            self._doubt(payload)
            return row
        message = error_text(payload, raw) if fault is None else str(fault)
        if status in (401, 403, 404):
            kind = NoSuchAddress if status == 404 else EngineError
            raise kind(_REFUSED[status].format(url=self.base_url, model=self.model, message=message))
        if status == 429 and "insufficient_quota" in message + json.dumps(payload):
            raise EngineError(f"{self.base_url}: the quota of this key is spent ({message}).")
        if filtered(payload):
            return job.blocked()
        if status in RETRIED or status >= 500:
            return _Again(f"HTTP {status}: {message}", retry_after(reply.headers.get("retry-after")))
        if status in (400, 422):
            now = self.dialect.completion_tokens, frozenset(self.dialect.without)
            if now != known:  # another request has learnt meanwhile
                return _Again(f"HTTP {status}: {message}", free=True)
            if learnt := self.dialect.learn(message):
                _LOG.warning("%s: %s.", self.base_url, learnt)
                return _Again(f"HTTP {status}: {message}", free=True)
        return job.failed(f"HTTP {status}: {message}")

    def _doubt(self, payload: Any) -> None:
        """Report once that the endpoint states token counts which no text can have."""
        wrong = implausible_count(payload.get("usage")) if isinstance(payload, dict) else ""
        if wrong and "usage" not in self.reported:
            self.reported.add("usage")
            _LOG.warning(
                "%s: a reply states an impossible token count (%s). Such counts are recorded as unknown.",
                self.base_url, wrong,
            )  # fmt: skip

    def _note(self, payload: Any) -> None:
        found = payload.get("system_fingerprint") if isinstance(payload, dict) else None
        found = redact_field(found) if isinstance(found, str) else None
        if found and found not in self.fingerprints:
            if self.fingerprints:
                _LOG.warning("%s: the backend changed during the run (system_fingerprint %s).", self.base_url, found)
            self.fingerprints.add(found)


async def _body_of(reply: httpx.Response) -> tuple[bytes, BodyError | None]:
    """The body of a reply, or why it cannot be read."""
    try:
        return await read_body_async(reply.aiter_raw(), reply.headers.get("content-encoding", "")), None
    except BodyError as fault:
        return b"", fault


_REFUSED = {
    401: "{url} refuses the key (HTTP 401: {message}). Set OPENAI_API_KEY for openai/MODEL, else EVENHAND_API_KEY.",
    403: "{url} forbids this (HTTP 403: {message}). Check that the key may use model '{model}'.",
    404: "{url} knows no such address or model (HTTP 404: {message}). Check the base URL (often it ends in /v1) and "
    "the model name '{model}'.",
}


def stream(
    batches: Sequence[_Batch],
    jobs: Callable[[_Batch], Sequence[Job[_Row]]],
    connect: Callable[[], AbstractAsyncContextManager[Sender]],
    workers: int,
) -> Iterator[tuple[_Batch, list[_Row]]]:
    """Yield each batch with the rows of its jobs, in their order, as soon as the last of them is in.

    At most ``workers`` requests are in flight. The first one goes alone: if nothing answers, or the key, address or model
    is refused, EngineError is raised before anything else is sent. ``jobs`` is asked once a batch, when its turn comes,
    in another thread. Leaving the iterator early cancels what is in flight.
    """
    done: queue.SimpleQueue[tuple[_Batch, list[_Row]] | BaseException | None] = queue.SimpleQueue()
    started = threading.Event()
    handle: dict[str, Any] = {}

    async def work() -> None:
        handle["loop"], handle["task"] = asyncio.get_running_loop(), asyncio.current_task()
        started.set()
        async with connect() as sender:
            await _complete(batches, jobs, sender, workers, done.put)

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
            with suppress(RuntimeError):  # the loop may have been closed since
                handle["loop"].call_soon_threadsafe(handle["task"].cancel)
        thread.join()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the run, out of those that the workers raised."""
    ours = group.subgroup(EngineError)
    error: BaseException = (ours or group).exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _complete(
    batches: Sequence[_Batch],
    jobs: Callable[[_Batch], Sequence[Job[_Row]]],
    sender: Sender,
    workers: int,
    hand_over: Callable[[tuple[_Batch, list[_Row]]], None],
) -> None:
    """Send every job once, and hand over each batch when its last reply is in."""
    results: dict[int, dict[int, _Row]] = {}
    left: dict[int, int] = {}

    def places() -> Iterator[tuple[int, int, Job[_Row]]]:
        for at, batch in enumerate(batches):
            wanted = jobs(batch)
            results[at], left[at] = {}, len(wanted)
            if not wanted:
                hand_over((batch, []))
            for row, job in enumerate(wanted):
                yield at, row, job

    async def one(place: tuple[int, int, Job[_Row]], *, first: bool = False) -> None:
        at, row, job = place
        results[at][row] = await sender.send(job, first=first)
        left[at] -= 1
        if not left[at]:
            rows = results.pop(at)
            hand_over((batches[at], [rows[index] for index in range(len(rows))]))

    async def worker() -> None:
        for place in todo:
            await one(place)

    todo = places()
    place = next(todo, None)
    if place is None:
        return
    await one(place, first=True)
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())
