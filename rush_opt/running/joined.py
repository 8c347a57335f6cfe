"""The workers that have joined the network of a run."""

from __future__ import annotations

from collections.abc import Iterable

from rush_core import Network, WorkerInfo, WorkerState

__all__ = ["JoinedWorkers", "ended_by_error"]

_EXIT_WITHIN_S = 0.1  # how long to wait for the exit of workers that have left the network


class JoinedWorkers:
    """All workers that ever joined a network, as they were last fetched.

    Parameters
    ----------
    network : Network

    Attributes
    ----------
    all : list of WorkerInfo
        In order of joining; proposers, too.
    proposer_ids : list of str
        Workers that propose for this run and evaluate nothing.
    began : float
        When the run began, seconds since 1970 by the server's clock.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.all: list[WorkerInfo] = []
        self.proposer_ids: list[str] = []
        self.began = network.now()

    def fetch(self) -> None:
        """Fetch all workers anew; one round trip."""
        self.all = self._network.fetch_workers()

    def fetch_if_unknown(self, worker_ids: Iterable[str]) -> None:
        """Fetch all workers anew if one of these is not known; at most one round trip."""
        if set(worker_ids) - {worker.worker_id for worker in self.all}:
            self.fetch()

    @property
    def evaluating(self) -> list[WorkerInfo]:
        """Those that are no proposers of this run."""
        return [worker for worker in self.all if worker.worker_id not in self.proposer_ids]

    def of_this_run(self) -> list[WorkerInfo]:
        """Return those of `evaluating` that had not left when the run began."""
        return [worker for worker in self.evaluating if self.was_active(worker)]

    def was_active(self, worker: WorkerInfo) -> bool:
        """Tell whether a worker had not left when the run began."""
        return worker.ended_at is None or worker.ended_at > self.began

    def some_are_active(self) -> bool:
        """Tell whether a worker is in the network; one round trip."""
        self.fetch()
        return any(worker.ended_at is None for worker in self.all)

    def all_have_left(self) -> bool:
        """Tell whether no worker is registered, and those that left have exited; one round trip.

        Then a run that is about to end has nobody to wait for. Workers whose call has not begun,
        that have not joined, or that were lost cannot do anything for it. Closing the network ends
        them, cancels their calls, or refuses them.
        """
        if self.some_are_active():
            return False
        left = [worker.worker_id for worker in self.all if worker.state is WorkerState.STOPPED]
        return self._network.join_workers(_EXIT_WITHIN_S, worker_ids=left)

    def state_of(self, worker_id: str) -> WorkerState:
        """Return the state of a worker; killed if the network was reset since it joined."""
        states = {worker.worker_id: worker.state for worker in self.all}
        return states.get(worker_id, WorkerState.KILLED)


def ended_by_error(worker: WorkerInfo) -> bool:
    """Tell whether a worker left its network because its loop raised an error."""
    return worker.state is WorkerState.STOPPED and bool(worker.reason)
