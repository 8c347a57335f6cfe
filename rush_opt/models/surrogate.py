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

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
RowArray = npt.NDArray[np.float32]

_NO_LIMIT = 2**31 - 1


class Model(Protocol):
    """What a surrogate knows after it was fitted."""

    def predict(self, X: npt.NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
        """Predict mean and standard deviation at rows of the unit cube; the less, the better.

        Any units will do, as long as both have the same and the standard deviation is ``>= 0``.
        """


class Surrogate(Protocol):
    """Settings from which models are fitted: what an algorithm needs, and all that it knows.

    Examples
    --------
    Any class with this method is one, a frozen dataclass best, for it is sent to workers:

    >>> import numpy as np
    >>> class Nearest:
    ...     def __init__(self, X, y):
    ...         self.X, self.y = X, y
    ...
    ...     def predict(self, X):
    ...         d = np.linalg.norm(X[:, None] - self.X, axis=2)
    ...         return self.y[d.argmin(axis=1)], d.min(axis=1)
    >>> class NearestNeighbour:
    ...     def fit(self, X, y, rng):
    ...         return Nearest(X, y)
    """

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Model:
        """Fit to at least one row of the unit cube and its objective value.

        An inactive parameter's coordinate is `rush_opt.space.INACTIVE`, the value of a failed trial
        infinite. Where a rule stops trials there is a last column that tells how far they had come,
        1 for whole ones; see `rush_opt.search.stopped_trials`.
        """


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
        Rows per tree, ``>= 1``; when there are more, each tree draws its own.
    max_features : float
        Share of the features that a split chooses from, one random threshold each; in (0, 1].
    min_samples_split : int
        Smaller nodes are leaves; ``>= 2``.

    Raises
    ------
    ValueError
        If a setting is out of its range.

    References
    ----------
    .. [Geurts] P. Geurts, D. Ernst, L. Wehenkel. Extremely randomized trees. Machine Learning
       63(1), 2006.
    """

    # Chosen in experiments/surrogate_study, by regret on 6 problems. 25 trees cost twice the time
    # and gained nothing, 50 were worse than 10: forests that differ more explore more.
    n_trees: int = 10
    # 200, 500 and 1,500 rows per tree could not be told apart in runs of 2,000 trials, nor 200 and
    # 500 in runs of 8,000, and giving every tree the best rows gained nothing. 300 lies between
    # them and was not run itself.
    n_rows: int = 300
    # Half of the features had 1.1 to 1.2 times the regret and saved a quarter of the time.
    max_features: float = 1.0
    # 10 was a little and 20 clearly worse; 2 and 4 were no better and grow larger trees.
    min_samples_split: int = 5

    def __post_init__(self) -> None:
        _check_settings(self)
        if self.n_rows < 1:
            raise ValueError(f"ExtraTrees needs n_rows >= 1, got {self.n_rows}; try 300")

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
        if len(y) <= self.n_rows:
            z = rank_quantiles(y)
            for _ in range(self.n_trees):
                yield X, z
            return
        for _ in range(self.n_trees):
            rows = rng.choice(len(y), self.n_rows, replace=False, shuffle=False)
            # Ranks within the sample: those within everything would take a sort of everything.
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

    def __post_init__(self) -> None:
        _check_settings(self)

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Forest:
        """Grow the trees; as `ExtraTrees.fit`, but the forest predicts logarithms (`log_scale`)."""
        _check_rows(X, y)
        z = log_scale(y)
        samples = (rng.integers(len(y), size=len(y)) for _ in range(self.n_trees))
        return Forest(
            grow(
                tree_parts().BestSplitter,
                ((X[rows], z[rows]) for rows in samples),
                n_features=X.shape[1],
                max_features=math.ceil(self.max_features * X.shape[1]),
                min_samples_split=self.min_samples_split,
                rng=rng,
            )
        )


@functools.cache
def tree_parts() -> SimpleNamespace:
    """Load what takes a second to load, when it is needed: a first trial does not wait for it."""
    from sklearn.tree._criterion import MSE
    from sklearn.tree._splitter import BestSplitter, RandomSplitter
    from sklearn.tree._tree import DepthFirstTreeBuilder, Tree

    return SimpleNamespace(
        MSE=MSE,
        BestSplitter=BestSplitter,
        RandomSplitter=RandomSplitter,
        DepthFirstTreeBuilder=DepthFirstTreeBuilder,
        Tree=Tree,
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
    # Loaded when it is needed, as `tree_parts`, of which it takes a twentieth.
    from scipy.special import ndtri

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


def grow(
    splitter_class: Any,
    samples: Iterable[tuple[RowArray, FloatArray]],
    *,
    n_features: int,
    max_features: int,
    min_samples_split: int,
    rng: np.random.Generator,
) -> Iterator[Any]:
    """Grow one regression tree per sample of rows and targets.

    Parameters
    ----------
    splitter_class : type
        scikit-learn's `BestSplitter` or `RandomSplitter`.
    samples : iterable of (ndarray of float32, shape (n, d); ndarray of float64, shape (n,))
        What each tree is grown on, both C-contiguous.
    n_features, max_features : int
        How many features there are, and how many of them a split chooses from.
    min_samples_split : int
        Smaller nodes are leaves; ``>= 2``.
    rng : numpy.random.Generator
        Source of randomness.

    Yields
    ------
    sklearn.tree._tree.Tree
    """
    parts = tree_parts()
    # Each tree's start asks this generator for one number, which seeds the splits.
    seeds = np.random.RandomState(int(rng.integers(2**32)))
    one_output = np.ones(1, dtype=np.intp)
    for X, z in samples:
        criterion = parts.MSE(1, len(z))
        splitter = splitter_class(criterion, max_features, 1, 0.0, seeds, None)
        builder = parts.DepthFirstTreeBuilder(splitter, min_samples_split, 1, 0.0, _NO_LIMIT, 0.0)
        tree = parts.Tree(n_features, one_output, 1)
        builder.build(tree, X, z.reshape(-1, 1), None, None)
        yield tree


def _check_settings(forest: ExtraTrees | RandomForest) -> None:
    if not (forest.n_trees >= 1 and 0 < forest.max_features <= 1 and forest.min_samples_split >= 2):
        raise ValueError(
            "a forest needs n_trees >= 1, 0 < max_features <= 1 and min_samples_split >= 2, got "
            f"{forest!r}; change what is out of range"
        )


def _check_rows(X: RowArray, y: FloatArray) -> None:
    if len(y) == 0 or len(X) != len(y):
        raise ValueError(
            f"a forest needs rows and as many values, got {len(X)} and {len(y)}; "
            "evaluate a design first"
        )
