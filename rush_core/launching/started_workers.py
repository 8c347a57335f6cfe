"""The workers that one manager started: launched, watched, removed when they end."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from rush_core.connection.clock import ServerClock
from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import PATIENCE_S
from rush_core.connection.url import environment_of, without_password
from rush_core.errors import RushError, WorkersFailedError
from rush_core.kernel.workers import WorkerState, fetch_workers
from rush_core.keys import NetworkKeys
from rush_core.launching.local import ONE_THREAD, LocalWorkers, SubmittedWorkers
from rush_core.launching.worker_process import run_worker
from rush_core.membership.heartbeat import Heartbeat
from rush_core.membership.registry import Registry

__all__ = ["Crew"]


class Crew:
    """Workers of one manager, and the removal of any worker that is lost.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    registry : Registry
    clock : ServerClock
    manager_id : str
        Under which the manager is woken when a worker of its own ends.
    """

    def __init__(
        self,
        connection: Connection,
        keys: NetworkKeys,
        registry: Registry,
        clock: ServerClock,
        manager_id: str,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._registry = registry
        self._clock = clock
        self._manager_id = manager_id
        self._processes = LocalWorkers(self._on_exit)
        self._submitted = SubmittedWorkers(self._on_exit)
        self._own: set[str] = set()
        self._killing: set[str] = set()
        self._not_removed: dict[str, str] = {}
        self._lost: list[str] = []
        self._lock = threading.Lock()

    def start_processes(
        self, n: int, loop_digest: str, log_folder: Path | None, log_level: str
    ) -> list[str]:
        """Start worker processes on this machine; return their ids."""
        worker_ids = self._new_ids(n)
        for worker_id in worker_ids:
            options = ["--loop", loop_digest, "--worker-id", worker_id, "--log-level", log_level]
            url, network_id = self._connection.url, self._keys.network_id
            self._processes.start(worker_id, network_id, url, options, log_folder)
        return worker_ids

    def submit(
        self, executor: Executor, n: int, loop_digest: str, heartbeat: Heartbeat, log_level: str
    ) -> list[str]:
        """Start workers through an executor; return their ids."""
        worker_ids = self._new_ids(n)
        for worker_id in worker_ids:
            run = functools.partial(
                run_worker,
                self._keys.network_id,
                url=self._connection.url,
                loop_digest=loop_digest,
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

    def command(self, loop_digest: str, heartbeat: Heartbeat, log_level: str) -> str:
        """Return a shell command that starts one worker anywhere, without any secret in it."""
        words = [sys.executable, "-m", "rush_core", "worker", self._keys.network_id]
        words += ["--loop", loop_digest, "--log-level", log_level]
        words += ["--heartbeat", str(heartbeat.period_s), str(heartbeat.expire_s)]
        words += ["--heartbeat-process"] if heartbeat.own_process else []
        url = self._connection.url
        environment = environment_of(url) | {"RUSH_REDIS_URL": without_password(url)} | ONE_THREAD
        settings = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
        return f"{' '.join(settings)} {shlex.join(words)}"

    def started(self) -> list[str]:
        """Return all workers that were started."""
        return [*self._processes.started(), *self._submitted.started()]

    def ends(self) -> dict[str, str]:
        """Return how those workers ended that have."""
        return {**self._processes.ends, **self._submitted.ends}

    def join(self, timeout_s: float | None, worker_ids: Sequence[str] | None) -> bool:
        """Wait for workers (None: all that were started) to end; tell whether they have."""
        began = time.monotonic()
        if not self._processes.wait(timeout_s, worker_ids):
            return False
        left = None if timeout_s is None else max(timeout_s + began - time.monotonic(), 0.0)
        return self._submitted.wait(left, worker_ids)

    def kill(self, worker_ids: Sequence[str] | None) -> None:
        """End worker processes at once (None: all), and remove the others from the network."""
        mine = [w for w in self._processes.running() if worker_ids is None or w in worker_ids]
        self._killing.update(mine)
        self._processes.kill(mine)
        calls = [w for w in self._submitted.running() if worker_ids is None or w in worker_ids]
        self._killing.update(calls)  # some executors end a call that runs when it is cancelled
        self._submitted.cancel(calls)
        workers = fetch_workers(self._connection, self._keys)
        joined = [w.worker_id for w in workers if w.ended_at is None]
        named = [w for w in joined if worker_ids is None or w in worker_ids]
        # A call that began and has not joined is refused when it does.
        for worker_id in dict.fromkeys((*calls, *named)):
            self._remove(worker_id, WorkerState.KILLED, _KILLED)

    def find_lost(self) -> list[str]:
        """Remove the workers that fell silent; return those found lost since the last call."""
        for worker_id, how in list(self._not_removed.items()):
            self._put_out(worker_id, how)
        for worker_id in self._registry.find_silent():
            reason = "it gave no sign of life in time"
            if self._registry.remove_silent(worker_id, reason, self._clock.now()):
                with self._lock:
                    self._lost.append(worker_id)
        with self._lock:
            lost, self._lost = self._lost, []
        return lost

    def raise_if_stillborn(self, ended: dict[str, str], joined: set[str]) -> None:
        """Raise if a worker of `ended` is not among those that ever joined."""
        for worker_id, how in ended.items():
            if worker_id not in joined:
                words = self._processes.last_words(worker_id)
                raise WorkersFailedError(
                    f"worker {worker_id} ended before it joined network "
                    f"{self._keys.network_id!r}: {how}"
                    + (f". Its last words:\n{words}" if words else ""),
                    key=worker_id,
                )

    def forget(self) -> None:
        """Kill all worker processes, and forget that there ever were workers."""
        self._killing.update(self._processes.running())
        self._processes.kill_all()
        calls = self._submitted.running()
        self._killing.update(calls)
        self._submitted.cancel(calls)
        with contextlib.suppress(RushError):  # what keeps one from being told keeps all
            for worker_id in calls:
                self._remove(worker_id, WorkerState.KILLED, _KILLED, _PATIENCE_WITH_KILLED_S)
        self._submitted.forget()

    def close(self) -> None:
        """Kill what still runs: processes at once, calls of an executor as soon as they notice."""
        self.forget()
        self._processes.close()

    def _on_exit(self, worker_id: str, how: str) -> None:
        # A server that is gone or out of memory cannot be told: `find_lost` tries again.
        killed = worker_id in self._killing
        with contextlib.suppress(RushError):
            self._not_removed[worker_id] = how
            self._put_out(worker_id, how, _PATIENCE_WITH_KILLED_S if killed else PATIENCE_S)
            wake = self._keys.wake(self._manager_id)
            self._connection.execute_many(
                (
                    pack((b"RPUSH", wake, b"")),
                    pack((b"LTRIM", wake, 0, 0)),  # one wake-up says it all
                    pack((b"PEXPIRE", wake, 60000)),
                )
            )

    def _put_out(self, worker_id: str, how: str, patience_s: float = PATIENCE_S) -> None:
        """Remove a worker that has ended."""
        killed = worker_id in self._killing
        state = WorkerState.KILLED if killed else WorkerState.LOST
        reason = _KILLED if killed else how
        if self._remove(worker_id, state, reason, patience_s) and not killed:
            with self._lock:
                self._lost.append(worker_id)
        self._not_removed.pop(worker_id, None)

    def _new_ids(self, n: int) -> list[str]:
        worker_ids = [secrets.token_hex(4) for _ in range(n)]
        self._own.update(worker_ids)
        return worker_ids

    def _remove(
        self, worker_id: str, state: WorkerState, reason: str, patience_s: float = PATIENCE_S
    ) -> bool:
        """Remove a worker; tell whether it took part until then."""
        is_own = worker_id in self._own
        remove = self._registry.remove_or_refuse if is_own else self._registry.remove
        return remove(worker_id, state, reason, self._clock.now(), patience_s)


_KILLED = "killed by the manager"
_PATIENCE_WITH_KILLED_S = 5.0  # who kills is leaving, most often, and should not linger
