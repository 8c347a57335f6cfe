"""Rows from which a model learns of trials that were stopped early."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import FloatArray, RowArray
from rush_opt.models.surrogate import Model
from rush_opt.stopping.curves import Curves

# The latest completed trials, at most this many, show how values change from a step to the end.
_MOST_COMPLETED = 100
# Early values of completed trials become rows at no more than this many stopping steps.
_MOST_STEPS = 4

# Progress of a completed trial. If trials were stopped at k different steps, a trial that was
# stopped at the i-th of them, counted from 0, has the progress i/k.
_COMPLETED = 1.0


class StoppedTrials:
    """Stopped trials as rows for a model, with one more column: the progress of the trial.

    A value at an early step cannot be compared with a final value. So the mean change of completed
    trials, from that step to the end, is added to it. Early values of completed trials become rows,
    too. Then the model has an early and a final value at the same point, and learns how reliable
    early values are.

    [Klein] introduced models of configuration and resource. This form of such a model is our own.

    Parameters
    ----------
    curves : Curves
        What all trials reported. The caller adds new reports.
    n_dims : int

    References
    ----------
    .. [Klein] A. Klein, L. C. Tiao, T. Lienart, C. Archambeau, M. Seeger. Model-based asynchronous
       hyperparameter and neural architecture search. arXiv 2003.10865, 2020.
    """

    def __init__(self, curves: Curves, n_dims: int) -> None:
        self._curves = curves
        self._completed: deque[tuple[str, RowArray, float]] = deque(maxlen=_MOST_COMPLETED)
        self._X: RowArray = np.empty((0, n_dims), dtype=np.float32)
        self._y: FloatArray = np.empty(0)
        self._steps: FloatArray = np.empty(0)

    def __len__(self) -> int:
        """Count the stopped trials."""
        return len(self._y)

    def add_completed(self, keys: Sequence[str], X: RowArray, y: FloatArray) -> None:
        """Add trials that were not stopped, with their final losses."""
        self._completed.extend(zip(keys, X, y.tolist(), strict=True))

    def add(self, X: RowArray, y: FloatArray, steps: Sequence[float]) -> None:
        """Add trials that were stopped at these steps, with their losses at that step."""
        self._X = np.concatenate([self._X, X])
        self._y = np.concatenate([self._y, y])
        self._steps = np.concatenate([self._steps, steps])

    def rows(self) -> tuple[RowArray, FloatArray]:
        """Return rows for the losses at steps before the end of a trial.

        Returns
        -------
        X : ndarray of float32, shape (n, n_dims + 1)
            The last column is the progress.
        y : ndarray of shape (n,)
            All finite. A stopped trial is left out if no completed trial has reported at its step
            or later.
        """
        steps, places = np.unique(self._steps, return_inverse=True)
        n, k = len(self._completed), len(steps)
        completed = np.array([row for _, row, _ in self._completed]).reshape(n, self._X.shape[1])
        early = np.array([self._curves.values_at(key, steps) for key, _, _ in self._completed])
        early = early.reshape(n, k)
        change = _mean_change(early, np.array([loss for _, _, loss in self._completed]))
        progress = np.arange(k) / k
        parts = [(self._X, self._y + change[places], progress[places])]
        for i in _spread(k, _MOST_STEPS):
            parts.append((completed, early[:, i] + change[i], np.full(n, progress[i])))
        X, y, levels = (np.concatenate(part) for part in zip(*parts, strict=True))
        known = np.isfinite(y)
        return with_progress(X[known], levels[known]), y[known]


class WholeTrialModel:
    """A model of points and progress that predicts for completed trials."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, X: npt.NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
        """Predict mean and standard deviation of the final loss at these points."""
        return self._model.predict(with_progress(X, _COMPLETED))


def with_progress(
    X: npt.NDArray[np.floating[Any]], progress: FloatArray | float = _COMPLETED
) -> npt.NDArray[np.floating[Any]]:
    """Append the progress of trials as a column."""
    return np.column_stack([X, np.broadcast_to(progress, len(X)).astype(X.dtype)])


def _mean_change(early: FloatArray, final: FloatArray) -> FloatArray:
    """Return the mean change of trials from each step to the end; NaN where none is known."""
    change = final[:, np.newaxis] - early
    is_known = np.isfinite(change)
    total = np.where(is_known, change, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / is_known.sum(axis=0))


def _spread(n: int, most: int) -> list[int]:
    """Choose at most `most` of `n` indices, evenly spaced, with the first and the last."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, most))})
