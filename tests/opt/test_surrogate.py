import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from rush_opt.models.forest import ExtraTrees
from rush_opt.models.targets import rank_quantiles


def rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d), dtype=np.float32)


def bowl(X: np.ndarray) -> np.ndarray:
    return np.asarray(((X.astype(np.float64) - 0.3) ** 2).sum(axis=1))


def leaf_statistics(
    tree: Any, X: np.ndarray, z: np.ndarray, point: np.ndarray
) -> tuple[float, float]:
    """Mean and variance of the targets that share a point's leaf, walking down by hand."""
    members = np.arange(len(X))
    node = 0
    while tree.children_left[node] >= 0:
        feature, threshold = tree.feature[node], tree.threshold[node]
        goes_left = point[feature] <= threshold
        members = members[(X[members, feature] <= threshold) == goes_left]
        node = tree.children_left[node] if goes_left else tree.children_right[node]
    return z[members].mean(), z[members].var()


def test_the_prediction_is_the_law_of_total_variance_over_the_leaves() -> None:
    X = rows(60, 3)
    y = bowl(X)
    forest = ExtraTrees(n_trees=7, min_samples_split=9).fit(X, y, np.random.default_rng(1))
    points = rows(20, 3, seed=2)
    mean, sd = forest.predict(points)
    z = rank_quantiles(y)
    for i, point in enumerate(points):
        means, variances = zip(
            *(leaf_statistics(tree, X, z, point) for tree in forest._trees), strict=True
        )
        assert mean[i] == pytest.approx(np.mean(means))
        assert sd[i] ** 2 == pytest.approx(np.mean(variances) + np.var(means))


def test_one_row_predicts_its_target_with_zero_deviation() -> None:
    mean, sd = (
        ExtraTrees().fit(rows(1, 2), np.array([7.0]), np.random.default_rng(0)).predict(rows(5, 2))
    )
    np.testing.assert_array_equal(mean, 0.0)
    np.testing.assert_array_equal(sd, 0.0)


def test_equal_values_predict_the_middle_with_zero_deviation() -> None:
    X = rows(50, 2)
    mean, sd = ExtraTrees().fit(X, np.full(50, 3.0), np.random.default_rng(0)).predict(X)
    np.testing.assert_array_equal(mean, 0.0)
    np.testing.assert_array_equal(sd, 0.0)


def test_better_points_are_predicted_to_be_better() -> None:
    X = rows(400, 4)
    forest = ExtraTrees().fit(X, bowl(X), np.random.default_rng(0))
    test = rows(300, 4, seed=9)
    mean, sd = forest.predict(test)
    ranks = [np.argsort(np.argsort(v)) for v in (mean, bowl(test))]
    assert np.atleast_2d(np.corrcoef(ranks))[0, 1] > 0.8
    assert (sd > 0).all()


def test_the_forest_sees_ranks_only() -> None:
    X = rows(100, 3)
    y = bowl(X)
    one, other = (
        ExtraTrees().fit(X, values, np.random.default_rng(5)).predict(X)
        for values in (y, np.exp(9 * y) - 4)
    )
    np.testing.assert_array_equal(one, other)


def test_the_same_seed_gives_the_same_forest_and_another_seed_another() -> None:
    X = rows(3000, 3)
    y = bowl(X)
    first, again, other = (
        ExtraTrees().fit(X, y, np.random.default_rng(seed)).predict(X[:50])[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_infinite_values_are_the_worst_and_predictions_stay_finite() -> None:
    X = rows(80, 2)
    y = np.where(X[:, 0] > 0.5, np.inf, bowl(X))
    mean, sd = ExtraTrees().fit(X, y, np.random.default_rng(0)).predict(X)
    assert np.isfinite(mean).all()
    assert np.isfinite(sd).all()
    assert mean[X[:, 0] < 0.45].max() < mean[X[:, 0] > 0.55].min()


def test_fitting_does_not_change_a_read_only_archive_view() -> None:
    X, y = rows(700, 2), bowl(rows(700, 2))
    before = X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    ExtraTrees(n_rows=100).fit(X, y, np.random.default_rng(0))
    ExtraTrees(n_rows=1000).fit(X, y, np.random.default_rng(0))
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_each_tree_draws_rows_of_its_own() -> None:
    X = rows(2000, 3)
    seen = [
        {row.tobytes() for row in sample}
        for sample, _ in ExtraTrees(n_trees=6, n_rows=100)._samples(
            X, bowl(X), np.random.default_rng(0)
        )
    ]
    assert [len(sample) for sample in seen] == [100] * 6
    assert len(set.union(*seen)) > 450


@pytest.mark.parametrize(
    "settings",
    [
        {"n_trees": 0},
        {"n_rows": 0},
        {"max_features": 0.0},
        {"max_features": 1.5},
        {"min_samples_split": 1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} >?"):
        ExtraTrees(**settings)


def test_targets_are_ranks_within_a_trees_own_sample() -> None:
    X = rows(2000, 2)
    for sample, z in ExtraTrees(n_rows=50)._samples(X, bowl(X), np.random.default_rng(0)):
        np.testing.assert_array_equal(z, rank_quantiles(bowl(sample)))


def test_a_forest_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluate a design first"):
        ExtraTrees().fit(np.empty((0, 2), dtype=np.float32), np.empty(0), np.random.default_rng(0))


def test_rank_quantiles_of_four_values_are_those_of_the_normal_distribution() -> None:
    found = rank_quantiles(np.array([30.0, -1.0, np.inf, 2.0]))
    np.testing.assert_allclose(found, norm.ppf([0.625, 0.125, 0.875, 0.375]))


def test_equal_values_share_their_middle_rank() -> None:
    found = rank_quantiles(np.array([5.0, 1.0, 5.0, 5.0]))
    np.testing.assert_allclose(found, norm.ppf([0.625, 0.125, 0.625, 0.625]))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_rank_quantiles_keep_order_and_balance(values: list[int]) -> None:
    y = np.array(values, dtype=np.float64)
    z = rank_quantiles(y)
    assert np.isfinite(z).all()
    np.testing.assert_array_equal(
        np.sign(np.subtract.outer(y, y)), np.sign(np.subtract.outer(z, z))
    )
    np.testing.assert_allclose(np.sort(rank_quantiles(-y)), np.sort(-z), atol=1e-12)


def test_rank_quantiles_do_not_import_the_trees() -> None:
    code = (
        "import sys, numpy as np; from rush_opt.models.targets import rank_quantiles; "
        "rank_quantiles(np.arange(3.0)); sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
