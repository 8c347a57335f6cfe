"""The descent: where it ends, its bounds, and its number of evaluations."""

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from rush_opt.models.bfgs import descend


def bounds(d: int, size: float = 5.0) -> dict[str, np.ndarray]:
    return {"low": np.full(d, -size), "high": np.full(d, size)}


def test_it_finds_the_lowest_point_of_a_rotated_bowl() -> None:
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    A, lowest = Q @ np.diag([0.1, 0.5, 1.0, 3.0, 10.0]) @ Q.T, rng.uniform(-2, 2, 5)

    def bowl(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float((x - lowest) @ A @ (x - lowest)), 2.0 * A @ (x - lowest)

    found = descend(bowl, np.zeros(5), **bounds(5), n_evaluations=60)
    np.testing.assert_allclose(found, lowest, atol=0.01)


def test_it_follows_a_bent_valley() -> None:
    found = descend(
        lambda x: (float(rosen(x)), rosen_der(x)),
        np.array([-1.2, 1.0]),
        **bounds(2),
        n_evaluations=100,
    )
    assert rosen(found) < 1e-3 * rosen([-1.2, 1.0])


def test_coordinates_at_a_bound_stay_and_the_others_move() -> None:
    A, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([10.0, -3.0])

    def bowl(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(0.5 * x @ A @ x - b @ x), A @ x - b

    found = descend(bowl, np.zeros(2), **bounds(2, 1.5), n_evaluations=60)
    known = minimize(bowl, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-1.5, 1.5)] * 2)
    assert known.x[0] == 1.5
    np.testing.assert_allclose(found, known.x, atol=0.01)


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_evaluations_are_limited_and_within_bounds_and_the_best_is_returned(n: int) -> None:
    seen: list[tuple[float, np.ndarray]] = []

    def watched(x: np.ndarray) -> tuple[float, np.ndarray]:
        seen.append((float(rosen(x)), x))
        return seen[-1][0], rosen_der(x)

    found = descend(watched, np.array([-1.2, 1.0, 0.5]), **bounds(3, 1.3), n_evaluations=n)
    assert 1 <= len(seen) <= n
    assert max(np.abs(x).max() for _, x in seen) <= 1.3
    np.testing.assert_array_equal(found, min(seen, key=lambda pair: pair[0])[1])


def test_it_stays_at_the_minimum() -> None:
    found = descend(lambda x: (float(x @ x), 2.0 * x), np.zeros(3), **bounds(3), n_evaluations=9)
    np.testing.assert_array_equal(found, 0.0)


def test_a_gradient_that_changes_across_the_step_does_not_end_the_descent() -> None:
    def saddle(x: np.ndarray) -> tuple[float, np.ndarray]:
        value = x[0] + 1e3 * x[0] * x[1] + 5e-6 * x[0] ** 2
        return float(value), np.array([1.0 + 1e3 * x[1] + 1e-5 * x[0], 1e3 * x[0]])

    found = descend(saddle, np.zeros(2), **bounds(2), n_evaluations=20)
    np.testing.assert_array_equal(found, [-5.0, 5.0])


def test_the_start_is_evaluated_only_once() -> None:
    seen: list[np.ndarray] = []

    def corner(x: np.ndarray) -> tuple[float, np.ndarray]:
        seen.append(x)
        return float(abs(x[0] - 1.0)), np.ones(1)

    np.testing.assert_array_equal(descend(corner, np.ones(1), **bounds(1), n_evaluations=100), 1.0)
    assert sum((x == 1.0).all() for x in seen) == 1
