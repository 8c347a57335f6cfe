"""Configurations chosen before any model: rows of the unit cube, snapped to the space."""

from __future__ import annotations

import numpy as np

from rush_opt.space import FloatArray, Space


def random_design(space: Space, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw points independently and uniformly.

    Parameters
    ----------
    space : Space
        What is searched.
    n : int
        Number of points, ``>= 0``.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows; two may be equal where the space is discrete.
    """
    return space.snap(rng.random((n, space.n_dims)))


def sobol_design(space: Space, n: int, rng: np.random.Generator) -> FloatArray:
    """Spread points evenly: the first ``n`` of a scrambled Sobol sequence.

    Parameters
    ----------
    space : Space
        What is searched.
    n : int
        Number of points, ``>= 0``; a power of two is spread best.
    rng : numpy.random.Generator
        Source of randomness for the scrambling.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows; two may be equal where the space is discrete.

    References
    ----------
    .. [Owen] A. B. Owen. Scrambling Sobol' and Niederreiter-Xing points. Journal of Complexity
       14(4), 1998.
    """
    # Loading scipy.stats takes half a second of CPU, and only who starts a run needs these points.
    from scipy.stats import qmc

    if n == 0:
        return np.empty((0, space.n_dims))
    # A power of two is drawn and cut: scipy warns about any other number of points.
    points = qmc.Sobol(space.n_dims, scramble=True, rng=rng).random_base2((n - 1).bit_length())
    return space.snap(points[:n])
