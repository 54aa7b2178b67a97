"""An OpenAI-style server on the loopback that misbehaves on purpose, by a fixed script.

Each user message names its own faults: ``faults=429,500,cut item 7`` is answered with HTTP 429, then 500, then a
cut-off reply, and from then on properly. The server counts what it answered, so that a test can prove that no row was
lost or answered twice.
"""

from __future__ import annotations

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

__all__ = ["FaultServer", "ToyModel", "reply"]

_FAULTS = re.compile(r"faults=(\S+)")


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
