"""What a manager does with workers: find silent ones, remove them, ask them to stop.

How a worker itself joins and leaves is in `rush_core.kernel.participation`.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Sequence

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import PATIENCE_S, Script, execute_all_on, retry_unreachable
from rush_core.kernel.workers import WorkerState, fetch_watched, removal
from rush_core.keys import NetworkKeys

__all__ = ["Registry"]


class Registry:
    """Finds, removes and stops the workers of a network.

    Each ``remove`` method is one round trip and atomic. The running tasks of the worker are queued
    again, or failed if they were lost too often. If several clients remove the same worker, one of
    them does it and the others get False.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    max_retries : int
        How often a task of a lost worker is queued again before it is failed.
    """

    def __init__(self, connection: Connection, keys: NetworkKeys, max_retries: int = 0) -> None:
        self._connection = connection
        self._keys = keys
        self._max_retries = max_retries
        self._request_stop = Script("request_stop", keys)
        # For each worker its last heartbeat, and when that was seen first by this process's clock.
        self._seen: dict[str, tuple[tuple[float, bytes], float]] = {}
        self._generation = connection.generation
        self._reachable_since = -math.inf

    def find_silent(self) -> dict[str, bytes]:
        """Find registered workers that have sent no heartbeat for too long; two round trips.

        The time is measured by this process's monotonic clock, from the call of this method that
        saw the last heartbeat first. So the first call finds nobody. While the server is away, it
        receives no heartbeats; a worker counts as silent only if the connection has held as long.

        Returns
        -------
        dict of str to bytes
            For each silent worker its last heartbeat, for `remove_silent`.
        """
        watched = fetch_watched(self._connection, self._keys)
        asked_at = time.monotonic()
        beats = self._read_beats(list(watched))
        read_at, reachable_since = time.monotonic(), self._reachable_from()
        seen, silent = {}, {}
        for (worker_id, (joined_at, expire_s)), beat in zip(watched.items(), beats, strict=True):
            mark = (joined_at, beat)  # a worker that came back counts anew
            before, since = self._seen.get(worker_id, (None, read_at))
            since = since if before == mark else read_at
            seen[worker_id] = mark, since
            if asked_at - max(since, reachable_since) >= expire_s:
                silent[worker_id] = beat
        self._seen = seen
        return silent

    def remove_silent(self, worker_id: str, beat: bytes, reason: str, at: float) -> bool:
        """Remove a lost worker, unless it has sent a heartbeat since it was found silent.

        Parameters
        ----------
        worker_id : str
        beat : bytes
            Its last heartbeat, as `find_silent` returned it.
        reason : str
        at : float
            Seconds since 1970 by the server's clock.

        Returns
        -------
        bool
            False if the worker was not registered, or is alive after all.
        """
        return self._remove(
            "remove_silent_worker", worker_id, WorkerState.LOST, reason, at, PATIENCE_S, beat
        )

    def remove(
        self,
        worker_id: str,
        state: WorkerState,
        reason: str,
        at: float,
        patience_s: float = PATIENCE_S,
    ) -> bool:
        """Remove a worker that was lost or killed.

        Parameters
        ----------
        worker_id : str
        state : WorkerState
            Lost or killed. Tasks of killed workers are not queued again.
        reason : str
        at : float
            Seconds since 1970 by the server's clock.
        patience_s : float
            How long to try if the server cannot be reached, seconds.

        Returns
        -------
        bool
            False if the worker was not registered.
        """
        return self._remove("remove_worker", worker_id, state, reason, at, patience_s)

    def remove_or_refuse(
        self,
        worker_id: str,
        state: WorkerState,
        reason: str,
        at: float,
        patience_s: float = PATIENCE_S,
    ) -> bool:
        """Remove a worker that this manager started; if it has not joined yet, it may not join.

        Its process may be about to register. Otherwise like `remove`.
        """
        return self._remove("remove_or_refuse_worker", worker_id, state, reason, at, patience_s)

    def find_unknown(self, worker_ids: Iterable[str]) -> list[str]:
        """Return those of some workers that have never joined; one round trip."""
        names = list(dict.fromkeys(worker_ids))
        reads = [pack((b"HEXISTS", self._keys.workers, name)) for name in names]
        call = functools.partial(execute_all_on, self._connection, (self._keys.workers,), reads)
        joined = retry_unreachable(call)
        return [name for name, has_joined in zip(names, joined, strict=True) if not has_joined]

    def request_stop(self, worker_ids: Iterable[str] | None) -> int:
        """Ask workers to stop after their task; one round trip.

        Parameters
        ----------
        worker_ids : iterable of str or None
            None for all, also those that join later.

        Returns
        -------
        int
            How many were asked that had not been asked before.
        """
        named = [] if worker_ids is None else [worker_id.encode() for worker_id in worker_ids]
        if worker_ids is not None and not named:
            return 0
        asked: int = retry_unreachable(lambda: self._request_stop.run(self._connection, *named))
        return asked

    def allow_workers(self) -> None:
        """Let workers that join later run; this ends `request_stop(None)`; one round trip."""
        retry_unreachable(lambda: self._connection.execute(pack((b"DEL", self._keys.stop))))

    def _remove(
        self,
        script_name: str,
        worker_id: str,
        state: WorkerState,
        reason: str,
        at: float,
        patience_s: float,
        *more: bytes,
    ) -> bool:
        arguments = removal(
            worker_id,
            state,
            at=at,
            reason=reason,
            task_error=f"worker {worker_id} was lost: {reason}",
            max_retries=self._max_retries if state is WorkerState.LOST else 0,
        )
        script = Script(script_name, self._keys, worker_id)
        reply = retry_unreachable(
            lambda: script.run(self._connection, *arguments, *more), patience_s
        )
        return bool(reply != -1)

    def _read_beats(self, worker_ids: Sequence[str]) -> list[bytes]:
        """Return the last heartbeat of each worker, empty if there is none; one round trip."""
        if not worker_ids:
            return []
        # One command for all workers: one for each would cost most of the time.
        read = pack((b"MGET", *map(self._keys.alive, worker_ids)))
        beats = retry_unreachable(lambda: self._connection.execute(read))
        return [beat or b"" for beat in beats]

    def _reachable_from(self) -> float:
        """Return since when the connection is known to have held, by the monotonic clock."""
        if self._connection.generation != self._generation:
            self._generation = self._connection.generation
            self._reachable_since = time.monotonic()
        return self._reachable_since
