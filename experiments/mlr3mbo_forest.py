"""The random forest of the R package mlr3mbo. Experiments compare the surrogate with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rush_opt.arrays import FloatArray, RowArray
from rush_opt.models.forest import Forest
from rush_opt.models.trees import grow


@dataclass(frozen=True)
class RandomForest:
    """mlr3mbo's default surrogate for spaces that are not purely numeric.

    Parameters
    ----------
    n_trees : int
        Number of trees, each fitted to as many rows as there are, drawn with replacement.
    max_features : float
        Share of the features that a split chooses from, at their best thresholds; in (0, 1].
    min_samples_split : int
        A node with fewer rows is a leaf; ``>= 2``.

    References
    ----------
    .. [Breiman] L. Breiman. Random forests. Machine Learning 45(1), 2001.
    """

    n_trees: int = 500
    max_features: float = 5 / 6
    min_samples_split: int = 3

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Forest:
        """Grow the trees; the forest predicts logarithms of the values (`log_scale`)."""
        from sklearn.tree._splitter import BestSplitter

        z = log_scale(y)
        samples = (rng.integers(len(y), size=len(y)) for _ in range(self.n_trees))
        return Forest(
            grow(
                BestSplitter,
                ((X[rows], z[rows]) for rows in samples),
                n_features=X.shape[1],
                max_features=math.ceil(self.max_features * X.shape[1]),
                min_samples_split=self.min_samples_split,
                rng=rng,
            )
        )


def log_scale(y: FloatArray, margin: float = 1e-3) -> FloatArray:
    """Scale values to (0, 1) and take the logarithm.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Values without NaN; infinities become the largest and the smallest finite value.
    margin : float
        Distance of the best value from 0, where the logarithm is infinite, as a share of the range.

    Returns
    -------
    ndarray of shape (n,)
        All zero if all values are equal.
    """
    finite = y[np.isfinite(y)]
    if not len(finite) or finite.min() == finite.max():
        return np.zeros(len(y))
    low, high = finite.min(), finite.max()
    scaled = (np.clip(y, low, high) - low) / (high - low)
    return np.asarray(np.log((scaled + margin) / (1.0 + 2.0 * margin)), dtype=np.float64)
