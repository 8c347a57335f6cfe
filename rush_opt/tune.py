"""`tune()`: from an objective and a space to the best configuration found."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from rush_core import (
    Network,
    RushError,
    ServerRefusedError,
    ServerUnreachableError,
    WorkersFailedError,
    usable_cpus,
)
from rush_opt.arguments.initial_design import initial_points_of
from rush_opt.arguments.limits import check_limits
from rush_opt.arguments.plan import make_plan, make_problem
from rush_opt.arguments.warm_start import known_trials
from rush_opt.arguments.workers import (
    check_callbacks,
    check_debug,
    check_log_folder,
    check_places,
    check_start_method,
)
from rush_opt.evaluation.objective import Objective
from rush_opt.evaluation.plan import RunPlan
from rush_opt.evaluation.sources import find_sources
from rush_opt.optimizers import Optimizer
from rush_opt.results.record import RunRecord
from rush_opt.results.result import TuneResult
from rush_opt.results.trials import FrozenTrial
from rush_opt.running.here import HereLauncher
from rush_opt.running.interrupts import Interrupts
from rush_opt.running.joined import JoinedWorkers
from rush_opt.running.launchers import CommandLauncher, ExecutorLauncher, Launcher, LocalLauncher
from rush_opt.running.manager import CallbackFailed, Manager
from rush_opt.running.progress import Progress
from rush_opt.running.termination import sigterm_as_interrupt
from rush_opt.search.design import Design
from rush_opt.space import Parameter, Space
from rush_opt.stopping.history import History
from rush_opt.stopping.rules import Rule
from rush_opt.stopping.trial_rules import Pruner

if TYPE_CHECKING:
    from rush_opt.arguments.warm_start import WarmStart

__all__ = ["tune"]

logger = logging.getLogger(__name__)

# A point of a list fails if it has ended the process of its worker more often than this.
_MOST_RETRIES = 2


@sigterm_as_interrupt()
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
    log_folder: str | os.PathLike[str] | None = None,
    start_method: Literal["fork", "spawn"] | None = None,
    debug: bool = False,
    callbacks: Sequence[Callable[[FrozenTrial], object]] = (),
    progress: bool = True,
) -> TuneResult:
    """Find the configuration with the best objective value, or the best compromises of several.

    Starts worker processes, which evaluate trials and record their results, and returns when the
    budget is used up. Depending on the optimizer, each worker proposes its own trials, or one more
    process on this machine proposes them for all workers.

    Parameters
    ----------
    objective : callable
        ``objective(config)`` or ``objective(config, trial)``: takes a dict of parameter values and
        returns a number, or a mapping with a number under `metric`. For several objectives it
        returns a mapping with all of them, or as many numbers in the order of `metric`. A trial
        fails if the objective raises any exception, or returns NaN, an infinity or something that
        cannot be stored. Failed trials do not stop the run, unless all of the first trials fail.
        Data that the objective closes over is shipped with it, up to 64 MiB; it should load larger
        data itself. For what it prints see `log_folder` and `debug`, for what it logs see
        `network_id`. Its standard input is empty.
    space : mapping or Space
        Parameter name to `Float`, `Integer`, `Categorical`, `Ordinal`, `Boolean` or a fixed value;
        or a `Space` with constraints, a ConfigSpace ``ConfigurationSpace``, Optuna's distributions.
    n_workers : int, optional
        Worker processes, on this machine unless `executor` or `launch` is given; by default one
        per usable CPU of this machine. What is assigned to this process, and what its control
        groups allow, is usable.
    n_trials : int, optional
        How many trials end, exactly. By default 100 if there is neither `timeout` nor `stop`, and
        all points for a grid search. Trials of lost workers do not count, nor trials that no worker
        ran. Trials of earlier runs in the same network count.
    timeout : float, optional
        Seconds after which no trial is started; running ones are finished. The time begins with the
        call, and includes waiting for workers to join.
    stop : Rule or callable, optional
        What else ends the run: ``Target(0.1) | Stagnation(50)`` when a value of 0.1 is found or 50
        trials in a row brought no improvement, ``Stagnation(50) & Trials(200)`` when both hold. Or
        a function that takes a `History` and returns a bool; it is also called before any trial has
        finished, when ``best_value`` is None. A worker that has read the trial by which the rule
        holds starts no other; each remaining one may start one more. Running trials are finished.
    optimizer : str or Optimizer
        ``"adbo"``, ``"acbo"``, ``"clbo"``, ``"cmaes"``, ``"de"``, ``"random"``, ``"grid"``; an
        instance such as ``ADBO(...)``; or one of your own, see `rush_opt.optimizers.base`.
    pruner : Pruner, optional
        Stops trials early by what they report, with any optimizer: `SuccessiveHalving` or
        `MedianRule`. The objective calls ``trial.report(value, step)`` and returns when
        ``trial.should_stop()`` is true. The trial then counts as finished with its last report, or
        as failed if that is not finite, and its notes have the step as ``stopped_at``.
    direction : str or sequence of str
        ``"minimize"`` or ``"maximize"``; a list of these, one per objective, for several.
    metric : str or sequence of str
        The name of the objective value if the objective returns a mapping; a list of names, as long
        as `direction`, for several objectives. Every proposal weights these at random, so that all
        compromises are searched for: see ``result.pareto_front``.
    seed : int, optional
        Makes the initial design and the random stream of every process reproducible; with one
        worker the whole run. By default it is drawn anew, see ``result.seed``.
    network_id : str, optional
        The name of a network that stays in the server, and can be watched during the run; by
        default a network of this run only. If the name is given again, also after a crash, the run
        continues: trials that were running are lost and replaced, all others count. Only one call
        at a time may use a network: two would share its budget, and each could stop the workers of
        both. ``Network(network_id, url).read_log()`` returns what the workers logged.
    url : str, optional
        The server; by default `RUSH_REDIS_URL`, `REDIS_URL` or an embedded one.
    initial_design : int, sequence of mappings or design, optional
        What is evaluated first: a number of Sobol points, configurations, or a design that is drawn
        such as `LatinHypercube(40)`, `RandomPoints(40)` or `Grid(3)`; by default the optimizer's
        rule. Drawn points that repeat, or that `warm_start` has, are left out. A network that
        already has trials continues from those instead.
    warm_start : TuneResult, path-like, DataFrame or sequence of pairs, optional
        Earlier trials, which are known from the beginning: a result, with the same directions, or
        the path of a file that its `to_json` wrote; a study of Optuna; a table like
        ``result.trials`` (columns ``params_<name>`` and ``value``); or pairs of a configuration and
        a number or mapping as `objective` returns. Of the first four, trials that do not fit the
        space are left out with a warning. They take no place in `n_trials`. They are part of the
        default initial design, and a grid search leaves them out. In ``result.trials`` they have no
        worker. A network that already has trials continues from those instead.
    executor : concurrent.futures.Executor, optional
        Runs the workers, on any machine that reaches the server: Dask's ``client.get_executor()``,
        for example. Lost workers are replaced through it.
    launch : callable, optional
        Starts the workers by other means: it is called once as ``launch(command, n_workers)``, and
        must have the shell line `command` run that many times, on any machines. The same line can
        start further workers at any time. Lost workers are not replaced. If it returns a
        `subprocess.Popen`, or another object with such a ``poll``, and that program ends with an
        exit code other than 0 while no worker is active, the run ends with an error.
    trial_timeout : float, optional
        Seconds after which a trial is killed and fails; its worker goes on. With a limit, each
        worker evaluates its trials in a second process, and calls of `trial` go through that.
    trial_memory : int or str, optional
        Bytes, or a text such as ``"2GB"``: how much memory the second process may use, with its
        children, interpreter and libraries. A trial that uses more is killed and fails. The memory
        is checked every 0.05 s, so it may be exceeded for a moment.
    log_folder : path-like, optional
        Where what worker processes print is kept: standard output in ``WORKER_ID.out``, standard
        error in ``WORKER_ID.err``. It is made if it does not exist. By default the output is in a
        temporary folder, which is removed.
    start_method : {"fork", "spawn"}, optional
        How worker processes start on this machine. By default, on Linux, one process imports what
        the objective and the optimizer need, and forks the workers, which then share this memory:
        see `Network.start_workers`. With ``"spawn"`` each is a new Python interpreter. So it is,
        too, if the import of the objective starts a thread or a process, and elsewhere than on
        Linux.
    debug : bool
        Whether to evaluate all trials in this process, one after the other, in the thread of the
        caller: there ``breakpoint()``, ``input()`` and what the objective prints work as usual.
        Nothing else of the run changes. `n_workers` must be 1 or left out. Callbacks are called in
        another thread. Ctrl-C and leaving the debugger end the run at once; the result has all
        trials that ended before.
    callbacks : sequence of callable
        Each is called in this process as ``callback(trial)`` for every trial that ended: finished,
        failed or lost (see ``trial.state`` and ``trial.lost``). A callback may raise `StopRun` to
        end the run after the running trials. Any other exception kills the workers. If the run
        has a `network_id`, the exception is raised here, and the network keeps its trials. If not,
        it is logged, and the result has the trials that ended; it is raised if none has finished.
    progress : bool
        Whether to show the progress on standard error: a bar in a terminal or a notebook, otherwise
        plain lines now and then.

    Returns
    -------
    TuneResult
        After an interrupt (Ctrl-C), too: when the running trials have ended. A second interrupt
        kills the running trials, and the result has all that ended before. Further ones have no
        effect. SIGTERM counts as an interrupt if this is the main thread and the program has no
        handler of its own for it. If the server of a run without a `network_id` is lost, the result
        has the trials that were read until then.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used, or the network was begun with another space, metric or
        direction; nothing was started.
    ImportError
        If the optimizer needs a package that is not installed; nothing was started.
    OSError
        If a file given as `warm_start` cannot be read; nothing was started.
    LoopError
        If the objective cannot be shipped to worker processes; nothing was started.
    AllTrialsFailedError
        If the first trials all fail; the run is stopped early.
    WorkersFailedError
        If workers cannot be started or are lost again and again, or the network is lost; unless the
        run has no `network_id` and some trials have finished: then these are the result.
    RushError
        If the server cannot be used: from the beginning, or from some time on and the run has a
        `network_id` or no finished trial.

    Examples
    --------
    >>> from rush_opt import Float, tune
    >>> result = tune(lambda config: config["x"] ** 2, {"x": Float(-1, 1)}, n_trials=20)
    >>> result.best_params
    """
    check_callbacks(callbacks)
    executor, launch = check_places(executor, launch)
    check_debug(
        debug,
        n_workers,
        executor=executor,
        launch=launch,
        trial_timeout=trial_timeout,
        trial_memory=trial_memory,
    )
    if debug:
        n_workers = 1
    problem = make_problem(space, metric, direction, seed)
    plan = make_plan(
        objective,
        problem,
        optimizer,
        n_workers=usable_cpus() if n_workers is None else n_workers,
        n_trials=n_trials,
        timeout=timeout,
        pruner=pruner,
        stop=stop,
        limits=check_limits(trial_timeout, trial_memory),
    )
    folder = check_log_folder(log_folder, executor=executor, launch=launch, debug=debug)
    check_start_method(start_method, executor=executor, launch=launch, debug=debug)
    known = known_trials(warm_start, problem)
    points = initial_points_of(plan, initial_design, known)
    shown = Progress(plan.n_trials, plan.timeout_s) if progress else None
    # Every point of a list is wanted: one whose worker is lost is queued again.
    max_retries = _MOST_RETRIES if plan.optimizer.placement == "listed" else 0
    network = Network(network_id, url, max_retries=max_retries)
    remove = network_id is None
    with Interrupts() as interrupts:
        try:
            plan = replace(
                plan,
                began=network.now(),
                log_folder=folder,
                start_method=start_method,
                sources=find_sources(plan.objective),
            )
            joined = JoinedWorkers(network)
            here = HereLauncher(network, plan, interrupts) if debug else None
            launcher = here or _launcher(network, plan, joined, executor, launch)
            # In another thread, the manager cannot be interrupted.
            allowed = Interrupts() if debug else interrupts
            manager = Manager(network, plan, joined, launcher, callbacks, shown, allowed)
            manage = partial(manager.run, points, known)
            try:
                stop_reason = manage() if here is None else here.run(manage, manager.interrupt)
            except (ServerUnreachableError, ServerRefusedError, WorkersFailedError) as error:
                if network_id is not None:
                    raise  # its trials stay in the server: a later call with this name goes on
                if isinstance(error, WorkersFailedError):
                    stop_reason = manager.end_early(error, "workers failed")
                else:
                    remove = False
                    stop_reason = manager.end_without_server(error)
            except CallbackFailed as failed:
                if network_id is not None:
                    raise failed.error from None
                stop_reason = manager.end_early(failed.error, "callback failed")
            return TuneResult(
                RunRecord(
                    trials=manager.trials,
                    space=problem.space,
                    goals=problem.goals,
                    seed=problem.seed,
                    stop_reason=stop_reason,
                    network_id=network.network_id,
                    started_at=manager.started_at,
                    ended_at=manager.ended_at,
                    workers=manager.workers,
                    deadline=plan.deadline,
                )
            )
        finally:
            if shown is not None:
                shown.close()
            _leave(network, remove=remove)


def _launcher(
    network: Network,
    plan: RunPlan,
    joined: JoinedWorkers,
    executor: Executor | None,
    launch: Callable[[str, int], object] | None,
) -> Launcher:
    """Return what starts the workers in other processes."""
    if executor is not None:
        return ExecutorLauncher(network, plan, joined, executor)
    if launch is not None:
        return CommandLauncher(network, plan, joined, launch)
    return LocalLauncher(network, plan, joined)


def _leave(network: Network, *, remove: bool) -> None:
    """Remove a network if asked to, and disconnect from it.

    A failed removal is only logged: the result is more important, and so is an earlier error.
    """
    try:
        if remove:
            network.reset()
    except RushError as error:
        logger.warning("network %r could not be removed: %s", network.network_id, error)
    finally:
        network.close()
