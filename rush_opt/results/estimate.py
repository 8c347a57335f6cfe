"""The answer of a search with noise: the trial whose estimated value is the best.

Of many noisy values the best was mostly lucky: the more trials and the more noise, the more it is
that of a middling configuration. What the neighbours of a configuration got tells how good it
really is. Use the estimate when evaluating a configuration again gives a value that differs by as
much as good configurations do among each other; without noise, the trial with the best value is
the better answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import FloatArray
from rush_opt.models.forest import Forest
from rush_opt.models.targets import rank_quantiles
from rush_opt.models.trees import grow, tree_parts

if TYPE_CHECKING:
    from rush_opt.results.trials import FrozenTrial

__all__ = ["Estimate", "estimate_best", "find_lowest"]

# Chosen in experiments/noisy_answer.py. Proposals want forests that differ, an answer wants one
# without luck: many trees, each on all rows, whose leaves are large enough to average the noise. Of
# fewer rows than that study's 150 a leaf has as large a share: all of them in one say nothing.
_N_TREES = 100


def _min_samples_split(n_rows: int) -> int:
    return max(5, min(40, n_rows * 40 // 150))


@dataclass(frozen=True)
class Estimate:
    """A trial, and what its value is without the noise, as far as a forest can tell.

    Attributes
    ----------
    trial : FrozenTrial
    value : float
        The estimated objective value, in its own units.
    sd : float
        How much the values differ of which it is the mean; the noise is part of it.
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
        Mean and standard deviation of the values around it, which count the more, the more trees
        have them in its leaf.
    """
    # By ranks, so that no value out of all proportion decides where the trees split.
    best, weights = find_lowest(
        X, rank_quantiles(y), rng, min_samples_split=_min_samples_split(len(y))
    )
    value = float(weights @ y)
    return best, value, math.sqrt(float(weights @ (y - value) ** 2))


def find_lowest(
    X: npt.NDArray[np.floating[Any]],
    z: FloatArray,
    rng: np.random.Generator,
    *,
    min_samples_split: int,
    n_trees: int = _N_TREES,
) -> tuple[int, FloatArray]:
    """Find the row for which a forest predicts the lowest target.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows of the unit cube, ``n >= 1``.
    z : ndarray of shape (n,)
        Finite targets.
    rng : numpy.random.Generator
        Source of randomness.
    min_samples_split, n_trees : int
        The least number of rows that is split further, and trees, each on all rows.

    Returns
    -------
    index : int
        The earliest of equals.
    weights : ndarray of shape (n,)
        How much each row's target counts in that prediction, ``weights @ z``; their sum is 1.
    """
    rows = np.ascontiguousarray(X, dtype=np.float32)
    trees = list(
        grow(
            tree_parts().RandomSplitter,
            ((rows, z) for _ in range(n_trees)),
            n_features=rows.shape[1],
            max_features=rows.shape[1],
            min_samples_split=min_samples_split,
            rng=rng,
        )
    )
    best = int(np.argmin(Forest(trees).predict(rows)[0]))
    leaves = np.array([tree.apply(rows) for tree in trees])
    together = leaves == leaves[:, best : best + 1]
    return best, np.asarray((together / together.sum(axis=1, keepdims=True)).mean(axis=0))
