"""Moves: new points near given points, which differ from them in some coordinates."""

from __future__ import annotations

import numpy as np

from rush_opt.arrays import FloatArray, IndexArray
from rush_opt.space import INACTIVE, Space

__all__ = ["moves"]


def moves(
    space: Space,
    parents: FloatArray,
    n: int,
    rng: np.random.Generator,
    *,
    p_move: float,
    log10_step: tuple[float, float],
) -> FloatArray:
    """Return points near the parents: each move changes some coordinates of a parent a little.

    Parameters
    ----------
    space : Space
        The search space.
    parents : ndarray of shape (n_parents, n_dims)
        Snapped rows to start from, at least one; used in turn.
    n : int
        Number of moves.
    rng : numpy.random.Generator
        Source of randomness.
    p_move : float
        Probability that a coordinate changes. At least one active coordinate always does.
    log10_step : tuple of float
        Bounds of the decimal logarithm of a move's size, in edges of the unit cube.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows. A number moves by a normal step; the standard deviation is drawn once per
        move. An integer moves by at least one level. A category or boolean changes to another
        value. A parameter that becomes active starts at a uniformly drawn value. Constraints are
        not checked.
    """
    shape = (n, space.n_dims)
    start = parents[np.arange(n) % len(parents)]
    moved = rng.random(shape) < p_move
    moved[np.arange(n), _one_active(start, space, rng)] = True
    scale = 10.0 ** rng.uniform(*log10_step, size=(n, 1))
    steps = rng.standard_normal(shape) * scale * (moved & space.is_ordered)
    start = space.fill_inactive(start, rng)
    unordered = np.flatnonzero(~space.is_ordered & (space.n_levels > 1))
    if len(unordered):
        counts = space.n_levels[unordered]
        level = np.floor(start[:, unordered] * counts)
        other = (level + rng.integers(1, counts, size=(n, len(unordered)))) % counts
        start[:, unordered] = np.where(
            moved[:, unordered], (other + 0.5) / counts, start[:, unordered]
        )
    return space.shift(start, steps)


def _one_active(X: FloatArray, space: Space, rng: np.random.Generator) -> IndexArray:
    """Draw the index of one active coordinate for each row."""
    if not space.has_conditions:
        return rng.integers(space.n_dims, size=len(X))
    keys = np.where(X == INACTIVE, -1.0, rng.random(X.shape))
    return np.asarray(np.argmax(keys, axis=1), dtype=np.intp)
