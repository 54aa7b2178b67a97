"""Faulty replies of an OpenAI-style endpoint, by kind: proper HTTP around odd bodies, and odd HTTP around proper bodies."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from torture_parts.asked import Asked

Maker = Callable[[Asked], bytes]
KINDS: dict[str, Maker] = {}
"""What a reply of each kind is on the wire. The connection is closed after it unless it is a whole message."""
TERMINAL: dict[str, Maker] = {}
"""Kinds that may end a run: a key, an address or a quota that is refused."""
JUDGED = '{"label": "answer", "hedged": false, "reason": "ok"}'
RETRY_AFTER = (
    "0", "0.05", "-1", "abc", "", "1e400", "nan", "inf", "-inf", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Foo 2015 07:28:00 GMT",
    "0, 0", "0x10", "1_0", " 0 ", "9" * 400, "Thu, 01 Jan 99999 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 -9999", "0;q=1", "+0.01",
)  # fmt: skip


def head(status: object = 200, version: str = "HTTP/1.1", **headers: str) -> bytes:
    """A status line and headers; ``content_type`` is written Content-Type."""
    lines = [
        f"{version} {status} Said",
        *(f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def http(body: Any, status: object = 200, **headers: str) -> bytes:
    """A whole reply; a body that is no bytes is written as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, content_type="application/json", content_length=str(len(raw)), **headers) + raw


def chat(asked: Asked, text: Any = None, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """A proper chat-completions reply to this request; ``more`` replaces its parts."""
    message = {"role": "assistant", "content": asked.text if text is None else text, **more.pop("message", {})}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    choices = [{"index": 0, "finish_reason": finish, "message": message}]
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage, **more}


def error(asked: Asked, status: int, message: Any = "it is said that this failed", **more: Any) -> bytes:
    """An error reply."""
    return http({"error": {"message": message, "type": "server_error", **more}}, status)


def kinds(prefix: str, values: dict[str, Maker]) -> None:
    """Enter kinds under a common prefix."""
    KINDS.update({f"{prefix} {name}": make for name, make in values.items()})


for _status in (400, 402, 408, 409, 410, 413, 418, 422, 425, 500, 501, 502, 503, 504, 511, 520, 529, 599):
    KINDS[f"status {_status}"] = lambda asked, status=_status: error(asked, status)  # type: ignore[misc]
for _value in RETRY_AFTER:
    KINDS[f"429 {_value[:30]!r}"] = lambda asked, value=_value: http(  # type: ignore[misc]
        {"error": {"message": "slow down"}}, 429, retry_after=value
    )
kinds(
    "status",
    {
        "204": lambda asked: head(204),
        "206": lambda asked: http(chat(asked), 206),
        "301 to itself": lambda asked: http({}, 301, location=asked.path),
        "302 elsewhere": lambda asked: http({}, 302, location=f"http://127.0.0.1:9/?k={asked.key}"),
        "307 without a place": lambda asked: http({}, 307),
        "304": lambda asked: head(304),
        "199": lambda asked: head(199),
        "1000": lambda asked: http(chat(asked), 1000),
        "no number": lambda asked: http(chat(asked), "OK"),
        "502 page": lambda asked: http(b"<html><body><h1>502 Bad Gateway</h1></body></html>", 502),
        "seed complaint": lambda asked: error(asked, 400, "Unrecognized request argument supplied: seed"),
        "max_tokens complaint": lambda asked: error(
            asked, 400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        ),
        "temperature complaint": lambda asked: error(asked, 400, "Unsupported value: 'temperature' does not support 1."),
        "system complaint": lambda asked: error(asked, 400, "System role not supported"),
        "error is a text": lambda asked: http({"error": "Content violates usage guidelines."}, 400),
        "error is a list": lambda asked: http({"error": [1, {"message": "x"}]}, 500),
        "error is deep": lambda asked: http(b'{"error":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 500),
        "message is a number": lambda asked: error(asked, 503, 17),
        "message is huge": lambda asked: error(asked, 500, "long " * 200_000),
        "message with escapes": lambda asked: error(asked, 500, "\x1b[31mred\x1b]0;owned\x07 \u202eback \x00"),
        "content filter": lambda asked: error(asked, 400, "filtered", code="content_filter"),
        "flag of a provider": lambda asked: error(asked, 400, "Content Exists Risk", code="invalid_request_error"),
        "flag in Chinese": lambda asked: error(asked, 400, "输入可能包含不当内容", type="data_inspection_failed"),
    },
)  # fmt: skip
kinds(
    "body",
    {
        "cut off": lambda asked: http(json.dumps(chat(asked)).encode()[:60]),
        "empty": lambda asked: http(b""),
        "page": lambda asked: http(b"<!doctype html><title>Welcome</title><script>alert(1)</script>"),
        "null": lambda asked: http(None),
        "number": lambda asked: http(7),
        "list": lambda asked: http([1, 2, 3]),
        "text": lambda asked: http("hello"),
        "NaN": lambda asked: http(b'{"choices": NaN}'),
        "infinite": lambda asked: http(b'{"choices": [], "usage": {"prompt_tokens": Infinity}}'),
        "deep": lambda asked: http(b"[" * 100_000),
        "deep and whole": lambda asked: http(
            json.dumps(chat(asked)).encode()[:-1] + b', "x":' + b"[" * 3_000 + b"]" * 3_000 + b"}"
        ),
        "5,000 digits": lambda asked: http(b'{"choices": ' + b"9" * 5_000 + b"}"),
        "two": lambda asked: http(json.dumps(chat(asked)).encode() * 2),
        "garbage after": lambda asked: http(json.dumps(chat(asked)).encode() + b"\0\0}"),
        "events": lambda asked: http(b"data: " + json.dumps(chat(asked)).encode() + b"\n\ndata: [DONE]\n\n"),
        "UTF-16": lambda asked: http(json.dumps(chat(asked)).encode("utf-16")),
        "byte order mark": lambda asked: http(b"\xef\xbb\xbf" + json.dumps(chat(asked)).encode()),
        "no UTF-8": lambda asked: http(json.dumps(chat(asked)).encode()[:-1] + b', "x": "\xff\xfe\xc3\x28"}'),
        "same key twice": lambda asked: http(json.dumps(chat(asked)).encode()[:-1] + b', "choices": []}'),
        "40 MiB": lambda asked: http(b'{"x": "' + b"a" * (40 << 20) + b'"}'),
    },
)  # fmt: skip
kinds(
    "header",
    {
        "length too long": lambda asked: head(content_length="5000") + json.dumps(chat(asked)).encode(),
        "length too short": lambda asked: head(content_length="20", connection="close") + json.dumps(chat(asked)).encode(),
        "length negative": lambda asked: head(content_length="-5") + json.dumps(chat(asked)).encode(),
        "length no number": lambda asked: head(content_length="many") + json.dumps(chat(asked)).encode(),
        "length huge": lambda asked: head(content_length="9" * 30) + json.dumps(chat(asked)).encode(),
        "two lengths": lambda asked: head(content_length="5") + b"Content-Length: 10\r\n\r\n" + b"{}",
        "length and chunks": lambda asked: head(content_length="5", transfer_encoding="chunked") + b"2\r\n{}\r\n0\r\n\r\n",
        "chunk size garbage": lambda asked: head(transfer_encoding="chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
        "chunk size huge": lambda asked: head(transfer_encoding="chunked") + b"f" * 40 + b"\r\n{}\r\n0\r\n\r\n",
        "chunks cut off": lambda asked: head(transfer_encoding="chunked") + b"40\r\n{",
        "chunk trailer garbage": lambda asked: head(transfer_encoding="chunked") + b"2\r\n{}\r\n0\r\n\0\xff no colon\r\n\r\n",
        "transfer unknown": lambda asked: head(transfer_encoding="rot13") + json.dumps(chat(asked)).encode(),
        "HTTP/1.0": lambda asked: head(version="HTTP/1.0") + json.dumps(chat(asked)).encode(),
        "HTTP/0.9": lambda asked: json.dumps(chat(asked)).encode(),
        "HTTP/2": lambda asked: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/9.9": lambda asked: head(version="HTTP/9.9") + json.dumps(chat(asked)).encode(),
        "TLS alert": lambda asked: b"\x15\x03\x01\x00\x02\x02\x46",
        "SSH": lambda asked: b"SSH-2.0-OpenSSH_9.6\r\n",
        "no colon": lambda asked: b"HTTP/1.1 200 OK\r\nthis is no header\r\n\r\n{}",
        "NUL": lambda asked: b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\n\r\n{}",
        "no ASCII": lambda asked: http(chat(asked), x_note="\xfc\xe9\xff"),
        "bare line feeds": lambda asked: http(chat(asked)).replace(b"\r\n", b"\n"),
        "1 MB": lambda asked: http(chat(asked), x_long="a" * 1_000_000),
        "5,000": lambda asked: b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5_000 + b"\r\n{}",
        "endless": lambda asked: b"HTTP/1.1 200 OK\r\n" + b"X-A: b" * 400_000,
        "cut off": lambda asked: b"HTTP/1.1 200 OK\r\nContent-Le",
        "informational": lambda asked: b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + http(chat(asked)),
        "switching": lambda asked: head(101, upgrade="websocket", connection="upgrade"),
        "cookies": lambda asked: http(chat(asked), set_cookie=f"k={'v' * 5000}; Domain=.example.org"),
        "type of a page": lambda asked: http(chat(asked)).replace(b"application/json", b"text/html; charset=nonsense"),
        "no reply": lambda asked: b"",
    },
)  # fmt: skip
kinds(
    "encoding",
    {
        "gzip on plain": lambda asked: http(chat(asked), content_encoding="gzip"),
        "deflate on plain": lambda asked: http(chat(asked), content_encoding="deflate"),
        "br on plain": lambda asked: http(chat(asked), content_encoding="br"),
        "zstd on plain": lambda asked: http(chat(asked), content_encoding="zstd"),
        "unknown": lambda asked: http(chat(asked), content_encoding="rot13"),
        "gzip": lambda asked: http(gzip.compress(json.dumps(chat(asked)).encode()), content_encoding="gzip"),
        "gzip cut off": lambda asked: http(gzip.compress(json.dumps(chat(asked)).encode())[:-30], content_encoding="gzip"),
        "gzip wrong sum": lambda asked: http(
            gzip.compress(json.dumps(chat(asked)).encode())[:-8] + b"\0" * 8, content_encoding="gzip"
        ),
        "gzip twice": lambda asked: http(
            gzip.compress(gzip.compress(json.dumps(chat(asked)).encode())), content_encoding="gzip, gzip"
        ),
        "gzip 20 times": lambda asked: http(b"\x1f\x8b", content_encoding=", ".join(["gzip"] * 20)),
        "gzip on an error": lambda asked: http(b"down", 503, content_encoding="gzip"),
        "not said": lambda asked: http(zlib.compress(json.dumps(chat(asked)).encode())),
    },
)  # fmt: skip


@cache
def zeros(gibibytes: int) -> bytes:
    """A gzip stream of so many GiB of zeros, a thousandth of that long."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packer.compress(b"\0" * (1 << 20))
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"\0" * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + block * (1024 * gibibytes)


BOMBS: dict[str, Maker] = {
    "bomb": lambda asked: http(zeros(3), content_encoding="gzip"),
    "bomb on an error": lambda asked: http(zeros(3), 500, content_encoding="gzip"),
    "bomb in a bomb": lambda asked: http(gzip.compress(zeros(3), 6), content_encoding="gzip, gzip"),
}
"""Replies that grow to gigabytes; rare, since each is megabytes long."""
TERMINAL.update(
    {
        "401": lambda asked: error(asked, 401, f"Incorrect API key provided: {asked.key}"),
        "403": lambda asked: error(asked, 403, f"The key {asked.key} may not use this"),
        "403 flag": lambda asked: http(
            {"code": "denied", "error": "Content violates usage guidelines. Failed check: X"}, 403
        ),
        "404": lambda asked: error(asked, 404, "The model does not exist"),
        "402 credit": lambda asked: error(asked, 402, "Insufficient credits"),
        "429 quota": lambda asked: error(asked, 429, "You exceeded your quota", code="insufficient_quota"),
    }
)
