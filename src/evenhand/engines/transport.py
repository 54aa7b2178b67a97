"""Replies over HTTP: when to try again, what a network error means, and reading a body within bounds.

httpx decompresses each piece of a reply whole, so a few kilobytes may become gigabytes before anything can look at their
length. Here every layer of compression is undone piece by piece with a limit on what comes out.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses worth another try; other 5xx are tried again as well."""


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header (seconds, or an HTTP date) asks to wait; None if it says nothing."""
    if value is None or not value.strip():
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError, TypeError, IndexError):  # dates that no calendar holds
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None


def backoff(attempt: int, base: float, cap: float, draw: random.Random) -> float:
    """Seconds before the try after number ``attempt`` (1, 2, ...): uniform in [0, min(cap, base x 2^(attempt-1))]."""
    return draw.uniform(0.0, min(cap, base * 2.0 ** min(attempt - 1, 60)))


LONGEST = 32 << 20
"""Most bytes of a reply, after decompression."""
ACCEPTED = "gzip, deflate"
"""The encodings that are undone here, as the header ``Accept-Encoding`` states them."""
_MOST_LAYERS = 4
_ALIAS = {"x-gzip": "gzip"}


class BodyError(Exception):
    """A body that cannot be read; the message says why."""


class TooLong(BodyError):
    """A body of more bytes than the limit."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the reply is longer than {most / (1 << 20):g} MiB")


class _Layer:
    """Undoes one gzip or deflate encoding. deflate is zlib's format by the standard, without its header in some servers."""

    def __init__(self, kind: str):
        self.kind = kind
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if kind == "gzip" else None
        self._head = b""
        self._begun = False

    def feed(self, data: bytes, most: int) -> bytes:
        """What ``data`` decompresses to. Raises TooLong beyond ``most`` bytes, BodyError where it is not this encoding."""
        self._begun = self._begun or bool(data)
        if self._inflate is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return b""
            headed = data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if headed else -zlib.MAX_WBITS)
        out = bytearray()
        while data and not (self._inflate.eof and self.kind == "deflate"):
            try:
                out += self._inflate.decompress(data, most - len(out) + 1)
            except zlib.error:
                raise BodyError(f"the reply is not in the encoding that it states ({self.kind})") from None
            if len(out) > most:
                raise TooLong(most)
            data = self._inflate.unconsumed_tail
            if self._inflate.eof and self.kind == "gzip" and self._inflate.unused_data:  # a further member
                data = self._inflate.unused_data
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return bytes(out)

    @property
    def open(self) -> bool:
        """Whether more must follow."""
        return self._begun and (self._inflate is None or not self._inflate.eof)


class _Body:
    """Collects a body up to ``most`` bytes."""

    def __init__(self, encoding: str, most: int):
        kinds = [part.strip().lower() for part in encoding.split(",")]
        kinds = [_ALIAS.get(kind, kind) for kind in kinds if kind not in ("", "identity")]
        unknown = next((kind for kind in kinds if kind not in ("gzip", "deflate")), None)
        if unknown is not None:
            raise BodyError(f"the reply has the encoding {unknown[:40]!r}, which was not asked for")
        if len(kinds) > _MOST_LAYERS:
            raise BodyError(f"the reply is compressed {len(kinds)} times over")
        self._layers = [_Layer(kind) for kind in reversed(kinds)]
        self._most, self._held, self._taken = most, bytearray(), 0

    def feed(self, piece: bytes) -> None:
        """Take a piece as it came. Raises TooLong, BodyError."""
        self._taken += len(piece)
        if self._taken > self._most:
            raise TooLong(self._most)
        for layer in self._layers:
            piece = layer.feed(piece, self._most)
        if len(self._held) + len(piece) > self._most:
            raise TooLong(self._most)
        self._held += piece

    def whole(self) -> bytes:
        """The body. Raises BodyError where its compressed form has no end."""
        if any(layer.open for layer in self._layers):
            raise BodyError("the reply is cut off within its compressed form")
        return bytes(self._held)


def read_body(pieces: Iterable[bytes], encoding: str, most: int = LONGEST) -> bytes:
    """A body from its pieces as they came, by the value of ``Content-Encoding``; at most ``most`` bytes.

    Raises TooLong as soon as there are more, BodyError for an encoding that is unknown, wrong or cut off.
    """
    body = _Body(encoding, most)
    for piece in pieces:
        body.feed(piece)
    return body.whole()


async def read_body_async(pieces: AsyncIterable[bytes], encoding: str, most: int = LONGEST) -> bytes:
    """`read_body` for pieces that are awaited."""
    body = _Body(encoding, most)
    async for piece in pieces:
        body.feed(piece)
    return body.whole()


NETWORK_ERRORS = (
    httpx.HTTPError,
    httpx.StreamError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    BodyError,
    OSError,
    UnicodeError,
)
"""Every kind of exception that sending a request and reading its reply may raise through no fault of the program."""


@dataclass(frozen=True, slots=True)
class NetworkFault:
    """Why a request has no reply; ``unreachable`` says that nothing answered at all."""

    reason: str
    unreachable: bool = False


def network_fault(error: Exception, timeout: float) -> NetworkFault:
    """The fault behind an exception of `NETWORK_ERRORS`; ``timeout`` is the client's, in seconds."""
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return NetworkFault(f"time-out ({timeout:g} s)", unreachable=isinstance(error, httpx.ConnectTimeout))
    if isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol):
        return NetworkFault(f"connection refused or host not found: {error}", unreachable=True)
    if isinstance(error, httpx.ProxyError):
        return NetworkFault(f"the proxy refuses the connection: {text}", unreachable=True)
    if isinstance(error, httpx.InvalidURL):
        return NetworkFault(f"not a usable address: {text}", unreachable=True)
    if isinstance(error, BodyError):
        return NetworkFault(text)
    if isinstance(error, httpx.DecodingError | UnicodeError):
        return NetworkFault(f"the reply cannot be decoded: {text}")
    if isinstance(error, httpx.TooManyRedirects):
        return NetworkFault("the endpoint redirects without end")
    return NetworkFault(f"connection broken: {text}")
