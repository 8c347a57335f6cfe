"""The argument `objective`."""

from __future__ import annotations

import inspect

from rush_opt.evaluation.objective import Objective, takes_trial

__all__ = ["check_objective"]


def check_objective(objective: Objective) -> Objective:
    """Check that an objective takes a configuration, or a configuration and the trial."""
    if not callable(objective):
        raise TypeError(
            "objective must be callable as objective(config) or objective(config, trial), got "
            f"{type(objective).__name__}"
        )
    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):  # some built-in callables have no signature
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
            f"objective{signature!s:.80}: {error}; bind all other arguments beforehand, with "
            "functools.partial"
        ) from None
    return objective
