"""Pareto fronts: the points that no other point dominates, and the area that points dominate.

=========  ===========  ==========================================================================
symbol     shape        meaning
=========  ===========  ==========================================================================
``Y``      ``(n, m)``   values of ``n`` points in ``m`` objectives, all to be minimized
``front``  ``(k, m)``   the points that no other dominates, each once, sorted by their columns
=========  ===========  ==========================================================================

A point dominates another if it is not worse in any objective and better in at least one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import BoolArray, FloatArray

__all__ = ["hypervolume", "non_dominated"]


def non_dominated(Y: npt.ArrayLike) -> BoolArray:
    """Find the points that no other point dominates.

    Parameters
    ----------
    Y : array_like of shape (n, m)
        Objective values, to be minimized; ``m >= 1``. Infinities are allowed.

    Returns
    -------
    ndarray of bool, shape (n,)
        Equal points do not dominate each other, so their entries are equal.

    Raises
    ------
    ValueError
        If `Y` has another shape, or a value is NaN.

    Notes
    -----
    A point can be dominated only by points before it in lexicographic order. With two and three
    objectives, one pass in this order is enough, and the cost is that of sorting. With more, it is
    ``n`` times the size of the front. That would also work for two and three, but it takes 10 times
    as long or more if the front is large (`results/tables/own_numerics.md`).

    References
    ----------
    .. [Kung] H. T. Kung, F. Luccio, F. P. Preparata. On finding the maxima of a set of vectors.
       Journal of the ACM 22(4), 1975.
    """
    Y = _checked(Y)
    if not len(Y):
        return np.zeros(0, dtype=bool)
    order = np.lexsort(Y.T[::-1])
    ordered = Y[order]
    is_first = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    distinct = ordered[is_first]
    keep = {2: _keep_below, 3: _keep_outside_staircase}.get(Y.shape[1], _keep_rest)
    found = np.empty(len(Y), dtype=bool)
    found[order] = keep(distinct)[np.cumsum(is_first) - 1]
    return found


def hypervolume(Y: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Measure the area that points in two objectives dominate, up to a reference point.

    Parameters
    ----------
    Y : array_like of shape (n, 2)
        Objective values, to be minimized.
    reference : array_like of shape (2,)
        Points that are not better than this in both objectives are ignored.

    Returns
    -------
    float
        In the product of the units of the objectives; exact up to rounding.

    Raises
    ------
    ValueError
        If there are not two objectives, or a value is NaN.

    References
    ----------
    .. [Zitzler] E. Zitzler, L. Thiele. Multiobjective evolutionary algorithms: a comparative case
       study and the strength Pareto approach. IEEE Transactions on Evolutionary Computation 3(4),
       1999.
    """
    Y = _checked(Y)
    corner = np.asarray(reference, dtype=np.float64)
    if Y.shape[1] != 2 or corner.shape != (2,):
        raise ValueError(
            f"need two objectives and a reference point of two numbers, got {Y.shape[1]} and shape "
            f"{corner.shape}; the area of more objectives is not computed"
        )
    Y = Y[(corner > Y).all(axis=1)]
    front = np.unique(Y[non_dominated(Y)], axis=0)
    ends = np.append(front[1:, 0], corner[0])
    return float(((ends[: len(front)] - front[:, 0]) * (corner[1] - front[:, 1])).sum())


def _checked(Y: npt.ArrayLike) -> FloatArray:
    """Return the values as an array; raise if they are not a table of numbers without NaN."""
    values = np.asarray(Y, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(
            f"need a row per point and a column per objective, got shape {values.shape}"
        )
    if np.isnan(values).any():
        raise ValueError("need values that can be compared, got NaN; leave those points out")
    return values


def _keep_below(distinct: FloatArray) -> BoolArray:
    """Return which of the sorted pairs have a smaller second value than all pairs before."""
    lowest = np.minimum.accumulate(distinct[:, 1])
    return np.append(True, distinct[1:, 1] < lowest[:-1])


def _keep_outside_staircase(distinct: FloatArray) -> BoolArray:
    """Return which of the sorted triples are not dominated.

    All triples before have a first value that is at most as large. So a triple is dominated if the
    last two values of one of them are both at most as large.
    """
    keep = np.empty(len(distinct), dtype=bool)
    # The staircase: the non-dominated pairs of last two values so far, the second values ascending
    # and the third ones descending.
    seconds: list[float] = []
    thirds: list[float] = []
    for i, (_, second, third) in enumerate(distinct.tolist()):
        after = bisect_right(seconds, second)
        keep[i] = not after or thirds[after - 1] > third
        if keep[i]:
            start = end = bisect_left(seconds, second)
            while end < len(thirds) and thirds[end] >= third:
                end += 1
            seconds[start:end] = [second]
            thirds[start:end] = [third]
    return keep


def _keep_rest(distinct: FloatArray) -> BoolArray:
    """Return which of the sorted points are not dominated.

    The first of the points that are left is not dominated. The points that it dominates are
    removed. This is repeated until none is left.
    """
    keep = np.zeros(len(distinct), dtype=bool)
    left = np.arange(len(distinct))
    while len(left):
        keep[left[0]] = True
        left = left[(distinct[left] < distinct[left[0]]).any(axis=1)]
    return keep
