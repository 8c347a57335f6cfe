"""The workers that have joined the network of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rush_core import LoopFailedError, Network, WorkerInfo, WorkerState

__all__ = ["JoinedWorkers", "ended_by_error", "have_ended_within"]

_EXIT_WITHIN_S = 0.1  # how long to wait for the exit of workers that have left the network
_LEFT = (WorkerState.STOPPED, WorkerState.INTERRUPTED)


def have_ended_within(
    timeout_s: float, network: Network, worker_ids: Sequence[str] | None = None
) -> bool:
    """Wait until workers that this process started (None: all) have ended, also if they failed.

    The records of the workers tell why they ended; `EndOfRun` decides what that means for the run.
    """
    try:
        return network.join_workers(timeout_s, worker_ids=worker_ids)
    except LoopFailedError:
        return True


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

    def others_hold_trials(self) -> bool:
        """Tell whether a worker with a heartbeat runs a trial; one round trip.

        If no worker of this run is left, that is one of an earlier run or of another program. It
        ends its trial, or is found lost, and then its place in the budget is free.
        """
        self.fetch()
        return any(
            worker.ended_at is None and worker.heartbeat_s is not None and worker.task_keys
            for worker in self.all
        )

    def all_have_left(self) -> bool:
        """Tell whether no worker is registered, and those that left have exited; one round trip.

        Then a run that is about to end has nobody to wait for. Workers whose call has not begun,
        that have not joined, or that were lost cannot do anything for it. Closing the network ends
        them, cancels their calls, or refuses them.
        """
        if self.some_are_active():
            return False
        left = [worker.worker_id for worker in self.all if worker.state in _LEFT]
        return have_ended_within(_EXIT_WITHIN_S, self._network, left)

    def state_of(self, worker_id: str) -> WorkerState:
        """Return the state of a worker; killed if the network was reset since it joined."""
        states = {worker.worker_id: worker.state for worker in self.all}
        return states.get(worker_id, WorkerState.KILLED)


def ended_by_error(worker: WorkerInfo) -> bool:
    """Tell whether a worker left its network because its loop raised an error."""
    return worker.state is WorkerState.STOPPED and bool(worker.reason)
