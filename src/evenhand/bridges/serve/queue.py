"""One worker thread holds the model; a bounded number of requests wait for it, and a few take turns, a token each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from evenhand.bridges.serve.generate import Piece


class Overloaded(Exception):
    """As many requests wait as may."""


class Closed(Exception):
    """The server is going down."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing follows."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The request failed; the others go on."""

    error: Exception


Event = Piece | Done | Failed


@dataclass(slots=True, eq=False)
class Ticket:
    """A request in the queue. ``tell`` is called in the worker thread."""

    pieces: Iterator[Piece | None]
    tell: Callable[[Event], None]
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Stop after the token being drawn; nothing more is reported."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._cancelled.is_set()


class Worker:
    """Runs tickets in one thread.

    Parameters
    ----------
    enter : makes the context that everything runs in (inference mode, number of threads).
    active : tickets that take turns.
    queue : further tickets that may wait.
    """

    def __init__(self, enter: Callable[[], AbstractContextManager[object]], *, active: int, queue: int):
        self._enter, self._most, self._queue = enter, active, queue
        self._waiting: deque[Ticket] = deque()
        self._active: list[Ticket] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="evenhand-serve", daemon=True)
        self._thread.start()

    @property
    def load(self) -> tuple[int, int]:
        """Requests that are generated, and that wait."""
        with self._changed:
            return len(self._active), len(self._waiting)

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket. Raises Overloaded where no place is left, Closed after `close`."""
        with self._changed:
            if self._closing:
                raise Closed
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.cancelled)
            if len(self._active) + len(self._waiting) >= self._most + self._queue:
                raise Overloaded
            self._waiting.append(ticket)
            self._changed.notify()

    def close(self) -> None:
        """End the thread; open tickets are reported as failed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        with self._enter():
            while self._admit():
                for ticket in list(self._active):
                    if not self._step(ticket):
                        with self._changed:
                            self._active.remove(ticket)
        for ticket in (*self._active, *self._waiting):
            ticket.tell(Failed(Closed()))

    def _admit(self) -> bool:
        """Fill free places, waiting for work where there is none; False when it is time to end."""
        with self._changed:
            while not (self._active or self._waiting or self._closing):
                self._changed.wait()
            while self._waiting and len(self._active) < self._most:
                self._active.append(self._waiting.popleft())
            return not self._closing

    def _step(self, ticket: Ticket) -> bool:
        """One step of a ticket; False when it is through."""
        if ticket.cancelled:
            return False
        try:
            for piece in ticket.pieces:
                if piece is None:
                    return True
                ticket.tell(piece)
            ticket.tell(Done())
        except Exception as error:  # whatever one request meets, the others are served
            ticket.tell(Failed(error))
        return False
