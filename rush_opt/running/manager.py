"""A run as its manager follows it: from what an earlier one left to the end of all workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from rush_core import LoopError, Network, WorkerInfo
from rush_opt.evaluation.limits import Limits
from rush_opt.evaluation.runner import Problem
from rush_opt.optimizers import GridSearch, Optimizer
from rush_opt.results.trials import WARM_START, FrozenTrial
from rush_opt.running.end_of_run import Ending, StopRun
from rush_opt.running.history import EndedTrials
from rush_opt.running.progress import Progress
from rush_opt.running.resume import check_about, check_trials, remove_orphans
from rush_opt.running.workers import LONGEST_SLEEP_S, LOOK_EVERY_S, Workers, took_part_after

__all__ = ["Run"]

logger = logging.getLogger(__name__)

# The server wakes the manager when a trial ends or a worker joins or ends. Where trials pour in it
# does so no more often than this; their workers go on by themselves. The exception are launched
# workers that are about to end: each of their last trials wakes it.
_PAUSE_S = 0.1


class Run:
    """A run as its manager follows it: begins it, looks on, sees its workers end.

    Parameters
    ----------
    network : Network
    problem : Problem
    optimizer : Optimizer
    n_workers : int
    callbacks : sequence of callable
    progress : Progress or None
    limits, executor, launch
        As for `Workers`.

    Attributes
    ----------
    started_at, ended_at : float
        Seconds since 1970 by the server's clock.
    """

    def __init__(
        self,
        network: Network,
        problem: Problem,
        optimizer: Optimizer,
        n_workers: int,
        callbacks: Sequence[Callable[[FrozenTrial], object]],
        progress: Progress | None,
        *,
        limits: Limits | None = None,
        executor: Executor | None = None,
        launch: Callable[[str, int], object] | None = None,
    ) -> None:
        self._network = network
        self._problem = problem
        self._optimizer = optimizer
        self._n_workers = n_workers
        self._callbacks = callbacks
        self._progress = progress
        self._workers = Workers(
            *(network, problem, optimizer, n_workers),
            limits=limits,
            executor=executor,
            launch=launch,
        )
        self._ended = EndedTrials(network, problem, self._workers)
        self._ending = Ending(network, problem, optimizer, n_workers, self._ended)
        self._is_stopping = False  # the workers have been asked to
        self._n_calls = 0  # of callbacks, those for trials before the run included
        self._objective_s = 0.0
        self.started_at = self.ended_at = network.now()

    @property
    def trials(self) -> list[FrozenTrial]:
        """All that ended, those of earlier runs in the network first."""
        return self._ended.trials

    @property
    def workers(self) -> list[WorkerInfo]:
        """All that ever joined to evaluate, in this order; proposers do not."""
        # Those of earlier runs in this network are known by the trials that they proposed.
        earlier = {trial.notes.get("proposer") for trial in self.trials}
        return [worker for worker in self._workers.evaluating if worker.number not in earlier]

    def until_the_end(
        self, points: list[dict[str, Any]], known: Sequence[tuple[dict[str, Any], dict[str, Any]]]
    ) -> str:
        """Run, and return why it ended: see `TuneResult`.

        Parameters
        ----------
        points : list of dict
            The initial design, for a network that has no tasks yet.
        known : sequence of pairs of dict
            Configurations and results of earlier trials, for such a network as well.
        """
        network = self._network
        is_new = self._fill(points, known)
        if self._progress is not None:
            self._progress.begin(self._ended.n_ended)
        self.started_at = network.now()
        try:
            try:
                if not (self._ending.has_enough_trials() or self._stop_if_wanted()):
                    self._workers.start()
            except LoopError:
                if is_new:
                    network.reset(workers=False)  # nothing was started: nothing is left waiting
                raise
            return self._follow()
        except KeyboardInterrupt:
            self._ending.interrupt()
            if self._progress is not None:
                self._progress.close()
            logger.warning(
                "stopping after the running trials; Ctrl-C again ends at once and returns nothing"
            )
            self._stop_if_wanted()
            return self._follow()  # a second interrupt ends this, too, and then everything

    def _fill(
        self, points: list[dict[str, Any]], known: Sequence[tuple[dict[str, Any], dict[str, Any]]]
    ) -> bool:
        """Take in what is in the network, or put in what it is to begin with; tell which."""
        network = self._network
        remove_orphans(network)
        self._ended.fetch_new()  # what an earlier run in this network left
        check_trials(self.trials, self._problem, network.network_id)
        check_about(network, self._problem)
        is_new = not any(network.count_tasks())
        if is_new:
            configs, results = [config for config, _ in known], [result for _, result in known]
            network.push_finished_tasks(configs, results, extras=[WARM_START] * len(known))
            self._ended.fetch_new()
            network.push_tasks(points)
        elif isinstance(self._optimizer, GridSearch):
            # The network was begun otherwise, or left by a manager that died before it pushed.
            there = network.fetch_tasks().configs
            network.push_tasks(self._optimizer.points(self._problem, there))
        self._n_calls = len(self.trials) * len(self._callbacks)
        return is_new

    def _follow(self) -> str:
        """Look on until all workers have ended, and return why they did."""
        is_over = False
        while not is_over:
            is_over = self._tend_workers()
        # The server refused late starts by its own time, and so the reason is to be told by that.
        self.ended_at = self._network.fetch_time()
        self._look()
        if self._ending.is_interrupted:
            self._ended.fetch_missed()
            self._tell()
        self._workers.fetch()
        if self._progress is not None:
            self._show(self._progress, last=True)
        self._ending.raise_if_hopeless(ended=True)
        return self._ending.reason(self._of_this_run(self._workers.joined))

    def _tend_workers(self) -> bool:
        """Sleep until something happens, see to the workers, and tell whether all have ended."""
        workers, network = self._workers, self._network
        none_left = workers.pause(_PAUSE_S, is_due=self._is_due())
        # Before the sleep: the wake-up for a loss may have gone to a wait for another worker.
        lost = network.detect_lost_workers()
        nobody_left = none_left and not workers.are_launched
        self._look(0.0 if lost or nobody_left else self._sleep_s())
        self._ending.raise_if_hopeless(ended=False)
        if lost:
            self._stop_if_wanted()
            if not self._is_due():
                self._ending.add_losses(len(lost))
                workers.replace(lost)
            return False
        if not self._is_due():
            workers.see_who_joins()
            if none_left:
                workers.raise_if_stillborn(self.started_at)
        no_proposer = workers.proposer_has_ended()
        if not self._stop_if_wanted() and no_proposer:
            network.stop_workers()  # all is started, or nobody proposes any more
        return self._have_all_ended(none_left)

    def _have_all_ended(self, none_left: bool) -> bool:
        """Tell whether no worker will do anything more, given whether all that run here ended."""
        workers, is_due = self._workers, self._is_due()
        if workers.are_launched:
            return none_left and workers.launched_have_ended(self.started_at, is_due=is_due)
        # A process here that is due joins in a moment, and ends; a call elsewhere may never begin.
        leaves_some = is_due and (workers.are_elsewhere or self._ending.is_interrupted)
        return none_left or (leaves_some and workers.none_is_waited_for(_PAUSE_S))

    def _is_due(self) -> bool:
        """Tell whether the run is about to end, whatever its workers do."""
        return self._is_stopping or self._ending.is_used_up()

    def _sleep_s(self) -> float:
        """Return how long to sleep in the server, seconds, if nothing there wakes the manager."""
        needs_time = self._problem.stop is not None or self._progress is not None
        by_itself = needs_time or self._workers.are_elsewhere
        longest = LOOK_EVERY_S if by_itself else LONGEST_SLEEP_S
        deadline, now = self._problem.deadline, self._network.now()
        return longest if deadline is None or now >= deadline else min(longest, deadline - now)

    def _stop_if_wanted(self) -> bool:
        """Ask the workers to stop, once, if a rule or a callback wants it; tell whether one does.

        Workers find out by themselves that a rule holds. This is for those that sleep, or come.
        """
        wanted = self._ending.is_wanted()
        if wanted and not self._is_stopping:
            self._network.stop_workers()
            self._is_stopping = True
        return wanted

    def _look(self, timeout_s: float = 0.0) -> None:
        """Sleep until something happens, for at most `timeout_s` seconds, and take it in."""
        new = self._ended.fetch_new(timeout_s)
        self._objective_s += sum(t.notes.get("objective_s", 0.0) for t in new if not t.lost)
        self._tell()
        if self._progress is not None:
            self._show(self._progress)

    def _tell(self) -> None:
        """Call each callback with each trial that it was not called with.

        A call counts when it begins: one that an interrupt ends is not made again, the others are.
        """
        n_callbacks = len(self._callbacks)
        while self._n_calls < len(self.trials) * n_callbacks:
            trial, callback = divmod(self._n_calls, n_callbacks)
            self._n_calls += 1
            try:
                self._callbacks[callback](self.trials[trial])
            except StopRun as wish:
                self._ending.add_wish(wish)

    def _show(self, progress: Progress, *, last: bool = False) -> None:
        joined = None
        if self._workers.are_elsewhere:
            joined = len(self._of_this_run(self._workers.evaluating))
        wall_s = (self._network.now() - self.started_at) * self._n_workers
        progress.show(
            *(self._ended.n_ended, self._ended.n_failed, self._ended.best),
            objective_share=min(self._objective_s / wall_s, 1.0) if wall_s > 0 else None,
            n_joined=joined,
            last=last,
        )

    def _of_this_run(self, workers: Sequence[WorkerInfo]) -> list[WorkerInfo]:
        return [worker for worker in workers if took_part_after(worker, self.started_at)]
