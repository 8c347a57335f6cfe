"""The proposal study: its problems keep their promises, its runs repeat, its table compares."""

import numpy as np
import pandas as pd
import pytest

from experiments.proposal_study.problems import PROBLEMS, holes
from experiments.proposal_study.simulate import simulate
from experiments.proposal_study.tables import comparison_table
from experiments.proposal_study.variants import VARIANTS
from rush_opt.search.design import random_design


@pytest.mark.parametrize("name", [*PROBLEMS, "holes"])
def test_no_point_is_better_than_the_optimum(name: str) -> None:
    problem = {**PROBLEMS, "holes": holes}[name](np.random.default_rng(3))
    X = random_design(problem.space, 300, np.random.default_rng(4))
    values = [problem.truth(config) for config in problem.space.decode(X)]
    assert 0.0 <= min(values) < 0.5


def test_a_third_of_the_space_with_holes_fails() -> None:
    problem = holes(np.random.default_rng(5))
    X = random_design(problem.space, 2_000, np.random.default_rng(6))
    failing = np.mean([problem.fails(config) for config in problem.space.decode(X)])
    assert failing == pytest.approx(1 / 3, abs=0.06)  # 4 standard errors


def test_a_run_repeats_with_its_seed() -> None:
    def run(seed: int) -> list[float]:
        problem = PROBLEMS["steps"](np.random.default_rng(7))
        outcome = simulate(problem, VARIANTS["base"], n_workers=4, n_trials=24, seed=seed)
        regrets: list[float] = outcome.regrets.tolist()
        return regrets

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_the_table_gives_geometric_mean_ratios() -> None:
    moments = ("regret_at_quarter", "regret_at_half", "regret")
    rows = pd.DataFrame(
        {"variant": v, "problem": "p", "seed": s, "n_workers": 1, "n_trials": 10, "n_repeats": 0}
        | {"cpu_s": 0.1}
        | dict.fromkeys(moments, value)
        for v, s, value in (("base", 0, 1.0), ("base", 1, 1.0), ("x", 0, 0.01), ("x", 1, 1.0))
    )
    (line,) = [line for line in comparison_table(rows).splitlines() if "| x |" in line]
    assert line.startswith("| 1 | 10 | x | 0.10 | 0.10 | 0.10 |")
