"""What an objective with two arguments is told about its trial, and what it can tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, SupportsFloat, TypeGuard

import numpy as np

__all__ = ["Trial", "is_objective_value"]

# Kinds of NumPy's types of which a float can be made, although they are no numbers.
_NO_NUMBERS = "bcSUmM"

# Hands in a value and its step, and tells whether the trial is to stop.
Send = Callable[[float, float], bool]


class Trial:
    """A running trial, as its objective sees it.

    Parameters
    ----------
    key, worker_id : str
    worker_number : int
    send : callable
        ``send(value, step)`` hands in a report and tells whether the trial is to stop.

    Attributes
    ----------
    key : str
        The trial's identifier, as in the result table.
    worker_id : str
    worker_number : int
        The worker's place in order of joining the network, from 0. Who replaces a lost worker, or
        joins when a run goes on, has a new one: it can be `n_workers` or more, and is no number of
        a device.
    stopped_at : float or None
        The last step reported, once `should_stop` has returned True.
    last_value : float
        The value last reported; NaN before there is one.

    Examples
    --------
    >>> def objective(config, trial):
    ...     for epoch in range(1, 101):
    ...         loss = train_one_epoch(config)
    ...         trial.report(loss, epoch)
    ...         if trial.should_stop():
    ...             break
    ...     return loss
    """

    def __init__(self, key: str, worker_id: str, worker_number: int, send: Send) -> None:
        self.key = key
        self.worker_id = worker_id
        self.worker_number = worker_number
        self.stopped_at: float | None = None
        self.last_value = math.nan
        self._send = send
        self._last_step: float | None = None
        self._is_to_stop = False

    def __repr__(self) -> str:
        return f"<Trial {self.key!r} on worker {self.worker_number}>"

    def report(self, value: float, step: float) -> None:
        """Tell all workers how the trial is going; one round trip.

        Parameters
        ----------
        value : float
            What the objective would return if it ended now, in the direction of the run. NaN and
            infinities may be reported; to a rule that stops trials they are the worst there is.
        step : float
            How much was spent for it: epochs, trees, a share of the data; ``>= 0`` and greater at
            each report.

        Raises
        ------
        TypeError, ValueError
            If `value` is no number, or `step` none that goes on; nothing was reported.
        """
        number, step = _checked_value(value), self._checked_step(step)
        self._is_to_stop = self._send(number, step) or self._is_to_stop
        self.last_value, self._last_step = number, step

    def should_stop(self) -> bool:
        """Tell whether to end the trial: it then counts with its last report.

        It has failed if that is NaN or an infinity, else it is finished with that value.

        Without a rule that stops trials (``tune(..., pruner=...)``) only a trial is told so that
        was taken from its worker, because the worker had been declared lost. A wish to stop the
        whole run is none: running trials go on to their ends. No round trip.
        """
        if self._is_to_stop:
            self.stopped_at = self._last_step
        return self._is_to_stop

    def outcome(self, returned: Any, metric: str) -> Any:
        """Return what counts as the objective's result, given what it returned."""
        if self.stopped_at is None:
            return returned
        further = returned if isinstance(returned, Mapping) else {}
        return {**further, metric: self.last_value}

    def _checked_step(self, step: object) -> float:
        if isinstance(step, bool) or not isinstance(step, Real):
            raise TypeError(f"step must be a number, got {step!r:.80} ({type(step).__name__})")
        number = int(step) if isinstance(step, Integral) else float(step)
        before = self._last_step
        if not 0 <= number < math.inf or (before is not None and number <= before):
            after = "" if before is None else f" after {before!r}"
            raise ValueError(
                f"step must be finite, >= 0 and greater at each report, got {number!r}{after}; "
                "report how much the trial has spent by now, such as epochs"
            )
        return number


def _checked_value(value: object) -> float:
    if not is_objective_value(value):
        raise TypeError(
            f"a reported value must be a number, got {value!r:.80} ({type(value).__name__})"
        )
    return float(value)


def is_objective_value(value: object) -> TypeGuard[SupportsFloat]:
    """Tell whether this is a number, of whatever library: a `Decimal`, or a tensor of one value.

    Truth values and texts are none. That an array has several values shows only when a float is to
    be made of it.
    """
    if isinstance(value, bool) or not hasattr(type(value), "__float__"):
        return False
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype.kind not in _NO_NUMBERS
    return "bool" not in str(dtype)  # torch.bool, for example
