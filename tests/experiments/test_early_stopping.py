"""The simulation of trials that are stopped early, and its table."""

import math
from typing import Any

import numpy as np
import pytest

from experiments import early_stopping
from experiments.early_stopping import CENTRE, FAMILIES, METHODS, N_STEPS, START, loss_at, run_once

METHOD = {(method.name, method.stopped): method for method in METHODS}


def test_curves_fall_from_one_start_to_their_asymptotes() -> None:
    X = np.array([CENTRE, CENTRE + 0.1, np.zeros(5)])
    for family in FAMILIES:
        np.testing.assert_allclose(loss_at(family, X, 1), START)
        losses = np.array([loss_at(family, X, step) for step in range(1, 200)])
        assert (np.diff(losses, axis=0) < 0).all()
        asymptotes = [0.1, 0.1 + 0.01 * early_stopping.WEIGHTS.sum()]
        np.testing.assert_allclose(loss_at(family, X, 10**16)[:2], asymptotes, atol=1e-6)


def test_the_best_learn_fast_or_slowly() -> None:
    X = np.array([CENTRE, np.where(np.arange(5) == 0, 1.0, CENTRE)])
    for family, best_is_first in (("aligned", True), ("crossing", False)):
        early = loss_at(family, X, 3)
        assert (early[0] < early[1]) is np.bool_(best_is_first)


@pytest.mark.parametrize("method", [("random, halving 4", "left out"), ("adbo", "")])
def test_a_run_repeats_exactly_and_keeps_its_budget(method: tuple[str, str]) -> None:
    first, second = (run_once("aligned", METHOD[method], 3, 300, 4) for _ in range(2))
    assert repr(first) == repr(second)
    # Whole trials take their steps, and all others at least one.
    assert first["n_whole"] * N_STEPS + (first["n_trials"] - first["n_whole"] - 4) <= 300
    if method[0] == "adbo":
        assert first["n_trials"] == 4  # nobody is stopped
    else:
        assert first["n_trials"] > 10


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
        )
        for method in METHODS
        for seed, steps in enumerate(steps_by_seed)
    ]
    table = early_stopping.as_markdown(rows, {"commit": "abc"})
    assert "| aligned | random | - | 3 | 2 | 200 | +0.250 | 10 | 5 |" in table
    assert "| crossing | adbo, median | left out | 2 | 1 | > 1000 | +0.250 | 10 | 5 |" in table
