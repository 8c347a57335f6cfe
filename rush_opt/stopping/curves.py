"""Learning curves: the values that trials reported at increasing steps, to be minimized."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any, Protocol

import numpy as np

from rush_core import CorruptRecordError
from rush_opt.arrays import FloatArray

__all__ = ["Curve", "Curves", "step_and_value"]


class Curve:
    """The reports of one trial.

    Attributes
    ----------
    steps, values : list of float
        Step and value of each report; a value that is not finite counts as infinite.
    best : float
        The smallest value; infinite if there is none.
    """

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.values: list[float] = []
        self._sums: list[float] = []
        self.best = math.inf

    def __repr__(self) -> str:
        return f"Curve({dict(zip(self.steps, self.values, strict=True))})"

    def append(self, step: float, value: float) -> None:
        """Append a report; its step is larger than all before."""
        value = value if math.isfinite(value) else math.inf
        self.steps.append(step)
        self.values.append(value)
        self._sums.append(value + (self._sums[-1] if self._sums else 0.0))
        self.best = min(self.best, value)

    def value_at(self, step: float) -> float | None:
        """Return the first value reported at this step or later; None if there is none."""
        i = bisect_left(self.steps, step)
        return self.values[i] if i < len(self.steps) else None

    def mean_until(self, step: float) -> float | None:
        """Return the mean of all values reported up to this step.

        None if no report has reached the step.
        """
        n = bisect_right(self.steps, step)
        reached = n > 0 and self.steps[-1] >= step
        return self._sums[n - 1] / n if reached else None


class TaskReport(Protocol):
    """A report on a running trial; `rush_core.Report` is one.

    Attributes
    ----------
    key : str
        The trial.
    attempt : int
        Number of times the trial was lost and started again before.
    values : dict
        Has ``step`` and ``value``.
    """

    @property
    def key(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def values(self) -> dict[str, Any]: ...


def step_and_value(report: TaskReport) -> tuple[float, float]:
    """Return the step and the value that a trial has reported.

    Raises
    ------
    CorruptRecordError
        If the report has other values: another program wrote it.
    """
    values = report.values
    step, value = values.get("step"), values.get("value")
    if not isinstance(step, Real) or not isinstance(value, Real):
        raise CorruptRecordError(
            f"a report on task {report.key!r} must have the numbers 'step' and 'value', found "
            f"{values!r:.80}; another program wrote to this network: use another network_id",
            key=report.key,
        )
    return float(step), float(value)


class Curves:
    """The curves of all trials that have reported.

    Parameters
    ----------
    sign : float
        1 if reported values are to be minimized, -1 to maximize them.
    """

    def __init__(self, sign: float = 1.0) -> None:
        self._sign = sign
        self._curves: dict[str, Curve] = {}
        self._attempts: dict[str, int] = {}

    def __getitem__(self, key: str) -> Curve:
        """Return a trial's curve."""
        return self._curves[key]

    def values_at(self, key: str, steps: FloatArray) -> FloatArray:
        """Return the first value of a trial at each of several steps or later.

        Parameters
        ----------
        key : str
            The trial.
        steps : ndarray of shape (n,)

        Returns
        -------
        ndarray of shape (n,)
            NaN where no value is known.
        """
        curve = self._curves.get(key, Curve())
        return np.append(curve.values, np.nan)[np.searchsorted(curve.steps, steps)]

    def others(self, key: str) -> Iterator[Curve]:
        """Yield the curves of all trials except this one."""
        return (curve for name, curve in self._curves.items() if name != key)

    def add(self, reports: Iterable[TaskReport]) -> None:
        """Add reports, in the order in which they were made.

        If a lost trial is started again, its curve begins again.
        """
        for report in reports:
            key = report.key
            step, value = step_and_value(report)
            if self._attempts.get(key, -1) < report.attempt:
                self._attempts[key], self._curves[key] = report.attempt, Curve()
            if self._attempts[key] == report.attempt:
                self._curves[key].append(step, self._sign * value)
