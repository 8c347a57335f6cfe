"""Extremely randomized trees that predict an objective's mean and standard deviation.

=============  ================  =================================================================
symbol         shape             meaning
=============  ================  =================================================================
``X``          ``(n, d)``        rows of the unit cube, single precision
``y``          ``(n,)``          objective values, to be minimized
``z``          ``(n,)``          targets of a tree: normal quantiles of the ranks of ``y``
``leaves``     ``(trees, m)``    index of the leaf that contains each of ``m`` points, per tree
``mu``         ``(trees, m)``    mean of the targets in that leaf
``var``        ``(trees, m)``    variance of the targets in that leaf
=============  ================  =================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import FloatArray, RowArray
from rush_opt.models.targets import rank_quantiles
from rush_opt.models.trees import grow, tree_parts

__all__ = ["ExtraTrees", "Forest"]


class Forest:
    """A fitted forest.

    Parameters
    ----------
    trees : iterable of sklearn.tree._tree.Tree
        Regression trees, at least one.
    """

    def __init__(self, trees: Iterable[Any]) -> None:
        self._trees = list(trees)
        means = [tree.value[:, 0, 0] for tree in self._trees]
        # The nodes of all trees are in one array, so that one lookup serves all trees.
        self._offsets = np.cumsum([0, *map(len, means[:-1])])
        self._means = np.concatenate(means)
        self._second_moments = self._means**2
        self._second_moments += np.concatenate([tree.impurity for tree in self._trees])

    def predict(self, X: npt.NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
        """Predict mean and standard deviation by the law of total variance.

        Parameters
        ----------
        X : ndarray of shape (m, d)
            Points of the unit cube.

        Returns
        -------
        mean, sd : ndarray of shape (m,)
            In the unit of the targets of the trees.

        References
        ----------
        .. [Hutter] F. Hutter, L. Xu, H. H. Hoos, K. Leyton-Brown. Algorithm runtime prediction:
           methods & evaluation. Artificial Intelligence 206, 2014. Section 4.3.2.
        """
        rows = np.ascontiguousarray(X, dtype=np.float32)
        leaves = np.empty((len(self._trees), len(rows)), dtype=np.intp)
        for tree, offset, of_tree in zip(self._trees, self._offsets, leaves, strict=True):
            np.add(tree.apply(rows), offset, out=of_tree)
        # [Hutter] 4.3.2: mean = E[mu] and variance = E[var] + Var[mu] = E[var + mu^2] - mean^2,
        # where E and Var are over the trees.
        mean = self._means.take(leaves).mean(axis=0)
        variance = self._second_moments.take(leaves).mean(axis=0) - mean**2
        return mean, np.sqrt(np.maximum(variance, 0.0))


@dataclass(frozen=True)
class ExtraTrees:
    """Extremely randomized trees, each fitted to the ranks of a sample of the rows.

    Because of the ranks, the scale of the objective has no influence.

    Parameters
    ----------
    n_trees : int
        Number of trees, ``>= 1``.
    n_rows : int
        Largest number of rows of one tree, ``>= 1``. If there are more rows, each tree draws its
        own sample.
    max_features : float
        Share of the features that a split chooses from, each with one random threshold; in (0, 1].
    min_samples_split : int
        A node with fewer rows is a leaf; ``>= 2``.

    Raises
    ------
    ValueError
        If a setting is out of its range.

    References
    ----------
    .. [Geurts] P. Geurts, D. Ernst, L. Wehenkel. Extremely randomized trees. Machine Learning
       63(1), 2006.
    """

    # The defaults were chosen in experiments/surrogate_study by regret on 6 problems.
    # 25 trees took twice the time and gained nothing. 50 trees were worse than 10: a larger forest
    # is more certain, so it explores less.
    n_trees: int = 10
    # No difference was found between 200, 500 and 1,500 rows in runs of 2,000 trials, or between
    # 200 and 500 rows in runs of 8,000 trials. 300 is between them and was not run itself. Giving
    # the best rows to every tree gained nothing.
    n_rows: int = 300
    # 0.5 saved a quarter of the time and had 1.1 to 1.2 times the regret.
    max_features: float = 1.0
    # 10 was slightly worse and 20 clearly worse. 2 and 4 were not better and grow larger trees.
    min_samples_split: int = 5

    def __post_init__(self) -> None:
        if not (
            self.n_trees >= 1
            and self.n_rows >= 1
            and 0 < self.max_features <= 1
            and self.min_samples_split >= 2
        ):
            raise ValueError(
                "ExtraTrees needs n_trees >= 1, n_rows >= 1, 0 < max_features <= 1 and "
                f"min_samples_split >= 2, got {self!r}; change the setting that is out of range"
            )

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Forest:
        """Grow the trees.

        Parameters
        ----------
        X : ndarray of float32, shape (n, d)
            Rows of the unit cube, ``n >= 1``.
        y : ndarray of shape (n,)
            Objective values; infinities are the worst and the best ones, NaN is not allowed.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Forest
            It predicts normal quantiles of ranks: 0 for a median value, about -2 for a good one.

        Raises
        ------
        ValueError
            If there are no rows, or the numbers of rows and values differ.
        """
        if len(y) == 0 or len(X) != len(y):
            raise ValueError(
                f"a forest needs at least one row and one value for each row, got {len(X)} rows "
                f"and {len(y)} values; evaluate a design first"
            )
        return Forest(
            grow(
                tree_parts().RandomSplitter,
                self._samples(X, y, rng),
                n_features=X.shape[1],
                max_features=max(1, round(self.max_features * X.shape[1])),
                min_samples_split=self.min_samples_split,
                rng=rng,
            )
        )

    def _samples(
        self, X: RowArray, y: FloatArray, rng: np.random.Generator
    ) -> Iterator[tuple[RowArray, FloatArray]]:
        """Yield rows and targets of each tree."""
        if len(y) <= self.n_rows:
            z = rank_quantiles(y)
            for _ in range(self.n_trees):
                yield X, z
            return
        for _ in range(self.n_trees):
            rows = rng.choice(len(y), self.n_rows, replace=False, shuffle=False)
            # Ranks are taken within the sample: ranks within all rows would need a sort of all.
            yield X.take(rows, axis=0), rank_quantiles(y[rows])
