"""mlr3mbo's forest: it learns what it was fitted to, on a logarithmic scale."""

import math

import numpy as np

from experiments.mlr3mbo_forest import RandomForest, log_scale


def rows(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, d), dtype=np.float32)


def bowl(X: np.ndarray) -> np.ndarray:
    return np.asarray(((X.astype(np.float64) - 0.3) ** 2).sum(axis=1))


def test_log_scale_spreads_the_good_end() -> None:
    found = log_scale(np.array([0.0, 1.0, 0.5, np.inf]), margin=0.01)
    np.testing.assert_allclose(np.exp(found) * 1.02, [0.01, 1.01, 0.51, 1.01])
    assert found[2] - found[0] > 10 * (found[1] - found[2]) / 2
    np.testing.assert_array_equal(log_scale(np.full(3, 2.0)), np.zeros(3))
    np.testing.assert_array_equal(log_scale(np.array([np.inf, np.inf])), np.zeros(2))


def test_the_random_forest_reproduces_what_it_was_fitted_to() -> None:
    X = rows(300, 4)
    y = bowl(X)
    mean, _ = RandomForest(n_trees=100).fit(X, y, np.random.default_rng(0)).predict(X)
    assert np.corrcoef(mean, log_scale(y))[0, 1] > 0.95
    assert math.isclose(mean.mean(), log_scale(y).mean(), abs_tol=0.05)


def test_infinite_values_are_the_worst() -> None:
    X = rows(80, 2)
    y = np.where(X[:, 0] > 0.5, np.inf, bowl(X))
    mean, sd = RandomForest(n_trees=30).fit(X, y, np.random.default_rng(0)).predict(X)
    assert np.isfinite(mean).all()
    assert np.isfinite(sd).all()
    assert mean[X[:, 0] < 0.45].max() < mean[X[:, 0] > 0.55].min()
