"""A run as its manager follows it: workers are started and replaced, trials looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from rush_core import (
    LoopError,
    Network,
    RushError,
    WorkerInfo,
    WorkersFailedError,
    WorkerState,
)
from rush_opt.evaluation import Problem
from rush_opt.loops import Optimizer
from rush_opt.progress import Progress
from rush_opt.result import FrozenTrial, freeze_trials

__all__ = ["AllTrialsFailedError", "Run"]

logger = logging.getLogger(__name__)

# How often the manager looks while workers go on by themselves; nothing waits for it.
_LOOK_EVERY_S = 0.1

# A run gives up when this many trials failed and none finished, or this many workers per worker
# were lost without any trial ending in between: by then the objective is what is wrong.
_HOPELESS_FAILURES = 5
_HOPELESS_LOSSES = 3


class AllTrialsFailedError(RushError):
    """No trial of a run finished; the message has the first one's traceback."""


class Run:
    """A run as its manager follows it: starts workers, replaces lost ones, looks on.

    Parameters
    ----------
    network : Network
    problem : Problem
    optimizer : Optimizer
    n_workers : int
    callbacks : sequence of callable
    progress : Progress or None
    """

    def __init__(
        self,
        network: Network,
        problem: Problem,
        optimizer: Optimizer,
        n_workers: int,
        callbacks: Sequence[Callable[[FrozenTrial], object]],
        progress: Progress | None,
    ) -> None:
        self._network = network
        self._problem = problem
        self._optimizer = optimizer
        self._n_workers = n_workers
        self._callbacks = callbacks
        self._progress = progress
        self._n_failed_seen = 0
        self._losses_in_a_row = 0
        self._best: float | None = None
        self.trials: list[FrozenTrial] = []
        self.workers: list[WorkerInfo] = []
        self.started_at = self.ended_at = network.now()

    def until_the_end(self, points: list[dict[str, Any]]) -> str:
        """Run, and return why it ended: n_trials, timeout, interrupted or stopped.

        Parameters
        ----------
        points : list of dict
            The initial design, for a network that has no tasks yet.
        """
        network = self._network
        self._take_in()  # what an earlier run in this network left
        self._check_earlier_trials()
        if self._progress is not None:
            self._progress.begin(len(self.trials))
        is_new = not any(network.count_tasks())
        if is_new:
            network.push_tasks(points)
        interrupted = False
        self.started_at = network.now()
        try:
            try:
                self._start_workers(self._n_workers)
            except LoopError:
                if is_new:
                    network.reset(workers=False)  # nothing was started: nothing is left waiting
                raise
            while not self._all_over():
                pass
        except KeyboardInterrupt:
            interrupted = True
            network.stop_workers()
            network.join_workers()  # a second interrupt ends this, too, and then everything
        self.ended_at = network.now()
        self._look()
        self.workers = network.fetch_workers()
        if self._progress is not None:
            self._show(self._progress, last=True)
        if interrupted:
            return "interrupted"
        self._raise_if_hopeless(ended=True)
        return self._stop_reason()

    def _all_over(self) -> bool:
        """Let the workers work for a moment, look on, and tell whether all have ended."""
        all_ended = self._network.join_workers(timeout_s=_LOOK_EVERY_S)
        self._look()
        self._raise_if_hopeless(ended=False)
        lost = self._network.detect_lost_workers()
        if not lost:
            return all_ended
        self._losses_in_a_row += len(lost)
        if self._losses_in_a_row >= _HOPELESS_LOSSES * self._n_workers:
            raise WorkersFailedError(
                f"{self._losses_in_a_row} workers were lost and no trial ended in between; the "
                f"objective seems to end its process. The last one: {self._last_error()}"
            )
        self._start_workers(len(lost))
        return False

    def _start_workers(self, n: int) -> None:
        ids = self._network.start_workers(self._optimizer, n, args=(self._problem,))
        self._network.wait_for_workers(worker_ids=ids)

    def _look(self) -> None:
        new = self._take_in()
        if any(not trial.lost for trial in new):
            self._losses_in_a_row = 0
        for trial in new:
            if trial.value is not None:
                for callback in self._callbacks:
                    callback(trial)
        if self._progress is not None:
            self._show(self._progress)

    def _take_in(self) -> list[FrozenTrial]:
        """Fetch what ended since the last time; two round trips, one more if trials failed."""
        network = self._network
        tasks = list(network.fetch_new_tasks())
        if network.count_tasks().failed > self._n_failed_seen:
            failed = network.fetch_tasks("failed")
            tasks += failed[self._n_failed_seen :]
            self._n_failed_seen = len(failed)
        if not tasks:
            return []
        if {task.worker_id for task in tasks} - {worker.worker_id for worker in self.workers}:
            self.workers = network.fetch_workers()
        new = freeze_trials(tasks, self._problem.metric, self.workers, len(self.trials))
        self.trials += new
        values = [trial.value for trial in new if trial.value is not None]
        sign = self._problem.sign
        if values:
            known = values if self._best is None else [self._best, *values]
            self._best = min(known, key=lambda value: sign * value)
        return new

    def _check_earlier_trials(self) -> None:
        """Refuse to go on in a network whose trials are of another space or metric."""
        space, metric = self._problem.space, self._problem.metric
        for trial in self.trials:
            if trial.state != "finished":
                continue
            if not isinstance(trial.value, Real):
                problem = f"its result has no number {metric!r}: {trial.result!r:.80}"
            else:
                try:
                    space.validate(trial.params)
                except ValueError as error:
                    problem = str(error)
                else:
                    continue
            raise ValueError(
                f"network {self._network.network_id!r} has trial {trial.key!r}, which does not fit "
                f"this run: {problem}. Use the same space and metric, or another network_id"
            )

    def _show(self, progress: Progress, *, last: bool = False) -> None:
        ended = [trial for trial in self.trials if not trial.lost]
        n_failed = sum(trial.value is None for trial in ended)
        progress.show(len(ended), n_failed, self._best, last=last)

    def _raise_if_hopeless(self, *, ended: bool) -> None:
        failed = [trial for trial in self.trials if trial.value is None and not trial.lost]
        enough = 1 if ended else max(_HOPELESS_FAILURES, self._n_workers)
        if self._best is None and len(failed) >= enough:
            n = len(failed)
            what = f"no trial finished, {n} failed" if ended else f"the first {n} trials all failed"
            raise AllTrialsFailedError(
                f"{what}{'' if ended else ', so the run was stopped'}. The first one, with "
                f"{failed[0].params}:\n{failed[0].error}",
                key=failed[0].key,
            )

    def _stop_reason(self) -> str:
        n_ended = sum(not trial.lost for trial in self.trials)
        errors = [
            worker.reason
            for worker in self.workers
            if worker.state is WorkerState.STOPPED
            and worker.reason
            and self._is_of_this_run(worker)
        ]
        enough_trials = self._problem.n_trials is not None and n_ended >= self._problem.n_trials
        out_of_time = self._problem.deadline is not None and self.ended_at >= self._problem.deadline
        if not (enough_trials or out_of_time) and errors:
            raise WorkersFailedError(f"the run ended early, after {n_ended} trials: {errors[0]}")
        if errors:
            logger.warning("%d workers ended by an error; the first: %s", len(errors), errors[0])
        return "n_trials" if enough_trials else "timeout" if out_of_time else "stopped"

    def _is_of_this_run(self, worker: WorkerInfo) -> bool:
        return worker.ended_at is None or worker.ended_at > self.started_at

    def _last_error(self) -> str:
        return next((t.error for t in reversed(self.trials) if t.error), "it had no trial")
