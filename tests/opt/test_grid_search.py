"""The grid as an algorithm, and designs as they are given."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rush_core import EmbeddedServer, Network
from rush_opt import (
    Boolean,
    Categorical,
    Float,
    Grid,
    GridSearch,
    Integer,
    LatinHypercube,
    RandomPoints,
    Space,
    TuneResult,
    simulate,
    tune,
)
from rush_opt.arguments.initial_design import initial_points
from rush_opt.optimizers import ADBO
from rush_opt.problem.goal import Goal
from rush_opt.running.loops import evaluate_trials
from rush_opt.search.grid import grid_design
from tests.fixture_types import Join
from tests.opt.plans import plan_of

SPACE = Space({"x": Float(0, 1), "n": Integer(1, 3), "kind": Categorical(["a", "b"])})
N_POINTS = 4 * 3 * 2  # at a resolution of 4
OFF_GRID = {"x": 0.1, "n": 1, "kind": "a"}
PLAN = plan_of(SPACE, goals=[Goal("value")], optimizer=GridSearch(2), seed=5)
PROBLEM = PLAN.problem


def unordered(configs: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {tuple(config[name] for name in SPACE.names) for config in configs}


def grid(resolution: int) -> set[tuple[Any, ...]]:
    return unordered(SPACE.decode(grid_design(SPACE, resolution)))


def run(server: EmbeddedServer, **changes: Any) -> TuneResult:
    given = {"n_workers": 2, "optimizer": GridSearch(resolution=4), "seed": 5, "progress": False}
    objective = changes.pop("objective", lambda config: config["x"] + config["n"])
    return tune(objective, SPACE, **(dict[str, Any](url=server.url) | given | changes))


# -- the algorithm ---------------------------------------------------------------------------------


def test_every_point_of_the_grid_is_evaluated_once_and_that_ends_the_run(
    server: EmbeddedServer,
) -> None:
    result = run(server)
    params = [trial.params for trial in result.frozen_trials]
    assert len(params) == N_POINTS
    assert unordered(params) == grid(4)
    assert result.stop_reason == "exhausted"
    assert result.best_value == 1.0


def test_the_name_grid_means_ten_values_of_each_parameter(server: EmbeddedServer) -> None:
    result = run(server, optimizer="grid")
    assert unordered([trial.params for trial in result.frozen_trials]) == grid(10)


@pytest.mark.parametrize(
    ("n_trials", "n_ended", "reason"),
    [(7, 7, "n_trials"), (N_POINTS, N_POINTS, "n_trials"), (100, N_POINTS, "exhausted")],
)
def test_the_stop_reason_is_the_budget_or_the_end_of_the_grid(
    n_trials: int, n_ended: int, reason: str, server: EmbeddedServer
) -> None:
    result = run(server, n_trials=n_trials, n_workers=1)
    assert len(result.frozen_trials) == n_ended
    assert result.stop_reason == reason


def test_a_second_run_in_the_network_evaluates_the_rest(
    server: EmbeddedServer, network: Network
) -> None:
    first = run(server, n_trials=9, network_id=network.network_id)
    assert len(first.frozen_trials) == 9
    whole = run(server, network_id=network.network_id)
    assert whole.stop_reason == "exhausted"
    assert len(whole.frozen_trials) == N_POINTS
    assert unordered([trial.params for trial in whole.frozen_trials]) == grid(4)


def test_points_of_a_warm_start_are_not_evaluated_again(server: EmbeddedServer) -> None:
    earlier = run(server, n_trials=5)
    known = [*[(trial.params, trial.value) for trial in earlier.frozen_trials], (OFF_GRID, 0.5)]
    result = run(server, warm_start=known, seed=6)
    new = [trial.params for trial in result.frozen_trials if not trial.warm]
    assert len(new) == N_POINTS - 5
    assert unordered([config for config, _ in known] + new) == grid(4) | unordered([OFF_GRID])
    assert result.stop_reason == "exhausted"


def test_a_grid_whose_points_are_all_known_is_exhausted_at_once(server: EmbeddedServer) -> None:
    known = [(config, 1.0 + config["x"]) for config in GridSearch(4).points(PROBLEM)]
    result = run(server, warm_start=known, n_trials=3)
    assert all(trial.warm for trial in result.frozen_trials)
    assert len(result.frozen_trials) == N_POINTS
    assert result.stop_reason == "exhausted"
    assert result.best_value == 1.0


def test_a_continued_run_does_not_evaluate_points_of_its_warm_start(
    server: EmbeddedServer, network: Network
) -> None:
    known = [(config, 0.5) for config in GridSearch(4).points(PROBLEM)[:6]]
    given = {"warm_start": known, "network_id": network.network_id}
    assert len(run(server, n_trials=9, **given).frozen_trials) == 6 + 9
    whole = run(server, **given)
    assert whole.stop_reason == "exhausted"
    assert len(whole.frozen_trials) == N_POINTS
    assert unordered([trial.params for trial in whole.frozen_trials]) == grid(4)


def test_a_network_with_a_part_of_the_grid_gets_the_rest(
    server: EmbeddedServer, network: Network
) -> None:
    # As a run leaves it whose manager dies before it has queued the grid.
    known, queued, failed = GridSearch(4).points(PROBLEM)[:3]
    network.push_finished_tasks([known, OFF_GRID], [{"value": 1.0}, {"value": 2.0}])
    network.push_tasks([queued])
    network.push_failed_tasks([failed], ["too hot"])
    # A run in a network that has trials passes its warm start over, and leaves out nothing for it.
    passed_over = [(config, 0.0) for config in GridSearch(4).points(PROBLEM)]
    result = run(server, network_id=network.network_id, warm_start=passed_over)
    assert result.stop_reason == "exhausted"
    assert len(result.frozen_trials) == N_POINTS + 1
    assert unordered([t.params for t in result.frozen_trials]) == grid(4) | unordered([OFF_GRID])


def test_the_first_points_of_a_grid_cover_it_evenly() -> None:
    configs = GridSearch(resolution=4).points(PROBLEM)
    assert unordered(configs) == grid(4)
    # All four values of x are among ten of 24 points with probability 0.93; this seed is fixed.
    assert len({config["x"] for config in configs[:10]}) == 4
    assert configs == GridSearch(resolution=4).points(PROBLEM)
    assert configs != GridSearch(resolution=4).points(replace(PROBLEM, seed=6))


def test_a_point_whose_worker_is_killed_is_evaluated_by_another(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    mark = tmp_path / "killed"

    def objective(config: dict[str, Any]) -> float:
        if config["n"] == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(config["x"])

    result = run(server, objective=objective)
    assert mark.exists()
    assert [trial.state for trial in result.frozen_trials] == ["finished"] * N_POINTS
    assert unordered([trial.params for trial in result.frozen_trials]) == grid(4)
    assert result.stop_reason == "exhausted"


def test_a_stop_from_outside_does_not_count_as_the_end_of_the_grid(
    server: EmbeddedServer, network: Network
) -> None:
    url, network_id = server.url, network.network_id

    def objective(config: dict[str, Any]) -> float:
        with Network(network_id, url) as mine:
            mine.stop_workers()
        return float(config["x"])

    result = run(server, objective=objective, network_id=network_id)
    assert result.stop_reason == "stopped"
    assert len(result.frozen_trials) <= 2


def test_a_loop_ends_when_the_queue_is_empty(network: Network, join: Join) -> None:
    network.push_tasks(GridSearch(2).points(PROBLEM))
    evaluate_trials(join(), PLAN)
    assert network.count_tasks() == (0, 0, 8, 0)
    evaluate_trials(join(), PLAN)  # comes too late
    assert network.count_tasks() == (0, 0, 8, 0)


@pytest.mark.parametrize(
    ("timeout", "n", "reason"), [(3.5, 16, "timeout"), (60.0, 24, "exhausted")]
)
def test_a_simulated_grid_ends_as_a_real_one(timeout: float, n: int, reason: str) -> None:
    result = simulate(
        lambda config: config["x"],
        SPACE,
        n_workers=4,
        duration=lambda config, number: 1.0,
        timeout=timeout,
        optimizer=GridSearch(resolution=4),
    )
    assert len(result.frozen_trials) == n
    assert result.stop_reason == reason


def test_a_simulated_grid_leaves_out_what_is_known() -> None:
    known = [(config, 0.5) for config in GridSearch(4).points(PROBLEM)[:20]]
    result = simulate(
        lambda config: config["x"],
        SPACE,
        n_workers=2,
        duration=lambda config, number: 1.0,
        optimizer=GridSearch(resolution=4),
        warm_start=known,
    )
    assert unordered([trial.params for trial in result.frozen_trials]) == grid(4)
    assert len(result.frozen_trials) == N_POINTS
    assert result.stop_reason == "exhausted"


def test_a_grid_search_takes_no_other_design(server: EmbeddedServer) -> None:
    with pytest.raises(ValueError, match="evaluates its grid and nothing else"):
        run(server, initial_design=4)


def test_a_grid_that_is_too_large_is_refused_before_anything_starts(
    server: EmbeddedServer,
) -> None:
    with pytest.raises(ValueError, match="lower the resolution"):
        run(server, optimizer=GridSearch(resolution=10**6))


# -- designs that are given ------------------------------------------------------------------------


def points(
    design: Any,
    known: Sequence[dict[str, Any]] = (),
    n_trials: int | None = None,
    **changes: Any,
) -> list[dict[str, Any]]:
    problem = replace(PROBLEM, **changes)
    return initial_points(design, problem, ADBO(), n_workers=4, n_trials=n_trials, known=known)


def test_a_latin_hypercube_fills_every_slice() -> None:
    configs = points(LatinHypercube(40))
    assert sorted(int(40 * config["x"]) for config in configs) == list(range(40))


def test_random_points_have_the_given_number_and_repeat_with_the_seed() -> None:
    assert len(points(RandomPoints(30))) == 30
    assert points(RandomPoints(30)) == points(RandomPoints(30))
    assert points(RandomPoints(30)) != points(RandomPoints(30), seed=6)
    assert points(RandomPoints(0)) == []


def test_a_grid_may_begin_a_run_of_any_optimizer(server: EmbeddedServer) -> None:
    result = run(server, optimizer="random", initial_design=Grid({"x": 3, "n": 2}), n_trials=20)
    beginning = [trial.params for trial in result.frozen_trials if trial.params["x"] in (0, 0.5, 1)]
    assert unordered(beginning) == unordered(SPACE.decode(grid_design(SPACE, {"x": 3, "n": 2})))
    assert len(result.frozen_trials) == 20


def test_a_design_is_cut_to_the_budget() -> None:
    assert len(points(LatinHypercube(40), n_trials=7)) == 7
    assert len(points(Grid(4), n_trials=7)) == 7


def test_known_points_are_not_drawn_again_with_the_same_seed() -> None:
    assert len(points(None)) == 7  # ADBO's rule for three dimensions and four workers
    assert points(None, known=points(3)) == points(7)[3:]
    assert points(7, known=points(7)) == points(14)[7:]
    assert points(7, known=points(3), n_trials=2) == points(5)[3:]
    for design in (Grid(4), LatinHypercube(9), RandomPoints(9)):
        assert points(design, known=points(design)[4:]) == points(design)[:4]


@pytest.mark.parametrize("design", [40, RandomPoints(40), LatinHypercube(40)])
def test_a_design_has_each_point_of_a_small_space_once(design: Any) -> None:
    space = Space({"n": Integer(1, 3), "on": Boolean()})
    drawn = points(design, space=space)
    assert sorted(map(str, drawn)) == sorted(map(str, space.decode(grid_design(space, 3))))


def test_repeated_given_configurations_are_evaluated_repeatedly() -> None:
    given = points(1) * 2
    assert points(given, known=given) == given


@pytest.mark.parametrize("kind", [LatinHypercube, RandomPoints])
def test_a_design_needs_a_number_of_points(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"needs a whole number of points, got 1\.5"):
        kind(1.5)
    with pytest.raises(TypeError, match="got True"):
        kind(True)
    with pytest.raises(ValueError, match="got -1"):
        kind(-1)
    assert kind(np.int64(3)).n == 3


def test_points_of_a_design_satisfy_the_space() -> None:
    space = Space(
        {"a": Boolean(), "x": Float(0, 1, when={"a": True}), "y": Float(0, 1)},
        constraints=[lambda config: config["x"] < config["y"]],
    )
    for design in (LatinHypercube(20), RandomPoints(20), Grid(3)):
        for config in points(design, space=space):
            space.validate(config)
