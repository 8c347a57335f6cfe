"""What trials that were stopped early tell a model, although they never came to an end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import FloatArray, RowArray
from rush_opt.models.surrogate import Model
from rush_opt.stopping.curves import Curves

# So many of the latest whole trials tell how values go on from a step, and how well an early value
# foretells the last one; of so many steps, where a rule stops trials anywhere.
_MOST_WHOLE = 100
_MOST_STEPS = 4

# How far a whole trial has come; who was stopped at the first of k steps at 0, at the next at 1/k.
_WHOLE = 1.0


class StoppedTrials:
    """Stopped trials as rows for a model, with a column more: how far a trial had come.

    A value of an early step does not compare with one at the end. By how much whole trials changed
    from there on, on average, is added to it. And the model learns how far it can rely on that: the
    values that whole trials had on their way are rows as well, so that it sees, at the same points,
    what was early and what came of it.

    The idea of a model of configuration and resource is that of [Klein]; its form here is ours.

    Parameters
    ----------
    curves : Curves
        What all trials reported; somebody else adds to it.
    n_dims : int

    References
    ----------
    .. [Klein] A. Klein, L. C. Tiao, T. Lienart, C. Archambeau, M. Seeger. Model-based asynchronous
       hyperparameter and neural architecture search. arXiv 2003.10865, 2020.
    """

    def __init__(self, curves: Curves, n_dims: int) -> None:
        self._curves = curves
        self._whole: deque[tuple[str, RowArray, float]] = deque(maxlen=_MOST_WHOLE)
        self._X: RowArray = np.empty((0, n_dims), dtype=np.float32)
        self._y: FloatArray = np.empty(0)
        self._steps: FloatArray = np.empty(0)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._y)

    def add_whole(self, keys: Sequence[str], X: RowArray, y: FloatArray) -> None:
        """Take in trials that went on to their ends, with the values they came to."""
        self._whole.extend(zip(keys, X, y.tolist(), strict=True))

    def add(self, X: RowArray, y: FloatArray, steps: Sequence[float]) -> None:
        """Take in trials that were stopped at these steps, with the values they had then."""
        self._X = np.concatenate([self._X, X])
        self._y = np.concatenate([self._y, y])
        self._steps = np.concatenate([self._steps, steps])

    def rows(self) -> tuple[RowArray, FloatArray]:
        """Return rows of values that are not of a trial's end.

        Returns
        -------
        X : ndarray of float32, shape (n, n_dims + 1)
            The last column tells how far the trial had come.
        y : ndarray of shape (n,)
            All finite. What no whole trial has reported says nothing and is left out.
        """
        steps, places = np.unique(self._steps, return_inverse=True)
        n, k = len(self._whole), len(steps)
        whole = np.array([row for _, row, _ in self._whole]).reshape(n, self._X.shape[1])
        before = np.array([self._curves.values_at(key, steps) for key, _, _ in self._whole])
        before = before.reshape(n, k)
        change = _mean_change(before, np.array([value for _, _, value in self._whole]))
        progress = np.arange(k) / k
        parts = [(self._X, self._y + change[places], progress[places])]
        for i in _spread(k, _MOST_STEPS):
            parts.append((whole, before[:, i] + change[i], np.full(n, progress[i])))
        X, y, levels = (np.concatenate(part) for part in zip(*parts, strict=True))
        known = np.isfinite(y)
        return with_progress(X[known], levels[known]), y[known]


class AtTheEnd:
    """A model of points and progress, asked about whole trials."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, X: npt.NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
        """Predict mean and standard deviation of what whole trials come to."""
        return self._model.predict(with_progress(X, _WHOLE))


def with_progress(
    X: npt.NDArray[np.floating[Any]], progress: FloatArray | float = _WHOLE
) -> npt.NDArray[np.floating[Any]]:
    """Append how far trials have come as a column."""
    return np.column_stack([X, np.broadcast_to(progress, len(X)).astype(X.dtype)])


def _mean_change(before: FloatArray, final: FloatArray) -> FloatArray:
    """Average by how much trials changed from each step to the end; NaN where nobody did."""
    change = final[:, np.newaxis] - before
    is_known = np.isfinite(change)
    total = np.where(is_known, change, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / is_known.sum(axis=0))


def _spread(n: int, most: int) -> list[int]:
    """Choose at most so many of n places, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, most))})
