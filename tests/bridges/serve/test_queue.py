"""The worker thread and its bounded queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from evenhand.bridges.serve.generate import Piece
from evenhand.bridges.serve.queue import Closed, Done, Event, Failed, Overloaded, Ticket, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    found = Worker(nullcontext, active=2, queue=1)
    yield found
    found.close()


def pieces(name: int, count: int, log: list[int], gate: threading.Event) -> Iterator[Piece | None]:
    gate.wait(10)
    for _ in range(count):
        log.append(name)
        yield Piece(name, "x")
        yield None


class Listener:
    """What a ticket tells, and a wait for its end."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if not isinstance(event, Piece):
            self.ended.set()


def test_active_tickets_take_turns_and_others_wait(worker: Worker) -> None:
    log: list[int] = []
    gate, ears = threading.Event(), [Listener() for _ in range(3)]
    for name, ear in enumerate(ears):
        worker.submit(Ticket(pieces(name, 3, log, gate), ear))
    with pytest.raises(Overloaded):
        worker.submit(Ticket(pieces(3, 1, log, gate), Listener()))
    gate.set()
    assert all(ear.ended.wait(10) for ear in ears)
    assert sorted(log[:6]) == [0, 0, 0, 1, 1, 1]
    assert log[6:] == [2, 2, 2]
    assert {tuple(log[at : at + 2]) for at in (1, 3)} <= {(0, 1), (1, 0)}, "a step each"
    assert [len(ear.events) for ear in ears] == [4, 4, 4]
    assert all(isinstance(ear.events[-1], Done) for ear in ears)


def test_a_cancelled_ticket_stops_and_gives_its_place(worker: Worker) -> None:
    log: list[int] = []
    gate = threading.Event()
    tickets = [Ticket(pieces(name, 10**6, log, gate), lambda _: None) for name in range(3)]
    for ticket in tickets:
        worker.submit(ticket)
    for ticket in tickets:
        ticket.cancel()
    ear = Listener()
    worker.submit(Ticket(pieces(7, 2, log, gate), ear))
    gate.set()
    assert ear.ended.wait(10)
    assert log.count(7) == 2
    assert len(log) < 100


def test_a_failure_is_told_and_the_others_go_on(worker: Worker) -> None:
    def broken() -> Iterator[Any]:
        yield None
        raise RuntimeError("no memory")

    gate, bad, good = threading.Event(), Listener(), Listener()
    gate.set()
    worker.submit(Ticket(broken(), bad))
    worker.submit(Ticket(pieces(1, 2, [], gate), good))
    assert bad.ended.wait(10)
    assert good.ended.wait(10)
    assert isinstance(bad.events[-1], Failed)
    assert str(bad.events[-1].error) == "no memory"
    assert isinstance(good.events[-1], Done)


def test_closing_tells_those_who_wait() -> None:
    worker, ear, gate = Worker(nullcontext, active=1, queue=4), Listener(), threading.Event()
    gate.set()
    worker.submit(Ticket(pieces(0, 10**6, [], gate), ear))
    worker.close()
    assert isinstance(ear.events[-1], Failed)
    assert isinstance(ear.events[-1].error, Closed)
    with pytest.raises(Closed):
        worker.submit(Ticket(iter(()), ear))
