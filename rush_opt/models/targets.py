"""Targets: objective values, transformed to a scale that a model can learn.

=============  ================  =================================================================
symbol         shape             meaning
=============  ================  =================================================================
``y``          ``(n,)``          objective values, to be minimized
``z``          ``(n,)``          targets of the model, in the same order as ``y``
=============  ================  =================================================================
"""

from __future__ import annotations

import numpy as np

from rush_opt.arrays import FloatArray

__all__ = ["rank_quantiles", "squash"]

# Upper bound of the compressed values in `squash`. Without it, one penalty of 1e300 would cause
# nearly all of the variance, and a model could not distinguish the good values. No value of
# experiments/peers reaches the bound.
_MAX_SQUASHED = 10.0


def rank_quantiles(y: FloatArray) -> FloatArray:
    """Replace values by the standard normal quantiles of their ranks.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Values without NaN; infinities are allowed.

    Returns
    -------
    ndarray of shape (n,)
        Rank r of n becomes the quantile of (r - 1/2) / n. Equal values get the mean of their ranks.
    """
    # Imported here because the import is slow. The call takes 1/20 of the time to grow the trees.
    from scipy.special import ndtri

    ordered = np.sort(y)
    # `left` counts smaller values, `right` also equal ones: the sum is twice the mean rank minus 1.
    places = np.searchsorted(ordered, y, "left") + np.searchsorted(ordered, y, "right")
    return np.asarray(ndtri(places / (2.0 * len(y))), dtype=np.float64)


def squash(y: FloatArray) -> FloatArray:
    """Standardize values after compressing the worse half by a logarithm.

    Differences between good values say where the optimum is. Differences between bad values say
    little, and a few extreme ones would hide the others.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Values without NaN. Infinities become the largest and the smallest finite value. If all
        finite values are equal, or none is finite, infinities are one step above and below them.

    Returns
    -------
    ndarray of shape (n,)
        Mean 0 and variance 1; all zero if all values are equal.

    Notes
    -----
    Values are shifted and scaled to v, so that the median is at 0 and the best value at -1. Then a
    positive v becomes min(log(1 + v), 10), and a negative v is unchanged.
    """
    y = 0.25 * y  # no sum or difference of two values overflows after this
    finite = y[np.isfinite(y)]
    if not len(finite) or finite.min() == finite.max():
        v = np.sign(y - finite[0] if len(finite) else y)
    else:
        low, middle, high = finite.min(), np.median(finite), finite.max()
        unit = middle - low or high - low
        with np.errstate(over="ignore"):  # an infinite v is cut at the upper bound
            v = (np.clip(y, low, high) - middle) / unit
        v = np.where(v > 0.0, np.minimum(np.log1p(np.maximum(v, 0.0)), _MAX_SQUASHED), v)
    sd = v.std()
    return np.asarray((v - v.mean()) / sd if sd else np.zeros(len(y)))
