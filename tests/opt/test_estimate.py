"""The best estimated trial of a noisy search is truly better than the best observed one."""

import math
from typing import Any

import numpy as np

from rush_opt import Float, simulate
from rush_opt.results.estimate import estimate_best


def test_the_best_estimated_row_is_truly_better_than_the_luckiest() -> None:
    gains = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X = rng.random((200, 2))
        true = ((X - 0.5) ** 2).sum(axis=1)
        y = true + 0.3 * rng.standard_normal(len(X))
        estimated, _, _ = estimate_best(X, y, rng)
        gains.append(true[np.argmin(y)] - true[estimated])
    # Were it no better, a mean of 2.5 standard errors would happen once in 110 times.
    assert np.mean(gains) > 2.5 * np.std(gains, ddof=1) / math.sqrt(len(gains))


def test_an_estimate_from_few_rows_still_finds_low_values() -> None:
    lowest = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X = rng.random((20, 1))
        lowest.append(X[estimate_best(X, X[:, 0] + 0.1 * rng.standard_normal(20), rng)[0], 0])
    assert np.median(lowest) < 0.2  # of the first of 20 rows it would be about a half


def test_the_estimate_is_near_the_true_value_where_the_observed_one_is_too_good() -> None:
    rng = np.random.default_rng(1)
    X = rng.random((300, 1))
    y = 5.0 + X[:, 0] + 0.5 * rng.standard_normal(len(X))
    i, value, sd = estimate_best(X, y, rng)
    # A leaf has 10 rows and more: the mean of so many is at most 0.16 off, one standard error.
    assert abs(value - (5.0 + X[i, 0])) < 0.5
    assert y.min() < 4.3
    assert 0.2 < sd < 0.8


def test_an_extreme_value_does_not_change_the_estimate() -> None:
    X = np.random.default_rng(3).random((100, 2))
    y = ((X - 0.5) ** 2).sum(axis=1)
    spoiled = y.copy()
    spoiled[np.argmax(y)] = 1e12
    answers = [estimate_best(X, values, np.random.default_rng(4))[0] for values in (y, spoiled)]
    assert answers[0] == answers[1]


def test_a_single_row_is_the_best_estimated_one() -> None:
    assert estimate_best(np.array([[0.5]]), np.array([2.0]), np.random.default_rng(1)) == (0, 2, 0)


def test_a_result_estimates_in_the_units_and_direction_of_its_objective() -> None:
    def run(sign: float, direction: str) -> Any:
        noise = np.random.default_rng(5)

        def objective(config: dict[str, Any]) -> float:
            if config["x"] > 0.9:
                raise ValueError("too far")
            return float(sign * (100 + (config["x"] - 0.4) ** 2 + 0.1 * noise.standard_normal()))

        return simulate(
            objective,
            {"x": Float(0, 1), "idle": Float(0, 1)},
            n_workers=4,
            n_trials=80,
            optimizer="random",
            direction=direction,
            duration=lambda config, number: 1.0,
            cost=lambda n_known: (0.0, 0.0),
            seed=6,
        )

    down, up = run(1.0, "minimize"), run(-1.0, "maximize")
    best = down.best_estimated
    assert best.trial in down.frozen_trials
    assert abs(best.trial.params["x"] - 0.4) < 0.3
    assert math.isclose(best.value, 100.0, abs_tol=0.15)
    assert best.value > down.best_value
    assert up.best_estimated.trial.params == best.trial.params
    assert up.best_estimated.value == -best.value
    assert up.best_estimated.sd == best.sd
