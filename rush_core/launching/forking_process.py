"""The life of a forking process: it loads the loop once, then forks workers as its owner asks.

It has one thread, and waits in one place for requests and for the ends of its children. So nothing
of what a fork would break is in it: no lock is held, and no connection is open.

The owner's side is in `rush_core.launching.forking`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

from rush_core.launching.fork_safety import reason_not_to_fork
from rush_core.launching.forked_children import ForkedChildren
from rush_core.launching.forking_messages import (
    Answer,
    Ended,
    Forked,
    Kill,
    Lines,
    NotForked,
    Request,
    Unsafe,
    encode,
)
from rush_core.launching.output import write_lines_at_once
from rush_core.launching.shipping import ShippedLoop
from rush_core.owned_process import take_owner_pipe

__all__ = ["ForkedWorker", "fork_workers"]

# How long workers have to fail their tasks and to leave when the owner has ended.
_LEAVING_TIMEOUT_S = 0.5


class ForkedWorker:
    """What a process has that was forked to be a worker.

    Parameters
    ----------
    worker_id : str
    load : callable
        Returns the loop that the forking process has loaded, or raises the error of that.
    """

    def __init__(self, worker_id: str, load: Callable[[], ShippedLoop]) -> None:
        self.worker_id = worker_id
        self.load = load


def fork_workers(load: Callable[[], ShippedLoop], channel: int) -> ForkedWorker | None:
    """Fork workers until the owner of this process closes the channel or ends.

    Each worker leaves by the return of this function, so that its process ends as any interpreter
    does.

    Parameters
    ----------
    load : callable
        Fetches and unpickles the loop. It is called once.
    channel : int
        The descriptor of a socket: requests come from the owner, and answers go to it.

    Returns
    -------
    ForkedWorker or None
        None in the forking process itself, when its workers have ended.
    """
    os.set_inheritable(channel, False)
    forking = _Forking(take_owner_pipe(), socket.socket(fileno=channel))
    write_lines_at_once()
    # Objects that are made here stay: a search for garbage only takes time.
    gc.disable()
    loaded = _load(load)
    if (reason := reason_not_to_fork()) is not None:
        forking.answer(Unsafe(reason))
        return None
    worker_id = forking.run()
    return None if worker_id is None else ForkedWorker(worker_id, loaded)


class _Forking:
    """Carries out the requests of the owner.

    Parameters
    ----------
    pipe : int
        The pipe to the owner.
    channel : socket
        Requests come from it, answers go to it.
    """

    def __init__(self, pipe: int, channel: socket.socket) -> None:
        self._pipe = pipe
        self._channel = channel
        self._lines: Lines[Request] = Lines(Request)

    def run(self) -> str | None:
        """Fork, kill and reap; return in each worker its id, and here None at the end."""
        children = ForkedChildren([self._pipe, self._channel.fileno()])
        sources = [self._pipe, self._channel.fileno(), children.changed]
        while True:
            readable, _, _ = select.select(sources, [], [], children.seconds_left())
            for worker_id, code in children.take_changes().items():
                self.answer(Ended(worker_id, code))
            if self._pipe in readable:  # it is never written to: the owner has ended
                break
            if self._channel.fileno() in readable:
                if not (received := self._receive()):
                    break
                for request in self._lines.split(received):
                    if self._carry_out(request, children):
                        return request.worker_id
        children.end(_LEAVING_TIMEOUT_S)
        return None

    def answer(self, message: Answer) -> None:
        """Send a message to the owner; without effect if it has ended."""
        with contextlib.suppress(ConnectionError):
            self._channel.sendall(encode(message))

    def _receive(self) -> bytes:
        """Receive a part of the requests; nothing if the owner sends no more."""
        try:
            return self._channel.recv(65536)
        except ConnectionError:
            return b""

    def _carry_out(self, request: Request, children: ForkedChildren) -> bool:
        """Carry out one request; return whether this process is a new worker."""
        if isinstance(request, Kill):
            children.kill(request.worker_id)
            return False
        out, err = Path(os.fsdecode(request.out)), Path(os.fsdecode(request.err))
        try:
            if children.fork(request.worker_id, out, err):
                self._channel.detach()  # its descriptor is closed
                return True
        except OSError as error:
            self.answer(NotForked(request.worker_id, str(error)))
        else:
            self.answer(Forked(request.worker_id))
        return False


def _load(load: Callable[[], ShippedLoop]) -> Callable[[], ShippedLoop]:
    """Load the loop; return a function that returns it or raises the error."""
    try:
        loop = load()
    except Exception as error:
        failure = error

        def fail() -> ShippedLoop:
            raise failure

        return fail
    return lambda: loop
