"""Plans of runs for tests that call a worker loop or a proposer directly."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rush_opt import RandomSearch, Space
from rush_opt.evaluation.plan import RunPlan
from rush_opt.optimizers.base import Optimizer, Phase
from rush_opt.problem.goal import Goal
from rush_opt.problem.problem import Problem

LOSS = (Goal("loss"),)


def plan_of(
    space: Space,
    objective: Callable[..., Any] = lambda config: config["x"],
    *,
    goals: Sequence[Goal] = LOSS,
    optimizer: Optimizer = RandomSearch(),  # noqa: B008  # frozen
    seed: int = 1,
    n_workers: int = 1,
    **changes: Any,
) -> RunPlan:
    """Return the plan of a run without a budget; `changes` are further fields of `RunPlan`."""
    problem = Problem(space, tuple(goals), seed)
    return RunPlan(problem, objective, optimizer, n_workers, **changes)


def untimed(phase: Phase) -> AbstractContextManager[None]:
    """Account no time."""
    return nullcontext()
