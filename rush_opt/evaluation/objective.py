"""The objective: call it, check what it returns, and find out what it takes."""

from __future__ import annotations

import inspect
import math
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from rush_core import WorkerInterrupt
from rush_opt.evaluation.limited_process import trial_error
from rush_opt.evaluation.trial import is_objective_value

__all__ = [
    "Objective",
    "TrialFailure",
    "ends_worker",
    "evaluate",
    "name_values",
    "takes_trial",
]

Objective = Callable[..., Any]


class TrialFailure(Exception):  # noqa: N818  # it ends a trial, and is no error of the library
    """Raised in place of an objective whose trial failed in another process.

    Its text becomes the error of the trial.
    """


def evaluate(
    objective: Callable[[dict[str, Any]], Any], config: dict[str, Any], metrics: Sequence[str]
) -> tuple[dict[str, Any] | None, str]:
    """Call an objective and check what it returns.

    Whatever the objective raises or returns, only its trial fails. Two exceptions are raised to the
    caller: `WorkerInterrupt`, and a `KeyboardInterrupt` that Ctrl-C may have raised.

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
    except BaseException as error:
        if ends_worker(error):
            raise
        return None, trial_error(error, ends_worker)
    try:
        return _checked(returned, metrics)
    except BaseException as error:  # a method of the returned value raised it
        if ends_worker(error):
            raise
        text = trial_error(error, ends_worker)
        return None, f"the objective returned a value that cannot be read:\n{text}"


def ends_worker(error: BaseException) -> bool:
    """Tell whether an exception in an objective ends the worker, and not only the trial.

    These are `WorkerInterrupt`, and `KeyboardInterrupt` in a thread where Python raises it at
    Ctrl-C; also as a part of an exception group.
    """
    ending: tuple[type[BaseException], ...] = (WorkerInterrupt,)
    if _raises_at_ctrl_c():
        ending += (KeyboardInterrupt,)
    parts = [error]
    while parts:
        part = parts.pop()
        # Not `isinstance`, which asks the exception for its class: its methods may raise.
        if issubclass(type(part), ending):
            return True
        if issubclass(type(part), BaseExceptionGroup):
            parts.extend(cast(BaseExceptionGroup, part).exceptions)
    return False


def _raises_at_ctrl_c() -> bool:
    """Tell whether Ctrl-C raises KeyboardInterrupt in this thread.

    It does not in a worker process, which has its own signal handlers.
    """
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _checked(returned: Any, metrics: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """Return what `evaluate` returns, given what the objective returned."""
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
    if isinstance(value, str | bytes | bytearray):
        value = value[:80]  # its whole text could need gigabytes
    try:
        return f"{value!r:.80}"
    except BaseException as error:  # raised by a __repr__ of the user
        if ends_worker(error):
            raise
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
