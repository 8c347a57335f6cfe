"""The trial as an objective sees it: it can report values, and ask whether to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, SupportsFloat, TypeGuard

import numpy as np

__all__ = ["Trial", "is_objective_value"]

# Kinds of NumPy types that float() accepts although they are no numbers.
_NO_NUMBERS = "bcSUmM"

# Sends a value and its step, and tells whether the trial should stop.
Send = Callable[[float, float], bool]


class Trial:
    """A running trial, as its objective sees it.

    Parameters
    ----------
    key, worker_id : str
    worker_number : int
    send : callable
        ``send(value, step)`` sends a report and tells whether the trial should stop.

    Attributes
    ----------
    key : str
        The trial's identifier, as in the result table.
    worker_id : str
    worker_number : int
        The worker's place in the order of joining the network, from 0. A worker that replaces a
        lost one, or joins when a run is continued, has a new number. So it can be `n_workers` or
        more: do not use it as the number of a device.
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
        """Report a value to all workers; one round trip.

        Parameters
        ----------
        value : float
            What the objective would return if it ended now. NaN and infinities may be reported; a
            rule that stops trials takes them as the worst value.
        step : float
            How much the trial has spent: epochs, trees, a share of the data; ``>= 0`` and greater
            at each report.

        Raises
        ------
        TypeError, ValueError
            If `value` is no number, or `step` is not greater than before; nothing was reported.
        """
        number, step = _checked_value(value), self._checked_step(step)
        self._is_to_stop = self._send(number, step) or self._is_to_stop
        self.last_value, self._last_step = number, step

    def should_stop(self) -> bool:
        """Tell whether the objective should return now; no round trip.

        The trial then counts as finished with its last report, or as failed if that is NaN or an
        infinity. This is true if the rule that stops trials says so (``tune(..., pruner=...)``),
        or if the worker was declared lost and the trial was taken from it. It does not become true
        when the whole run is stopped: running trials are completed.
        """
        if self._is_to_stop:
            self.stopped_at = self._last_step
        return self._is_to_stop

    def outcome(self, returned: Any, metric: str) -> Any:
        """Return the result of the trial, given what the objective returned."""
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
    """Tell whether this is a number of any library, such as a `Decimal` or a tensor of one value.

    Truth values and texts are not. An array of several values is; `float` refuses it later.
    """
    if isinstance(value, bool) or not hasattr(type(value), "__float__"):
        return False
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype.kind not in _NO_NUMBERS
    return "bool" not in str(dtype)  # torch.bool, for example
