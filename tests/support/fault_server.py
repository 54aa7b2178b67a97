"""An OpenAI-style server on the loopback that misbehaves on purpose, by a fixed script.

Each user message names its own faults: ``faults=429,500,cut item 7`` is answered with HTTP 429, then 500, then a
cut-off reply, and from then on properly. The server counts what it answered, so that a test can prove that no row was
lost or answered twice.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

_FAULTS = re.compile(r"faults=(\S+)")
_BOMB = 1 << 30
"""Bytes that a bomb unpacks to."""


def _bomb(layers: int) -> bytes:
    """1 GiB of spaces, compressed once or more: about 1 MB, or a few kilobytes. Its end, never reached, is left out."""
    pack = zlib.compressobj(9, wbits=31)
    first = pack.compress(b" " * (1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    again = pack.compress(b" " * (1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)  # needs nothing before it, so it may repeat
    raw = first + again * ((_BOMB >> 20) - 1)
    for _ in range(1, layers):
        raw = gzip.compress(raw)
    return raw


class _Compressed(dict[str, tuple[str, bytes]]):
    """Replies by kind: the encoding that the header states, and the body. The bombs are made when first asked for."""

    def __missing__(self, kind: str) -> tuple[str, bytes]:
        layers = {"bomb": 1, "bombs": 2}[kind]
        self[kind] = ", ".join(["gzip"] * layers), _bomb(layers)
        return self[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in ("bomb", "bombs") or super().__contains__(kind)


_RAW_HEADS = {
    "nohttp": b"SSH-2.0-OpenSSH_9.6\r\n",
    "badstatus": b"HTTP/1.1 two hundred OK\r\n\r\n",
    "badheader": b"HTTP/1.1 200 OK\r\nna me: x\r\n: y\r\n\r\n",
    "badlength": b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n",
    "badchunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "badredirect": b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n",
    "oddredirect": b"HTTP/1.1 302 Found\r\nLocation: http://xn--\xff\xfe.\xc3\xa9/\r\nContent-Length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: gopher://elsewhere/\r\nContent-Length: 0\r\n\r\n",
    "longhead": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
}
"""Whole replies that are no HTTP, or odd HTTP."""
ODD_COUNTS: dict[str, Any] = {
    "huge": 10**30, "int32": 2**31, "negative": -1, "fraction": 7.5, "nan": math.nan, "infinite": math.inf, "text": "7",
    "nested": {"cached": 1}, "boolean": True,
}  # fmt: skip
"""Values of ``prompt_tokens`` that no table can hold, or that are no count."""


def reply(text: str | None, *, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    """A proper chat-completions reply."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "mock",
        "system_fingerprint": "fp_1",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def _deflated(raw: bytes, wbits: int) -> bytes:
    pack = zlib.compressobj(wbits=wbits)
    return pack.compress(raw) + pack.flush()


_PLAIN = json.dumps(reply("packed")).encode()
_GZIPPED = gzip.compress(_PLAIN)
COMPRESSED = _Compressed(
    {
        "gzip": ("gzip", _GZIPPED),
        "xgzip": ("X-GZIP", _GZIPPED),
        "deflate": ("deflate", _deflated(_PLAIN, 15)),
        "baredeflate": ("deflate", _deflated(_PLAIN, -15)),
        "twice": ("deflate, gzip", gzip.compress(zlib.compress(_PLAIN))),
        "members": ("gzip", gzip.compress(_PLAIN[:50]) + gzip.compress(_PLAIN[50:])),
        "identity": ("identity", _PLAIN),
        "notgzip": ("gzip", _PLAIN),
        "notdeflate": ("deflate", _PLAIN),
        "brotli": ("br", _PLAIN),
        "unknown": ("zip-of-mine", _PLAIN),
        "halfgzip": ("gzip", _GZIPPED[: len(_GZIPPED) // 2]),
        "layers": (", ".join(["gzip"] * 9), _GZIPPED),
        "badutf8": ("identity", b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'),
    }
)


@dataclass
class ToyModel:
    """A bigram model over 48 kinds of word, with exact log-probabilities, that answers ``/completions``.

    ``start`` is what stands before a prompt: ``none``, a ``shown`` or a ``hidden`` token. ``fault`` is what the server
    does wrong: ``next`` and ``previous`` give a token's log-probability to its neighbour, ``itself`` conditions a token on
    itself, ``silent`` leaves log-probabilities out, ``generated`` tells only those of new tokens.
    ``change`` may spoil the finished ``logprobs`` of a reply.
    """

    start: str = "none"
    fault: str = ""
    fewest: int = 0
    seed: int = 1
    change: Callable[[dict[str, Any]], None] | None = None
    kinds: int = 48

    def __post_init__(self) -> None:
        draw = random.Random(self.seed)
        self.table = []
        for _ in range(self.kinds + 1):  # the last row follows the beginning of sequence
            logits = [draw.gauss(0, 2) for _ in range(self.kinds)]
            norm = math.log(sum(map(math.exp, logits)))
            self.table.append([logit - norm for logit in logits])
        numbers = (f" w{n}" for n in range(10_000))
        self.words: dict[int, str] = {}
        while len(self.words) < self.kinds:
            word = next(numbers)
            self.words.setdefault(self.kind(word), word)

    def kind(self, token: str) -> int:
        return zlib.crc32(token.encode("utf-8", "surrogatepass")) % self.kinds

    def tokens(self, text: str) -> list[str]:
        return re.findall(r" ?\w+|\s|[^\w\s]", text)

    def log_p(self, before: str | None, token: str) -> float:
        return self.table[self.kinds if before is None else self.kind(before)][self.kind(token)]

    def __call__(self, body: dict[str, Any]) -> Any:
        if body["max_tokens"] < self.fewest:
            return 400, {"error": {"message": f"max_tokens must be at least {self.fewest}"}}
        prompt = self.tokens(body["prompt"])
        draw = random.Random(body["prompt"])
        tokens = list(prompt)
        for _ in range(body["max_tokens"]):
            tokens.append(
                self.words[draw.choices(range(self.kinds), map(math.exp, self.table[self.kind(tokens[-1])]))[0]]
            )
        values: list[float | None] = [None if self.start != "hidden" else self.log_p(None, tokens[0])]
        values += [self.log_p(before, token) for before, token in pairwise(tokens)]
        if self.start == "shown":
            tokens, values = ["<s>", *tokens], [None, self.log_p(None, tokens[0]), *values[1:]]
        if body["echo"] and self.fault != "generated":
            values = self._spoilt(tokens, values)
        else:
            new = len(tokens) - body["max_tokens"]
            tokens, values = tokens[new:], values[new:]
        told: dict[str, Any] = {"tokens": tokens, "token_logprobs": values}
        told["text_offset"] = [len("".join(tokens[:n])) for n in range(len(tokens))]
        if self.change and body["echo"]:
            self.change(told)
        return {"choices": [{"text": "".join(tokens), "logprobs": None if self.fault == "silent" else told}]}

    def _spoilt(self, tokens: list[str], values: list[float | None]) -> list[float | None]:
        if self.fault == "next":
            shown = self.start == "shown"
            return [*[None] * shown, *values[1 + shown :], self.log_p(tokens[-1], " w0")]
        if self.fault == "previous":
            return [None, self.log_p(None, tokens[0]), *values[1:-1]]
        if self.fault == "itself":
            return [None, *(self.log_p(token, token) for token in tokens[1:])]
        return values


@dataclass
class FaultServer:
    """A server to be used as a context manager.

    ``answer`` makes the proper reply of a request body: a dictionary (sent with status 200), or (status, dictionary,
    headers). ``models`` is what ``/models`` lists; ``also`` are headers of every reply.
    """

    answer: Callable[[dict[str, Any]], Any] = lambda body: reply("Hello. " + body["messages"][-1]["content"])
    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "mock", "created": 1, "owned_by": "me"}])
    slow: float = 0.6
    retry_after: str = "0"
    also: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.active = self.most_active = 0

    def __enter__(self) -> FaultServer:
        outer = self

        class Handler(_Handler):
            owner = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    owner: FaultServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.owner.paths.append(self.path)
        self._send(200, {"object": "list", "data": self.owner.models})

    def do_POST(self) -> None:
        owner = self.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        with owner.lock:
            owner.bodies.append(body)
            owner.headers.append(dict(self.headers.items()))
            owner.paths.append(self.path)
            key = f"{text}#{body.get('seed')}"
            turn = owner.seen[key]
            owner.seen[key] += 1
            owner.active += 1
            owner.most_active = max(owner.most_active, owner.active)
        found = _FAULTS.search(text)
        faults = found.group(1).split(",") if found else []
        try:
            if turn < len(faults):
                self._fault(faults[turn])
                return
            with owner.lock:
                owner.answered[key] += 1
            proper = owner.answer(body)
            self._send(*(proper if isinstance(proper, tuple) else (200, proper)))
        finally:
            with owner.lock:
                owner.active -= 1

    def _fault(self, kind: str) -> None:
        if kind == "slow":
            time.sleep(self.owner.slow)
            self._send(200, reply("too late"))
        elif kind == "cut":
            self._raw(200, json.dumps(reply("cut off")).encode()[:40])
        elif kind == "short":  # fewer bytes than announced
            self._raw(200, b'{"choices": [', announced=500)
        elif kind == "schema":
            self._send(200, {"choices": [{"text": "another protocol"}]})
        elif kind == "list":
            self._send(200, [1, 2, 3])
        elif kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            self.connection.close()
            self.close_connection = True
        elif kind in COMPRESSED:
            encoding, raw = COMPRESSED[kind]
            self._raw(200, raw, headers={"Content-Encoding": encoding})
        elif kind in _RAW_HEADS:
            self.wfile.write(_RAW_HEADS[kind])
            self.close_connection = True
        elif kind == "deep":
            self._raw(200, b'{"choices": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
        elif kind in ODD_COUNTS:
            proper = reply("miscounted")
            proper["usage"]["prompt_tokens"] = ODD_COUNTS[kind]
            self._send(200, proper)
        elif kind == "429":
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": self.owner.retry_after})
        else:
            self._send(int(kind), {"error": {"message": f"fault {kind}"}})

    def _send(self, status: int, payload: Any, headers: dict[str, str] | None = None) -> None:
        self._raw(status, json.dumps(payload).encode(), headers=headers)

    def _raw(
        self, status: int, raw: bytes, *, announced: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw) if announced is None else announced))
            for name, value in {**self.owner.also, **(headers or {})}.items():
                self.send_header(name, value)
            if announced is not None:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            self.wfile.write(raw)
        except OSError:  # the client has gone: its time was up
            self.close_connection = True
