"""The workers that one manager started: processes of this machine, and calls of executors."""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from rush_core.connection.clock import ServerClock
from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import PATIENCE_S
from rush_core.errors import LoopFailedError, RushError, WorkersFailedError
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.workers import WorkerState, fetch_workers
from rush_core.keys import NetworkKeys
from rush_core.launching.command import heartbeat_options
from rush_core.launching.ends import WorkerEnd
from rush_core.launching.local import Launch, LocalWorkers, StartMethod
from rush_core.launching.removal import Removal
from rush_core.launching.shipping import fetch_loop
from rush_core.launching.submitted import SubmittedWorkers
from rush_core.launching.worker_process import run_worker
from rush_core.membership.registry import Registry
from rush_core.servers.embedded import ends_with_this_process
from rush_core.terminal import printable

__all__ = ["StartedWorkers"]

_logger = logging.getLogger(__name__)

# How long one wait for a change lasts when the caller has set no time limit.
_LONG_WAIT_S = 3600.0


class StartedWorkers:
    """Starts the workers of one manager, waits for them and kills them.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    registry : Registry
    clock : ServerClock
    manager_id : str
        The client that is woken when one of the workers ends.
    on_end : callable, optional
        Called as ``on_end(worker_id)``, in a thread of its own, when the end of a worker has been
        handled.
    """

    def __init__(
        self,
        connection: Connection,
        keys: NetworkKeys,
        registry: Registry,
        clock: ServerClock,
        manager_id: str,
        *,
        on_end: Callable[[str], object] = lambda worker_id: None,
    ) -> None:
        self._tell_end = on_end
        self._connection = connection
        self._keys = keys
        self._manager_id = manager_id
        self._local = LocalWorkers(self._on_end)
        self._submitted = SubmittedWorkers(self._on_end)
        self._removal = Removal(registry, clock)
        self._failures: dict[str, LoopFailedError] = {}  # in the order in which they were found

    def start_processes(
        self,
        n: int,
        loop_digest: str,
        heartbeat: Heartbeat | None,
        log_folder: Path | None,
        log_level: str,
        start_method: StartMethod | None,
    ) -> list[str]:
        """Start worker processes on this machine; return their ids.

        Without a `heartbeat`, they have one if the network can outlive this process: another
        manager must be able to find them lost when this machine is lost.
        """
        worker_ids = self._new_ids(n)
        options = ["--loop", loop_digest, "--log-level", log_level]
        if heartbeat is None and not ends_with_this_process(self._connection.url):
            heartbeat = Heartbeat()
        if heartbeat is not None:
            options += heartbeat_options(heartbeat)
        launch = Launch(self._keys.network_id, self._connection.url, tuple(options), start_method)
        for worker_id in worker_ids:
            self._local.start(worker_id, launch, log_folder)
        return worker_ids

    def submit(
        self, executor: Executor, n: int, loop_digest: str, heartbeat: Heartbeat, log_level: str
    ) -> list[str]:
        """Start workers through an executor; return their ids.

        Raises
        ------
        WorkersFailedError
            If the executor refuses a call.
        """
        worker_ids = self._new_ids(n)
        for worker_id in worker_ids:
            run = functools.partial(
                run_worker,
                self._keys.network_id,
                url=self._connection.url,
                load=functools.partial(
                    fetch_loop, self._connection.url, self._keys.network_id, loop_digest, PATIENCE_S
                ),
                worker_id=worker_id,
                heartbeat=heartbeat,
                log_level=log_level,
                owns_process=False,
            )
            try:
                self._submitted.start(executor, worker_id, run)
            except Exception as error:
                raise WorkersFailedError(
                    f"the executor took no worker for network {self._keys.network_id!r}: "
                    f"{type(error).__name__}: {error}",
                    key=worker_id,
                ) from error
        return worker_ids

    def wait_until_joined(
        self,
        n: int | None,
        worker_ids: Sequence[str] | None,
        timeout_s: float | None,
        wait_for_change: Callable[[float], object],
    ) -> None:
        """Wait until workers have joined; see `Network.wait_for_workers`.

        ``wait_for_change(timeout_s)`` returns when a worker may have joined or ended.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wanted = set(worker_ids or ())
        if worker_ids is None and n is None:
            wanted = self.ids()
        while True:
            # Ends are read first: a short loop can join and end between the two reads.
            ended = {**self._local.ends.all, **self._submitted.ends.all}
            joined = {worker.worker_id for worker in fetch_workers(self._connection, self._keys)}
            if wanted <= joined and len(joined) >= (n or 0):
                return
            self._raise_if_never_joined(ended, joined, worker_ids)
            left_s = _LONG_WAIT_S if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(
                    f"waited {timeout_s:g} s for {n or len(wanted)} workers of network "
                    f"{self._keys.network_id!r}; {len(joined)} have joined"
                )
            wait_for_change(left_s)

    def join(self, timeout_s: float | None, worker_ids: Sequence[str] | None) -> bool:
        """Wait until workers (None: all that were started) have ended; return whether they have.

        Raises
        ------
        LoopFailedError
            If all have ended, and the loop of one of them failed.
        """
        began = time.monotonic()
        if not self._local.ends.wait(timeout_s, worker_ids):
            return False
        left_s = None if timeout_s is None else max(timeout_s + began - time.monotonic(), 0.0)
        if not self._submitted.ends.wait(left_s, worker_ids):
            return False
        for worker_id, failure in list(self._failures.items()):
            if worker_ids is None or worker_id in worker_ids:
                raise failure
        return True

    def ids(self) -> set[str]:
        """Return the ids of all workers that were started."""
        return {*self._local.started(), *self._submitted.started()}

    def has_ended_in_order(self, worker_id: str) -> bool:
        """Return whether a process of this machine has ended because its loop returned."""
        return self._local.ends.all[worker_id].in_order

    def kill(self, worker_ids: Sequence[str] | None) -> None:
        """Kill the processes of workers (None: all), and remove other workers from the network."""
        processes = [w for w in self._local.running() if worker_ids is None or w in worker_ids]
        self._removal.mark_killed(processes)
        self._local.kill(processes)
        calls = [w for w in self._submitted.running() if worker_ids is None or w in worker_ids]
        self._cancel(calls)
        workers = fetch_workers(self._connection, self._keys)
        joined = [w.worker_id for w in workers if w.ended_at is None]
        named = [w for w in joined if worker_ids is None or w in worker_ids]
        # The calls too: one that began and has not joined yet is refused when it tries to join.
        for worker_id in dict.fromkeys((*calls, *named)):
            self._removal.remove_killed(worker_id)

    def find_lost(self) -> list[str]:
        """Remove lost workers; return those found lost since the last call.

        A process of this manager is not lost while it runs, even if it is silent: what it evaluates
        may hold the interpreter's lock.
        """
        return self._removal.find_lost(self._local.watched())

    def forget(self) -> None:
        """Kill all workers that were started, and forget them."""
        self._removal.mark_killed(self._local.running())
        self._local.forget()
        calls = self._submitted.running()
        self._cancel(calls)
        with contextlib.suppress(RushError):  # if one removal fails, the next would fail too
            for worker_id in calls:
                self._removal.remove_killed(worker_id, in_haste=True)
        self._submitted.forget()
        self._failures.clear()

    def close(self) -> None:
        """Kill the workers: processes at once; calls end at their next call to the network."""
        self.forget()
        self._local.close()

    def _raise_if_never_joined(
        self, ended: dict[str, WorkerEnd], joined: set[str], worker_ids: Sequence[str] | None
    ) -> None:
        """Raise if one of `worker_ids` (None: any) has ended and never joined."""
        for worker_id, end in ended.items():
            if worker_id in joined or (worker_ids is not None and worker_id not in worker_ids):
                continue
            printed = printable(self._local.output.last_lines(worker_id), indent="")
            raise WorkersFailedError(
                f"worker {worker_id} ended before it joined network {self._keys.network_id!r}: "
                f"{end.how}" + (f". The last lines that it printed:\n{printed}" if printed else ""),
                key=worker_id,
            )

    def _cancel(self, calls: Sequence[str]) -> None:
        """Cancel calls of executors; some executors end even a call that runs."""
        self._removal.mark_killed(calls)
        self._submitted.cancel(calls)

    def _on_end(self, worker_id: str, end: WorkerEnd) -> None:
        try:
            self._handle_end(worker_id, end)
        finally:
            self._tell_end(worker_id)

    def _handle_end(self, worker_id: str, end: WorkerEnd) -> None:
        """Remove a worker that has ended, then wake the manager."""
        # If the server is away or out of memory, `find_lost` tries again.
        with contextlib.suppress(RushError):
            self._removal.remove_ended(worker_id, end.how)
            if not (end.in_order or self._removal.was_killed(worker_id)):
                self._look_into(worker_id)
            wake = self._keys.wake(self._manager_id)
            self._connection.execute_many(
                (
                    pack((b"RPUSH", wake, b"")),
                    pack((b"LTRIM", wake, 0, 0)),  # one entry is enough to wake
                    pack((b"PEXPIRE", wake, 60000)),
                )
            )

    def _look_into(self, worker_id: str) -> None:
        """Find out why a worker that did not end in order has left; one round trip."""
        workers = fetch_workers(self._connection, self._keys)
        worker = next((worker for worker in workers if worker.worker_id == worker_id), None)
        if worker is None:
            return
        if worker.state is WorkerState.INTERRUPTED:
            _logger.warning("a signal from outside stopped worker %s", worker_id)
            self._removal.add_interrupted(worker_id)
        elif worker.state is WorkerState.STOPPED and worker.reason:
            message = f"the loop of worker {worker_id} failed; {worker.reason}"
            if not self._failures:  # the others have probably failed for the same reason
                _logger.error("%s", message)
            self._failures[worker_id] = LoopFailedError(message, key=worker_id)

    def _new_ids(self, n: int) -> list[str]:
        """Make ids for workers that are about to be started."""
        worker_ids = [secrets.token_hex(4) for _ in range(n)]
        self._removal.add_own(worker_ids)
        return worker_ids
