"""Learning curves: what trials reported at growing steps, always to be minimized."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Curve", "Curves"]


class Curve:
    """What a trial reported, the best so far and the running average."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.values: list[float] = []
        self._sums: list[float] = []
        self.best = math.inf

    def __repr__(self) -> str:
        return f"Curve({dict(zip(self.steps, self.values, strict=True))})"

    def append(self, step: float, value: float) -> None:
        """Take in a report; `step` is greater than all before."""
        value = value if math.isfinite(value) else math.inf
        self.steps.append(step)
        self.values.append(value)
        self._sums.append(value + (self._sums[-1] if self._sums else 0.0))
        self.best = min(self.best, value)

    def value_at(self, step: float) -> float | None:
        """Return the first value reported at `step` or later; None before it is reached."""
        i = bisect_left(self.steps, step)
        return self.values[i] if i < len(self.steps) else None

    def mean_until(self, step: float) -> float | None:
        """Return the average of all values reported until `step`; None before it is reached."""
        n = bisect_right(self.steps, step)
        reached = n > 0 and self.steps[-1] >= step
        return self._sums[n - 1] / n if reached else None


class TaskReport(Protocol):
    """A report as a worker fetches it; `rush_core.Report` is one."""

    @property
    def key(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def values(self) -> dict[str, Any]: ...


class Curves:
    """The curves of all trials, as far as one has heard.

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

    def values_at(self, key: str, steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return a trial's first values at steps or later; NaN where none is known.

        Parameters
        ----------
        key : str
        steps : ndarray of shape (n,)

        Returns
        -------
        ndarray of shape (n,)
        """
        curve = self._curves.get(key, Curve())
        return np.append(curve.values, np.nan)[np.searchsorted(curve.steps, steps)]

    def others(self, key: str) -> Iterator[Curve]:
        """Yield the curves of all trials but one."""
        return (curve for name, curve in self._curves.items() if name != key)

    def add(self, reports: Iterable[TaskReport]) -> None:
        """Take in reports, in the order in which they were made."""
        for report in reports:
            key, said = report.key, report.values
            if self._attempts.get(key, -1) < report.attempt:  # it begins, or begins anew
                self._attempts[key], self._curves[key] = report.attempt, Curve()
            if self._attempts[key] == report.attempt:
                self._curves[key].append(said["step"], self._sign * said["value"])
