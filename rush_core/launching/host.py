"""The workers of one network on one host, which a command starts and looks after.

The command is their manager: it replaces those that are lost, and ends when all have ended in
order. It may run on any number of hosts at the same time.
"""

from __future__ import annotations

import logging
import math
import secrets
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rush_core.connection.clock import ServerClock
from rush_core.connection.connection import Connection
from rush_core.errors import RushError, WorkersFailedError
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.workers import WorkerState, fetch_workers
from rush_core.keys import NetworkKeys
from rush_core.launching.host_events import HostEvents
from rush_core.launching.local import StartMethod
from rush_core.launching.room import check_room
from rush_core.launching.started_workers import StartedWorkers
from rush_core.membership.clients import remove_client
from rush_core.membership.registry import Registry

__all__ = ["Hosting", "run_workers"]

_logger = logging.getLogger(__name__)

# The command gives up if so many workers in a row end before they have joined.
_MOST_FAILED_STARTS = 3


@dataclass(frozen=True)
class Hosting:
    """What a host is asked to run.

    Parameters
    ----------
    n_workers : int
    loop_digest : str
    heartbeat : Heartbeat
    log_level : str
    log_folder : Path or None
        Where the output of the workers is kept; None for a temporary folder.
    start_method : str or None
    max_retries : int
        How often a task of a lost worker is queued again.
    grace_s : float
        How long running tasks may go on after a signal to the command, seconds.
    """

    n_workers: int
    loop_digest: str
    heartbeat: Heartbeat
    log_level: str
    log_folder: Path | None
    start_method: StartMethod | None
    max_retries: int
    grace_s: float


def run_workers(network_id: str, url: str, hosting: Hosting) -> int:
    """Run workers until all have ended in order, or a signal ends them; return the exit code.

    Raises
    ------
    ValueError
        If so many workers have no room.
    RushError
        If the server cannot be used.
    """
    connection = Connection(url)
    try:
        check_room(hosting.n_workers, connection)
        host = _Host(connection, NetworkKeys(network_id), hosting)
        try:
            with host.events.taking_signals():
                return host.run()
        finally:
            host.close()
    finally:
        connection.close()


class _Host:
    """Starts workers, and replaces them until they are no longer wanted.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    hosting : Hosting

    Attributes
    ----------
    events : HostEvents
    """

    def __init__(self, connection: Connection, keys: NetworkKeys, hosting: Hosting) -> None:
        self._connection = connection
        self._keys = keys
        self._hosting = hosting
        self._client_id = f"host-{secrets.token_hex(6)}"
        self._registry = Registry(connection, keys, hosting.max_retries)
        self.events = HostEvents()
        self._started = StartedWorkers(
            *(connection, keys, self._registry, ServerClock(connection), self._client_id),
            on_end=self.events.add_end,
        )
        self._left: set[str] = set()
        self._n_failed_starts = 0
        self._kill_at = math.inf  # by the monotonic clock, after a signal
        self._exit_code = 0

    def run(self) -> int:
        """Handle events until no worker is left; return the exit code."""
        self._start(self._hosting.n_workers)
        while self._left:
            left_s = None if self._kill_at == math.inf else max(self._kill_at - time.monotonic(), 0)
            events = self.events.wait(left_s)
            for event in events:
                if isinstance(event, signal.Signals):
                    self._take_signal()
                else:
                    self._take_end(event)
            if not events:
                self._kill()
        return self._exit_code

    def close(self) -> None:
        """Kill what is left, and remove the traces of this command."""
        self._started.close()
        with suppress(RushError):
            remove_client(self._connection, self._keys, self._client_id)

    def _start(self, n: int) -> None:
        hosting = self._hosting
        self._left.update(
            self._started.start_processes(
                n,
                hosting.loop_digest,
                hosting.heartbeat,
                hosting.log_folder,
                hosting.log_level,
                hosting.start_method,
            )
        )

    def _take_signal(self) -> None:
        """Let the workers end their tasks; at the second signal, kill them."""
        if self._kill_at != math.inf:
            self._kill()
            return
        self._kill_at = time.monotonic() + self._hosting.grace_s
        joined = {worker.worker_id for worker in fetch_workers(self._connection, self._keys)}
        self._registry.request_stop(self._left & joined)
        self._started.kill(list(self._left - joined))

    def _kill(self) -> None:
        self._kill_at = time.monotonic()
        self._started.kill(list(self._left))

    def _take_end(self, worker_id: str) -> None:
        """Replace a worker that has ended, if it was lost."""
        self._left.discard(worker_id)
        if self._kill_at == math.inf and self._is_to_be_replaced(worker_id):
            self._start(1)

    def _is_to_be_replaced(self, worker_id: str) -> bool:
        """Tell whether a worker was lost; at most five round trips."""
        if self._started.has_ended_in_order(worker_id):
            self._n_failed_starts = 0
            return False
        self._started.find_lost()  # in case that the server was away when the worker ended
        states = {w.worker_id: w.state for w in fetch_workers(self._connection, self._keys)}
        state = states.get(worker_id)
        if state is None:
            return self._may_try_again(worker_id)
        self._n_failed_starts = 0
        if state is WorkerState.STOPPED:  # its loop failed, which StartedWorkers has logged
            self._exit_code = 1
        return state in (WorkerState.LOST, WorkerState.INTERRUPTED)

    def _may_try_again(self, worker_id: str) -> bool:
        """Log why a worker has never joined; return whether another one may be started."""
        self._n_failed_starts += 1
        try:
            self._started.wait_until_joined(None, [worker_id], 0.0, lambda timeout_s: None)
        except (WorkersFailedError, TimeoutError) as error:
            _logger.error("%s", error)
        if self._n_failed_starts < _MOST_FAILED_STARTS:
            return True
        self._exit_code = 1
        return False
