"""What an exception of the HTTP client means for a request: nothing answered, or the reply was lost on its way."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from evenhand.engines.reply_body import BodyError

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
