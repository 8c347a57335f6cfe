"""A forking process as its owner sees it: it is asked to start and kill workers, and tells ends.

What the process itself does is in `rush_core.launching.forking_process`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from rush_core.connection.fork import renew_in_child
from rush_core.launching.command import MODULE, NO_THREADS
from rush_core.launching.ends import WorkerEnd, end_of_process
from rush_core.launching.forking_messages import (
    Answer,
    Ended,
    Forked,
    Kill,
    Lines,
    NotForked,
    Start,
    Unsafe,
    encode,
)
from rush_core.launching.fresh import FreshProcess
from rush_core.supervised_process import SupervisedProcess

__all__ = ["ForkedProcess", "ForkingProcess"]

_KILLED = end_of_process(-signal.SIGKILL)


class ForkingProcess:
    """A process that forks workers of one loop, and ends with this process.

    It also ends when its last worker has ended in order: then nobody needs a replacement.

    Parameters
    ----------
    arguments : sequence of str
        Those of the command ``node``.
    environment : mapping of str to str
    out, err : file
        Take what is printed before the first worker is forked.
    on_unsafe : callable
        Called as ``on_unsafe(reason)``, before workers are started in another way, if the process
        cannot fork them.

    Raises
    ------
    OSError
        If the process cannot be started.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        out: IO[bytes],
        err: IO[bytes],
        on_unsafe: Callable[[str], object],
    ) -> None:
        self._on_unsafe = on_unsafe
        self._workers: dict[str, ForkedProcess] = {}  # those that have not ended
        self._lock = threading.RLock()
        self._accepts = True
        self._has_forked = False
        self._unsafe: str | None = None
        self._channel, others_end = socket.socketpair()
        with others_end:
            channel = others_end.fileno()
            command = [*MODULE, "node", *arguments, "--channel", str(channel)]
            self._process = SupervisedProcess(
                command,
                stdout=out,
                stderr=err,
                env={**NO_THREADS, **environment},
                pass_fds=[channel],
            )
        # A forked child of this process must not hide the end of this process.
        renew_in_child(self, ForkingProcess._close_channel)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        try:
            self._watching.start()
        except BaseException:
            self._process.kill()
            raise

    def start(self, worker: ForkedProcess, out: Path, err: Path) -> bool:
        """Ask for a worker; return False if this process takes no more."""
        with self._lock:
            if not self._accepts:
                return False
            self._workers[worker.worker_id] = worker
            self._send(Start(worker.worker_id, os.fsencode(out), os.fsencode(err)))
            return True

    def kill(self, worker: ForkedProcess) -> None:
        """Ask for SIGKILL to a worker, without waiting for the end."""
        with self._lock:
            worker.was_killed = True
            if worker.instead is not None:
                worker.instead.kill()
            elif self._has_forked or not all(w.was_killed for w in self._workers.values()):
                self._send(Kill(worker.worker_id))
            else:  # the import of the loop may take long, and nobody needs it
                self._process.kill()

    def drop_unforked(self) -> None:
        """Count workers as ended that were to be killed while the loop is still imported.

        They are killed as soon as they are forked.
        """
        with self._lock:
            if not self._has_forked:
                for worker in self._to_be_killed():
                    self._end(worker, _KILLED)

    def insist(self) -> None:
        """Kill the process and all its workers, if it does not carry out a kill."""
        with self._lock:
            if self._to_be_killed():
                self._process.kill()

    def has_ended(self, worker: ForkedProcess) -> bool:
        """Return whether a worker has ended."""
        with self._lock:
            if worker.instead is not None:
                return worker.instead.has_ended()
            return worker.worker_id not in self._workers

    def close(self) -> None:
        """End the process, and wait until it and its workers have ended."""
        with self._lock:
            self._accept_no_more()
        self._watching.join()

    def _to_be_killed(self) -> list[ForkedProcess]:
        return [worker for worker in self._workers.values() if worker.was_killed]

    def _close_channel(self) -> None:
        self._channel.close()

    def _accept_no_more(self) -> None:
        """Let the process end as soon as its workers have ended."""
        self._accepts = False
        with contextlib.suppress(OSError):  # it has ended
            self._channel.shutdown(socket.SHUT_WR)

    def _send(self, message: Start | Kill) -> None:
        # If the process has ended, the thread that watches it ends its workers.
        with contextlib.suppress(ConnectionError):
            self._channel.sendall(encode(message))

    def _watch(self) -> None:
        """Read what the process answers until it has ended; then end its workers."""
        lines: Lines[Answer] = Lines(Answer)
        with self._channel, contextlib.suppress(ConnectionError):  # it ended, and did not read all
            while received := self._channel.recv(65536):
                for answer in lines.split(received):
                    self._take(answer)
        code = self._process.wait()
        with self._lock:
            self._accepts = False
            for worker in list(self._workers.values()):
                if self._unsafe is None or worker.was_killed:
                    # Nothing is left of the process's children when it has ended.
                    self._end(worker, _KILLED if worker.is_forked else end_of_process(code))
                else:
                    self._start_fresh(worker)

    def _take(self, answer: Answer) -> None:
        with self._lock:
            if isinstance(answer, Unsafe):
                self._accepts = False
                self._unsafe = answer.reason
                self._on_unsafe(answer.reason)
                return
            self._has_forked = True
            worker = self._workers.get(answer.worker_id)
            if worker is None:
                return
            if isinstance(answer, Forked):
                worker.is_forked = True
                return
            if isinstance(answer, NotForked):
                self._end(worker, _not_started(answer.reason))
            if isinstance(answer, Ended):
                self._end(worker, end_of_process(answer.code))
                if not self._workers and answer.code == 0:
                    self._accept_no_more()

    def _start_fresh(self, worker: ForkedProcess) -> None:
        """Start a worker in another way."""
        try:
            worker.instead = worker.start_fresh()
        except OSError as error:
            self._end(worker, _not_started(str(error)))
        else:
            del self._workers[worker.worker_id]

    def _end(self, worker: ForkedProcess, end: WorkerEnd) -> None:
        """Note an end, and tell it in a thread of its own: the handling may take long."""
        del self._workers[worker.worker_id]
        threading.Thread(target=worker.on_end, args=(end,), daemon=True).start()


class ForkedProcess:
    """A worker process that a forking process starts, or a fresh one if that cannot fork.

    Parameters
    ----------
    forking : ForkingProcess
    worker_id : str
    on_end : callable
        Called as ``on_end(end)``, in a thread of its own, when the process has ended.
    start_fresh : callable
        Starts a fresh process instead; it calls `on_end`.

    Attributes
    ----------
    is_forked : bool
        Whether the process runs, or has run.
    was_killed : bool
        Whether it was to be killed.
    instead : FreshProcess or None
        The fresh process.
    """

    def __init__(
        self,
        forking: ForkingProcess,
        worker_id: str,
        on_end: Callable[[WorkerEnd], object],
        start_fresh: Callable[[], FreshProcess],
    ) -> None:
        self._forking = forking
        self.worker_id = worker_id
        self.on_end = on_end
        self.start_fresh = start_fresh
        self.is_forked = False
        self.was_killed = False
        self.instead: FreshProcess | None = None

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self._forking.has_ended(self)

    def kill(self) -> None:
        """Ask for SIGKILL, without waiting for the end."""
        self._forking.kill(self)


def _not_started(reason: str) -> WorkerEnd:
    return WorkerEnd(f"its process could not be started: {reason}", in_order=False)
