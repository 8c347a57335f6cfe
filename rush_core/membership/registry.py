"""What a manager does with workers: find silent ones, remove them, ask them to stop.

How a worker itself joins and leaves is in `rush_core.kernel.participation`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import PATIENCE_S, Script, retry_unreachable
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
        self._generation = connection.generation
        self._reachable_since = -math.inf

    def find_silent(self) -> list[str]:
        """Find registered workers whose last heartbeat has expired; two round trips.

        While the server is away, it receives no heartbeats, and they expire nevertheless. So a
        worker counts as silent only if the connection has held for as long as its heartbeats last.
        """
        watched = fetch_watched(self._connection, self._keys)
        if not watched:
            return []
        # One command for all workers: one for each would cost most of the time.
        read = pack((b"MGET", *map(self._keys.alive, watched)))
        beats = retry_unreachable(lambda: self._connection.execute(read))
        reachable_s = self._reachable_s()
        return [
            worker_id
            for (worker_id, heartbeat_s), beat in zip(watched.items(), beats, strict=True)
            if beat is None and heartbeat_s <= reachable_s
        ]

    def remove_silent(self, worker_id: str, reason: str, at: float) -> bool:
        """Remove a lost worker, unless it has sent a heartbeat since it was found silent.

        Parameters
        ----------
        worker_id, reason : str
        at : float
            Seconds since 1970 by the server's clock.

        Returns
        -------
        bool
            False if the worker was not registered, or is alive after all.
        """
        return self._remove(
            "remove_silent_worker", worker_id, WorkerState.LOST, reason, at, PATIENCE_S
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
        reply = retry_unreachable(lambda: script.run(self._connection, *arguments), patience_s)
        return bool(reply != -1)

    def _reachable_s(self) -> float:
        """Return how long the connection is known to have held, seconds."""
        if self._connection.generation != self._generation:
            self._generation = self._connection.generation
            self._reachable_since = time.monotonic()
        return time.monotonic() - self._reachable_since
