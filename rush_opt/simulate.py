"""`simulate()`: a run of any number of workers in virtual time, in one process.

The optimizers decide with the same code as in `tune()`; only the objective's duration, waiting and
the clock are virtual. What a decision costs is measured, and charged to whoever took it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from rush_core import WorkerInfo, WorkerState
from rush_opt.arguments.arguments import (
    check_count,
    choose_optimizer,
    directions_of,
    initial_points,
    make_problem,
)
from rush_opt.arguments.warm_start import known_trials
from rush_opt.evaluation.runner import Objective
from rush_opt.optimizers import Centralized, GridSearch, Optimizer
from rush_opt.results.result import TuneResult
from rush_opt.search.design import Design
from rush_opt.simulation.virtual_run import (
    Charges,
    VirtualRun,
    play_centralized,
    play_decentralized,
    play_list,
)
from rush_opt.space import Parameter, Space
from rush_opt.stopping.history import History
from rush_opt.stopping.rules import Rule

if TYPE_CHECKING:
    from rush_opt.arguments.warm_start import WarmStart

__all__ = ["simulate"]


def simulate(
    objective: Objective,
    space: Mapping[str, Parameter] | Space,
    *,
    n_workers: int,
    duration: Callable[[dict[str, Any], int], float],
    n_trials: int | None = None,
    timeout: float | None = None,
    stop: Rule | Callable[[History], bool] | None = None,
    optimizer: str | Optimizer = "adbo",
    cost: Callable[[int], tuple[float, float]] | None = None,
    direction: str | Sequence[str] = "minimize",
    metric: str | Sequence[str] = "value",
    seed: int | None = None,
    initial_design: int | Sequence[Mapping[str, Any]] | Design | None = None,
    warm_start: WarmStart | None = None,
) -> TuneResult:
    """Tell how `tune()` would go with many workers, from an objective that is quick to call.

    Parameters
    ----------
    objective, space, n_trials, timeout, stop, optimizer, direction, metric, seed
        As for `tune()`; `timeout` in virtual seconds, as `Seconds` is. What a trial reports goes
        nowhere.
    n_workers : int
        Virtual workers; thousands are fine.
    duration : callable
        ``duration(config, number)``: how long the evaluation takes, virtual seconds, ``> 0``.
        `number` counts trials in order of starting, from 0.
    cost : callable, optional
        ``cost(n_known)``: seconds that fitting the surrogate and searching the acquisition function
        take for a proposal while so many trials are known, charged instead of what was measured.
        Taking in new results is then free. This makes a run with a seed repeat exactly.
    initial_design, warm_start
        As for `tune()`; both are there at time 0, at no cost.

    Returns
    -------
    TuneResult
        As of `tune()`, in virtual seconds from 0. A trial that is running at the timeout is
        finished; ``trial.ended_at <= result.deadline`` tells those that ended in time.

    Raises
    ------
    TypeError, ValueError
        If an argument, a duration or a cost cannot be used.
    AllTrialsFailedError
        As in `tune()`.

    Notes
    -----
    A proposal delays its worker, or the proposer of a centralized optimizer, by the CPU seconds it
    took this process: those of a core of this machine that does nothing else. So does taking in
    what others finished, by what a row and a call were measured to cost at the beginning. What the
    server would refuse since another worker has started it is proposed anew, at the same price.
    Communication is free, and so are the server and starting a worker.

    Examples
    --------
    >>> from rush_opt import Float, simulate
    >>> result = simulate(
    ...     lambda config: config["x"] ** 2,
    ...     {"x": Float(-1, 1)},
    ...     n_workers=448,
    ...     timeout=60.0,
    ...     duration=lambda config, number: 1.0,
    ... )
    >>> result.objective_share
    """
    n_workers = check_count("n_workers", n_workers)
    chosen = choose_optimizer(optimizer)
    problem = make_problem(
        *(objective, space, chosen),
        n_trials=n_trials,
        timeout=timeout,
        metric=metric,
        direction=direction,
        seed=seed,
        stop=stop,
    )
    known = known_trials(warm_start, problem)
    points = initial_points(
        initial_design, problem, chosen, n_workers, known=[config for config, _ in known]
    )
    charges = Charges(problem, _checked_cost(cost))
    run = VirtualRun(problem, n_workers, _checked_duration(duration), known)
    if isinstance(chosen, Centralized):
        play_centralized(run, chosen, points, charges)
    elif isinstance(chosen, GridSearch):
        play_list(run, points)
    else:
        play_decentralized(run, chosen, points, charges)
    return TuneResult(
        frozen_trials=run.trials,
        space=problem.space,
        metrics=problem.metrics,
        directions=directions_of(problem.signs),
        seed=problem.seed,
        stop_reason=run.stop_reason,
        network_id="virtual",
        started_at=0.0,
        ended_at=run.ended_at,
        workers=[_virtual_worker(number, run.ended_at) for number in range(n_workers)],
        deadline=problem.deadline,
    )


def _virtual_worker(number: int, ended_at: float) -> WorkerInfo:
    return WorkerInfo(
        worker_id=f"virtual-{number}",
        number=number,
        host="virtual",
        pid=0,
        state=WorkerState.STOPPED,
        started_at=0.0,
        ended_at=ended_at,
        reason=None,
        heartbeat_s=None,
        task_keys=(),
    )


def _checked_duration(duration: object) -> Callable[[dict[str, Any], int], float]:
    """Return a function whose values are durations, or that raises."""
    if not callable(duration):
        raise TypeError(
            f"duration must be callable as duration(config, number), got {duration!r:.80}"
        )

    def checked(config: dict[str, Any], number: int) -> float:
        seconds = duration(config, number)
        if not _is_time(seconds) or seconds == 0:
            raise ValueError(
                f"duration must return a finite number of seconds > 0, got {seconds!r:.80} for "
                f"{config}"
            )
        return float(seconds)

    return checked


def _checked_cost(cost: object) -> Callable[[int], tuple[float, float]] | None:
    """Return a function whose values are two times, or that raises."""
    if cost is None:
        return None
    if not callable(cost):
        raise TypeError(f"cost must be callable as cost(n_known), or None, got {cost!r:.80}")

    def checked(n_known: int) -> tuple[float, float]:
        pair = cost(n_known)
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(map(_is_time, pair)):
            raise ValueError(
                "cost must return the seconds of the surrogate and of the acquisition function, "
                f"two finite numbers >= 0; got {pair!r:.80} for {n_known} known trials"
            )
        return float(pair[0]), float(pair[1])

    return checked


def _is_time(value: object) -> bool:
    return (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and float(value) >= 0
    )
