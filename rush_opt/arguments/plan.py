"""Make the problem and the plan of a run from its arguments."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from rush_opt.arguments.goals import make_goals
from rush_opt.arguments.numbers import check_count, check_timeout
from rush_opt.arguments.objective import check_objective
from rush_opt.arguments.optimizer import check_proposer, choose_optimizer
from rush_opt.arguments.rules import check_pruner, check_stop
from rush_opt.arguments.space import make_space
from rush_opt.evaluation.limits import Limits
from rush_opt.evaluation.objective import Objective
from rush_opt.evaluation.plan import RunPlan
from rush_opt.optimizers import Optimizer
from rush_opt.problem.problem import Problem

__all__ = ["make_plan", "make_problem"]

_DEFAULT_N_TRIALS = 100


def make_problem(space: Any, metric: object, direction: object, seed: object) -> Problem:
    """Return the problem: space, goals and seed."""
    return Problem(make_space(space), make_goals(metric, direction), _draw_entropy(seed))


def make_plan(
    objective: Objective,
    problem: Problem,
    optimizer: str | Optimizer,
    *,
    n_workers: object,
    n_trials: object,
    timeout: object,
    pruner: object = None,
    stop: object = None,
    limits: Limits | None = None,
) -> RunPlan:
    """Return the plan of a run; its `began` is 0, because the run has not begun."""
    chosen, n_goals = choose_optimizer(optimizer), len(problem.goals)
    timeout_s, rule = check_timeout(timeout), check_stop(stop, n_goals)
    is_endless = n_trials is None and timeout_s is None and rule is None
    if is_endless and chosen.placement != "listed":
        n_trials = _DEFAULT_N_TRIALS
    plan = RunPlan(
        problem=problem,
        objective=check_objective(objective),
        optimizer=chosen,
        n_workers=check_count("n_workers", n_workers),
        n_trials=None if n_trials is None else check_count("n_trials", n_trials),
        timeout_s=timeout_s,
        pruner=check_pruner(pruner, objective, n_goals),
        stop=rule,
        limits=limits,
    )
    check_proposer(chosen, problem, plan.n_workers)
    return plan


def _draw_entropy(seed: object) -> int:
    """Return a given seed as the entropy of a run; without one, draw it from the system."""
    if seed is None:
        # 64 bits: a record in the server cannot hold larger whole numbers.
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number or None, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed!r}")
    return int(seed)
