"""The simulation of trials that are stopped early, and its table."""

import math
from typing import Any

import numpy as np
import pytest

from experiments import early_stopping, learning_curves
from experiments.early_stopping import CENTRE, FAMILIES, METHODS, START, run_once
from rush_opt.search.grid import grid_design

SIMULATED = ("aligned", "crossing")
METHOD = {(method.name, method.stopped): method for method in METHODS}


def test_curves_fall_from_one_start_to_their_asymptotes() -> None:
    X = np.array([CENTRE, CENTRE + 0.1, np.zeros(5)])
    for name in SIMULATED:
        loss_at = FAMILIES[name].loss_at
        np.testing.assert_allclose(loss_at(X, 1), START)
        losses = np.array([loss_at(X, step) for step in range(1, 200)])
        assert (np.diff(losses, axis=0) < 0).all()
        asymptotes = [0.1, 0.1 + 0.01 * early_stopping.WEIGHTS.sum()]
        np.testing.assert_allclose(loss_at(X, 10**16)[:2], asymptotes, atol=1e-6)


def test_the_best_learn_fast_or_slowly() -> None:
    X = np.array([CENTRE, np.where(np.arange(5) == 0, 1.0, CENTRE)])
    for name, best_is_first in zip(SIMULATED, (True, False), strict=True):
        early = FAMILIES[name].loss_at(X, 3)
        assert (early[0] < early[1]) is np.bool_(best_is_first)


def test_real_curves_are_there_for_all_of_the_grid() -> None:
    space, n_steps = learning_curves.SPACE, learning_curves.N_STEPS
    X = grid_design(space, 1344)
    assert len(np.unique(X, axis=0)) == 1344
    losses = np.array([learning_curves.loss_at(X, step) for step in range(1, n_steps + 1)])
    assert (losses > 0).all()
    # Of each setting another value gives another curve.
    for setting, levels in enumerate(learning_curves.LEVELS.values()):
        by_level = [losses[:, X[:, setting] == x] for x in np.unique(X[:, setting])]
        assert len(by_level) == len(levels)
        assert not any(np.array_equal(by_level[0], other) for other in by_level[1:])


def test_a_real_curve_is_that_of_its_settings() -> None:
    config = {"learning_rate": 0.1, "momentum": 0.5, "alpha": 1e-3, "n_hidden": 8, "batch_size": 64}
    X = learning_curves.SPACE.encode([config])
    found = [float(learning_curves.loss_at(X, step)[0]) for step in (1, 2, 3)]
    # Another machine adds in another order.
    assert learning_curves.train(config)[:3] == pytest.approx(found, rel=0.01)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "method",
    [("random, halving 4", "left out"), ("adbo", ""), ("adbo, halving 4", "by progress")],
)
def test_a_run_repeats_exactly_and_keeps_its_budget(name: str, method: tuple[str, str]) -> None:
    first, second = (run_once(name, METHOD[method], 3, 4, n_whole_trials=4) for _ in range(2))
    assert repr(first) == repr(second)
    n_steps = FAMILIES[name].n_steps
    # Whole trials take their steps, and all others at least one.
    n_others = first["n_trials"] - first["n_whole"] - 4
    assert first["n_whole"] * n_steps + n_others <= 4 * n_steps
    if method[0] == "adbo":
        assert first["n_trials"] <= 8  # nobody is stopped
    else:
        assert first["n_trials"] > 8


def test_a_target_that_is_not_reached_counts_as_later_than_the_budget() -> None:
    common: dict[str, Any] = {
        **{"n_workers": 8, "budget_steps": 1000, "target": 0.25, "best_final_loss": 0.5},
        **{"n_trials": 10, "n_whole": 5, "commit": "abc"},
    }
    rows = [
        {"family": family, "method": method.name, "seed": seed, "steps_to_target": steps, **common}
        | {"stopped_trials": method.stopped if "adbo" in method.name else ""}
        for family, steps_by_seed in (
            ("aligned", (100, 200, math.nan)),
            ("crossing", (9, math.nan)),
            ("digits", (5,)),
        )
        for method in METHODS
        for seed, steps in enumerate(steps_by_seed)
    ]
    table = early_stopping.as_markdown(rows, {"commit": "abc"})
    assert "| aligned | random | - | 3 | 2 | 200 | +0.250 | 10 | 5 |" in table
    assert "| crossing | adbo, median | left out | 2 | 1 | > 1000 | +0.250 | 10 | 5 |" in table
