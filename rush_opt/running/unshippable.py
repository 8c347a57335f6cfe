"""Which part of an objective cannot be sent to worker processes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import cloudpickle

from rush_core import LoopError
from rush_opt.evaluation.plan import RunPlan
from rush_opt.space.constraint import called

__all__ = ["explained"]


def explained(error: LoopError, plan: RunPlan) -> LoopError:
    """Return the error of a plan that cannot be sent, in words of the caller of `tune()`.

    Parameters
    ----------
    error : LoopError
        As `Network.start_workers` raised it.
    plan : RunPlan
    """
    name = called(plan.objective)
    if error.expected is not None:  # too large
        size, largest = max(
            (
                (len(cloudpickle.dumps(value)), what)
                for what, value in _parts(plan.objective).items()
            ),
            default=(error.found, "it"),
        )
        return LoopError(
            f"the objective {name} has {error.found:,} bytes with all that it uses, {size:,} of "
            f"them in {largest}; at most {error.expected:,} can be sent to workers. Load the data "
            "inside the objective",
            expected=error.expected,
            found=error.found,
        )
    for what, value in _parts(plan.objective).items():
        if reason := _refusal(value):
            return LoopError(
                f"the objective {name} cannot be sent to worker processes because of {what}, a "
                f"{type(value).__name__}: {reason}. Objects bound to this process (locks, open "
                "files, connections, generators) cannot be sent: make it inside the objective"
            )
    for what, value in (
        ("objective", plan.objective),
        ("optimizer", plan.optimizer),
        ("space", plan.problem.space),
        ("stop", plan.stop),
        ("pruner", plan.pruner),
    ):
        if reason := _refusal(value):
            return LoopError(
                f"the argument {what} cannot be sent to worker processes: {reason}. Objects bound "
                "to this process (locks, open files, connections, generators) cannot be sent"
            )
    return error


def _parts(objective: Any) -> Mapping[str, Any]:
    """Return what an objective uses, by how an error names it."""
    function = inspect.unwrap(getattr(objective, "__func__", objective))
    parts: dict[str, Any] = {}
    if inspect.isfunction(function):
        used = inspect.getclosurevars(function)
        parts |= {f"its variable {name!r}": value for name, value in used.nonlocals.items()}
        parts |= {f"its global variable {name!r}": value for name, value in used.globals.items()}
        parts |= {f"its default {value!r:.40}": value for value in function.__defaults__ or ()}
    return parts | {
        f"its attribute {name!r}": value
        for name, value in getattr(
            getattr(objective, "__self__", objective), "__dict__", {}
        ).items()
        if not name.startswith("__")
    }


def _refusal(value: Any) -> str:
    """Return why a value cannot be pickled; empty if it can."""
    try:
        cloudpickle.dumps(value)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
