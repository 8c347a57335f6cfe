"""The private parts of scikit-learn that grow our trees still work as its estimators use them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.tree import ExtraTreeRegressor

from rush_opt.models import trees
from rush_opt.models.forest import Forest

ADVICE = (
    f"scikit-learn {sklearn.__version__} changed private parts that rush_opt/models/trees.py uses "
    "(sklearn.tree._criterion, _splitter, _tree). Read BaseDecisionTree._fit in "
    "sklearn/tree/_classes.py of that version, which makes the same objects, and change `grow` "
    "accordingly. Until then, set an upper bound for scikit-learn in pyproject.toml. What changed: "
)


def rows(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).random((n, d), dtype=np.float32)
    return X, ((X.astype(np.float64) - 0.3) ** 2).sum(axis=1)


def grown(X: np.ndarray, y: np.ndarray) -> Any:
    """Grow one tree; an error is explained."""
    try:
        grow = trees.grow(
            trees.tree_parts().RandomSplitter,
            [(X, y)],
            n_features=X.shape[1],
            max_features=2,
            min_samples_split=5,
            rng=np.random.default_rng(7),
        )
        return next(grow)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        pytest.fail(f"{ADVICE}{type(error).__name__}: {error}")


def test_our_tree_is_the_one_that_the_public_estimator_grows() -> None:
    X, y = rows(200, 3)
    tree = grown(X, y)
    seed = int(np.random.default_rng(7).integers(2**32))
    theirs = (
        ExtraTreeRegressor(
            max_features=2, min_samples_split=5, random_state=np.random.RandomState(seed)
        )
        .fit(X, y)
        .tree_
    )
    for name in ("children_left", "children_right", "feature", "threshold", "value", "impurity"):
        ours = getattr(tree, name, None)
        assert ours is not None, f"{ADVICE}a tree has no {name}"
        assert np.array_equal(ours, getattr(theirs, name)), f"{ADVICE}{name} differs"
    assert np.array_equal(tree.apply(X), theirs.apply(X)), f"{ADVICE}the leaves of rows differ"


def test_a_forest_reads_what_the_public_estimator_predicts() -> None:
    X, y = rows(200, 3)
    tree = grown(X, y)
    assert tree.value.shape == (tree.node_count, 1, 1), f"{ADVICE}the shape of Tree.value"
    mean, sd = Forest([tree]).predict(X)
    leaves = tree.apply(X)
    assert np.allclose(mean, [y[leaves == leaf].mean() for leaf in leaves]), f"{ADVICE}Tree.value"
    assert np.allclose(sd, [y[leaves == leaf].std() for leaf in leaves], atol=1e-7), (
        f"{ADVICE}Tree.impurity is not the variance of the targets"
    )


def test_a_changed_signature_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = SimpleNamespace(**(vars(trees.tree_parts()) | {"MSE": lambda n_outputs: None}))
    monkeypatch.setattr(trees, "tree_parts", lambda: parts)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)change `grow`.*TypeError"):
        grown(*rows(20, 3))


def test_a_missing_private_name_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("sklearn.tree._splitter.RandomSplitter")
    trees.tree_parts.cache_clear()
    try:
        with pytest.raises(pytest.fail.Exception, match=r"(?s)upper bound.*ImportError"):
            grown(*rows(20, 3))
    finally:
        monkeypatch.undo()
        trees.tree_parts.cache_clear()
