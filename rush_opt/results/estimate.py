"""The result of a search with noise: the trial with the best estimated value.

With noise, the best of many values is usually best by chance, and its configuration may be average.
The values of similar configurations show how good a configuration really is. Use the estimate if
repeated evaluations of one configuration differ as much as good configurations do. Without noise,
the trial with the best value is the better answer.
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

# Chosen in experiments/noisy_answer.py. An estimate should not depend on the random numbers of the
# forest: therefore many trees, each fitted to all rows. The leaves are large, to average the noise.
# The study had 150 rows; with fewer, a leaf has the same share of the rows.
_N_TREES = 100


def _min_samples_split(n_rows: int) -> int:
    """Return the least number of rows of a node that is split."""
    return max(5, min(40, n_rows * 40 // 150))


@dataclass(frozen=True)
class Estimate:
    """A trial, and the estimate of its value without the noise.

    Attributes
    ----------
    trial : FrozenTrial
    value : float
        The estimated value, in units of the objective.
    sd : float
        Weighted standard deviation of the neighbouring values, noise included.
    """

    trial: FrozenTrial
    value: float
    sd: float


def estimate_best(
    X: npt.NDArray[np.floating[Any]],
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
        Weighted mean and standard deviation of the values. The weight of a row grows with the
        number of trees in which it shares the leaf of the best row.
    """
    # Trees are fitted to ranks, so that extreme values do not decide where they split.
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
        A node with fewer rows is a leaf; number of trees.

    Returns
    -------
    index : int
        The first one if several rows have the lowest prediction.
    weights : ndarray of shape (n,)
        Weight of each row's target in that prediction, which is ``weights @ z``; their sum is 1.
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
