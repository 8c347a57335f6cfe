"""The arguments `pruner` and `stop`: rules that end a trial or the run."""

from __future__ import annotations

from typing import Any

from rush_opt.evaluation.objective import Objective, takes_trial
from rush_opt.stopping.rules import Rule, make_rule
from rush_opt.stopping.trial_rules import Pruner

__all__ = ["check_pruner", "check_stop"]


def check_pruner(pruner: Any, objective: Objective, n_objectives: int) -> Pruner | None:
    """Return a rule that can stop trials of this objective; None stays None."""
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
            f"a pruner needs a single objective, but there are {n_objectives}; remove pruner=, or "
            "optimize one objective"
        )
    if not takes_trial(objective):
        raise ValueError(
            "a pruner needs the reports of trials, so the objective must take the trial: write "
            "objective(config, trial), call trial.report(value, step) in it, and return early if "
            "trial.should_stop()"
        )
    chosen: Pruner = pruner
    return chosen


def check_stop(stop: object, n_objectives: int) -> Rule | None:
    """Return a rule that can end a run with this many goals; None stays None."""
    if stop is None:
        return None
    if n_objectives > 1:
        raise ValueError(
            f"stop needs a single objective, but there are {n_objectives}; use n_trials or "
            "timeout, or a callback that raises StopRun"
        )
    return make_rule(stop)
