"""Several objectives as one: random weights, and the value that they make of a point.

=============  ==========  =======================================================================
symbol         shape       meaning
=============  ==========  =======================================================================
``Y``          ``(n, m)``  values of ``n`` points in ``m`` objectives, all to be minimized
``weights``    ``(m,)``    how much each objective counts; not negative, their sum is 1
=============  ==========  =======================================================================
"""

from __future__ import annotations

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.models.targets import rank_quantiles

__all__ = ["draw_weights", "scalarize"]


# As in [Knowles] and the ParEGO of SMAC and mlr3mbo: it only decides between points that are
# equally bad in what counts most.
RHO = 0.05


def draw_weights(m: int, rng: np.random.Generator) -> FloatArray:
    """Draw weights uniformly from all that are not negative and add up to 1.

    Parameters
    ----------
    m : int
        Objectives.
    rng : numpy.random.Generator
        The worker's own source of randomness.

    Returns
    -------
    ndarray of shape (m,)
    """
    return rng.dirichlet(np.ones(m))


def scalarize(Y: FloatArray, weights: FloatArray) -> FloatArray:
    """Make one value of several: the augmented Tchebycheff function of their ranks' quantiles.

    Parameters
    ----------
    Y : ndarray of shape (n, m)
        Objective values without NaN, to be minimized; infinities are welcome.
    weights : ndarray of shape (m,)

    Returns
    -------
    ndarray of shape (n,)
        Not negative: the largest weighted distance from the best plus `RHO` times the sum of all.
        If all weights are positive, a point that dominates another has a smaller value.

    Notes
    -----
    Distances are those of normal quantiles of ranks, as the forest has them as targets. So neither
    the objectives' scales nor any strictly increasing function of them are of consequence. The best
    point is on the Pareto front for all positive weights.

    References
    ----------
    .. [Knowles] J. Knowles. ParEGO: a hybrid algorithm with on-line landscape approximation for
       expensive multiobjective optimization problems. IEEE Transactions on Evolutionary Computation
       10(1), 2006. Eq. (2).
    """
    if not len(Y):
        return np.zeros(0)
    quantiles = np.column_stack([rank_quantiles(y) for y in Y.T])
    weighted = weights * (quantiles - quantiles.min(axis=0))
    return np.asarray(weighted.max(axis=1) + RHO * weighted.sum(axis=1), dtype=np.float64)
