"""A server on the loopback that answers requests with faulty replies, drawn by the seed for each request anew."""

from __future__ import annotations

import json
import random
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from torture_parts.asked import Asked, tag_of
from torture_parts.bodies import KINDS
from torture_parts.replies import BOMBS, JUDGED, TERMINAL, chat, http

_LONGEST_REQUEST = 4 << 20
Slow = Callable[[socket.socket, Asked], None]


def reset(connection: socket.socket, asked: Asked) -> None:
    """Break the connection off without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(connection: socket.socket, asked: Asked) -> None:
    """Answer nothing until the client gives up."""
    connection.settimeout(8.0)
    connection.recv(1)


def dripping(connection: socket.socket, asked: Asked) -> None:
    """Send a proper reply a few bytes at a time, and never all of it."""
    for at in range(0, 60, 3):
        connection.sendall(http(chat(asked))[at : at + 3])
        time.sleep(0.25)


def dripping_body(connection: socket.socket, asked: Asked) -> None:
    """Send the head at once and the body a byte at a time."""
    raw = http(chat(asked))
    at = raw.index(b"\r\n\r\n") + 4
    connection.sendall(raw[:at])
    for end in range(at, at + 20):
        connection.sendall(raw[end : end + 1])
        time.sleep(0.25)


def endless(connection: socket.socket, asked: Asked) -> None:
    """Send chunks of an answer that never ends (some 100 MB of it)."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1600):
        connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def late(connection: socket.socket, asked: Asked) -> None:
    """A proper reply after a second."""
    time.sleep(1.0)
    connection.sendall(http(chat(asked)))


def twice(connection: socket.socket, asked: Asked) -> None:
    """Two whole replies to one request, the second of them to nobody."""
    connection.sendall(http(chat(asked)) + http(chat(asked, "this answers nothing that was asked")))


SLOW: dict[str, Slow] = {
    "reset": reset, "silent": silent, "dripping": dripping, "dripping body": dripping_body, "endless": endless, "late": late,
    "answered twice": twice,
}  # fmt: skip


class FaultyServer:
    """A context manager. ``proper`` makes a good reply of a request's body; it is sent where no fault is drawn.

    ``calm`` switches every fault off; ``terminal`` and ``bombs`` are the numbers of such replies left to give.
    """

    def __init__(self, seed: str, key: str):
        self.seed, self.key = seed, key
        self.calm, self.terminal, self.bombs = False, 0, 0
        self.kinds: Counter[str] = Counter()
        self._turns: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> FaultyServer:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer.serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, request_queue_size, allow_reuse_address = True, 256, True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that has gone is no error of ours."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
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

    @property
    def faulty(self) -> int:
        """Faulty replies so far."""
        return sum(self.kinds.values())

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until a reply spoils it."""
        connection.settimeout(20.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (request := read_request(connection)) is not None:
            if not self.answer(connection, *request):
                return

    def answer(self, connection: socket.socket, path: str, raw: bytes) -> bool:
        """Answer one request; whether the connection can be used again."""
        if not raw:
            connection.sendall(
                http({"object": "list", "data": [{"id": "m", "created": 1, "owned_by": f"me {self.key}"}]})
            )
            return True
        body = json.loads(raw)
        messages = body.get("messages") or [{"content": body.get("prompt", "")}]
        prompt = str(messages[-1]["content"])
        judged = body.get("model") == "judge"
        asked = Asked(path, self.key, prompt, JUDGED if judged else f"Yes, {tag_of(prompt)} is a good answer.")
        kind = self.drawn(f"{body.get('model')}/{prompt}/{body.get('seed')}")
        if kind is None:
            connection.sendall(http(chat(asked)))
            return True
        if kind in SLOW:
            SLOW[kind](connection, asked)
            return False
        reply = (BOMBS.get(kind) or TERMINAL.get(kind) or KINDS[kind])(asked)
        connection.sendall(reply)
        return kind.startswith(
            ("status", "429", "is ", "count", "text", "ended", "form", "body", "key echoed in the answer")
        )

    def drawn(self, asked: str) -> str | None:
        """The fault of this turn of a request, or None for a proper reply: a few turns go wrong, then one is right."""
        with self._lock:
            turn = self._turns[asked]
            self._turns[asked] += 1
            draw = random.Random(f"{self.seed}/{asked}")
            faults = draw.choices((0, 1, 2, 3, 4, 7), (1, 4, 4, 3, 1, 1))[0]
            if self.calm or turn >= faults:
                return None
            draw = random.Random(f"{self.seed}/{asked}/{turn}")
            chance = draw.random()
            if self.terminal and chance < 0.02:
                self.terminal -= 1
                kind = draw.choice(tuple(TERMINAL))
            elif self.bombs and chance < 0.04:
                self.bombs -= 1
                kind = draw.choice(tuple(BOMBS))
            elif chance < 0.06:
                kind = draw.choice(tuple(SLOW))
            else:
                kind = draw.choice(tuple(KINDS))
                if kind in ("body 40 MiB", "header endless") and draw.random() < 0.8:
                    kind = "body empty"
            self.kinds[kind] += 1
            return kind


def read_request(connection: socket.socket) -> tuple[str, bytes] | None:
    """The path and the body of the next request; None where there is none."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece or len(data) > _LONGEST_REQUEST:
                return None
            data += piece
        top, _, rest = data.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = int(headers.get("content-length", "0"))
        while len(rest) < length:
            piece = connection.recv(65536)
            if not piece:
                return None
            rest += piece
    except (OSError, ValueError):
        return None
    return lines[0].split(" ")[1], rest[:length]
