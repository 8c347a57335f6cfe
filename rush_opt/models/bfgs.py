"""Minimize a smooth function of few variables between bounds, in few evaluations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_LONGEST_STEP, _LEAST_STEP = 2.0, 1e-3
_SHRINK = 0.3

# Less inverse curvature than this, where 1 is natural, is rounding or a gradient that turned aside.
_LEAST_INVERSE_CURVATURE = 1e-10


def descend(
    function: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    *,
    low: FloatArray,
    high: FloatArray,
    n_evaluations: int,
) -> FloatArray:
    """Go down by BFGS with backtracking, for variables whose natural steps are around 1.

    Parameters
    ----------
    function : callable
        Returns value and gradient.
    start : ndarray of shape (d,)
        Between the bounds.
    low, high : ndarray of shape (d,)
    n_evaluations : int
        How often the function is called at most, ``>= 1``.

    Returns
    -------
    ndarray of shape (d,)
        The point with the lowest value that was seen.

    Notes
    -----
    It is for functions that take so little time that the work of a general optimizer around each
    evaluation, such as that of `scipy.optimize.minimize`, would count as well.

    References
    ----------
    .. [Nocedal] J. Nocedal, S. J. Wright. Numerical Optimization. Springer, 2006. Eq. (6.17),
       (6.20); variables that a bound holds are left out of a step.
    """
    x, (value, gradient) = start, function(start)
    H, share, is_scaled = np.eye(len(x)), 1.0, False
    for _ in range(n_evaluations - 1):
        if share == 1.0:
            held = ((x <= low) & (gradient > 0.0)) | ((x >= high) & (gradient < 0.0))
            step = np.where(held, 0.0, -H @ np.where(held, 0.0, gradient))
            length = np.abs(step).max()
            if length < _LEAST_STEP:
                break
            step *= min(1.0, (_LONGEST_STEP if is_scaled else 1.0) / length)
        there = np.clip(x + share * step, low, high)
        if (there == x).all():
            break
        new_value, new_gradient = function(there)
        if not new_value < value:
            share *= _SHRINK
            continue
        s, y = there - x, new_gradient - gradient
        if s @ y > _LEAST_INVERSE_CURVATURE * (y @ y):
            H, is_scaled = _updated(H if is_scaled else H * (s @ y) / (y @ y), s, y), True
        x, value, gradient, share = there, new_value, new_gradient, 1.0
    return x


def _updated(H: FloatArray, s: FloatArray, y: FloatArray) -> FloatArray:
    """Return the inverse Hessian that agrees with a step and how the gradient changed on it."""
    curvature, Hy = s @ y, H @ y
    crossed = np.outer(Hy, s)
    outer = (1.0 + y @ Hy / curvature) * np.outer(s, s)
    return np.asarray(H + (outer - crossed - crossed.T) / curvature)
