"""The transport of `evenhand serve`: how long a client may take over its headers, and how many may be connected."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

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
