"""HTTP of `evenhand serve`: bounds on headers, connections and bodies, and errors in the form of OpenAI."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from typing import Any, ClassVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from evenhand.bridges.serve.queue import Closed
from evenhand.bridges.serve.wire import ApiError
from evenhand.errors import EngineError

_LOG = logging.getLogger(__name__)
_BODY = b'{"error": {"message": "%s", "type": "%s", "param": null, "code": "%s"}}'
_SLOW = (b"408 Request Timeout", b"The request did not arrive in time.", b"invalid_request_error", b"request_timeout")
_FULL = (b"503 Service Unavailable", b"Too many open connections. Try again.", b"server_error", b"overloaded")


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 whose clients have ``header_seconds`` for each request's headers, all bytes together.

    uvicorn stops its only timer at the first byte, so a client that sends one header line a minute would hold its
    connection for ever. Here a timer runs whenever no request is being answered, from the first byte of the connection or
    of the next request on, and ends the connection with 408. A connection beyond ``most`` is answered with 503 and closed.
    """

    header_seconds: ClassVar[float] = 10.0
    most: ClassVar[int] = 512
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            _LOG.warning("A connection was refused: %d are open.", self.most)
            self._end(_FULL)
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes; once the headers are whole the timer stops."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Run the timer while headers are awaited; bytes that come meanwhile do not start it anew."""
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.header_seconds, self._expire)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._end(_SLOW if self.cycle is None else None)

    def _end(self, answer: tuple[bytes, ...] | None) -> None:
        """Close the connection with an error, or at once if it is too late for one."""
        if answer is not None:
            body = _BODY % answer[1:]
            head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            self.transport.write(head % (answer[0], len(body)) + body)
            self.transport.close()
        else:
            self.transport.abort()  # what is still to be sent may never be read


def bounded_protocol(header_seconds: float, most: int) -> type[asyncio.Protocol]:
    """A `BoundedProtocol` with these bounds: seconds for the headers of a request, and open connections."""
    bounds: dict[str, Any] = {"header_seconds": header_seconds, "most": most}
    return type("BoundedProtocol", (BoundedProtocol,), bounds)


_BODY_SECONDS = 30.0
_DRAINED = 16
"""An oversized body is read to its end, and dropped, up to this many times the limit: else the client, still sending,
would see a broken connection and not the answer."""


async def read_within(request: Request, most: int) -> bytes:
    """A request's body. Raises ApiError for one that is too large, too slow or not JSON by its own word."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "Send the body as Content-Type: application/json.", code="unsupported_media_type")
    size, parts = 0, list[bytes]()
    stated_length = request.headers.get("content-length", "")
    too_large = ApiError(413, f"The body has more than {most:,} bytes.", code="request_too_large")
    if stated_length.isdecimal() and int(stated_length) > _DRAINED * most:
        raise too_large
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > _DRAINED * most:
                    break
                if size <= most:
                    parts.append(part)
                else:
                    parts.clear()
    except TimeoutError:
        raise ApiError(408, "The body did not arrive in time.", code="request_timeout") from None
    if size > most:
        raise too_large
    return b"".join(parts)


def unforeseen(error: Exception) -> ApiError:
    """What a client sees of an error while its answer was made. Deliberate errors are shown as they are."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Closed):
        return ApiError(503, "The server is going down.", code="shutting_down")
    if isinstance(error, EngineError):
        return ApiError(500, str(error), code="engine_error")
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    # The error's own text may quote what a client wrote, so it is not logged.
    place = f"{frame.filename}:{frame.lineno}" if frame else "unknown place"
    _LOG.error("A request failed: %s at %s", type(error).__name__, place)
    return ApiError(500, "The server failed at this request.", code="internal_error")


async def unknown_address(request: Request, error: Exception) -> Response:
    """An unknown address or a wrong method."""
    assert isinstance(error, HTTPException), "registered for these alone"
    reply = error_reply(ApiError(error.status_code, f"{error.detail}.", code="unknown_url"))
    reply.headers.update(error.headers or {})
    return reply


def error_reply(error: ApiError) -> Response:
    """An error with its status and the headers that belong to it."""
    reply = json_reply(error.body(), error.status)
    if error.status == 401:
        reply.headers["WWW-Authenticate"] = "Bearer"
    if error.status == 429:
        reply.headers["Retry-After"] = "1"
    if error.status in (408, 413):
        reply.headers["Connection"] = "close"
    return reply


def json_reply(value: Any, status: int = 200) -> Response:
    """JSON in ASCII. Raises ValueError for NaN and infinity, which no other reader takes."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return Response(text.encode("ascii"), status_code=status, media_type="application/json")
