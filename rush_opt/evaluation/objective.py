"""The objective: call it, check what it returns, and find out what it takes."""

from __future__ import annotations

import inspect
import math
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rush_opt.evaluation.trial import is_objective_value

__all__ = ["Objective", "TrialFailure", "evaluate", "name_values", "takes_trial"]

Objective = Callable[..., Any]


class TrialFailure(Exception):  # noqa: N818  # it ends a trial, and is no error of the library
    """Raised in place of an objective whose trial failed in another process.

    Its text becomes the error of the trial.
    """


def evaluate(
    objective: Callable[[dict[str, Any]], Any], config: dict[str, Any], metrics: Sequence[str]
) -> tuple[dict[str, Any] | None, str]:
    """Call an objective and check what it returns.

    Returns
    -------
    result : dict or None
        A mapping with a finite number under each of `metrics`; None if the trial failed.
    error : str
        Why it failed: a traceback, or what is wrong with the returned value.
    """
    try:
        returned = objective(config)
    except TrialFailure as failure:
        return None, str(failure)
    except (Exception, SystemExit, CancelledError) as error:
        # The first frame is this function's.
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        return None, "".join(traceback.format_exception(type(error), error, trace)).rstrip()
    result = name_values(returned, metrics)
    if result is None:
        return None, (
            f"the objective returned {_shown(returned)} ({type(returned).__name__}); it must "
            f"return a mapping with the names {list(metrics)}, or as many numbers in that order"
        )
    for metric in metrics:
        if metric not in result:
            return None, (
                f"the objective's result has no {metric!r}; it has {sorted(map(str, result))}. "
                "Return that name, or tell tune() which one to optimize: metric=..."
            )
        number = _finite(result[metric], metric)
        if isinstance(number, str):
            return None, number
        result[metric] = number
    return result, ""


def name_values(returned: Any, metrics: Sequence[str]) -> dict[str, Any] | None:
    """Return what an objective returned as a mapping; None if the names do not fit it.

    For one goal the bare value is enough; for several, a sequence of values in the goals' order.
    """
    if isinstance(returned, Mapping):
        return dict(returned)
    if len(metrics) == 1:
        return {metrics[0]: returned}
    values = returned.tolist() if isinstance(returned, np.ndarray) else returned
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        return None
    return dict(zip(metrics, values, strict=True)) if len(values) == len(metrics) else None


def _finite(value: Any, metric: str) -> float | str:
    """Return a value as a finite number, or the reason why it is not one."""
    if not is_objective_value(value):
        return (
            f"the objective returned {_shown(value)} ({type(value).__name__}) as {metric!r}; it "
            "must return a number, or a mapping with one"
        )
    try:
        number = float(value)
    except Exception as error:  # each library has its own
        return f"the objective returned {_shown(value)} as {metric!r}, which is no number ({error})"
    if not math.isfinite(number):
        return (
            f"the objective returned {number} as {metric!r}; a trial needs a finite value to count "
            "as finished"
        )
    return number


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except Exception:  # an error in a __repr__ of the user must not end the worker
        return object.__repr__(value)


def takes_trial(objective: Objective) -> bool:
    """Tell whether an objective takes the trial as its second argument."""
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [p for p in parameters if p.kind in kinds]
    required = [p for p in positional if p.default is p.empty]
    return len(required) >= 2 or any(p.name == "trial" for p in positional)
