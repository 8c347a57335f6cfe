"""Trials of one worker, run in this process."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rush_core import Worker
from rush_opt import Float, Space
from rush_opt.evaluation.runner import Problem, TrialRunner

PROBLEM = Problem(
    objective=lambda config: config["x"],
    space=Space({"x": Float(0, 1)}),
    metrics=("loss",),
    signs=(1.0,),
    n_trials=None,
    deadline=None,
    seed=3,
)


def runner(worker: Worker, objective: Callable[..., Any], **changes: Any) -> TrialRunner:
    """Return what runs trials of `PROBLEM` with this objective and these changes."""
    return TrialRunner(worker, replace(PROBLEM, objective=objective, **changes))
