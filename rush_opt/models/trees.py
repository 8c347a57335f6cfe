"""Regression trees of scikit-learn, grown without its estimators.

An estimator checks and copies its input and starts a thread pool. For a few small trees this takes
longer than growing and reading them: with 10 trees on 300 rows, the estimator needs 10.4 ms and
this module with `rush_opt.models.forest` 4.3 ms (`results/tables/own_numerics.md`).

No other module uses private names of scikit-learn. `tests/opt/test_trees.py` fails and says what to
do if a new version changes them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from rush_opt.arrays import FloatArray, RowArray

__all__ = ["grow", "tree_parts"]

_NO_DEPTH_LIMIT = 2**31 - 1


@functools.cache
def tree_parts() -> SimpleNamespace:
    """Import the parts of scikit-learn that grow trees, at the first use.

    The import takes a second, and the first trials of a run do not need it.
    """
    from sklearn.tree._criterion import MSE
    from sklearn.tree._splitter import RandomSplitter
    from sklearn.tree._tree import DepthFirstTreeBuilder, Tree

    return SimpleNamespace(
        MSE=MSE,
        RandomSplitter=RandomSplitter,
        DepthFirstTreeBuilder=DepthFirstTreeBuilder,
        Tree=Tree,
    )


def grow(
    splitter_class: Any,
    samples: Iterable[tuple[RowArray, FloatArray]],
    *,
    n_features: int,
    max_features: int,
    min_samples_split: int,
    rng: np.random.Generator,
) -> Iterator[Any]:
    """Grow one regression tree for each sample of rows and targets.

    Parameters
    ----------
    splitter_class : type
        A splitter of scikit-learn, such as ``tree_parts().RandomSplitter``.
    samples : iterable of (ndarray of float32, shape (n, d); ndarray of float64, shape (n,))
        The rows and targets of each tree, both C-contiguous.
    n_features : int
        Number of features d.
    max_features : int
        Number of features that a split chooses from.
    min_samples_split : int
        A node with fewer rows is a leaf; ``>= 2``.
    rng : numpy.random.Generator
        Source of randomness.

    Yields
    ------
    sklearn.tree._tree.Tree
    """
    parts = tree_parts()
    # Each builder draws one number from this generator to seed its splits.
    seeds = np.random.RandomState(int(rng.integers(2**32)))
    one_output = np.ones(1, dtype=np.intp)
    for X, z in samples:
        criterion = parts.MSE(1, len(z))
        splitter = splitter_class(criterion, max_features, 1, 0.0, seeds, None)
        builder = parts.DepthFirstTreeBuilder(
            splitter, min_samples_split, 1, 0.0, _NO_DEPTH_LIMIT, 0.0
        )
        tree = parts.Tree(n_features, one_output, 1)
        builder.build(tree, X, z.reshape(-1, 1), None, None)
        yield tree
