"""A Gaussian process on few rows: for the beginning of a run, where forests know little.

=============  ================  =================================================================
symbol         shape             meaning
=============  ================  =================================================================
``X``          ``(n, d)``        rows of the unit cube
``z``          ``(n,)``          targets: what the process sees of the objective values
``theta``      ``(d + 1,)``      logarithms: of d inverse squared length scales, of the noise
``D``          ``(d, m)``        squared differences of all m pairs of rows, per coordinate
``K``          ``(n, n)``        correlations, noise on the diagonal
=============  ================  =================================================================
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.models.bfgs import descend
from rush_opt.models.surrogate import ExtraTrees, FloatArray, Model, RowArray

IndexArray = npt.NDArray[np.intp]

# Theta's prior is normal: length scales around half of the cube, noise around 3 % of the variance.
_PRIOR_SCALE, _PRIOR_NOISE, _PRIOR_VARIANCE = 1.4, -3.5, 1.5**2
_LEAST_LOG_NOISE = -9.0

# Values above this, on the scale of `squash`, count alike: a single penalty of 1e300 would else be
# all of the variance, and good values could not be told apart. No value of experiments/peers is so
# large.
_MOST_SQUASHED = 10.0

# Threads of linear algebra are limited for the whole process: where workers are threads of one, who
# comes while another has them limited would restore the limit in the end.
_limiting = threading.Lock()

# Keeps a matrix of equal rows from being singular.
_JITTER = 1e-8


class Posterior:
    """A process given its rows.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    z : ndarray of shape (n,)
    theta : ndarray of shape (d + 1,)

    Notes
    -----
    The signal's variance is the one of highest likelihood, given the rest.
    """

    def __init__(self, X: FloatArray, z: FloatArray, theta: FloatArray) -> None:
        lapack = _parts().lapack
        self._scale = np.exp(0.5 * theta[:-1])
        scaled = X * self._scale
        self._right = np.vstack([-2.0 * scaled.T, np.ones(len(z)), (scaled * scaled).sum(axis=1)])
        K = _matern(self._squared_distances(X))
        K.flat[:: len(z) + 1] = 1.0 + np.exp(theta[-1]) + _JITTER
        L = lapack.dpotrf(K, lower=1)[0]
        self._weights = lapack.dpotrs(L, z, lower=1)[0]
        self._whiten = np.tril(lapack.dtrtri(L, lower=1)[0]).T
        self._variance = float(z @ self._weights) / len(z)

    def predict(self, X: npt.NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
        """Predict mean and standard deviation, without noise, in the units of the targets."""
        with _one_core():
            K = _matern(self._squared_distances(X))
            V = K @ self._whiten
            mean = K @ self._weights
        share = 1.0 - np.einsum("ij,ij->i", V, V)
        return mean, np.sqrt(self._variance * np.maximum(share, 0.0))

    def _squared_distances(self, X: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Return those to the fitted rows, in length scales: one product of matrices."""
        scaled = X * self._scale
        squares = (scaled * scaled).sum(axis=1)
        left = np.column_stack([scaled, squares, np.ones(len(X))])
        return np.asarray(left @ self._right, dtype=np.float64)


@dataclass(frozen=True)
class GaussianProcess:
    """A Matern-5/2 process with a length scale per coordinate, on at most `n_rows` rows.

    Categories count as their places on a line, inactive parameters as a place beside it.

    Parameters
    ----------
    n_rows : int
        Most rows, ``>= 2``; of more, the best half as many stay and others are drawn.
    n_learn : int
        Most rows from which the length scales and the noise are learned, ``>= 2``.
    n_evaluations : int
        Evaluations of their density for that, ``>= 1``, always from the same start.

    Raises
    ------
    ValueError
        If a setting is out of its range.

    References
    ----------
    .. [Rasmussen] C. E. Rasmussen, C. K. I. Williams. Gaussian Processes for Machine Learning.
       MIT Press, 2006. Eq. (2.25), (2.26), (4.17), (5.9).
    """

    n_rows: int = 100
    n_learn: int = 50
    n_evaluations: int = 10

    def __post_init__(self) -> None:
        if not (self.n_rows >= 2 and self.n_learn >= 2 and self.n_evaluations >= 1):
            raise ValueError(
                f"need n_rows >= 2, n_learn >= 2 and n_evaluations >= 1, got {self!r}; "
                "change what is out of range"
            )

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Posterior:
        """Learn length scales and noise from some of the rows, and condition on all of them.

        Parameters
        ----------
        X : ndarray of float32, shape (n, d)
            Rows of the unit cube, ``n >= 1``.
        y : ndarray of shape (n,)
            Objective values; infinities are the worst and the best, NaN is not allowed.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Posterior
            Predicts scaled values: about 0 for a middling point, negative for a good one.
        """
        if len(y) > self.n_rows:
            rows = self._choose(y, rng)
            X, y = X[rows], y[rows]
        points, z = X.astype(np.float64), squash(y)
        some = rng.permutation(len(z))[: self.n_learn]
        with _one_core():
            return Posterior(points, z, _learn(points[some], z[some], self.n_evaluations))

    def _choose(self, y: FloatArray, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        n_best = self.n_rows // 2
        order = np.argpartition(y, n_best)
        others = rng.choice(len(y) - n_best, self.n_rows - n_best, replace=False, shuffle=False)
        return np.asarray(np.concatenate([order[:n_best], order[n_best:][others]]))


@dataclass(frozen=True)
class ProcessThenTrees:
    """A Gaussian process while results are few, extremely randomized trees from then on.

    Parameters
    ----------
    until : int
        With more results than this, trees; ``>= 1``.
    process : GaussianProcess
    trees : ExtraTrees
    """

    until: int = 100
    process: GaussianProcess = field(default_factory=GaussianProcess)
    trees: ExtraTrees = field(default_factory=ExtraTrees)

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Model:
        """Fit whichever it is the time for; as `GaussianProcess.fit` or `ExtraTrees.fit`."""
        return (self.process if len(y) <= self.until else self.trees).fit(X, y, rng)


def squash(y: FloatArray) -> FloatArray:
    """Leave the better half of the values as they are, and draw the worse half together.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Values without NaN; infinities become the largest and smallest finite value, or go to
        either side of it if there is only one, or none.

    Returns
    -------
    ndarray of shape (n,)
        Of mean 0 and variance 1; all zero if all values are equal.

    Notes
    -----
    With the median at 0 and the best value at -1, a positive v becomes log(1 + v), and at most 10:
    how bad the bad ones are says little about where the good ones lie, and how good the good ones
    are a lot.
    """
    y = 0.25 * y  # no sum or difference of two overflows then
    finite = y[np.isfinite(y)]
    if not len(finite) or finite.min() == finite.max():
        v = np.sign(y - finite[0] if len(finite) else y)
    else:
        low, middle, high = finite.min(), np.median(finite), finite.max()
        unit = middle - low or high - low
        with np.errstate(over="ignore"):  # infinity is above the bound like others
            v = (np.clip(y, low, high) - middle) / unit
        v = np.where(v > 0.0, np.minimum(np.log1p(np.maximum(v, 0.0)), _MOST_SQUASHED), v)
    spread = v.std()
    return np.asarray((v - v.mean()) / spread if spread else np.zeros(len(y)))


def _learn(X: FloatArray, z: FloatArray, n_evaluations: int) -> FloatArray:
    """Return the theta of highest posterior density, after a few steps towards it."""
    d, pairs = X.shape[1], np.tril_indices(len(z), -1)
    D = ((X.T[:, pairs[0]] - X.T[:, pairs[1]]) ** 2).reshape(d, -1)
    return descend(
        lambda theta: _loss(theta, D, z, pairs),
        np.append(np.full(d, _PRIOR_SCALE), _PRIOR_NOISE),
        low=np.append(np.full(d, -6.0), _LEAST_LOG_NOISE),
        high=np.append(np.full(d, 8.0), 0.0),
        n_evaluations=n_evaluations,
    )


def _loss(
    theta: FloatArray, D: FloatArray, z: FloatArray, pairs: tuple[IndexArray, IndexArray]
) -> tuple[float, FloatArray]:
    """Return the negative log posterior density of theta, up to a constant, and its gradient."""
    n, weights, noise, lapack = len(z), np.exp(theta[:-1]), np.exp(theta[-1]), _parts().lapack
    i, j = pairs
    r = np.sqrt(5.0 * (weights @ D))
    decay = np.exp(-r)
    # The lower half of K is all that LAPACK reads and writes.
    K = np.zeros((n, n))
    K[pairs] = (1.0 + r + r * r / 3.0) * decay
    K.flat[:: n + 1] = 1.0 + noise + _JITTER
    L = lapack.dpotrf(K, lower=1)[0]
    a = lapack.dpotrs(L, z, lower=1)[0]
    fit = float(z @ a) + _JITTER
    inverse = lapack.dpotri(L, lower=1)[0]
    # The derivative by K, of which each pair has two; that of K by a squared distance is
    # -5/6 (1 + r) exp(-r).
    G = inverse[pairs] - (n / fit) * a[i] * a[j]
    slope = G * (-5.0 / 6.0) * (1.0 + r) * decay
    trace = 0.5 * (np.trace(inverse) - (n / fit) * (a @ a))
    off = theta - np.append(np.full(len(weights), _PRIOR_SCALE), _PRIOR_NOISE)
    value = 0.5 * n * np.log(fit / n) + np.log(np.diag(L)).sum()
    gradient = np.append(weights * (D @ slope), noise * trace)
    return (
        float(value + 0.5 * (off @ off) / _PRIOR_VARIANCE),
        gradient + off / _PRIOR_VARIANCE,
    )


def _matern(squared: FloatArray) -> FloatArray:
    """Return correlations at squared distances, overwriting these."""
    r = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
    r *= 5.0**0.5
    K = r * (1.0 / 3.0)
    K += 1.0
    K *= r
    K += 1.0
    np.negative(r, out=r)
    K *= np.exp(r, out=r)
    return K


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep linear algebra on one thread: a worker has one core, more would be in others' way."""
    with _limiting, _parts().blas.limit(limits=1):
        yield


@functools.cache
def _parts() -> SimpleNamespace:
    """Load what takes long to load when it is needed, as `rush_opt.models.surrogate` does."""
    from scipy.linalg import lapack
    from threadpoolctl import ThreadpoolController

    return SimpleNamespace(lapack=lapack, blas=ThreadpoolController())
