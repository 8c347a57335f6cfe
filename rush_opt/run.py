"""A run as its manager follows it: workers are started and replaced, trials looked at."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NoReturn

from rush_core import (
    LoopError,
    Network,
    RushError,
    WorkerInfo,
    WorkersFailedError,
    WorkerState,
)
from rush_opt.evaluation import Problem, takes_trial
from rush_opt.frozen_trial import WARM_START, FrozenTrial, freeze_trials
from rush_opt.limits import LimitedLoop, Limits
from rush_opt.loops import Centralized, GridSearch, Optimizer
from rush_opt.progress import Progress
from rush_opt.resume import check_about, check_trials, put_out_orphans

__all__ = ["AllTrialsFailedError", "Run", "StopRun"]

logger = logging.getLogger(__name__)

# The server wakes the manager when a trial ends or a worker joins or ends. Where trials pour in it
# does so no more often than this; their workers go on by themselves. The exception are launched
# workers that are about to end: each of their last trials wakes it.
_PAUSE_S = 0.1

# The manager looks by itself for what no event tells: signs of life that expire, rules about the
# time, and a display of it. Without these, there are only ends that the server could not be told.
_LOOK_EVERY_S = 1.0
_LONGEST_SLEEP_S = 10.0

# A run gives up when this many trials failed and none finished, or this many workers per worker
# were lost without any trial ending in between: by then the objective is what is wrong.
_HOPELESS_FAILURES = 5
_HOPELESS_LOSSES = 3


class AllTrialsFailedError(RushError):
    """No trial of a run finished; the message has the first one's traceback."""


class StopRun(Exception):  # noqa: N818  # a wish, like StopIteration; nothing is wrong
    """What a callback raises to end the run after the running trials.

    Its text, if it has one, becomes ``result.stop_reason``, which else is ``callback``.
    """


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
    limits : Limits, optional
        What each trial may take.
    executor : concurrent.futures.Executor, optional
        Where to run the workers instead of on this machine.
    launch : callable, optional
        What brings them to life instead: ``launch(command, n_workers)``. Nobody replaces those.
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
        self._loop = optimizer if limits is None else LimitedLoop(optimizer, limits)
        self._n_workers = n_workers
        self._callbacks = callbacks
        self._progress = progress
        self._executor = executor
        self._launch = launch
        self._launched: object = None  # what that returned
        self._watch = problem.watch()
        self._wish: str | None = None  # why a callback wants the run to end
        self._is_stopping = False
        self._proposer_ids: list[str] = []
        # Those of earlier runs in this network are known by the trials that they proposed.
        self._proposer_numbers: set[int | None] = set()
        self._joined: list[WorkerInfo] = []
        self._n_failed_seen = 0
        self._n_ended = self._n_failed = 0
        self._objective_s = 0.0
        self._losses_in_a_row = 0
        # By key and attempt: step to value, also of trials that are still running.
        self._reported: dict[tuple[str, int], dict[float, float]] = defaultdict(dict)
        self._best: list[float] | None = None
        self.trials: list[FrozenTrial] = []
        self.started_at = self.ended_at = network.now()

    @property
    def workers(self) -> list[WorkerInfo]:
        """All that ever joined to evaluate, in this order; proposers do not."""
        return [
            worker
            for worker in self._joined
            if worker.worker_id not in self._proposer_ids
            and worker.number not in self._proposer_numbers
        ]

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
        put_out_orphans(network)
        self._take_in()  # what an earlier run in this network left
        check_trials(self.trials, self._problem, network.network_id)
        check_about(network, self._problem)
        is_new = not any(network.count_tasks())
        if is_new:
            configs, results = [config for config, _ in known], [result for _, result in known]
            network.push_finished_tasks(configs, results, extras=[WARM_START] * len(known))
            self._take_in()
            network.push_tasks(points)
        elif isinstance(self._optimizer, GridSearch):
            # The network was begun otherwise, or left by a manager that died before it pushed.
            there = network.fetch_tasks().configs
            network.push_tasks(self._optimizer.points(self._problem, there))
        if self._progress is not None:
            self._progress.begin(self._n_ended)
        interrupted = False
        self._objective_s = 0.0  # of this run alone
        self.started_at = network.now()
        try:
            try:
                if not (self._has_enough_trials() or self._stop_if_wanted()):
                    self._start_workers(self._n_workers)
                    self._start_proposer()
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
            while self._launch is not None and self._some_take_part():
                self._look(self._sleep_s())
                network.detect_lost_workers()
        self.ended_at = network.now()
        self._look()
        self._joined = network.fetch_workers()
        if self._progress is not None:
            self._show(self._progress, last=True)
        if interrupted:
            return "interrupted"
        self._raise_if_hopeless(ended=True)
        return self._stop_reason()

    def _all_over(self) -> bool:
        """Sleep until something happens, look on, and tell whether all workers have ended."""
        all_ended = self._network.join_workers(timeout_s=_PAUSE_S)
        if self._launch is not None and not (self._has_enough_trials() or self._is_stopping):
            time.sleep(_PAUSE_S)  # no process of those is ours: nothing was waited for
        # Before the sleep: the wake-up for a loss may have gone to a wait for another worker.
        lost = self._network.detect_lost_workers()
        nobody_left = all_ended and self._launch is None
        self._look(0.0 if lost or nobody_left else self._sleep_s())
        self._raise_if_hopeless(ended=False)
        if not lost:
            no_proposer = self._proposer_state() in (WorkerState.STOPPED, WorkerState.KILLED)
            if not self._stop_if_wanted() and no_proposer:
                self._network.stop_workers()  # all is started, or nobody proposes any more
            return all_ended and (self._launch is None or self._launched_ended())
        self._losses_in_a_row += len(lost)
        if self._losses_in_a_row >= _HOPELESS_LOSSES * self._n_workers:
            raise WorkersFailedError(
                f"{self._losses_in_a_row} workers were lost and no trial ended in between; the "
                f"objective seems to end its process. The last one: {self._last_error()}"
            )
        if not self._stop_if_wanted():
            self._replace(lost)
        return False

    def _sleep_s(self) -> float:
        """Return how long to sleep in the server, seconds, if nothing there wakes the manager."""
        elsewhere = self._executor is not None or self._launch is not None
        by_itself = elsewhere or self._watch is not None or self._progress is not None
        longest = _LOOK_EVERY_S if by_itself else _LONGEST_SLEEP_S
        deadline, now = self._problem.deadline, self._network.now()
        return longest if deadline is None or now >= deadline else min(longest, deadline - now)

    def _replace(self, lost: Sequence[str]) -> None:
        n_lost = len(set(lost) - set(self._proposer_ids))
        if n_lost and self._launch is None:
            self._start_workers(n_lost)
        if self._proposer_state() not in (WorkerState.RUNNING, WorkerState.STOPPING):
            self._start_proposer()

    def _stop_if_wanted(self) -> bool:
        """Ask the workers to stop, once, if a rule or a callback wants it; tell whether one does.

        Workers find out by themselves that a rule holds. This is for those that sleep, or come.
        """
        wanted = self._wish is not None or (
            self._watch is not None and self._watch.is_over(self._network.now())
        )
        if wanted and not self._is_stopping:
            self._network.stop_workers()
            self._is_stopping = True
        return wanted

    def _start_workers(self, n: int) -> None:
        """Start workers and wait: for all that are processes here, for the first one elsewhere."""
        network, arguments = self._network, (self._problem,)
        self._joined = network.fetch_workers()
        if self._launch is not None:
            self._launched = self._launch(network.worker_command(self._loop, args=arguments), n)
        else:
            ids = network.start_workers(self._loop, n, args=arguments, executor=self._executor)
            if self._executor is None:
                return network.wait_for_workers(worker_ids=ids)
        self._wait_for_another_worker()
        return None

    def _wait_for_another_worker(self) -> None:
        """Wait until one more worker has joined, or the time is up."""
        network, deadline = self._network, self._problem.deadline
        longest = _LOOK_EVERY_S if self._launch is not None else _LONGEST_SLEEP_S
        while True:
            left = math.inf if deadline is None else max(deadline - network.now(), 0.0)
            code = self._launch_code()  # before looking who joined: a loop can be short
            wait_s = 0.0 if code else min(left, longest)
            try:
                return network.wait_for_workers(len(self._joined) + 1, timeout_s=wait_s)
            except TimeoutError:
                if not left:
                    return None
                self._raise_if_launch_failed(code)

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

    def _start_proposer(self) -> None:
        """Start the process that proposes for all workers, if there is to be one."""
        if not isinstance(self._optimizer, Centralized):
            return
        arguments = (self._problem, self._n_workers)
        ids = self._network.start_workers(self._optimizer.proposer, 1, args=arguments)
        self._proposer_ids += ids
        self._network.wait_for_workers(worker_ids=ids)

    def _proposer_state(self) -> WorkerState | None:
        """Tell how the last proposer is, None if there was none; at most one round trip."""
        if not self._proposer_ids:
            return None
        self._joined = self._network.fetch_workers()
        states = {worker.worker_id: worker.state for worker in self._joined}
        return states.get(self._proposer_ids[-1], WorkerState.KILLED)  # the network was reset

    def _some_take_part(self) -> bool:
        """Tell whether a worker takes part; one round trip."""
        self._joined = self._network.fetch_workers()
        return any(worker.ended_at is None for worker in self._joined)

    def _launched_ended(self) -> bool:
        """Tell whether no launched worker is left and none is needed.

        When all were lost, others may still join: what runs elsewhere is not ours to replace.
        """
        code = self._launch_code()  # before looking who takes part
        if self._some_take_part():
            return False
        mine = [worker for worker in self.workers if self._is_of_this_run(worker)]
        by_themselves = bool(mine) and all(w.state is not WorkerState.LOST for w in mine)
        over = self._has_enough_trials() or self._is_out_of_time() or self._is_stopping
        if not (by_themselves or over):
            self._raise_if_launch_failed(code)
        return by_themselves or over

    def _look(self, timeout_s: float = 0.0) -> None:
        """Sleep until something happens, for at most `timeout_s` seconds, and take it in."""
        new = self._take_in(timeout_s)
        if any(not trial.lost for trial in new):
            self._losses_in_a_row = 0
        for trial in new:
            for callback in self._callbacks:
                try:
                    callback(trial)
                except StopRun as wish:
                    self._wish = self._wish or str(wish) or "callback"
        if self._progress is not None:
            self._show(self._progress)

    def _take_in(self, timeout_s: float = 0.0) -> list[FrozenTrial]:
        """Fetch what ended since the last time, and what was reported on it.

        If nothing did, the server keeps its reply back for at most `timeout_s` seconds. Two round
        trips, one more if trials failed, and one more if trials can report.
        """
        network = self._network
        tasks = list(network.fetch_new_tasks(timeout_s=timeout_s))
        if self._watch is not None:
            self._watch.add(tasks)  # in the order of the log, as the workers do
        if network.count_tasks().failed > self._n_failed_seen:
            failed = network.fetch_tasks("failed")
            tasks += failed[self._n_failed_seen :]
            self._n_failed_seen = len(failed)
        if not tasks:
            return []
        if {task.worker_id for task in tasks} - {worker.worker_id for worker in self._joined}:
            self._joined = network.fetch_workers()
        if takes_trial(self._problem.objective):
            for report in network.fetch_new_reports():
                said = report.values
                self._reported[report.key, report.attempt][said["step"]] = said["value"]
        new = freeze_trials(
            *(tasks, self._problem.metrics, self._joined, len(self.trials)), self._reported
        )
        self.trials += new
        ended = [trial for trial in new if not (trial.lost or trial.warm)]
        self._n_ended += len(ended)
        self._objective_s += sum(trial.notes.get("objective_s", 0.0) for trial in ended)
        self._proposer_numbers.update(trial.notes.get("proposer") for trial in new)
        self._n_failed += sum(trial.state == "failed" for trial in ended)
        self._keep_best(new)
        return new

    def _keep_best(self, trials: Sequence[FrozenTrial]) -> None:
        """Keep the best value of each objective."""
        metrics, signs = self._problem.metrics, self._problem.signs
        for result in (trial.result for trial in trials if trial.state == "finished"):
            if not all(metric in result for metric in metrics):
                continue  # of another run: whoever calls will refuse it
            values = [result[metric] for metric in metrics]
            known = values if self._best is None else self._best
            self._best = [
                sign * min(sign * value, sign * best)
                for sign, value, best in zip(signs, values, known, strict=True)
            ]

    def _show(self, progress: Progress, *, last: bool = False) -> None:
        joined = None
        if self._executor is not None or self._launch is not None:
            joined = sum(self._is_of_this_run(worker) for worker in self.workers)
        wall_s = (self._network.now() - self.started_at) * self._n_workers
        progress.show(
            *(self._n_ended, self._n_failed, self._best),
            objective_share=min(self._objective_s / wall_s, 1.0) if wall_s > 0 else None,
            n_joined=joined,
            last=last,
        )

    def _raise_if_hopeless(self, *, ended: bool) -> None:
        if self._best is None and is_hopeless(self._n_failed, self._n_workers, ended=ended):
            raise_all_failed(self.trials, ended=ended)

    def _stop_reason(self) -> str:
        errors = [
            worker.reason
            for worker in self._joined
            if worker.state is WorkerState.STOPPED
            and worker.reason
            and self._is_of_this_run(worker)
        ]
        wanted = self._wish if self._watch is None else self._watch.reason or self._wish
        enough_trials, out_of_time = self._has_enough_trials(), self._is_out_of_time()
        if not (wanted or enough_trials or out_of_time) and errors:
            raise WorkersFailedError(
                f"the run ended early, after {self._n_ended} trials: {errors[0]}"
            )
        if errors:
            logger.warning("%d workers ended by an error; the first: %s", len(errors), errors[0])
        if wanted or enough_trials or out_of_time:
            return wanted or ("n_trials" if enough_trials else "timeout")
        # A grid search ends where nothing is left; whoever is asked to stop leaves something.
        is_listed = isinstance(self._optimizer, GridSearch)
        return "exhausted" if is_listed and not self._network.count_tasks().queued else "stopped"

    def _has_enough_trials(self) -> bool:
        return self._problem.n_trials is not None and self._n_ended >= self._problem.n_trials

    def _is_out_of_time(self) -> bool:
        """Tell whether the deadline has passed: here, or for a worker that has ended since.

        A clock is wrong by up to half the time that its first answer took. Workers that are ahead
        of this process all end before it sees the deadline.
        """
        if self._problem.deadline is None:
            return False
        ends = [
            worker.ended_at or 0.0
            for worker in self._joined
            if worker.state is WorkerState.STOPPED and self._is_of_this_run(worker)
        ]
        return max([self._network.now(), *ends]) >= self._problem.deadline

    def _is_of_this_run(self, worker: WorkerInfo) -> bool:
        return worker.ended_at is None or worker.ended_at > self.started_at

    def _last_error(self) -> str:
        return next((t.error for t in reversed(self.trials) if t.error), "it had no trial")


def is_hopeless(n_failed: int, n_workers: int, *, ended: bool) -> bool:
    """Tell whether so many failed trials, while none has finished, are reason to give up."""
    return n_failed >= (1 if ended else max(_HOPELESS_FAILURES, n_workers))


def raise_all_failed(trials: Sequence[FrozenTrial], *, ended: bool) -> NoReturn:
    """Raise the error that says that none of these trials finished."""
    failed = [trial for trial in trials if trial.state == "failed" and not trial.lost]
    n = len(failed)
    what = f"no trial finished, {n} failed" if ended else f"the first {n} trials all failed"
    raise AllTrialsFailedError(
        f"{what}{'' if ended else ', so the run was stopped'}. The first one, with "
        f"{failed[0].params}:\n{failed[0].error}",
        key=failed[0].key,
    )
