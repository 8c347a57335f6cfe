"""Trials of one worker, run in this process."""

from collections.abc import Callable
from typing import Any

from rush_core import Worker
from rush_opt import Float, Space
from rush_opt.evaluation.runner import TrialRunner
from tests.opt.plans import plan_of

SPACE = Space({"x": Float(0, 1)})
PROBLEM = plan_of(SPACE, seed=3).problem


def runner(worker: Worker, objective: Callable[..., Any], **changes: Any) -> TrialRunner:
    """Return what runs trials of `PROBLEM` with this objective and these changes of the plan."""
    return TrialRunner(worker, plan_of(SPACE, objective, seed=3, **changes))
