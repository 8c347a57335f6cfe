"""A seed repeats a run, and gives every worker a stream of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rush_core import EmbeddedServer
from rush_opt import Float, Integer, RandomSearch, Space, TuneResult, tune
from rush_opt.problem.goal import Goal
from rush_opt.problem.problem import Problem
from rush_opt.search.design import random_design, sobol_design
from tests.opt import objectives
from tests.opt.inspecting import configs_of
from tests.typed import present, unchecked

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

X = {"x": Float(0, 1)}


@pytest.fixture(scope="module")
def alone() -> Callable[..., TuneResult]:
    """Runs of one worker."""

    def alone(optimizer: str, seed: int | None, **options: Any) -> TuneResult:
        return tune(
            lambda config: (config["x"] - 0.3) ** 2 + config["n"],
            {**X, "n": Integer(0, 5)},
            n_workers=1,
            optimizer=optimizer,
            seed=seed,
            progress=False,
            **options,
        )

    return alone


def test_one_worker_repeats_a_run_of_adbo_exactly(alone: Callable[..., TuneResult]) -> None:
    first, again = (alone("adbo", 7, n_trials=40, initial_design=10) for _ in range(2))
    assert configs_of(first) == configs_of(again)
    assert first.seed == 7
    # The first ten are a Sobol design of the same seed.
    space = Space({**X, "n": Integer(0, 5)})
    problem = Problem(space, (Goal("value"),), 7)
    design = space.decode(sobol_design(space, 10, problem.design_rng()))
    assert configs_of(first)[:10] == design
    assert sum("lambda" in t.notes for t in first.frozen_trials) == 30
    other = alone("adbo", 8, n_trials=10, initial_design=10)
    assert not any(config in design for config in configs_of(other))


def test_the_seed_of_a_result_repeats_a_run_without_a_given_seed(
    alone: Callable[..., TuneResult],
) -> None:
    first = alone("random", None)
    assert len(first.frozen_trials) == 100  # what neither n_trials nor timeout leaves
    assert first.stop_reason == "n_trials"
    again = alone("random", first.seed, n_trials=30)
    assert configs_of(again) == configs_of(first)[:30]


def test_every_worker_follows_the_stream_of_its_number(server: EmbeddedServer) -> None:
    result = tune(
        objectives.half,
        X,
        n_workers=2,
        n_trials=unchecked(np.int64(60)),
        optimizer=RandomSearch(),
        seed=unchecked(np.int64(9)),
        url=server.url,
        progress=False,
    )
    space = Space(X)
    problem = Problem(space, (Goal("value"),), 9)
    for worker in result.workers:
        drawn = space.decode(random_design(space, 64, problem.worker_rng(worker.number)))
        mine = [t for t in result.frozen_trials if t.worker == worker.number]
        mine.sort(key=lambda trial: present(trial.started_at))
        assert [t.params for t in mine] == drawn[::-1][: len(mine)]
        assert [t.value for t in mine] == [t.params["x"] / 2 for t in mine]
