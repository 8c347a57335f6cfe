"""`simulate()`: a run of any number of workers in virtual time, in one process.

The optimizers run the same code as in `tune()`. Only the clock, the duration of the objective and
the waiting are virtual. The CPU time of each proposal is measured and delays its worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from rush_core import WorkerInfo, WorkerState
from rush_opt.arguments.initial_design import initial_points_of
from rush_opt.arguments.plan import make_plan, make_problem
from rush_opt.arguments.warm_start import known_trials
from rush_opt.evaluation.objective import Objective
from rush_opt.optimizers import Optimizer
from rush_opt.results.record import RunRecord
from rush_opt.results.result import TuneResult
from rush_opt.search.design import Design
from rush_opt.simulation.coordination import ON_NODES
from rush_opt.simulation.costs import Costs
from rush_opt.simulation.play import play
from rush_opt.simulation.virtual_run import VirtualRun
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
    duration: float | Callable[[dict[str, Any], int], float],
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
    """Predict a run of `tune()` with many workers, for an objective that is quick to call.

    Parameters
    ----------
    objective, space, n_trials, timeout, stop, optimizer, direction, metric, seed
        As for `tune()`; `timeout` and `Seconds` are in virtual seconds. Reports of a trial are
        ignored.
    n_workers : int
        Number of virtual workers; thousands are possible.
    duration : float or callable
        How long each evaluation takes, in virtual seconds, ``> 0``. Or ``duration(config, number)``
        returns it. `number` counts trials in the order of their starts, from 0.
    cost : callable, optional
        ``cost(n_known)`` returns two numbers: the seconds of a proposal for fitting the surrogate,
        and for searching the acquisition function, while this many trials are known. They replace
        measured times. Adding new results and requests to the server then cost nothing. So a run
        with a seed is exactly repeatable.
    initial_design, warm_start
        As for `tune()`; both are known at time 0 and cost nothing.

    Returns
    -------
    TuneResult
        As for `tune()`, in virtual seconds from 0. A trial that is running at the timeout still
        finishes; ``trial.ended_at <= result.deadline`` holds for trials that ended in time.

    Raises
    ------
    TypeError, ValueError
        If an argument, a duration or a cost cannot be used.
    AllTrialsFailedError
        As for `tune()`.

    Notes
    -----
    A proposal delays its worker, or the proposer of a centralized optimizer, by the CPU seconds
    that this process needs for it, as if each worker had its own core of this machine. Adding
    results of other workers also causes a delay; its cost per row and per call is measured at the
    beginning. If another worker has already started the proposed point, the worker proposes again,
    and the new proposal costs time, too.

    Where workers propose for themselves, each proposal is also delayed by the requests to the
    server, which handles those of all workers one after another, and by reading new results. These
    times are those of workers on nodes of 128 workers each; `rush_opt.simulation.coordination` has
    them, and names the tables that they are from. With other placements, requests cost nothing. The
    start of a worker always costs nothing.

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
    problem = make_problem(space, metric, direction, seed)
    plan = make_plan(
        objective,
        problem,
        optimizer,
        n_workers=n_workers,
        n_trials=n_trials,
        timeout=timeout,
        stop=stop,
    )
    known = known_trials(warm_start, problem)
    points = initial_points_of(plan, initial_design, known)
    n_followers = n_workers if plan.optimizer.placement == "each worker" else 0
    coordination = ON_NODES if cost is None else None
    costs = Costs(problem, _checked_cost(cost), coordination, n_followers)
    run = VirtualRun(plan, _checked_duration(duration), known)
    play(run, points, costs)
    return result_of(run)


def result_of(run: VirtualRun) -> TuneResult:
    """Return the result of a run that has been played."""
    plan = run.plan
    problem = plan.problem
    return TuneResult(
        RunRecord(
            trials=run.trials,
            space=problem.space,
            goals=problem.goals,
            seed=problem.seed,
            stop_reason=run.stop_reason,
            network_id="virtual",
            started_at=0.0,
            ended_at=run.ended_at,
            workers=[_virtual_worker(number, run.ended_at) for number in range(plan.n_workers)],
            deadline=plan.deadline,
        )
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
    """Return a function that checks what `duration` returns."""
    if isinstance(duration, Real) and not isinstance(duration, bool):
        seconds_of_each = float(duration)
        return _checked_duration(lambda config, number: seconds_of_each)
    if not callable(duration):
        raise TypeError(
            f"duration must be a number of seconds, or callable as duration(config, number), got "
            f"{duration!r:.80}"
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
    """Return a function that checks what `cost` returns."""
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
