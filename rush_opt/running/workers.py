"""The workers of a run as its manager handles them: started, replaced, awaited."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence

from rush_core import Network, WorkerInfo, WorkersFailedError, WorkerState
from rush_opt.evaluation.plan import RunPlan
from rush_opt.running.joined import JoinedWorkers, ended_by_error, have_ended_within
from rush_opt.running.launchers import Launcher
from rush_opt.running.proposing import propose_trials

__all__ = ["Workers"]

logger = logging.getLogger(__name__)

# A run gives up if this many processes in a row that were to propose ended before they joined.
_MOST_PROPOSERS = 3

# Once the run is about to end, this is how often to look for workers that hold no trial and do not
# leave, seconds. Such a worker is killed at the second look. Its optimizer may compute without end.
_LOOK_EVERY_S = 5.0


class Workers:
    """The workers of a run, and the process that proposes for them if there is one.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    launcher : Launcher
        Starts the evaluating workers.
    joined : JoinedWorkers
    """

    def __init__(
        self, network: Network, plan: RunPlan, launcher: Launcher, joined: JoinedWorkers
    ) -> None:
        self._network = network
        self._plan = plan
        self._launcher = launcher
        self._joined = joined
        self._before: set[str] = set()  # those that had joined before the start
        self._started: set[str] = set()  # by this process, without those that were lost
        self._coming: set[str] = set()  # started, and not seen to join
        self._not_ended: set[str] = set()  # started, and not seen to end
        self._never_joined: WorkersFailedError | None = None  # of the first that ended before
        self._idle: set[str] = set()  # held no trial at the last look of `end_idle`
        self._look_at = math.inf

    def start(self) -> None:
        """Start all. They join later, and then a proposer is started: see `expect`."""
        self._joined.fetch()
        self._before = {worker.worker_id for worker in self._joined.all}
        self._expect(self._launcher.start(self._plan.n_workers))

    def find_failed(self) -> list[WorkerInfo]:
        """Return the workers whose loop ended by an error since the last call.

        One round trip if a worker that this process started has ended, else none.
        """
        ended = {w for w in self._not_ended if have_ended_within(0.0, self._network, [w])}
        if not ended:
            return []
        self._not_ended -= ended
        self._joined.fetch()
        return [w for w in self._joined.all if w.worker_id in ended and ended_by_error(w)]

    def count_own(self, worker_ids: Sequence[str]) -> int:
        """Count those of these workers that are of this run, not of an earlier one."""
        return len(set(worker_ids) - self._before)

    def replace(self, gone: Sequence[str]) -> None:
        """Start workers in place of lost and failed ones; and a proposer if it is gone.

        They may be of an earlier run: no more than the wanted number run at a time.
        """
        gone_ones = set(gone) - set(self._joined.proposer_ids)
        self._started -= gone_ones
        n_missing = self._plan.n_workers - self._count_running()
        if (n_new := min(len(gone_ones), n_missing)) > 0:
            self._expect(self._launcher.replace(n_new))
        if self._proposer_state() not in (None, WorkerState.RUNNING, WorkerState.STOPPING):
            self._start_proposer()

    def expect(self) -> None:
        """Look which of the started workers have joined, and warn if one ended before.

        A proposer is started, and waited for, after others have joined, so that their numbers come
        first: after all that are processes here, or after the first one elsewhere. Two round trips
        while a worker is expected, else none.
        """
        is_centralized = self._plan.optimizer.placement == "one process"
        needs_proposer = is_centralized and not self._joined.proposer_ids
        if not (self._coming or needs_proposer):
            return
        # Workers that were seen before have joined, also if the network is lost meanwhile.
        self._coming -= {worker.worker_id for worker in self._joined.all}
        self._joined.fetch()
        self._coming -= {worker.worker_id for worker in self._joined.all}
        self._drop_those_that_ended()
        some_joined = len(self._joined.all) > len(self._before)
        if needs_proposer and some_joined and (self._launcher.are_elsewhere or not self._coming):
            self._start_proposer()

    def end_idle(self) -> None:
        """Kill workers that hold no trial and do not leave; call this when the run is due.

        At most one round trip in some seconds, and more only if there are such workers.
        """
        now = time.monotonic()
        if now < self._look_at:
            if self._look_at == math.inf:
                self._look_at = now + _LOOK_EVERY_S
            return
        self._look_at = now + _LOOK_EVERY_S
        self._joined.fetch()
        active = [worker for worker in self._joined.all if worker.ended_at is None]
        mine = self._started.union(self._joined.proposer_ids)
        idle = {worker.worker_id for worker in active if not worker.task_keys} & mine
        stuck, self._idle = sorted(idle & self._idle), idle
        if stuck:
            logger.warning("the run is over: killing workers that do not leave: %s", stuck)
            self._network.stop_workers(stuck, kill=True)

    def proposer_has_ended(self) -> bool:
        """Tell whether a proposer has ended and needs no replacement; at most one round trip."""
        state = self._proposer_state()
        if state is WorkerState.STOPPED:  # a failed one is replaced
            last = self._joined.proposer_ids[-1]
            return not any(w.worker_id == last and ended_by_error(w) for w in self._joined.all)
        return state is WorkerState.KILLED

    def raise_if_never_joined(self) -> None:
        """Raise if workers ended before they joined, and no other worker stopped regularly.

        It is called when none is left; one round trip if workers ended so.

        Raises
        ------
        WorkersFailedError
        """
        if self._never_joined is None:
            return
        self._joined.fetch()
        if all(worker.state is not WorkerState.STOPPED for worker in self._joined.of_this_run()):
            raise self._never_joined

    def _expect(self, started: Sequence[str]) -> None:
        """Note workers that this process has just started."""
        self._started.update(started)
        self._coming.update(started)
        self._not_ended.update(started)

    def _count_running(self) -> int:
        """Count the workers that this process started and that have not ended or been lost."""
        return sum(not have_ended_within(0.0, self._network, [name]) for name in self._started)

    def _drop_those_that_ended(self) -> None:
        """Expect no worker any more that ended before it joined; warn about the first."""
        while self._coming:
            try:
                self._network.wait_for_workers(worker_ids=list(self._coming), timeout_s=0.0)
                return  # all have joined meanwhile
            except TimeoutError:
                return
            except WorkersFailedError as error:
                self._coming.remove(error.key or "")
                if self._never_joined is None:
                    self._never_joined = error
                    logger.warning("the run goes on without a worker: %s", error)

    def _start_proposer(self) -> None:
        """Start the process that proposes for all workers, and wait until it has joined.

        Raises
        ------
        WorkersFailedError
            If several processes, one after the other, ended before they joined.
        """
        for n_left in reversed(range(_MOST_PROPOSERS)):
            ids = self._network.start_workers(
                propose_trials,
                1,
                args=(self._plan,),
                log_folder=self._plan.log_folder,
                start_method=self._plan.start_method,
                is_default=False,
            )
            self._joined.proposer_ids += ids
            try:
                self._network.wait_for_workers(worker_ids=ids)
            except WorkersFailedError as error:
                self._joined.proposer_ids.remove(*ids)
                if n_left == 0:
                    raise
                logger.warning("the process that proposes is started again: %s", error)
            else:
                self._not_ended.update(ids)
                return

    def _proposer_state(self) -> WorkerState | None:
        """Return the state of the last proposer; None without one; at most one round trip."""
        if not self._joined.proposer_ids:
            return None
        self._joined.fetch()
        return self._joined.state_of(self._joined.proposer_ids[-1])
