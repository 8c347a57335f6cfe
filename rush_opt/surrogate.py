"""Forests that predict an objective's mean and standard deviation.

=============  ================  =================================================================
symbol         shape             meaning
=============  ================  =================================================================
``X``          ``(n, d)``        rows of the unit cube, single precision
``y``          ``(n,)``          objective values, to be minimized
``z``          ``(n,)``          targets: what the trees see of ``y``
``leaves``     ``(trees, m)``    the leaf of each tree that each of ``m`` points falls into
=============  ================  =================================================================

The trees are scikit-learn's, grown and read without its estimators: their checks, copies and thread
pool cost several times the work itself when trees are small.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn.tree._criterion import MSE
from sklearn.tree._splitter import BestSplitter, RandomSplitter
from sklearn.tree._tree import DepthFirstTreeBuilder, Tree

FloatArray = npt.NDArray[np.float64]
RowArray = npt.NDArray[np.float32]

_NO_LIMIT = 2**31 - 1


class Forest:
    """A fitted forest: the leaves of its trees, ready to be read.

    Parameters
    ----------
    trees : iterable of sklearn.tree._tree.Tree
        Grown regression trees, at least one.
    """

    def __init__(self, trees: Iterable[Any]) -> None:
        self._trees = list(trees)
        means = [tree.value[:, 0, 0] for tree in self._trees]
        # All trees' nodes in one array: one gather then serves all of them.
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
            In the units of the targets that the trees were grown on.

        Notes
        -----
        With a leaf's mean and variance for every tree, the variance is the mean of the variances
        plus the variance of the means; both together are the mean second moment less the squared
        mean.

        References
        ----------
        .. [Hutter] F. Hutter, L. Xu, H. H. Hoos, K. Leyton-Brown. Algorithm runtime prediction:
           methods & evaluation. Artificial Intelligence 206, 2014. Section 4.3.2.
        """
        rows = np.ascontiguousarray(X, dtype=np.float32)
        leaves = np.empty((len(self._trees), len(rows)), dtype=np.intp)
        for tree, offset, into in zip(self._trees, self._offsets, leaves, strict=True):
            np.add(tree.apply(rows), offset, out=into)
        mean = self._means.take(leaves).mean(axis=0)
        variance = self._second_moments.take(leaves).mean(axis=0) - mean**2
        return mean, np.sqrt(np.maximum(variance, 0.0))


@dataclass(frozen=True)
class ExtraTrees:
    """Extremely randomized trees on samples of the rows, blind to the objective's scale.

    Parameters
    ----------
    n_trees : int
        Trees, ``>= 1``.
    n_rows : int
        Rows per tree, ``>= 1``; each tree draws its own when there are more.
    n_elite : int
        How many of the best rows every tree gets when rows are drawn, ``0 <= n_elite <= n_rows``.
    max_features : float
        Share of the features that a split chooses from, one random threshold each; in (0, 1].
    min_samples_split : int
        Smaller nodes are leaves; ``>= 2``.

    References
    ----------
    .. [Geurts] P. Geurts, D. Ernst, L. Wehenkel. Extremely randomized trees. Machine Learning
       63(1), 2006.
    """

    n_trees: int = 10
    n_rows: int = 500
    n_elite: int = 0
    max_features: float = 1.0
    min_samples_split: int = 5

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Forest:
        """Grow the trees.

        Parameters
        ----------
        X : ndarray of float32, shape (n, d)
            Rows of the unit cube, ``n >= 1``.
        y : ndarray of shape (n,)
            Objective values; infinities are the worst and the best, NaN is not allowed.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Forest
            Predicts normal quantiles of ranks: about 0 for a middling point, -2 for a good one.

        Raises
        ------
        ValueError
            If there is no row.
        """
        _check_rows(X, y)
        return Forest(
            _grow(
                RandomSplitter,
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
        if len(y) <= self.n_rows:
            z = rank_quantiles(y)
            for _ in range(self.n_trees):
                yield X, z
            return
        elite = np.argpartition(y, self.n_elite)[: self.n_elite]
        for _ in range(self.n_trees):
            drawn = rng.choice(len(y), self.n_rows - self.n_elite, replace=False, shuffle=False)
            rows = np.concatenate([elite, drawn])
            yield X.take(rows, axis=0), rank_quantiles(y[rows])


@dataclass(frozen=True)
class RandomForest:
    """The random forest that the R package mlr3mbo uses, for comparison.

    Parameters
    ----------
    n_trees : int
        Trees, ``>= 1``, each on as many rows as there are, drawn with replacement.
    max_features : float
        Share of the features that a split chooses from, at their best thresholds; in (0, 1].
    min_samples_split : int
        Smaller nodes are leaves; ``>= 2``.

    References
    ----------
    .. [Breiman] L. Breiman. Random forests. Machine Learning 45(1), 2001.
    .. [mlr3mbo] The R package's default surrogate for spaces that are not purely numeric.
    """

    n_trees: int = 500
    max_features: float = 5 / 6
    min_samples_split: int = 3

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Forest:
        """Grow the trees; as `ExtraTrees.fit`, but the forest predicts logarithms (`log_scale`)."""
        _check_rows(X, y)
        z = log_scale(y)
        samples = (rng.integers(len(y), size=len(y)) for _ in range(self.n_trees))
        return Forest(
            _grow(
                BestSplitter,
                ((X[rows], z[rows]) for rows in samples),
                n_features=X.shape[1],
                max_features=math.ceil(self.max_features * X.shape[1]),
                min_samples_split=self.min_samples_split,
                rng=rng,
            )
        )


def rank_quantiles(y: FloatArray) -> FloatArray:
    """Replace values by the standard normal quantiles of their ranks.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Values without NaN; infinities are welcome.

    Returns
    -------
    ndarray of shape (n,)
        Equal values share their middle rank; the rank r of n becomes the quantile of (r - 1/2) / n.
    """
    ordered = np.sort(y)
    # Two searches give the first and one past the last place of each value; between them its rank.
    places = np.searchsorted(ordered, y, "left") + np.searchsorted(ordered, y, "right")
    return np.asarray(ndtri(places / (2.0 * len(y))), dtype=np.float64)


def log_scale(y: FloatArray, margin: float = 1e-3) -> FloatArray:
    """Scale values to (0, 1) and take the logarithm.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Values without NaN; infinities become the largest and smallest finite value.
    margin : float
        What keeps the best value from the logarithm's pole, as a share of the range.

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


def _grow(
    splitter_class: Any,
    samples: Iterable[tuple[RowArray, FloatArray]],
    *,
    n_features: int,
    max_features: int,
    min_samples_split: int,
    rng: np.random.Generator,
) -> Iterator[Any]:
    """Grow one tree per sample of rows and targets."""
    # Each tree's start asks this generator for one number, which seeds the splits.
    seeds = np.random.RandomState(int(rng.integers(2**32)))
    one_output = np.ones(1, dtype=np.intp)
    for X, z in samples:
        criterion = MSE(1, len(z))
        splitter = splitter_class(criterion, max_features, 1, 0.0, seeds, None)
        builder = DepthFirstTreeBuilder(splitter, min_samples_split, 1, 0.0, _NO_LIMIT, 0.0)
        tree = Tree(n_features, one_output, 1)
        builder.build(tree, X, z.reshape(-1, 1), None, None)
        yield tree


def _check_rows(X: RowArray, y: FloatArray) -> None:
    if len(y) == 0 or len(X) != len(y):
        raise ValueError(
            f"a forest needs rows and as many values, got {len(X)} and {len(y)}; "
            "evaluate a design first"
        )
