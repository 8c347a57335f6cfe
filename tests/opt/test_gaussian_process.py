"""The Gaussian process: closed forms, gradients, its targets, and when trees follow."""

import sys
from typing import Any

import numpy as np
import pytest

from rush_opt.models.forest import Forest
from rush_opt.models.gaussian_process import GaussianProcess, Posterior
from rush_opt.models.likelihood import learn, loss
from rush_opt.models.linear_algebra import _limiting
from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.models.targets import squash


def bowl(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(seed).random((n, d)).astype(np.float32)
    return X, ((X.astype(np.float64) - 0.4) ** 2).sum(axis=1)


def test_one_row_gives_what_the_formulas_say() -> None:
    # Two length scales of 1/2 and 1: weights 4 and 1; noise 0.25.
    theta = np.log([4.0, 1.0, 0.25])
    posterior = Posterior(np.array([[0.5, 0.5]]), np.array([2.0]), theta)
    r = np.sqrt(5.0 * (4.0 * 0.1**2 + 0.3**2))
    k = (1.0 + r + r * r / 3.0) * np.exp(-r)
    variance = 2.0**2 / 1.25
    mean, sd = posterior.predict(np.array([[0.6, 0.2]]))
    assert mean == pytest.approx(2.0 * k / 1.25)
    assert sd == pytest.approx(np.sqrt(variance * (1.0 - k * k / 1.25)))


def test_many_rows_agree_with_plain_linear_algebra() -> None:
    X, y = bowl(30, 3)
    z, theta = squash(y), np.array([1.0, 2.0, 0.0, -4.0])
    points = X.astype(np.float64)

    def kernel(A: np.ndarray, B: np.ndarray) -> np.ndarray:
        r = np.sqrt(5.0 * ((A[:, None] - B) ** 2 @ np.exp(theta[:-1])))
        return np.asarray((1.0 + r + r**2 / 3.0) * np.exp(-r))

    new = np.random.default_rng(1).random((20, 3))
    K, k = kernel(points, points) + np.exp(-4.0) * np.eye(30), kernel(new, points)
    mean, sd = Posterior(points, z, theta).predict(new)
    np.testing.assert_allclose(mean, k @ np.linalg.solve(K, z), atol=1e-5)
    variance = z @ np.linalg.solve(K, z) / 30
    share = 1.0 - (k * np.linalg.solve(K, k.T).T).sum(axis=1)
    np.testing.assert_allclose(sd**2, variance * share, atol=1e-5)


def test_the_gradient_is_that_of_the_loss() -> None:
    X, y = bowl(25, 4)
    pairs = np.tril_indices(25, -1)
    D = (X[pairs[0]] - X[pairs[1]]).T.astype(np.float64) ** 2
    theta, z = np.array([0.5, 1.0, 1.5, 2.0, -3.0]), squash(y)
    gradient = loss(theta, D, z, pairs)[1]
    for i, step in enumerate(1e-5 * np.eye(5)):
        above, below = (loss(theta + sign * step, D, z, pairs)[0] for sign in (1.0, -1.0))
        slope = (above - below) / 2e-5
        assert gradient[i] == pytest.approx(slope, abs=1e-4)


def test_a_coordinate_without_influence_gets_a_long_length_scale() -> None:
    X = np.random.default_rng(3).random((50, 2))
    theta = learn(X, squash(np.sin(6.0 * X[:, 0])), 20)
    assert theta[0] > theta[1] + 2.0


@pytest.mark.parametrize("n", [1, 2, 20, 100, 1_000])
def test_any_number_of_rows_is_fitted(n: int) -> None:
    X, y = bowl(n, 4)
    mean, sd = GaussianProcess().fit(X, y, np.random.default_rng(0)).predict(bowl(50, 4, 1)[0])
    assert np.isfinite(mean).all()
    assert (sd >= 0).all()


def test_it_predicts_a_bowl_from_few_rows() -> None:
    X, y = bowl(60, 4)
    new, truth = bowl(500, 4, 1)
    mean, _ = GaussianProcess().fit(X, y, np.random.default_rng(0)).predict(new)
    assert np.corrcoef(mean, truth)[0, 1] > 0.95


def test_equal_rows_equal_values_and_infinite_values_are_fitted() -> None:
    X = np.repeat(bowl(5, 3)[0], 8, axis=0)
    for y in (np.ones(40), np.full(40, np.inf), np.where(np.arange(40) < 20, np.inf, 1.0)):
        mean, sd = GaussianProcess().fit(X, y, np.random.default_rng(0)).predict(X)
        assert np.isfinite(mean).all()
        assert np.isfinite(sd).all()


def test_the_best_rows_are_always_among_those_that_are_kept() -> None:
    y = np.random.default_rng(0).permutation(1_000).astype(np.float64)
    rows = GaussianProcess(n_rows=60)._choose(y, np.random.default_rng(1))
    assert len(set(rows.tolist())) == 60
    assert set(range(30)) <= {int(value) for value in y[rows]}


def test_squashed_values_keep_their_order_and_the_better_half_its_distances() -> None:
    y = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 1e3, 1e6, 1e9, np.inf])
    z = squash(y)
    assert z.mean() == pytest.approx(0.0)
    assert z.std() == pytest.approx(1.0)
    assert (np.diff(z) >= 0).all()
    np.testing.assert_allclose(np.diff(z[:4]), z[1] - z[0])  # the median is 3.5


@pytest.mark.parametrize("finite", [[], [0.0], [3.0, 3.0]])
def test_infinite_values_differ_from_finite_ones_that_are_all_equal(
    finite: list[float],
) -> None:
    y = np.array([-np.inf, *finite, np.inf, np.inf])
    z = squash(y)
    assert z.mean() == pytest.approx(0.0)
    assert z.std() == pytest.approx(1.0)
    np.testing.assert_array_equal(z[:-1] < z[1:], y[:-1] < y[1:])


@pytest.mark.parametrize("penalty", [1e30, 1e100, sys.float_info.max])
@pytest.mark.parametrize("n_penalties", [1, 20])
def test_enormous_values_count_equally_and_good_values_stay_distinct(
    penalty: float, n_penalties: int
) -> None:
    y = np.array([*np.linspace(0.0, 1.0, 21), *[penalty] * n_penalties])
    z, less = squash(y), squash(np.minimum(y, 1e6))
    np.testing.assert_allclose(z, less, rtol=1e-6)
    assert np.ptp(z[:21]) > 0.15


def test_values_across_the_whole_range_of_numbers_are_squashed() -> None:
    z = squash(sys.float_info.max * np.array([-1.0, -0.5, 0.0, 1.0, 1.0, 1.0]))
    assert np.isfinite(z).all()
    assert (np.diff(z[:4]) > 0).all()


@pytest.mark.parametrize("value", [3.0, np.inf, -np.inf])
def test_equal_values_are_squashed_to_zeros(value: float) -> None:
    np.testing.assert_array_equal(squash(np.full(5, value)), np.zeros(5))


def test_a_process_avoids_failed_trials_among_equal_values() -> None:
    X = bowl(30, 1)[0]
    failed = X[:, 0] > 0.5
    y = np.where(failed, np.inf, 1.0)
    mean, _ = GaussianProcess().fit(X, y, np.random.default_rng(0)).predict(X)
    assert mean[failed].min() > mean[~failed].max()


def test_threads_limit_linear_algebra_one_after_the_other() -> None:
    class Noting(np.ndarray):
        def __mul__(self, other: Any) -> Any:
            seen.append(_limiting.locked())
            return np.asarray(self) * other

    seen: list[bool] = []
    X, y = bowl(20, 3)
    model = GaussianProcess().fit(X, y, np.random.default_rng(1))
    model.predict(X.view(Noting))
    assert seen == [True]
    assert not _limiting.locked()


@pytest.mark.parametrize("setting", ["n_rows", "n_learn", "n_evaluations"])
def test_a_setting_out_of_range_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"need n_rows.*{setting}=0"):
        GaussianProcess(**{setting: 0})


def test_trees_follow_the_process() -> None:
    surrogate, rng = ProcessThenTrees(until=20), np.random.default_rng(0)
    assert isinstance(surrogate.fit(*bowl(20, 3), rng), Posterior)
    assert isinstance(surrogate.fit(*bowl(21, 3), rng), Forest)
