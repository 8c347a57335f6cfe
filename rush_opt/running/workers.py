"""The workers of a run as its manager has them: started, replaced, seen to end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor

from rush_core import Network, WorkerInfo, WorkersFailedError, WorkerState
from rush_opt.evaluation.limits import LimitedLoop, Limits
from rush_opt.evaluation.runner import Problem
from rush_opt.optimizers import Centralized, Optimizer

__all__ = ["LONGEST_SLEEP_S", "LOOK_EVERY_S", "Workers", "took_part_after"]

logger = logging.getLogger(__name__)

# The manager looks by itself for what no event tells: rules about the time and a display of it,
# signs of life that expire, a launching that failed. Without these, there are only ends that the
# server could not be told.
LOOK_EVERY_S = 1.0
LONGEST_SLEEP_S = 10.0


class Workers:
    """The workers of a run, and the process that proposes for them if there is to be one.

    Parameters
    ----------
    network : Network
    problem : Problem
    optimizer : Optimizer
    n_workers : int
    limits : Limits, optional
        What each trial may take.
    executor : concurrent.futures.Executor, optional
        Where to run the workers instead of on this machine.
    launch : callable, optional
        What brings them to life instead: ``launch(command, n_workers)``. Nobody replaces those.

    Attributes
    ----------
    joined : list of WorkerInfo
        All that ever joined the network, in this order, proposers too; as they were last fetched.
    """

    def __init__(
        self,
        network: Network,
        problem: Problem,
        optimizer: Optimizer,
        n_workers: int,
        *,
        limits: Limits | None,
        executor: Executor | None,
        launch: Callable[[str, int], object] | None,
    ) -> None:
        self._network = network
        self._problem = problem
        self._optimizer = optimizer
        self._loop = optimizer if limits is None else LimitedLoop(optimizer, limits)
        self._n_workers = n_workers
        self._executor = executor
        self._launch = launch
        self._launched: object = None  # what that returned
        self._proposer_ids: list[str] = []
        self._n_before = 0  # who had joined before the start
        self._coming: set[str] = set()  # who was started and has not been seen to join
        self._stillborn: WorkersFailedError | None = None  # the first that ended before it joined
        self.joined: list[WorkerInfo] = []

    @property
    def are_launched(self) -> bool:
        """Whether they come by `launch`: their ends are nobody's here to see."""
        return self._launch is not None

    @property
    def are_elsewhere(self) -> bool:
        """Whether they are no processes of this one's."""
        return self._executor is not None or self.are_launched

    @property
    def evaluating(self) -> list[WorkerInfo]:
        """Those of `joined` that are no proposers of this run."""
        return [worker for worker in self.joined if worker.worker_id not in self._proposer_ids]

    def fetch(self) -> None:
        """Fetch anew who joined; one round trip."""
        self.joined = self._network.fetch_workers()

    def fetch_unknown(self, worker_ids: Iterable[str]) -> None:
        """Fetch anew who joined if one of these, who have, is not known; at most one round trip."""
        ids = set(worker_ids)
        self._coming -= ids
        if ids - {worker.worker_id for worker in self.joined}:
            self.fetch()

    def some_take_part(self) -> bool:
        """Tell whether a worker takes part; one round trip."""
        self.fetch()
        return any(worker.ended_at is None for worker in self.joined)

    # -- starting ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all; they join later, and then a proposer is started: see `see_who_joins`."""
        self.fetch()
        self._n_before = len(self.joined)
        self._start(self._n_workers)

    def replace(self, lost: Sequence[str]) -> None:
        """Start as many as were lost, except launched ones; and a proposer if it was one."""
        n_lost = len(set(lost) - set(self._proposer_ids))
        if n_lost and not self.are_launched:
            self._start(n_lost)
        if self._proposer_state() not in (None, WorkerState.RUNNING, WorkerState.STOPPING):
            self._start_proposer()

    def see_who_joins(self) -> None:
        """Look after those that were started: warn if one ended before it joined.

        A proposer is started, and waited for, when the others have joined, so that their numbers
        come first: all that are processes here, one of those elsewhere. Two round trips while
        somebody is to join, else none.
        """
        needs_proposer = isinstance(self._optimizer, Centralized) and not self._proposer_ids
        if not (self._coming or needs_proposer):
            return
        self.fetch()
        self._coming -= {worker.worker_id for worker in self.joined}
        self._drop_stillborn()
        some_joined = len(self.joined) > self._n_before
        if needs_proposer and some_joined and (self.are_elsewhere or not self._coming):
            self._start_proposer()

    def _drop_stillborn(self) -> None:
        """Expect no worker any more that ended before it joined; warn of the first."""
        while self._coming:
            try:
                self._network.wait_for_workers(worker_ids=list(self._coming), timeout_s=0.0)
                return  # all have joined meanwhile
            except TimeoutError:
                return
            except WorkersFailedError as error:
                self._coming.remove(error.key or "")
                if self._stillborn is None:
                    self._stillborn = error
                    logger.warning("the run goes on without a worker: %s", error)

    def _start(self, n: int) -> None:
        network, arguments = self._network, (self._problem,)
        if self._launch is not None:
            self._launched = self._launch(network.worker_command(self._loop, args=arguments), n)
        else:
            ids = network.start_workers(self._loop, n, args=arguments, executor=self._executor)
            self._coming.update(ids)

    def _start_proposer(self) -> None:
        """Start the process that proposes for all workers, and wait until it has joined."""
        assert isinstance(self._optimizer, Centralized)
        arguments = (self._problem, self._n_workers)
        ids = self._network.start_workers(self._optimizer.proposer, 1, args=arguments)
        self._proposer_ids += ids
        self._network.wait_for_workers(worker_ids=ids)

    # -- seeing them end -----------------------------------------------------------------------

    def proposer_has_ended(self) -> bool:
        """Tell whether a proposer has ended that is not to be replaced; at most one round trip."""
        return self._proposer_state() in (WorkerState.STOPPED, WorkerState.KILLED)

    def pause(self, longest_s: float, *, is_due: bool) -> bool:
        """Let a moment pass, to look at all that happens in it together.

        Parameters
        ----------
        longest_s : float
            Seconds; it is over before if nobody is left whom this process started.
        is_due : bool
            Whether the run is about to end: there is then no pause for launched workers, whose
            ends are not seen here.

        Returns
        -------
        bool
            Whether nobody is left whom this process started.
        """
        none_left = self._network.join_workers(timeout_s=longest_s)
        if self.are_launched and not is_due:
            # Those were not waited for. No event is missed by this: what ends meanwhile is told at
            # the next look, for which the server keeps its reply back only if nothing did.
            time.sleep(longest_s)
        return none_left

    def none_is_waited_for(self, longest_s: float) -> bool:
        """Tell whether a run that is due has nobody to wait for; one round trip.

        It waits for who takes part, and for the processes and calls of those that have left. Others
        can do nothing for it any more: their call has not begun, they have not joined, or they were
        lost. Closing the network ends them, takes their calls back, or refuses them.

        Parameters
        ----------
        longest_s : float
            Seconds in which those that have left may end.
        """
        if self.some_take_part():
            return False
        left = [w.worker_id for w in self.joined if w.state is WorkerState.STOPPED]
        return self._network.join_workers(longest_s, worker_ids=left)

    def raise_if_stillborn(self, began: float) -> None:
        """Raise if workers ended before they joined, and none came to end by itself.

        None is left when this is called; one round trip if workers ended so.

        Raises
        ------
        WorkersFailedError
        """
        if self._stillborn is None:
            return
        self.fetch()
        mine = [worker for worker in self.evaluating if took_part_after(worker, began)]
        if all(worker.state is not WorkerState.STOPPED for worker in mine):
            raise self._stillborn

    def launched_have_ended(self, began: float, *, is_due: bool) -> bool:
        """Tell whether no launched worker is left and none is needed; one round trip.

        When all were lost, others may still join: what runs elsewhere is not ours to replace.

        Parameters
        ----------
        began : float
            When the run did.
        is_due : bool
            Whether the run is about to end, whoever takes part.

        Raises
        ------
        WorkersFailedError
            If what was launched has failed, and workers are needed.
        """
        code = self._launch_code()  # before looking who takes part
        if self.some_take_part():
            return False
        mine = [worker for worker in self.evaluating if took_part_after(worker, began)]
        by_themselves = bool(mine) and all(w.state is not WorkerState.LOST for w in mine)
        if not (by_themselves or is_due):
            self._raise_if_launch_failed(code)
        return by_themselves or is_due

    def _proposer_state(self) -> WorkerState | None:
        """Tell how the last proposer is, None if there was none; at most one round trip."""
        if not self._proposer_ids:
            return None
        self.fetch()
        states = {worker.worker_id: worker.state for worker in self.joined}
        return states.get(self._proposer_ids[-1], WorkerState.KILLED)  # the network was reset

    def _launch_code(self) -> int:
        """Return with what exit code the launching ended; 0 if it goes on or does not tell."""
        poll = getattr(self._launched, "poll", None)
        code: int = (poll() or 0) if callable(poll) else 0
        return code

    def _raise_if_launch_failed(self, code: int) -> None:
        if code:
            raise WorkersFailedError(
                f"no worker takes part, and what was launched to start {self._n_workers} ended "
                f"with exit code {code}; see what it printed, and start it by hand to find out why"
            )


def took_part_after(worker: WorkerInfo, moment: float) -> bool:
    """Tell whether a worker had not ended by then, seconds since 1970 by the server's clock."""
    return worker.ended_at is None or worker.ended_at > moment
