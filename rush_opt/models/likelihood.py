"""The length scales and the noise of a Gaussian process, learned from its rows.

=============  ================  =================================================================
symbol         shape             meaning
=============  ================  =================================================================
``X``          ``(n, d)``        rows of the unit cube
``z``          ``(n,)``          targets
``theta``      ``(d + 1,)``      logarithms: of ``d`` inverse squared length scales, of the noise
``weights``    ``(d,)``          inverse squared length scales
``noise``      scalar            variance of the noise, as a share of the signal's variance
``i, j``       ``(m,)``          the ``m = n (n - 1) / 2`` pairs of rows
``D``          ``(d, m)``        squared differences of the pairs, for each coordinate
``r``          ``(m,)``          distances of the pairs in length scales, times the root of 5
``K``          ``(n, n)``        correlations, with the noise on the diagonal
``L``          ``(n, n)``        lower triangular, ``K = L L'``
``a``          ``(n,)``          ``K^-1 z``
``s``          scalar            ``z' K^-1 z``; the signal's most likely variance is ``s / n``
``G``          ``(m,)``          derivative of the loss with respect to the correlation of a pair
=============  ================  =================================================================

References
----------
.. [Rasmussen] C. E. Rasmussen, C. K. I. Williams. Gaussian Processes for Machine Learning. MIT
   Press, 2006.
.. [Jones] D. R. Jones, M. Schonlau, W. J. Welch. Efficient global optimization of expensive
   black-box functions. Journal of Global Optimization 13, 1998.
"""

from __future__ import annotations

import numpy as np

from rush_opt.arrays import FloatArray, IndexArray
from rush_opt.models.bfgs import descend
from rush_opt.models.linear_algebra import lapack

__all__ = ["JITTER", "learn", "loss"]

# Added to the diagonal of K, so that equal rows do not make it singular.
JITTER = 1e-8

# The prior of theta is normal: length scales around half of the cube's edge, noise around 3 % of
# the signal's variance.
_PRIOR_SCALE, _PRIOR_NOISE, _PRIOR_VARIANCE = 1.4, -3.5, 1.5**2

# Bounds of theta: of each of the first d entries, and of the last one.
_SCALE_BOUNDS = -6.0, 8.0
_NOISE_BOUNDS = -9.0, 0.0


def learn(X: FloatArray, z: FloatArray, n_evaluations: int) -> FloatArray:
    """Return theta after a few steps towards the highest posterior density.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    z : ndarray of shape (n,)
    n_evaluations : int
        Largest number of evaluations of the density, ``>= 1``.

    Returns
    -------
    ndarray of shape (d + 1,)
        The theta of the highest density that was evaluated.
    """
    d, pairs = X.shape[1], np.tril_indices(len(z), -1)
    D = ((X.T[:, pairs[0]] - X.T[:, pairs[1]]) ** 2).reshape(d, -1)
    return descend(
        lambda theta: loss(theta, D, z, pairs),
        _prior_mean(d),
        low=np.append(np.full(d, _SCALE_BOUNDS[0]), _NOISE_BOUNDS[0]),
        high=np.append(np.full(d, _SCALE_BOUNDS[1]), _NOISE_BOUNDS[1]),
        n_evaluations=n_evaluations,
    )


def loss(
    theta: FloatArray, D: FloatArray, z: FloatArray, pairs: tuple[IndexArray, IndexArray]
) -> tuple[float, FloatArray]:
    """Return the negative log posterior density of theta, up to a constant, and its gradient.

    The signal's variance is not part of theta; the density is taken at its most likely value.
    """
    n, weights, noise = len(z), np.exp(theta[:-1]), np.exp(theta[-1])
    dpotrf, dpotrs, dpotri = lapack().dpotrf, lapack().dpotrs, lapack().dpotri
    i, j = pairs
    # Matern 5/2: [Rasmussen] Eq. (4.17). LAPACK reads and writes only the lower triangle of K.
    r = np.sqrt(5.0 * (weights @ D))
    decay = np.exp(-r)
    K = np.zeros((n, n))
    K[pairs] = (1.0 + r + r * r / 3.0) * decay
    K.flat[:: n + 1] = 1.0 + noise + JITTER
    L = dpotrf(K, lower=1)[0]
    a = dpotrs(L, z, lower=1)[0]
    s = float(z @ a) + JITTER
    # Log marginal likelihood, [Rasmussen] Eq. (5.8), at the most likely variance, [Jones] Eq. (6):
    # n/2 log(s / n) + 1/2 log|K|.
    value = 0.5 * n * np.log(s / n) + np.log(np.diag(L)).sum()
    # Its derivative, [Rasmussen] Eq. (5.9): 1/2 tr((K^-1 - n/s a a') dK). A pair is in K twice.
    inverse = dpotri(L, lower=1)[0]
    G = inverse[pairs] - (n / s) * a[i] * a[j]
    # From Eq. (4.17), the derivative of a correlation with respect to its squared distance is
    # -5/6 (1 + r) exp(-r).
    slope = G * (-5.0 / 6.0) * (1.0 + r) * decay
    trace = 0.5 * (np.trace(inverse) - (n / s) * (a @ a))
    gradient = np.append(weights * (D @ slope), noise * trace)
    # The prior.
    off = theta - _prior_mean(len(weights))
    return (
        float(value + 0.5 * (off @ off) / _PRIOR_VARIANCE),
        gradient + off / _PRIOR_VARIANCE,
    )


def _prior_mean(d: int) -> FloatArray:
    return np.append(np.full(d, _PRIOR_SCALE), _PRIOR_NOISE)
