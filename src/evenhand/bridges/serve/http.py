"""Reading a request's body within bounds, and telling errors in OpenAI's form."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from evenhand.bridges.serve.queue import Closed
from evenhand.bridges.serve.wire import ApiError
from evenhand.errors import EngineError

_LOG = logging.getLogger(__name__)
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
    told = request.headers.get("content-length", "")
    too_large = ApiError(413, f"The body has more than {most:,} bytes.", code="request_too_large")
    if told.isdecimal() and int(told) > _DRAINED * most:
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
    """What a client is told of an error while its answer was made. Errors made on purpose are told as they are."""
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
