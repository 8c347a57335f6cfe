"""What a worker process is: join, run the worker loop, leave whatever happens.

The first SIGTERM or SIGINT makes the worker stop after its task, the second at once; then the task
is failed on the way out. A worker started as a local child also ends when its manager does. Once
the worker has left, its process ends as every Python program does, but waits for nothing for long.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from rush_core.connection.connection import Connection
from rush_core.connection.script import PATIENCE_S, retry_unreachable
from rush_core.errors import WorkerInterrupt
from rush_core.keys import NetworkKeys
from rush_core.launching.shipping import load_loop
from rush_core.membership.heartbeat import Heartbeat
from rush_core.membership.log import NetworkLogHandler
from rush_core.owned_process import wait_for_owner
from rush_core.worker import Worker

__all__ = ["run_worker"]

_logger = logging.getLogger(__name__)

# How long an orphaned worker may take to fail its task before it is ended the hard way.
_LAST_WORDS_S = 5.0

# How long threads and processes that the loop left behind may go on when the worker has left: they
# may be writing something down, and who joins the workers waits for that.
_LEFT_BEHIND_S = 5.0


def run_worker(
    network_id: str,
    *,
    url: str,
    loop_digest: str,
    worker_id: str | None,
    heartbeat: Heartbeat | None,
    log_level: str,
    owns_process: bool = True,
    orphan_check: bool = False,
) -> None:
    """Fetch the shipped loop, join the network, run the loop and leave.

    Parameters
    ----------
    network_id, url : str
    loop_digest : str
        Which loop, as `store_loop` returned it.
    worker_id : str or None
    heartbeat : Heartbeat or None
        None if the manager watches this process itself.
    log_level : str
        The least severe log records that are sent to the network.
    owns_process : bool
        Whether this process is there for the worker alone, so that its signals and its end are the
        worker's; False inside an executor.
    orphan_check : bool
        Whether standard input is a pipe from the manager whose end means that it is gone.

    Raises
    ------
    LoopError
        If there is no such loop, or not one to be trusted; nothing was joined.
    """
    connection, keys = Connection(url), NetworkKeys(network_id)
    # A manager that names a worker has just been in touch with the server; a command line may have
    # a wrong password, and is to say so at once.
    patience_s = 0.0 if worker_id is None else PATIENCE_S
    try:
        loop, args, kwargs = retry_unreachable(
            lambda: load_loop(connection, keys, loop_digest), patience_s
        )
    finally:
        connection.close()
    signals = _Signals()
    worker = retry_unreachable(
        lambda: Worker(
            network_id,
            url=url,
            worker_id=worker_id,
            heartbeat=heartbeat,
            on_killed=signals.leave_now if owns_process else None,
        )
    )
    try:
        with worker, _logging_to(url, keys, worker.worker_id, log_level):
            if owns_process:
                signals.turn_into_stops(worker, orphan_check)
            try:
                loop(worker, *args, **kwargs)
            except Exception:
                _logger.exception("the worker loop failed")
                raise
    finally:
        if owns_process:
            _limit_end()


_root_lock = threading.Lock()
_root_levels: list[int] = []  # the root logger's own, then those of the workers that log here


@contextmanager
def _logging_to(url: str, keys: NetworkKeys, worker_id: str, level: str) -> Iterator[None]:
    """Send log records to the network meanwhile."""
    root = logging.getLogger()
    handler = NetworkLogHandler(url, keys, worker_id, level)
    here = threading.current_thread()
    if here is not threading.main_thread():  # one of several workers in this process
        handler.addFilter(lambda record: record.thread == here.ident)
    with _root_lock:
        if not _root_levels:
            _root_levels.append(root.level)
        _root_levels.append(handler.level)
        root.setLevel(min(_root_levels))
        root.addHandler(handler)
    try:
        yield
    finally:
        with _root_lock:
            root.removeHandler(handler)
            del _root_levels[1 + _root_levels[1:].index(handler.level)]
            root.setLevel(min(_root_levels))
            if len(_root_levels) == 1:
                _root_levels.clear()
        handler.close()


_STOPPING = (signal.SIGTERM, signal.SIGINT)


class _Signals:
    """Turns signals into stopping after the task, and then into leaving at once."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._leave_at_next = False

    def turn_into_stops(self, worker: Worker, orphan_check: bool) -> None:
        """Let signals to this process, and the end of its manager, stop `worker`."""
        self._worker = worker
        before = {number: signal.signal(number, self.handle) for number in _STOPPING}
        _spare_forked_children(before, self.handle)
        if orphan_check:
            threading.Thread(target=self.watch_manager, daemon=True).start()

    def handle(self, number: int, frame: FrameType | None) -> Any:
        if not self._leave_at_next:
            self._leave_at_next = True
            assert self._worker is not None
            self._worker.stop_after_task()
            return
        # From here on the worker is busy failing its task: nothing may interrupt that.
        for stopping in _STOPPING:
            signal.signal(stopping, signal.SIG_IGN)
        raise WorkerInterrupt(f"stopped at once by {signal.Signals(number).name}")

    def watch_manager(self) -> None:
        wait_for_owner()
        self.leave_now()

    def leave_now(self) -> None:
        """Make the main thread leave, from another one."""
        self._leave_at_next = True
        # To the main thread itself: only then a call that it waits in is interrupted.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(_LAST_WORDS_S)  # the main thread leaves meanwhile, unless foreign code holds it
        os._exit(1)


def _spare_forked_children(
    before: Mapping[signal.Signals, Any], handle: Callable[[int, FrameType | None], Any]
) -> None:
    """Let children that the loop forks handle signals as it was `before`: they are no workers.

    A process pool ends its children by SIGTERM and waits for them; one that took it for a wish to
    stop after its task would be waited for without end.
    """
    mask = threading.local()

    def hold_back() -> None:
        # A signal to a child that has not got as far as here would be lost.
        mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, before)

    def let_through() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.before)

    def let_through_in_child() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) == handle:  # the loop has not changed that itself
                signal.signal(number, handler)
        let_through()

    os.register_at_fork(
        before=hold_back, after_in_parent=let_through, after_in_child=let_through_in_child
    )


def _limit_end() -> None:
    """Let this process end now, without waiting long for what the loop left behind."""
    for number in _STOPPING:
        signal.signal(number, _wait_no_longer)
    threading.Thread(target=_hurry_end, daemon=True).start()


def _wait_no_longer(number: int, frame: FrameType | None) -> NoReturn:
    raise WorkerInterrupt("what the worker loop left behind is not waited for any longer")


def _hurry_end() -> None:
    # The interpreter waits for threads, then for processes: each signal ends one of the waits. What
    # is to be done at the exit is done in any case; it ends daemonic children and writes output.
    for _ in ("threads", "processes"):
        time.sleep(_LEFT_BEHIND_S)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(_LEFT_BEHIND_S)
    os._exit(1)
