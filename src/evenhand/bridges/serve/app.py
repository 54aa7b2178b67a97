"""`evenhand serve`: an OpenAI-compatible server for trying a local model with and without its TSDI correction.

For trying, not for production: one model, one process, a few requests at a time. Needs evenhand[serve] and evenhand[local].
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from evenhand.bridges.serve.generate import Piece, Work
from evenhand.bridges.serve.http import (
    bounded_protocol,
    error_reply,
    json_reply,
    read_within,
    unforeseen,
    unknown_address,
)
from evenhand.bridges.serve.model import ServedModel
from evenhand.bridges.serve.queue import Closed, Done, Event, Failed, Overloaded, Ticket, Worker
from evenhand.bridges.serve.replies import Reply
from evenhand.bridges.serve.wire import LOOPBACK, ApiError, ChatBody, CompletionBody, ServeConfig, read_body
from evenhand.errors import BadInput

Handler = Callable[[Request], Awaitable[Response]]


def create_app(model: ServedModel, *, key: str | None = None) -> Starlette:
    """The ASGI application.

    Parameters
    ----------
    model : what is served.
    key : what clients must send as ``Authorization: Bearer KEY``; None asks for nothing.
    """
    return _Server(model, key).app()


def listen(config: ServeConfig) -> socket.socket:
    """A socket bound to the address of the settings. Raises BadInput where it cannot be had."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((config.host, config.port))
    except OSError as error:
        found.close()
        raise BadInput(
            f"The address {config.host}:{config.port} cannot be used ({error.strerror or error}).",
            do="Choose another --port (0 takes a free one) or --host.",
        ) from None
    return found


def make_server(app: Starlette, config: ServeConfig) -> uvicorn.Server:
    """The HTTP server; run it with ``server.run(sockets=[listen(config)])``."""
    return uvicorn.Server(
        uvicorn.Config(
            app, http=bounded_protocol(config.header_timeout, config.connections),
            ws="none", loop="asyncio", lifespan="on", log_level="warning", access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=5,
        )
    )  # fmt: skip


class _Server:
    """The endpoints. Whatever a request does, it is answered with OpenAI's error object and the server lives."""

    def __init__(self, model: ServedModel, key: str | None):
        self.model, self.key, self.config = model, key, model.config
        self.worker: Worker | None = None

    def app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            self.worker = Worker(self.model.enter, active=self.config.active, queue=self.config.queue)
            yield
            await run_in_threadpool(self.worker.close)

        routes = [
            Route("/health", self._guarded(self._health, open_to_all=True), methods=["GET"]),
            Route("/v1/models", self._guarded(self._models), methods=["GET"]),
            Route("/v1/models/{name:path}", self._guarded(self._one_model), methods=["GET"]),
            Route("/v1/chat/completions", self._guarded(self._chat), methods=["POST"]),
            Route("/v1/completions", self._guarded(self._completion), methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {HTTPException: unknown_address}
        return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)

    def _guarded(self, handler: Handler, *, open_to_all: bool = False) -> Handler:
        async def guarded(request: Request) -> Response:
            try:
                self._check_host(request)
                if not open_to_all:
                    self._check_key(request)
                return await handler(request)
            except ApiError as error:
                return error_reply(error)
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception as error:
                return error_reply(unforeseen(error))

        return guarded

    def _check_host(self, request: Request) -> None:
        """A server for this machine alone answers under its own names alone, so that no web page can rebind to it."""
        host = request.headers.get("host", "").rpartition("]")
        name = (host[0] + host[1]).strip("[]") or host[2].partition(":")[0]
        if self.config.host in LOOPBACK and name.lower() not in LOOPBACK:
            raise ApiError(403, "This server answers at localhost alone.", code="forbidden_host")

    def _check_key(self, request: Request) -> None:
        if self.key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        fits = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.key.encode())
        if scheme.lower() != "bearer" or not fits:
            raise ApiError(401, "The API key is missing or wrong.", code="invalid_api_key")

    async def _health(self, request: Request) -> Response:
        return json_reply({"status": "ok"})

    async def _models(self, request: Request) -> Response:
        return json_reply({"object": "list", "data": [self._card()]})

    async def _one_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != self.model.name:
            raise ApiError(404, f"The model '{name[:200]}' is not here.", param="model", code="model_not_found")
        return json_reply(self._card())

    def _card(self) -> dict[str, Any]:
        return {"id": self.model.name, "object": "model", "created": 0, "owned_by": "evenhand"}

    async def _chat(self, request: Request) -> Response:
        body = read_body(ChatBody, await read_within(request, self.config.max_body))
        return await self._answer(request, body, await run_in_threadpool(self.model.chat, body))

    async def _completion(self, request: Request) -> Response:
        body = read_body(CompletionBody, await read_within(request, self.config.max_body))
        return await self._answer(request, body, await run_in_threadpool(self.model.completion, body))

    async def _answer(self, request: Request, body: ChatBody | CompletionBody, works: list[Work]) -> Response:
        work, model = works[0], self.model
        alpha = model.alpha_of(work)
        positions = max(0, model.length - work.position + 1) if alpha else 0
        reply = Reply(
            chat=isinstance(body, ChatBody),
            model=model.name,
            fingerprint=model.fingerprint,
            works=works,
            names=model.names,
            tsdi={"alpha": alpha, "first_position": work.position, "corrected_positions": positions},
            usage=bool(body.stream_options and body.stream_options.include_usage),
        )
        ticket, events = self._submit(works)
        if body.stream:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return _Stream(ticket, _sse(reply, events), media_type="text/event-stream", headers=headers)
        try:
            pieces = await _all(request, events)
        finally:
            ticket.cancel()
        return Response(status_code=499) if pieces is None else json_reply(await run_in_threadpool(reply.whole, pieces))

    def _submit(self, works: list[Work]) -> tuple[Ticket, asyncio.Queue[Event]]:
        assert self.worker is not None, "the application has started"
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def tell(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(events.put_nowait, event)

        ticket = Ticket(self.model.generate(works), tell)
        try:
            self.worker.submit(ticket)
        except Overloaded:
            raise ApiError(
                429, "Too many requests wait. Try again.", kind="rate_limit_error", code="overloaded"
            ) from None
        except Closed as error:
            raise unforeseen(error) from None
        return ticket, events


class _Stream(StreamingResponse):
    """A streamed answer; however it ends, even before its first byte, its ticket is cancelled."""

    def __init__(self, ticket: Ticket, content: AsyncIterator[bytes], **more: Any):
        super().__init__(content, **more)
        self._ticket = ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ticket.cancel()


async def _all(request: Request, events: asyncio.Queue[Event]) -> list[Piece] | None:
    """Every piece of an answer; None where the client went away first."""
    gone = asyncio.ensure_future(_disconnect(request))
    pieces: list[Piece] = []
    try:
        while True:
            following = asyncio.ensure_future(events.get())
            await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                return None
            event = following.result()
            if isinstance(event, Failed):
                raise unforeseen(event.error)
            if isinstance(event, Done):
                return pieces
            pieces.append(event)
    finally:
        gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _sse(reply: Reply, events: asyncio.Queue[Event]) -> AsyncIterator[bytes]:
    """Server-sent events. An error after the first byte is an event of its own, and the last."""
    for chunk in reply.opening():
        yield _event(chunk)
    while not isinstance(event := await events.get(), Done):
        if isinstance(event, Failed):
            yield _event(unforeseen(event.error).body())
            return
        for chunk in reply.chunks(event):
            yield _event(chunk)
    for chunk in reply.closing():
        yield _event(chunk)
    yield b"data: [DONE]\n\n"


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n\n"
