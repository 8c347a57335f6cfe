"""`tune()`: from an objective and a space to the best configuration found."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from rush_core import (
    LoopError,
    Network,
    RushError,
    WorkerInfo,
    WorkersFailedError,
    WorkerState,
)
from rush_opt.design import sobol_design
from rush_opt.evaluation import Objective, Problem
from rush_opt.loops import OPTIMIZERS, Optimizer
from rush_opt.progress import Progress
from rush_opt.result import FrozenTrial, TuneResult, freeze_trials
from rush_opt.space import Parameter, Space

__all__ = ["AllTrialsFailedError", "tune"]

logger = logging.getLogger(__name__)

_DEFAULT_N_TRIALS = 100

# How often the manager looks while workers go on by themselves; nothing waits for it.
_LOOK_EVERY_S = 0.1

# A run gives up when this many trials failed and none finished, or this many workers per worker
# were lost without any trial ending in between: by then the objective is what is wrong.
_HOPELESS_FAILURES = 5
_HOPELESS_LOSSES = 3


class AllTrialsFailedError(RushError):
    """No trial of a run finished; the message has the first one's traceback."""


def tune(
    objective: Objective,
    space: Mapping[str, Parameter] | Space,
    *,
    n_workers: int | None = None,
    n_trials: int | None = None,
    timeout: float | None = None,
    optimizer: str | Optimizer = "adbo",
    direction: str = "minimize",
    metric: str = "value",
    seed: int | None = None,
    network_id: str | None = None,
    url: str | None = None,
    initial_design: int | Sequence[Mapping[str, Any]] | None = None,
    callbacks: Sequence[Callable[[FrozenTrial], object]] = (),
    progress: bool = True,
) -> TuneResult:
    """Find the configuration with the best objective value.

    Starts worker processes, each of which proposes, evaluates and records trials by itself, and
    returns when the budget is used up.

    Parameters
    ----------
    objective : callable
        ``objective(config)`` or ``objective(config, trial)``: takes a dict of parameter values and
        returns a number, or a mapping with a number under `metric`. An exception, NaN or an
        infinity makes a failed trial and does not stop the run.
    space : mapping or Space
        Parameter name to `Float`, `Integer`, `Categorical` or `Boolean`.
    n_workers : int, optional
        Worker processes on this machine; by default one per usable CPU.
    n_trials : int, optional
        How many trials come to an end, exactly; 100 if there is no `timeout` either. Trials lost
        with a killed worker do not count.
    timeout : float, optional
        Seconds after which no trial is started any more; running ones are finished.
    optimizer : str or Optimizer
        ``"adbo"``, ``"random"``, or an instance such as ``ADBO(...)``.
    direction : str
        ``"minimize"`` or ``"maximize"``.
    metric : str
        The name of the objective value where the objective returns a mapping.
    seed : int, optional
        Makes the initial design and every worker's random stream reproducible; with one worker
        the whole run. By default drawn anew, see ``result.seed``.
    network_id : str, optional
        A network that stays in the server and can be looked at while the run goes on; by default
        one of this run's own.
    url : str, optional
        The server; by default `RUSH_REDIS_URL`, `REDIS_URL` or an embedded one.
    initial_design : int or sequence of mappings, optional
        How many Sobol points, or which configurations, are evaluated first; by default the
        optimizer's rule. A network that has trials already goes on from those instead.
    callbacks : sequence of callable
        Each is called in this process as ``callback(trial)`` for every finished trial.
    progress : bool
        Whether to print how the run goes, on standard error.

    Returns
    -------
    TuneResult
        An interrupt (Ctrl-C) also returns one, after the running trials; a second one raises.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used, or the network's earlier trials do not fit; nothing was
        started.
    LoopError
        If the objective cannot be shipped to worker processes; nothing was started.
    AllTrialsFailedError
        If the first trials all fail; the run is stopped early.
    WorkersFailedError
        If workers cannot be started or are lost again and again.
    RushError
        If the server cannot be used.

    Examples
    --------
    >>> from rush_opt import Float, tune
    >>> result = tune(lambda config: config["x"] ** 2, {"x": Float(-1, 1)}, n_trials=20)
    >>> result.best_params
    """
    n_workers = _usable_cpus() if n_workers is None else check_count("n_workers", n_workers)
    if n_trials is None and timeout is None:
        n_trials = _DEFAULT_N_TRIALS
    if n_trials is not None:
        n_trials = check_count("n_trials", n_trials)
    timeout = _check_timeout(timeout)
    _check_callbacks(callbacks)
    searched = space if isinstance(space, Space) else _make_space(space)
    chosen = _choose_optimizer(optimizer)
    problem = Problem(
        objective=_check_objective(objective),
        space=searched,
        metric=_check_metric(metric),
        sign=_sign_of(direction),
        n_trials=n_trials,
        deadline=None,
        seed=_entropy(seed),
    )
    points = _initial_points(initial_design, problem, chosen, n_workers)
    shown = Progress(n_trials, timeout) if progress else None
    with Network(network_id, url) as network:
        if timeout is not None:
            problem = replace(problem, deadline=network.now() + timeout)
        run = _Run(network, problem, chosen, n_workers, callbacks, shown)
        try:
            stop_reason = run.until_the_end(points)
        finally:
            if shown is not None:
                shown.end_line()
            if network_id is None:
                network.reset()
        return TuneResult(
            frozen_trials=run.trials,
            metric=metric,
            direction=direction,
            seed=problem.seed,
            stop_reason=stop_reason,
            network_id=network.network_id,
            started_at=run.started_at,
            ended_at=run.ended_at,
            workers=run.workers,
        )


class _Run:
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


def check_count(name: str, value: object) -> int:
    """Return `value` if it is a whole number of at least 1, else raise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number >= 1, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return int(value)


def _check_timeout(timeout: object) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"timeout must be a number of seconds or None, got {timeout!r}")
    if not 0 < float(timeout) < math.inf:
        raise ValueError(f"timeout must be a positive, finite number of seconds, got {timeout!r}")
    return float(timeout)


def _check_callbacks(callbacks: object) -> None:
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(
            "callbacks must be a sequence of functions, each to be called as callback(trial); got "
            f"{callbacks!r:.80}"
        )


def _make_space(space: Any) -> Space:
    pairs = isinstance(space, Sequence) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in space
    )
    if not isinstance(space, Mapping) and not pairs:
        raise TypeError(
            "space must be a mapping of parameter names to Float, Integer, Categorical or Boolean, "
            f"or a sequence of such pairs, got {space!r:.80} ({type(space).__name__})"
        )
    return Space(space)


def _choose_optimizer(optimizer: str | Optimizer) -> Optimizer:
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {sorted(OPTIMIZERS)}, got {optimizer!r}")
        return OPTIMIZERS[optimizer]()
    if not isinstance(optimizer, tuple(OPTIMIZERS.values())):
        hint = f"; write {optimizer.__name__}()" if isinstance(optimizer, type) else ""
        raise TypeError(
            f"optimizer must be one of {sorted(OPTIMIZERS)} or an instance such as ADBO(), got "
            f"{optimizer!r:.80}{hint}"
        )
    return optimizer


def _sign_of(direction: object) -> float:
    signs = {"minimize": 1.0, "maximize": -1.0}
    if not isinstance(direction, str) or direction not in signs:
        raise ValueError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
    return signs[direction]


def _check_objective(objective: Objective) -> Objective:
    if not callable(objective):
        raise TypeError(
            "objective must be callable as objective(config) or objective(config, trial), got "
            f"{type(objective).__name__}"
        )
    return objective


def _check_metric(metric: object) -> str:
    if not isinstance(metric, str) or not metric:
        raise TypeError(f"metric must be the name of a result, got {metric!r}")
    return metric


def _entropy(seed: object) -> int:
    if seed is None:
        # As much as the server's records hold in one whole number, drawn by numpy.
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number or None, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed!r}")
    return int(seed)


def _initial_points(
    initial_design: int | Sequence[Mapping[str, Any]] | None,
    problem: Problem,
    optimizer: Optimizer,
    n_workers: int,
) -> list[dict[str, Any]]:
    """Return the configurations to evaluate first, no more than there may be trials."""
    space = problem.space
    if isinstance(initial_design, Sequence) and not isinstance(initial_design, str):
        for i, config in enumerate(initial_design):
            _check_config(f"initial_design[{i}]", config, space)
        return [dict(config) for config in initial_design][: problem.n_trials]
    if initial_design is None:
        n = optimizer.n_initial(space.n_dims, n_workers)
    elif isinstance(initial_design, bool) or not isinstance(initial_design, Integral):
        raise TypeError(
            "initial_design must be a number of points, a sequence of configurations or None, got "
            f"{initial_design!r:.80}"
        )
    elif initial_design < 0:
        raise ValueError(f"initial_design must not be negative, got {initial_design}")
    else:
        n = int(initial_design)
    n = n if problem.n_trials is None else min(n, problem.n_trials)
    return space.decode(sobol_design(space, n, problem.design_rng()))


def _check_config(name: str, config: object, space: Space) -> None:
    if not isinstance(config, Mapping):
        raise TypeError(
            f"{name} must be a mapping of parameter names to values, got {config!r:.80}"
        )
    try:
        space.validate(config)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
