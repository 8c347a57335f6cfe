"""Several objectives at once: which points nothing beats, and how much a set of them covers.

=========  ===========  ==========================================================================
symbol     shape        meaning
=========  ===========  ==========================================================================
``Y``      ``(n, m)``   values of ``n`` points in ``m`` objectives, all to be minimized
``front``  ``(k, m)``   the points that no other dominates, each once, sorted by their columns
=========  ===========  ==========================================================================

A point dominates another if it is nowhere worse and somewhere better.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import BoolArray, FloatArray

__all__ = ["hypervolume", "non_dominated"]


def non_dominated(Y: npt.ArrayLike) -> BoolArray:  # the field's name for values
    """Find the points that no other point dominates.

    Parameters
    ----------
    Y : array_like of shape (n, m)
        Objective values, to be minimized; ``m >= 1``. Infinities are values like others.

    Returns
    -------
    ndarray of bool, shape (n,)
        Of equal points, all or none: they do not dominate each other.

    Raises
    ------
    ValueError
        If the shape is another one, or a value is NaN.

    Notes
    -----
    With up to three objectives the cost is that of sorting: a point can be dominated only by those
    before it in the sorted order, of which a staircase in the last two objectives tells all.
    From four objectives on it is ``n`` times the size of the front.

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
    keep = {1: _keep_first, 2: _keep_below, 3: _keep_outside_staircase}.get(Y.shape[1], _keep_rest)
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
        What is just bad enough: points that are not better in both objectives count nothing.

    Returns
    -------
    float
        In the product of the objectives' units; exact up to rounding.

    Raises
    ------
    ValueError
        If there are other than two objectives, or a value is NaN.

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
    values = np.asarray(Y, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(
            f"need a row per point and a column per objective, got shape {values.shape}"
        )
    if np.isnan(values).any():
        raise ValueError("need values that can be compared, got NaN; leave those points out")
    return values


def _keep_first(distinct: FloatArray) -> BoolArray:
    keep = np.zeros(len(distinct), dtype=bool)
    keep[0] = True
    return keep


def _keep_below(distinct: FloatArray) -> BoolArray:
    """Keep, of sorted pairs, those whose second value is less than all before."""
    lowest = np.minimum.accumulate(distinct[:, 1])
    return np.append(True, distinct[1:, 1] < lowest[:-1])


def _keep_outside_staircase(distinct: FloatArray) -> BoolArray:
    """Keep, of sorted triples, those whose last two values none before dominates or equals."""
    keep = np.empty(len(distinct), dtype=bool)
    # The steps: non-dominated pairs of what came before, the first ascending, the second falling.
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
    """Keep the first of what is left, drop what it dominates, and so on: it is not dominated."""
    keep = np.zeros(len(distinct), dtype=bool)
    left = np.arange(len(distinct))
    while len(left):
        keep[left[0]] = True
        left = left[(distinct[left] < distinct[left[0]]).any(axis=1)]
    return keep
