"""Clients that never finish their headers, or are too many, cannot keep others out: over real sockets, with a tiny app."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from evenhand.bridges.serve.app import listen, make_server
from evenhand.bridges.serve.wire import ServeConfig

LONG = 20.0
"""Seconds after which a wait has failed; no test takes that long unless it fails."""


@contextmanager
def serving(**bounds: Any) -> Iterator[SimpleNamespace]:
    async def hello(request: Request) -> Response:
        return PlainTextResponse("hello")

    async def held(request: Request) -> Response:
        while not release.is_set():
            await asyncio.sleep(0.01)
        return PlainTextResponse("held")

    release = threading.Event()
    routes = [Route("/", hello, methods=["GET", "POST"]), Route("/held", held)]
    config = ServeConfig(model="organism/sft", port=0, **bounds)
    bound = listen(config)
    server = make_server(Starlette(routes=routes), config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        port = bound.getsockname()[1]
        yield SimpleNamespace(port=port, url=f"http://127.0.0.1:{port}", server=server, release=release)
    finally:
        release.set()
        server.should_exit = True
        thread.join(30)
        bound.close()
    assert not thread.is_alive()


def dial(server: SimpleNamespace, data: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.port), timeout=LONG)
    made.sendall(data)
    return made


def rest(connection: socket.socket) -> bytes:
    """All that the server sends until it closes; the connection's time-out fails the test where it does not."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    connection.close()
    return b"".join(parts)


@pytest.mark.parametrize("begun", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n"])
def test_headers_that_never_end_are_timed_out(begun: bytes) -> None:
    with serving(header_timeout=0.3) as server:
        answer = rest(dial(server, begun))
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b'"code": "request_timeout"' in answer
        assert httpx.get(server.url).text == "hello"


def test_one_byte_at_a_time_does_not_start_the_time_anew() -> None:
    with serving(header_timeout=0.5) as server:
        slow = dial(server)
        slow.settimeout(0.05)
        sent, answer = 0, b""
        while not answer and sent < LONG / 0.05:
            try:
                slow.sendall(b"G")
                sent += 1
                answer = slow.recv(100)
            except TimeoutError:
                continue
            except OSError:
                break
        slow.close()
    assert 0 < sent < 100


def test_a_second_request_of_a_connection_is_timed_out_too() -> None:
    with serving(header_timeout=0.3) as server:
        connection = dial(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"hello" not in connection.recv(65536):
            pass
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert rest(connection) == b""


def test_a_body_that_trickles_after_its_answer_is_ended() -> None:
    with serving(header_timeout=0.3) as server:
        connection = dial(server, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        while b"hello" not in connection.recv(65536):
            pass
        connection.sendall(b"x")
        assert rest(connection) == b""


def test_a_long_answer_is_not_timed_out() -> None:
    with serving(header_timeout=0.2) as server:
        connection = dial(server, b"GET /held HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        for _ in range(3):  # three clients in turn are timed out while the first one waits for its answer
            assert rest(dial(server)).startswith(b"HTTP/1.1 408")
        server.release.set()
        assert rest(connection).endswith(b"held")


def test_connections_beyond_the_limit_are_refused_and_slow_ones_make_room() -> None:
    with serving(header_timeout=1.0, connections=3) as server:
        slow = [dial(server, b"GET / HTTP/1.1\r\n") for _ in range(3)]
        while len(server.server.server_state.connections) < 3:
            time.sleep(0.01)
        answer = rest(dial(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert [rest(each)[:12] for each in slow] == [b"HTTP/1.1 408"] * 3
        assert httpx.get(server.url).text == "hello"


def test_connections_are_used_again_one_after_the_other() -> None:
    with serving(header_timeout=0.5, connections=1) as server, httpx.Client(base_url=server.url) as client:
        assert [client.get("/").text for _ in range(20)] == ["hello"] * 20
        assert client.post("/", content=b"x" * 100_000).text == "hello"
