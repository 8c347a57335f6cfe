"""The arguments of `tune()`: each is made usable, or refused with what must hold."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from numbers import Integral, Real
from typing import Any

import numpy as np

from rush_opt.evaluation.limits import Limits
from rush_opt.evaluation.runner import Objective, Problem, takes_trial
from rush_opt.optimizers import OPTIMIZERS, GridSearch, Optimizer
from rush_opt.search.design import Design, new_rows, sobol_design
from rush_opt.space import Space
from rush_opt.space.foreign import from_configspace, from_optuna
from rush_opt.stopping.rules import Rule, make_rule
from rush_opt.stopping.trial_rules import Pruner

_DEFAULT_N_TRIALS = 100


def check_count(name: str, value: object) -> int:
    """Return `value` if it is a whole number of at least 1, else raise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number >= 1, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return int(value)


def check_timeout(timeout: object, name: str = "timeout") -> float | None:
    """Return a timeout as a float; None stays None."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"{name} must be a number of seconds or None, got {timeout!r}")
    if not 0 < float(timeout) < math.inf:
        raise ValueError(f"{name} must be a positive, finite number of seconds, got {timeout!r}")
    return float(timeout)


_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kMGT]?)(i?)B")

# An interpreter that has imported nothing takes more than half of this.
_LEAST_MEMORY = 2**24


def check_limits(trial_timeout: object, trial_memory: object) -> Limits | None:
    """Return what a trial may take; None if that is not limited."""
    timeout_s = check_timeout(trial_timeout, name="trial_timeout")
    if timeout_s is None and trial_memory is None:
        return None
    return Limits(timeout_s, None if trial_memory is None else _bytes(trial_memory))


def _bytes(memory: object) -> int:
    """Return a number of bytes, which a text such as 2GB or 512 MiB can say as well."""
    written = _BYTES.fullmatch(memory.strip()) if isinstance(memory, str) else None
    if written is not None:
        number, prefix, binary = written.groups()
        memory = round(float(number) * (1024 if binary else 1000) ** " kMGT".index(prefix or " "))
    if isinstance(memory, bool) or not isinstance(memory, Integral):
        raise TypeError(
            "trial_memory must be a whole number of bytes, or a text such as '2GB' or '512MiB', "
            f"got {memory!r}"
        )
    if memory < _LEAST_MEMORY:
        raise ValueError(
            f"trial_memory must be at least {_LEAST_MEMORY:,} bytes, which an interpreter takes by "
            f"itself, got {memory!r}"
        )
    return int(memory)


def check_callbacks(callbacks: object) -> None:
    """Refuse callbacks that cannot be called one after the other."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(
            "callbacks must be a sequence of functions, each to be called as callback(trial); got "
            f"{callbacks!r:.80}"
        )


def check_places(
    executor: object, launch: object
) -> tuple[Executor | None, Callable[[str, int], object] | None]:
    """Return where workers are to run, of which there can be only one."""
    if executor is not None and launch is not None:
        raise ValueError("give either executor or launch, not both: one of them starts the workers")
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            "executor must be a concurrent.futures.Executor, such as Dask's client.get_executor(), "
            f"got {executor!r:.80} ({type(executor).__name__})"
        )
    if launch is not None and not callable(launch):
        raise TypeError(
            "launch must be callable as launch(command, n_workers), and run the shell line "
            f"`command` n_workers times, got {launch!r:.80}"
        )
    return executor, launch


def make_space(space: Any) -> Space:
    """Build a space of a mapping, of pairs of names and parameters, or of a foreign space."""
    foreign = foreign_space(space)
    if foreign is not None:
        return foreign
    pairs = isinstance(space, Sequence) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in space
    )
    if not isinstance(space, Mapping) and not pairs:
        raise TypeError(
            "space must be a mapping of parameter names to Float, Integer, Categorical or other "
            "parameters, a sequence of such pairs, a ConfigurationSpace, or Optuna's "
            f"distributions by name, got {space!r:.80} ({type(space).__name__})"
        )
    return Space(space)


def foreign_space(space: Any) -> Space | None:
    """Build a space of a ConfigurationSpace or of Optuna's distributions; None of anything else."""
    if _package(space) == "ConfigSpace":
        return from_configspace(space)
    if isinstance(space, Mapping) and "optuna" in map(_package, space.values()):
        return from_optuna(space)
    return None


def _package(value: object) -> str:
    """Name the package of a value's class, which need not be installed to be asked for."""
    return type(value).__module__.partition(".")[0]


def choose_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """Return an optimizer by its name; an instance stays as it is."""
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


def signs_of(direction: object) -> tuple[float, ...]:
    """Return the factor that turns each direction into minimizing."""
    signs = {"minimize": 1.0, "maximize": -1.0}
    directions = _one_or_several(direction)
    for each in directions:
        if not isinstance(each, str) or each not in signs:
            raise ValueError(
                "direction must be 'minimize' or 'maximize', or a list of these for several "
                f"objectives, got {direction!r:.80}"
            )
    return tuple(signs[each] for each in directions)


def directions_of(signs: Sequence[float]) -> tuple[str, ...]:
    """Return the directions by name."""
    return tuple("minimize" if sign > 0 else "maximize" for sign in signs)


def _one_or_several(value: object) -> list[Any]:
    """Return a list's values; anything else is the value of a single objective."""
    return list(value) if isinstance(value, list | tuple) and value else [value]


def check_objective(objective: Objective) -> Objective:
    """Return an objective that can be called with a configuration, or with the trial as well."""
    if not callable(objective):
        raise TypeError(
            "objective must be callable as objective(config) or objective(config, trial), got "
            f"{type(objective).__name__}"
        )
    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):  # some built-in callables do not tell
        return objective
    if next(iter(signature.parameters), None) == "trial":
        raise TypeError(
            "objective must take the configuration first, a dict of values already chosen: "
            f"objective(config) or objective(config, trial); got objective{signature!s:.80}"
        )
    arguments = ("config", "trial") if takes_trial(objective) else ("config",)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(
            f"objective must be callable as objective({', '.join(arguments)}), got "
            f"objective{signature!s:.80}: {error}; give it all else beforehand, with "
            "functools.partial"
        ) from None
    return objective


def check_pruner(pruner: Any, objective: Objective, n_objectives: int) -> Pruner | None:
    """Return a rule that can stop this objective's trials; None stays None."""
    if pruner is None:
        return None
    if isinstance(pruner, type) or not callable(getattr(pruner, "should_stop", None)):
        hint = f"; write {pruner.__name__}()" if isinstance(pruner, type) else ""
        raise TypeError(
            "pruner must be SuccessiveHalving(), MedianRule() or another rule with their "
            f"should_stop(curve, others), got {pruner!r:.80}{hint}"
        )
    if n_objectives > 1:
        raise ValueError(
            f"a pruner stops trials by one objective, but there are {n_objectives}; leave it out, "
            "or optimize one"
        )
    if not takes_trial(objective):
        raise ValueError(
            "a pruner stops trials by what they report, so the objective must take the trial: "
            "objective(config, trial) that calls trial.report(value, step) and then ends if "
            "trial.should_stop()"
        )
    chosen: Pruner = pruner
    return chosen


def check_stop(stop: object, n_objectives: int) -> Rule | None:
    """Return a rule that ends a run with so many objectives; None stays None."""
    if stop is None:
        return None
    if n_objectives > 1:
        raise ValueError(
            f"stop looks at one objective, but there are {n_objectives}; use n_trials or timeout, "
            "or a callback that raises StopRun"
        )
    return make_rule(stop)


def check_metrics(metric: object) -> tuple[str, ...]:
    """Return metrics that are names and differ."""
    metrics = _one_or_several(metric)
    for each in metrics:
        if not isinstance(each, str) or not each:
            raise TypeError(
                "metric must be the name of a result, or a list of several, one per objective, got "
                f"{metric!r:.80}"
            )
    if len(set(metrics)) < len(metrics):
        raise ValueError(f"metric must name each objective once, got {metric!r:.80}")
    return tuple(metrics)


def check_objectives(
    metric: object, direction: object
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the names and signs of the objectives, of which each has one of both."""
    metrics, signs = check_metrics(metric), signs_of(direction)
    if len(metrics) != len(signs):
        raise ValueError(
            f"need a metric for each direction, got metric={metric!r:.80} and "
            f"direction={direction!r:.80}; several objectives are given as "
            "metric=['error', 'recall'], direction=['minimize', 'maximize']"
        )
    return metrics, signs


def draw_entropy(seed: object) -> int:
    """Return a seed as entropy for a run; without one, entropy of the system."""
    if seed is None:
        # As much as the server's records hold in one whole number, drawn by numpy.
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number or None, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed!r}")
    return int(seed)


def make_problem(
    objective: Objective,
    space: Any,
    optimizer: Optimizer,
    *,
    n_trials: object,
    timeout: object,
    metric: object,
    direction: object,
    seed: object,
    pruner: object = None,
    stop: object = None,
) -> Problem:
    """Return what is to be optimized; its deadline is the timeout, on a clock that starts at 0."""
    timeout_s = check_timeout(timeout)
    metrics, signs = check_objectives(metric, direction)
    rule = check_stop(stop, len(metrics))
    budgets = (n_trials, timeout_s, rule)
    if all(budget is None for budget in budgets) and not isinstance(optimizer, GridSearch):
        n_trials = _DEFAULT_N_TRIALS
    return Problem(
        objective=check_objective(objective),
        space=space if isinstance(space, Space) else make_space(space),
        metrics=metrics,
        signs=signs,
        n_trials=None if n_trials is None else check_count("n_trials", n_trials),
        deadline=timeout_s,
        seed=draw_entropy(seed),
        pruner=check_pruner(pruner, objective, len(metrics)),
        stop=rule,
    )


def initial_points(
    initial_design: int | Sequence[Mapping[str, Any]] | Design | None,
    problem: Problem,
    optimizer: Optimizer,
    n_workers: int,
    *,
    known: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return the configurations to evaluate first, no more than there may be trials.

    What is `known` counts for the number that the optimizer's rule demands. Points that are drawn
    are neither known nor equal to each other; configurations that are given are taken as they are.
    A grid search has all of its grid here that is not known: what may not be evaluated waits for a
    later run.
    """
    space = problem.space
    if isinstance(optimizer, GridSearch):
        if initial_design is not None:
            raise ValueError(
                "a grid search evaluates its grid and nothing else, got initial_design="
                f"{initial_design!r:.80}; drop it, or use another optimizer with initial_design="
                "Grid(...)"
            )
        return optimizer.points(problem, known)
    if isinstance(initial_design, Design):
        X = initial_design.draw(space, problem.design_rng())
        return space.decode(new_rows(X, space, known)[: problem.n_trials])
    if isinstance(initial_design, Sequence) and not isinstance(initial_design, str):
        for i, config in enumerate(initial_design):
            _check_config(f"initial_design[{i}]", config, space)
        return [dict(config) for config in initial_design][: problem.n_trials]
    if initial_design is None:
        n = max(optimizer.n_initial(space.n_dims, n_workers) - len(known), 0)
    elif isinstance(initial_design, bool) or not isinstance(initial_design, Integral):
        raise TypeError(
            "initial_design must be a number of points, a sequence of configurations, a design "
            f"such as LatinHypercube(40) or None, got {initial_design!r:.80}"
        )
    elif initial_design < 0:
        raise ValueError(f"initial_design must not be negative, got {initial_design}")
    else:
        n = int(initial_design)
    n = n if problem.n_trials is None else min(n, problem.n_trials)
    # With the seed of an earlier run its points come first: what follows them is new.
    X = sobol_design(space, n + len(known) if n else 0, problem.design_rng())
    return space.decode(new_rows(X, space, known)[:n])


def _check_config(name: str, config: object, space: Space) -> None:
    if not isinstance(config, Mapping):
        raise TypeError(
            f"{name} must be a mapping of parameter names to values, got {config!r:.80}"
        )
    try:
        space.validate(config)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
