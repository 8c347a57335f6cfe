"""The life of a forking process: it loads the loop once, then forks workers as its owner asks.

It has one thread, and waits in one place for requests and for the ends of its children. So nothing
of what a fork would break is in it: no lock is held, and no connection is open.

The owner's side is in `rush_core.launching.forking`.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

from rush_core.kernel.shared_log import SharedLogs
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
from rush_core.launching.node_reader import ForkedReader, NodeReader
from rush_core.launching.output import write_lines_at_once
from rush_core.launching.shipping import ShippedLoop
from rush_core.launching.warm_up import WarmedLoop
from rush_core.owned_process import take_owner_pipe

__all__ = ["ForkedWorker", "fork_workers"]

_logger = logging.getLogger(__name__)

# How long workers have to fail their tasks and to leave when the owner has ended.
_LEAVING_TIMEOUT_S = 0.5


class ForkedWorker:
    """What a process has that was forked to be a worker.

    Parameters
    ----------
    worker_id : str
    load : callable
        Returns the loop that the forking process has loaded, or raises the error of that.
    shared : SharedLogs or None
        What the reader process reads for all workers; None if there is none.
    """

    def __init__(
        self, worker_id: str, load: Callable[[], ShippedLoop], shared: SharedLogs | None
    ) -> None:
        self.worker_id = worker_id
        self.load = load
        self.shared = shared


def fork_workers(
    load: Callable[[], ShippedLoop], channel: int, *, sends_heartbeats: bool
) -> ForkedWorker | ForkedReader | None:
    """Fork workers until the owner of this process closes the channel or ends.

    Each worker leaves by the return of this function, so that its process ends as any interpreter
    does. So does the reader process, which reads the logs for all workers.

    Parameters
    ----------
    load : callable
        Fetches and unpickles the loop. It is called once.
    channel : int
        The descriptor of a socket: requests come from the owner, and answers go to it.
    sends_heartbeats : bool
        Whether the workers have heartbeats, which the reader process sends.

    Returns
    -------
    ForkedWorker, ForkedReader or None
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
    shared = _make_shared_logs()
    forked = forking.run(shared, sends_heartbeats=sends_heartbeats)
    return ForkedWorker(forked, loaded, shared) if isinstance(forked, str) else forked


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

    def run(
        self, shared: SharedLogs | None, *, sends_heartbeats: bool
    ) -> str | ForkedReader | None:
        """Fork, kill and reap; return in each worker its id, and here None at the end."""
        children = ForkedChildren([self._pipe, self._channel.fileno()])
        reader = NodeReader(children, shared, sends_heartbeats=sends_heartbeats)
        sources = [self._pipe, self._channel.fileno(), children.changed]
        while True:
            left_s = _shorter(children.seconds_left(), reader.seconds_left())
            readable, _, _ = select.select([*sources, *reader.sources()], [], [], left_s)
            ended = children.take_changes()
            reader.take_end(ended)
            for worker_id, code in ended.items():
                self.answer(Ended(worker_id, code))
            if self._pipe in readable:  # it is never written to, so this is its end
                self._die_with_supervisor()
                break
            if self._channel.fileno() in readable:
                if not (received := self._receive()):
                    break
                for request in self._lines.split(received):
                    if self._carry_out(request, children):
                        return request.worker_id
            if (forked := reader.look_after()) is not None:
                self._channel.detach()
                return forked
        reader.close()
        children.end(_LEAVING_TIMEOUT_S)
        return None

    def answer(self, message: Answer) -> None:
        """Send a message to the owner; without effect if it has ended."""
        with contextlib.suppress(ConnectionError):
            self._channel.sendall(encode(message))

    def _die_with_supervisor(self) -> None:
        """Kill this process, and so its workers, unless the owner has ended.

        If the owner lives, the supervisor was killed, and Linux is about to kill this process. The
        workers must not begin to leave meanwhile, as if they were asked to.
        """
        poll = select.poll()
        poll.register(self._channel, select.POLLRDHUP)
        if not poll.poll(0):
            os.kill(os.getpid(), signal.SIGKILL)

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


def _shorter(left_s: float | None, other_s: float | None) -> float | None:
    """Return the shorter of two times to wait, each of which may be None for ever."""
    return min((s for s in (left_s, other_s) if s is not None), default=None)


def _make_shared_logs() -> SharedLogs | None:
    try:
        return SharedLogs()
    except OSError as error:
        _logger.warning("each worker reads the logs for itself: %s", error)
        return None


def _load(load: Callable[[], ShippedLoop]) -> Callable[[], ShippedLoop]:
    """Load the loop and warm up; return a function that returns the loop or raises the error."""
    try:
        loop = load()
    except Exception as error:
        failure = error

        def fail() -> ShippedLoop:
            raise failure

        return fail
    function, args, kwargs = loop
    if isinstance(function, WarmedLoop):
        try:
            function.warm_up(*args, **kwargs)
        except Exception:  # the loop itself reports what is wrong, if it is of consequence
            traceback.print_exc()
    return lambda: loop
