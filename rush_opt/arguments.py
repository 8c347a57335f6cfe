"""The arguments of `tune()`: each is made usable, or refused with what must hold."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from rush_opt.design import sobol_design
from rush_opt.evaluation import Objective, Problem
from rush_opt.loops import OPTIMIZERS, Optimizer
from rush_opt.space import Space
from rush_opt.space.foreign import from_configspace, from_optuna


def check_count(name: str, value: object) -> int:
    """Return `value` if it is a whole number of at least 1, else raise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number >= 1, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return int(value)


def check_timeout(timeout: object) -> float | None:
    """Return a timeout as a float; None stays None."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"timeout must be a number of seconds or None, got {timeout!r}")
    if not 0 < float(timeout) < math.inf:
        raise ValueError(f"timeout must be a positive, finite number of seconds, got {timeout!r}")
    return float(timeout)


def check_callbacks(callbacks: object) -> None:
    """Refuse callbacks that cannot be called one after the other."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(
            "callbacks must be a sequence of functions, each to be called as callback(trial); got "
            f"{callbacks!r:.80}"
        )


def make_space(space: Any) -> Space:
    """Build a space of a mapping, of pairs of names and parameters, or of a foreign space."""
    if _package(space) == "ConfigSpace":
        return from_configspace(space)
    pairs = isinstance(space, Sequence) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in space
    )
    if not isinstance(space, Mapping) and not pairs:
        raise TypeError(
            "space must be a mapping of parameter names to Float, Integer, Categorical or other "
            "parameters, a sequence of such pairs, a ConfigurationSpace, or Optuna's "
            f"distributions by name, got {space!r:.80} ({type(space).__name__})"
        )
    if isinstance(space, Mapping) and "optuna" in map(_package, space.values()):
        return from_optuna(space)
    return Space(space)


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


def sign_of(direction: object) -> float:
    """Return the factor that turns a direction into minimizing."""
    signs = {"minimize": 1.0, "maximize": -1.0}
    if not isinstance(direction, str) or direction not in signs:
        raise ValueError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
    return signs[direction]


def check_objective(objective: Objective) -> Objective:
    """Return an objective that can be called."""
    if not callable(objective):
        raise TypeError(
            "objective must be callable as objective(config) or objective(config, trial), got "
            f"{type(objective).__name__}"
        )
    return objective


def check_metric(metric: object) -> str:
    """Return a metric that is a name."""
    if not isinstance(metric, str) or not metric:
        raise TypeError(f"metric must be the name of a result, got {metric!r}")
    return metric


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


def initial_points(
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


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
