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
    Start,
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


def fork_workers(load: Callable[[], ShippedLoop]) -> ForkedWorker | None:
    """Fork workers until the owner of this process closes the pipe or ends.

    Each worker leaves by the return of this function, so that its process ends as any interpreter
    does.

    Parameters
    ----------
    load : callable
        Fetches and unpickles the loop. It is called once.

    Returns
    -------
    ForkedWorker or None
        None in the forking process itself, when its workers have ended.
    """
    forking = _Forking(take_owner_pipe(), _take_standard_output())
    # Objects that are made here stay: a search for garbage only takes time.
    gc.disable()
    if not forking.wait_for_first():
        return None
    loaded = _load(load)
    if (reason := reason_not_to_fork()) is not None:
        forking.answer(Unsafe(reason))
        return None
    worker_id = forking.run()
    return None if worker_id is None else ForkedWorker(worker_id, loaded)


class _Forking:
    """Carries out the requests that come through a pipe.

    Parameters
    ----------
    requests, answers : int
        Descriptors of the pipes from and to the owner.
    """

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._lines = Lines(Request)
        self._waiting: list[Request] = []

    def wait_for_first(self) -> bool:
        """Wait for requests; from now on, write into the files of the first worker.

        An owner finds there why the loop could not be imported.

        Returns
        -------
        bool
            False if there is none, because the owner has ended.
        """
        while not self._waiting:
            received = self._lines.read(self._requests)
            if received is None:
                return False
            self._waiting += received
        first = self._waiting[0]
        assert isinstance(first, Start)
        for path, standard in ((first.out, 1), (first.err, 2)):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(file, standard)
            os.close(file)
        write_lines_at_once()
        return True

    def run(self) -> str | None:
        """Fork, kill and reap; return in each worker its id, and here None at the end."""
        children = ForkedChildren([self._requests, self._answers])
        received: list[Request] | None = self._waiting
        while received is not None:
            for request in received:
                if isinstance(request, Kill):
                    children.kill(request.worker_id)
                elif self._fork(children, request):
                    return request.worker_id
            readable, _, _ = select.select([self._requests, children.signalled], [], [])
            if children.signalled in readable:
                for worker_id, code in children.reap().items():
                    self.answer(Ended(worker_id, code))
            received = []
            if self._requests in readable:
                requests = self._lines.read(self._requests)
                received = None if requests is None else list(requests)
        children.end(_LEAVING_TIMEOUT_S)
        return None

    def answer(self, message: Answer) -> None:
        """Send a message to the owner; if it has ended, the next request is the end of the file."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._answers, encode(message))

    def _fork(self, children: ForkedChildren, request: Start) -> bool:
        """Fork a worker; return whether this is the worker."""
        try:
            out, err = Path(os.fsdecode(request.out)), Path(os.fsdecode(request.err))
            pid = children.fork(request.worker_id, out, err)
        except OSError as error:
            self.answer(NotForked(request.worker_id, str(error)))
            return False
        if pid == 0:
            return True
        self.answer(Forked(request.worker_id, pid))
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


def _take_standard_output() -> int:
    """Return a new descriptor of the standard output, and let that lead to nowhere."""
    output = os.dup(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
    return output
