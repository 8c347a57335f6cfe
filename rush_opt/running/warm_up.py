"""What is prepared once for all workers of a run, before they are forked."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from rush_opt.evaluation.plan import RunPlan
from rush_opt.optimizers.base import Place, ProposingOptimizer
from rush_opt.optimizers.made_up import propose_from_made_up_results

__all__ = ["load_models", "warm_up_of"]

# The libraries of the models take 1.5 s of CPU time to load. Few workers load them at the same time
# on several cores, and their first trials do not need them: those should not wait.
_FEW_WORKERS = 4

# Numbers of results. By default the model is a Gaussian process up to 100 results, then trees.
_SIZES = (20, 150)


def warm_up_of(plan: RunPlan) -> Callable[[RunPlan], None] | None:
    """Return what prepares the workers of a run; None if that costs more than it saves."""
    if plan.n_workers <= _FEW_WORKERS or plan.optimizer.placement != "each worker":
        return None
    optimizer = cast(ProposingOptimizer, plan.optimizer)
    n_initial = optimizer.n_initial(plan.problem.space.n_dims, plan.n_workers)
    if plan.n_trials is not None and plan.n_trials <= n_initial:
        return None  # no trial is chosen by a model
    return load_models


def load_models(plan: RunPlan) -> None:
    """Load the libraries of the optimizer's models, and use them once."""
    optimizer = cast(ProposingOptimizer, plan.optimizer)
    for n in _SIZES:
        place = Place(0, 0, plan.n_workers)
        propose_from_made_up_results(optimizer, plan.problem, place, n)
