"""The answer of a search with noise: the trial whose estimated value is the best.

Of many noisy values the best was mostly lucky: the more trials and the more noise, the more it is
that of a middling configuration. What the neighbours of a configuration got tells how good it
really is. Use the estimate when evaluating a configuration again gives a value that differs by as
much as good configurations do among each other; without noise, the trial with the best value is
the better answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rush_opt.surrogate import FloatArray, Forest, grow, tree_parts

if TYPE_CHECKING:
    from rush_opt.result import FrozenTrial

__all__ = ["Estimate", "estimate_best", "smooth"]

# Compared in experiments/noisy_answer.py. Proposals want forests that differ, an answer wants the
# one without luck: many trees on all rows, whose leaves are large enough to average the noise out.
_N_TREES = 100
_MIN_SAMPLES_SPLIT = 20


@dataclass(frozen=True)
class Estimate:
    """A trial, and what its value is without the noise, as far as a forest can tell.

    Attributes
    ----------
    trial : FrozenTrial
    value : float
        The estimated objective value, in its own units.
    sd : float
        How much the values differ that it is the mean of; the noise is part of it.
    """

    trial: FrozenTrial
    value: float
    sd: float


def estimate_best(
    X: npt.NDArray[np.floating[Any]],  # the field's name for rows of features
    y: FloatArray,
    rng: np.random.Generator,
) -> tuple[int, float, float]:
    """Find the row with the lowest estimated value.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows of the unit cube, ``n >= 1``.
    y : ndarray of shape (n,)
        Finite values with noise, to be minimized.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    index : int
    value, sd : float
        The forest's mean and standard deviation there.
    """
    # What is worse than middling is only that: a value out of all proportion takes up no splits.
    mean, sd = smooth(X, np.minimum(y, np.median(y)), rng)
    best = int(np.argmin(mean))
    return best, float(mean[best]), float(sd[best])


def smooth(
    X: npt.NDArray[np.floating[Any]],
    z: FloatArray,
    rng: np.random.Generator,
    *,
    n_trees: int = _N_TREES,
    min_samples_split: int = _MIN_SAMPLES_SPLIT,
) -> tuple[FloatArray, FloatArray]:
    """Replace the targets of rows by what a forest grown on them predicts.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows of the unit cube, ``n >= 1``.
    z : ndarray of shape (n,)
        Finite targets.
    rng : numpy.random.Generator
        Source of randomness.
    n_trees, min_samples_split : int
        Trees, each on all rows, and the least number of rows that is split further.

    Returns
    -------
    mean, sd : ndarray of shape (n,)
        In the units of the targets.
    """
    rows = np.ascontiguousarray(X, dtype=np.float32)
    n_features = rows.shape[1]
    trees = grow(
        tree_parts().RandomSplitter,
        ((rows, z) for _ in range(n_trees)),
        n_features=n_features,
        max_features=n_features,
        min_samples_split=min_samples_split,
        rng=rng,
    )
    return Forest(trees).predict(rows)
