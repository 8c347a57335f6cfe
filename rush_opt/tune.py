"""`tune()`: from an objective and a space to the best configuration found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rush_core import Network, RushError
from rush_opt.arguments.arguments import (
    check_callbacks,
    check_count,
    check_limits,
    check_places,
    choose_optimizer,
    directions_of,
    initial_points,
    make_problem,
    usable_cpus,
)
from rush_opt.arguments.warm_start import known_trials
from rush_opt.evaluation.runner import Objective
from rush_opt.optimizers import GridSearch, Optimizer
from rush_opt.results.result import TuneResult
from rush_opt.results.trials import FrozenTrial
from rush_opt.running.manager import Run
from rush_opt.running.progress import Progress
from rush_opt.search.design import Design
from rush_opt.space import Parameter, Space
from rush_opt.stopping.history import History
from rush_opt.stopping.rules import Rule
from rush_opt.stopping.trial_rules import Pruner

if TYPE_CHECKING:
    from rush_opt.arguments.warm_start import WarmStart

__all__ = ["tune"]

logger = logging.getLogger(__name__)

# A point that ends the process of its worker so often is failed.
_MOST_RETRIES = 2


def tune(
    objective: Objective,
    space: Mapping[str, Parameter] | Space,
    *,
    n_workers: int | None = None,
    n_trials: int | None = None,
    timeout: float | None = None,
    stop: Rule | Callable[[History], bool] | None = None,
    optimizer: str | Optimizer = "adbo",
    pruner: Pruner | None = None,
    direction: str | Sequence[str] = "minimize",
    metric: str | Sequence[str] = "value",
    seed: int | None = None,
    network_id: str | None = None,
    url: str | None = None,
    initial_design: int | Sequence[Mapping[str, Any]] | Design | None = None,
    warm_start: WarmStart | None = None,
    executor: Executor | None = None,
    launch: Callable[[str, int], object] | None = None,
    trial_timeout: float | None = None,
    trial_memory: int | str | None = None,
    callbacks: Sequence[Callable[[FrozenTrial], object]] = (),
    progress: bool = True,
) -> TuneResult:
    """Find the configuration with the best objective value, or the best compromises of several.

    Starts worker processes, which evaluate trials and record them, and returns when the budget is
    used up. Each proposes its own trials, or one more process on this machine does for all of them:
    that is the optimizer's way.

    Parameters
    ----------
    objective : callable
        ``objective(config)`` or ``objective(config, trial)``: takes a dict of parameter values and
        returns a number, or a mapping with a number under `metric`. For several objectives it
        returns a mapping with all of them, or as many numbers in the order of `metric`. An
        exception, NaN or an infinity makes a failed trial and does not stop the run, unless the
        first trials all fail. What it closes over is shipped with it, up to 64 MiB; larger data it
        is to load itself. What it prints is not shown; for what it logs see `network_id`.
    space : mapping or Space
        Parameter name to `Float`, `Integer`, `Categorical`, `Ordinal`, `Boolean` or a fixed value;
        or a `Space` with constraints, a ConfigSpace ``ConfigurationSpace``, Optuna's distributions.
    n_workers : int, optional
        Worker processes, on this machine unless `executor` or `launch` is given; by default one
        per usable CPU of this machine.
    n_trials : int, optional
        How many trials come to an end, exactly; 100 if there is neither `timeout` nor `stop`, and
        all of the grid for a grid search. Trials lost with a killed worker do not count, nor what
        no worker ran; those of earlier runs in the network do.
    timeout : float, optional
        Seconds after which no trial is started any more; running ones are finished. They count
        from the call on, waiting for workers from elsewhere included.
    stop : Rule or callable, optional
        What else ends the run: ``Target(0.1) | Stagnation(50)`` when a value of 0.1 is found or 50
        trials in a row brought nothing better, ``Stagnation(50) & Trials(200)`` when both hold; or
        a function that takes a `History` and returns a bool; before any trial has finished it is
        asked, too, and ``best_value`` is None. No worker starts a trial that has read of the one by
        which the rule holds; what runs then is finished, and each of the other workers may at most
        have been about to start one.
    optimizer : str or Optimizer
        ``"adbo"``, ``"acbo"``, ``"clbo"``, ``"random"``, ``"grid"``, or an instance such as
        ``ADBO(...)``.
    pruner : Pruner, optional
        Stops trials early by what they report, whatever proposes them: `SuccessiveHalving` or
        `MedianRule`. The objective calls ``trial.report(value, step)`` and ends when
        ``trial.should_stop()``; the trial then counts as finished with its last report, or as
        failed if that is not finite, and its notes have the step as ``stopped_at``.
    direction : str or sequence of str
        ``"minimize"`` or ``"maximize"``; a list of these, one per objective, for several.
    metric : str or sequence of str
        The name of the objective value where the objective returns a mapping; a list of names, as
        long as `direction`, for several objectives. Every proposal then weighs them anew at random,
        so that all compromises are searched for: see ``result.pareto_front``.
    seed : int, optional
        Makes the initial design and every process's random stream reproducible; with one worker
        the whole run. By default drawn anew, see ``result.seed``.
    network_id : str, optional
        A network that stays in the server and can be looked at while the run goes on; by default
        one of this run's own. Given again, also after a crash, the run goes on where it stood:
        trials that were running are lost and replaced, all others count. One call at a time: two
        in one network would share its budget, and either would stop the workers of both. What
        workers logged is read with ``Network(network_id, url).read_log()``.
    url : str, optional
        The server; by default `RUSH_REDIS_URL`, `REDIS_URL` or an embedded one.
    initial_design : int, sequence of mappings or design, optional
        How many Sobol points, or which configurations, are evaluated first, or how they are drawn:
        `LatinHypercube(40)`, `RandomPoints(40)` or `Grid(3)`; by default the optimizer's rule. Of
        what is drawn, points that `warm_start` knows or that repeat are left out. A network that
        has trials already goes on from those instead.
    warm_start : TuneResult, path-like, DataFrame or sequence of pairs, optional
        Earlier trials, which are known from the beginning: a result, with the same directions, or
        the path of a file that its `to_json` wrote; a table like ``result.trials`` (columns
        ``params_<name>`` and ``value``); or pairs of a configuration and a number or mapping as
        `objective` returns. They take no place in `n_trials` and count for the default initial
        design, and a grid search leaves them out; in ``result.trials`` they have no worker. A
        network that has trials already goes on from those instead.
    executor : concurrent.futures.Executor, optional
        Runs the workers, wherever its processes are, which must reach the server: Dask's
        ``client.get_executor()``, for example. Lost workers are replaced through it.
    launch : callable, optional
        Brings the workers to life: called once as ``launch(command, n_workers)``, it is to run the
        shell line `command` so many times, anywhere, or to tell somebody to. The same line can
        start further workers at any time; lost ones are not replaced. If it returns a
        `subprocess.Popen`, or what else has such a ``poll``, the run ends with an error when no
        worker takes part and that has ended with an exit code other than 0.
    trial_timeout : float, optional
        Seconds after which a trial is killed, and fails with this reason, whatever it is busy
        with; its worker goes on. With a limit, each worker evaluates in a process of its own, which
        stays for its next trial; what a `trial` argument offers is called from there.
    trial_memory : int or str, optional
        Bytes, or a text such as ``"2GB"``: how much memory the evaluation process may occupy, its
        children, interpreter and libraries included. It is looked at every 0.05 s: what grows
        faster can be more for a moment. A trial that takes more is killed and fails, too.
    callbacks : sequence of callable
        Each is called in this process as ``callback(trial)`` for every trial that ended, be it
        finished, failed or lost, which ``trial.state`` and ``trial.lost`` tell. It may raise
        `StopRun` to end the run after the running trials; any other exception kills the workers
        and is raised here, while a named network keeps what there is.
    progress : bool
        Whether to show how the run goes, on standard error: a bar in a terminal or a notebook,
        else plain lines now and then.

    Returns
    -------
    TuneResult
        An interrupt (Ctrl-C) also returns one, after the running trials; a second one raises.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used, or the network was begun with another space, metric or
        direction; nothing was started.
    OSError
        If a file given as `warm_start` cannot be read; nothing was started.
    LoopError
        If the objective cannot be shipped to worker processes; nothing was started.
    AllTrialsFailedError
        If the first trials all fail; the run is stopped early.
    WorkersFailedError
        If workers cannot be started or are lost again and again, or the network vanishes.
    RushError
        If the server cannot be used.

    Examples
    --------
    >>> from rush_opt import Float, tune
    >>> result = tune(lambda config: config["x"] ** 2, {"x": Float(-1, 1)}, n_trials=20)
    >>> result.best_params
    """
    n_workers = usable_cpus() if n_workers is None else check_count("n_workers", n_workers)
    check_callbacks(callbacks)
    limits = check_limits(trial_timeout, trial_memory)
    executor, launch = check_places(executor, launch)
    chosen = choose_optimizer(optimizer)
    problem = make_problem(
        *(objective, space, chosen),
        n_trials=n_trials,
        timeout=timeout,
        metric=metric,
        direction=direction,
        seed=seed,
        pruner=pruner,
        stop=stop,
    )
    known = known_trials(warm_start, problem)
    points = initial_points(
        initial_design, problem, chosen, n_workers, known=[config for config, _ in known]
    )
    shown = Progress(problem.n_trials, problem.deadline) if progress else None
    # Every point of a grid is wanted: one whose worker is lost is queued again.
    max_retries = _MOST_RETRIES if isinstance(chosen, GridSearch) else 0
    network = Network(network_id, url, max_retries=max_retries)
    try:
        began = network.now()
        deadline = None if problem.deadline is None else began + problem.deadline
        problem = replace(problem, began=began, deadline=deadline)
        run = Run(
            *(network, problem, chosen, n_workers, callbacks, shown),
            limits=limits,
            executor=executor,
            launch=launch,
        )
        stop_reason = run.until_the_end(points, known)
        return TuneResult(
            frozen_trials=run.trials,
            space=problem.space,
            metrics=problem.metrics,
            directions=directions_of(problem.signs),
            seed=problem.seed,
            stop_reason=stop_reason,
            network_id=network.network_id,
            started_at=run.started_at,
            ended_at=run.ended_at,
            workers=run.workers,
            deadline=problem.deadline,
        )
    finally:
        if shown is not None:
            shown.close()
        try:
            _leave(network, remove=network_id is None)
        except KeyboardInterrupt:
            # Pressed for the first time it costs neither the result nor the cleaning up.
            _leave(network, remove=network_id is None)


def _leave(network: Network, *, remove: bool) -> None:
    """Disconnect from a network, and remove it before if that can be done.

    The result is there, or an error on its way that says more than one of this.
    """
    try:
        if remove:
            network.reset()
    except RushError as error:
        logger.warning("network %r could not be removed: %s", network.network_id, error)
    finally:
        network.close()
