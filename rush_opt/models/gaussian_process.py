"""A Gaussian process on few rows: it predicts better than a forest at the beginning of a run.

=============  ================  =================================================================
symbol         shape             meaning
=============  ================  =================================================================
``X``          ``(n, d)``        fitted rows of the unit cube
``z``          ``(n,)``          their targets
``theta``      ``(d + 1,)``      logarithms: of ``d`` inverse squared length scales, of the noise
``K``          ``(n, n)``        correlations of the fitted rows, with the noise on the diagonal
``L``          ``(n, n)``        lower triangular, ``K = L L'``
``k``          ``(m, n)``        correlations of ``m`` new rows with the fitted ones
=============  ================  =================================================================

References
----------
.. [Rasmussen] C. E. Rasmussen, C. K. I. Williams. Gaussian Processes for Machine Learning. MIT
   Press, 2006.
.. [Jones] D. R. Jones, M. Schonlau, W. J. Welch. Efficient global optimization of expensive
   black-box functions. Journal of Global Optimization 13, 1998.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import FloatArray, IndexArray, RowArray
from rush_opt.models.likelihood import JITTER, learn
from rush_opt.models.linear_algebra import lapack, one_thread
from rush_opt.models.targets import squash

__all__ = ["GaussianProcess", "Posterior"]


class Posterior:
    """A Gaussian process, conditioned on its rows.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    z : ndarray of shape (n,)
    theta : ndarray of shape (d + 1,)

    Notes
    -----
    The signal's variance is the most likely one, given the rest: ``z' K^-1 z / n``, [Jones]
    Eq. (6).
    """

    def __init__(self, X: FloatArray, z: FloatArray, theta: FloatArray) -> None:
        self._scale = np.exp(0.5 * theta[:-1])
        scaled = X * self._scale
        self._right = np.vstack([-2.0 * scaled.T, np.ones(len(z)), (scaled * scaled).sum(axis=1)])
        K = _matern(self._squared_distances(X))
        K.flat[:: len(z) + 1] = 1.0 + np.exp(theta[-1]) + JITTER
        L = lapack().dpotrf(K, lower=1)[0]
        self._weights = lapack().dpotrs(L, z, lower=1)[0]  # K^-1 z
        self._whiten = np.tril(lapack().dtrtri(L, lower=1)[0]).T  # L'^-1
        self._variance = float(z @ self._weights) / len(z)

    def predict(self, X: npt.NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
        """Predict mean and standard deviation, without the noise.

        Parameters
        ----------
        X : ndarray of shape (m, d)
            Rows of the unit cube.

        Returns
        -------
        mean, sd : ndarray of shape (m,)
            In the unit of the targets.
        """
        with one_thread():
            k = _matern(self._squared_distances(X))
            V = k @ self._whiten
            mean = k @ self._weights  # [Rasmussen] Eq. (2.25)
        # [Rasmussen] Eq. (2.26): 1 - k K^-1 k', for each row the diagonal entry only.
        share = 1.0 - np.einsum("ij,ij->i", V, V)
        return mean, np.sqrt(self._variance * np.maximum(share, 0.0))

    def _squared_distances(self, X: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Return squared distances to the fitted rows, in length scales.

        One matrix product gives them all: |x - x'|^2 = |x|^2 - 2 x x' + |x'|^2.
        """
        scaled = X * self._scale
        squares = (scaled * scaled).sum(axis=1)
        left = np.column_stack([scaled, squares, np.ones(len(X))])
        return np.asarray(left @ self._right, dtype=np.float64)


@dataclass(frozen=True)
class GaussianProcess:
    """A process with a Matern-5/2 kernel, a length scale per coordinate, and few rows.

    Each category has a position on a line, and so has the state "inactive". The process treats
    these positions as numbers.

    Parameters
    ----------
    n_rows : int
        Largest number of rows, ``>= 2``. If there are more, half of the used rows are the best
        ones, and the other half is drawn from the rest.
    n_learn : int
        Largest number of rows from which the length scales and the noise are learned, ``>= 2``.
    n_evaluations : int
        Largest number of evaluations of the posterior density of length scales and noise,
        ``>= 1``. The search always begins at the same point.

    Raises
    ------
    ValueError
        If a setting is out of its range.
    """

    n_rows: int = 100
    n_learn: int = 50
    n_evaluations: int = 10

    def __post_init__(self) -> None:
        if not (self.n_rows >= 2 and self.n_learn >= 2 and self.n_evaluations >= 1):
            raise ValueError(
                f"need n_rows >= 2, n_learn >= 2 and n_evaluations >= 1, got {self!r}; "
                "change the setting that is out of range"
            )

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Posterior:
        """Learn length scales and noise from some of the rows, and condition on all of them.

        Parameters
        ----------
        X : ndarray of float32, shape (n, d)
            Rows of the unit cube, ``n >= 1``.
        y : ndarray of shape (n,)
            Objective values; infinities are the worst and the best ones, NaN is not allowed.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Posterior
            It predicts squashed values (`squash`): about 0 for a median value, negative for a
            good one.
        """
        if len(y) > self.n_rows:
            rows = self._choose(y, rng)
            X, y = X[rows], y[rows]
        points, z = X.astype(np.float64), squash(y)
        some = rng.permutation(len(z))[: self.n_learn]
        with one_thread():
            return Posterior(points, z, learn(points[some], z[some], self.n_evaluations))

    def _choose(self, y: FloatArray, rng: np.random.Generator) -> IndexArray:
        """Return indices of `n_rows` rows: the best half, and others drawn from the rest."""
        n_best = self.n_rows // 2
        order = np.argpartition(y, n_best)
        others = rng.choice(len(y) - n_best, self.n_rows - n_best, replace=False, shuffle=False)
        return np.asarray(np.concatenate([order[:n_best], order[n_best:][others]]))


def _matern(squared: FloatArray) -> FloatArray:
    """Return Matern-5/2 correlations at squared distances, which are overwritten.

    [Rasmussen] Eq. (4.17): (1 + r + r^2 / 3) exp(-r), where r is the distance times the root of 5.
    """
    r = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
    r *= 5.0**0.5
    K = r * (1.0 / 3.0)
    K += 1.0
    K *= r
    K += 1.0
    np.negative(r, out=r)
    K *= np.exp(r, out=r)
    return K
