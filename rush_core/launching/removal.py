"""The removal of workers from a network by a manager, and the list of those that it found lost."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from rush_core.connection.clock import ServerClock
from rush_core.connection.script import PATIENCE_S
from rush_core.kernel.workers import WorkerState
from rush_core.membership.registry import Registry

__all__ = ["Removal"]

_KILLED = "killed by the manager"

# A manager that kills its workers is about to end, and should not wait long for a server that
# cannot be reached.
_PATIENCE_WITH_KILLED_S = 5.0


class Removal:
    """Removes workers and keeps the ids of the lost ones until they are asked for.

    Parameters
    ----------
    registry : Registry
    clock : ServerClock
    """

    def __init__(self, registry: Registry, clock: ServerClock) -> None:
        self._registry = registry
        self._clock = clock
        self._own: set[str] = set()
        self._killed: set[str] = set()
        self._not_removed: dict[str, str] = {}  # ended, but not yet removed: the server was away
        self._lost: list[str] = []
        self._lock = threading.Lock()

    def add_own(self, worker_ids: Iterable[str]) -> None:
        """Note workers that this manager starts: once removed, they may not join any more."""
        self._own.update(worker_ids)

    def mark_killed(self, worker_ids: Iterable[str]) -> None:
        """Note workers that this manager is about to kill, so that they do not count as lost."""
        self._killed.update(worker_ids)

    def remove_killed(self, worker_id: str, *, in_haste: bool = False) -> None:
        """Remove a worker as killed; `in_haste`, give up soon if the server does not answer."""
        patience_s = _PATIENCE_WITH_KILLED_S if in_haste else PATIENCE_S
        self._remove(worker_id, WorkerState.KILLED, _KILLED, patience_s)

    def remove_ended(self, worker_id: str, how: str) -> None:
        """Remove a worker whose process or call has ended.

        If the removal fails, `find_lost` tries again.

        Raises
        ------
        RushError
            If the server cannot be reached or refuses.
        """
        self._not_removed[worker_id] = how
        killed = worker_id in self._killed
        self._remove_ended(worker_id, how, _PATIENCE_WITH_KILLED_S if killed else PATIENCE_S)

    def add_interrupted(self, worker_id: str) -> None:
        """Count a worker that a signal from outside stopped among the lost ones."""
        with self._lock:
            self._lost.append(worker_id)

    def was_killed(self, worker_id: str) -> bool:
        """Return whether this manager has killed, or is about to kill, a worker."""
        return worker_id in self._killed

    def find_lost(self, watched: Collection[str]) -> list[str]:
        """Remove workers whose heartbeat has expired; return those lost since the last call.

        Parameters
        ----------
        watched : collection of str
            Workers whose end this manager notices in another way.
        """
        for worker_id, how in list(self._not_removed.items()):
            self._remove_ended(worker_id, how, PATIENCE_S)
        for worker_id, beat in self._registry.find_silent().items():
            if worker_id in watched:
                continue
            reason = "its heartbeat expired"
            if self._registry.remove_silent(worker_id, beat, reason, self._clock.now()):
                with self._lock:
                    self._lost.append(worker_id)
        with self._lock:
            lost, self._lost = self._lost, []
        return lost

    def _remove_ended(self, worker_id: str, how: str, patience_s: float) -> None:
        """Remove a worker that has ended, as killed or as lost."""
        killed = worker_id in self._killed
        state = WorkerState.KILLED if killed else WorkerState.LOST
        reason = _KILLED if killed else how
        if self._remove(worker_id, state, reason, patience_s) and not killed:
            with self._lock:
                self._lost.append(worker_id)
        self._not_removed.pop(worker_id, None)

    def _remove(self, worker_id: str, state: WorkerState, reason: str, patience_s: float) -> bool:
        """Remove a worker; return whether it was registered until then."""
        is_own = worker_id in self._own
        remove = self._registry.remove_or_refuse if is_own else self._registry.remove
        return remove(worker_id, state, reason, self._clock.now(), patience_s)
