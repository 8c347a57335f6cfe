"""The interface of surrogate models: a surrogate is fitted, and the result is a model."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import FloatArray, RowArray

__all__ = ["Model", "Surrogate"]


class Model(Protocol):
    """A fitted surrogate: it predicts the objective."""

    def predict(self, X: npt.NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
        """Predict mean and standard deviation of the objective.

        Parameters
        ----------
        X : ndarray of shape (m, d)
            Rows of the unit cube.

        Returns
        -------
        mean, sd : ndarray of shape (m,)
            A lower mean is better, and ``sd >= 0``. Any unit is allowed if both have the same.
        """


class Surrogate(Protocol):
    """Settings of a surrogate model.

    An optimizer calls only `fit`. The settings are sent to workers, so make them a frozen dataclass
    that can be pickled.

    Examples
    --------
    Any class with this method is a surrogate:

    >>> import numpy as np
    >>> class Nearest:
    ...     def __init__(self, X, y):
    ...         self.X, self.y = X, y
    ...
    ...     def predict(self, X):
    ...         d = np.linalg.norm(X[:, None] - self.X, axis=2)
    ...         return self.y[d.argmin(axis=1)], d.min(axis=1)
    >>> class NearestNeighbour:
    ...     def fit(self, X, y, rng):
    ...         return Nearest(X, y)
    """

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Model:
        """Fit a model to finished trials.

        Parameters
        ----------
        X : ndarray of float32, shape (n, d)
            Rows of the unit cube, ``n >= 1``. The coordinate of an inactive parameter is
            `rush_opt.space.INACTIVE`. If trials were stopped early, there is one more column, the
            progress of the trial: 1 for a completed trial, less for a stopped one. See
            `rush_opt.search.stopped_trials`.
        y : ndarray of shape (n,)
            Objective values, to be minimized. The value of a failed trial is infinite.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Model
        """
