"""CMA-ES: its proposals, the distribution that workers share, restarts, and refused problems."""

import math
import sys
from typing import Any

import numpy as np
import pytest

from rush_core import TaskTable
from rush_opt import Boolean, Categorical, Float, Integer, Space, simulate, tune
from rush_opt.ask_tell import Advisor
from rush_opt.optimizers import CMAES
from rush_opt.optimizers.base import Place
from rush_opt.optimizers.cmaes import SharedDistribution
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.pending import Pending
from tests.opt import objectives, smooth
from tests.opt.inspecting import configs_of
from tests.opt.plans import LOSS, untimed
from tests.opt.smooth import run

SPACE = Space({"x": Float(0, 1), "y": Float(0, 1)})
POPULATION = 6  # for two parameters


def test_every_proposal_is_new_and_one_of_the_space() -> None:
    space = Space(
        {"rate": Float(1e-3, 1.0, log=True), "n": Integer(1, 200), "y": Float(-2, 3)},
        constraints=[lambda config: config["n"] < 150],
    )
    result = run("cmaes", objective=lambda config: config["y"], space=space, n_trials=80)
    assert sum("n_known" in trial.notes for trial in result.frozen_trials) == 80 - 7
    for config in configs_of(result):
        space.validate(config)
    assert len({repr(config) for config in configs_of(result)}) == 80


def test_a_seed_decides_all_proposals() -> None:
    first, again, other = (configs_of(run("cmaes", seed=seed)) for seed in (5, 5, 6))
    assert first == again
    assert first[POPULATION:] != other[POPULATION:]


@pytest.mark.parametrize(
    ("function", "share"), [(smooth.wide_bowl, 0.05), (smooth.rosenbrock, 0.5)]
)
def test_it_gets_closer_to_the_optimum_than_random_search(function: Any, share: float) -> None:
    """For each of ten seeds; runs repeat exactly, so there is no false alarm."""
    for seed in range(10):
        given = {"objective": function, "space": smooth.SPACE, "n_trials": 300, "seed": seed}
        best = run("cmaes", **given).best_value
        assert best < share * run("random", **given).best_value


def test_failed_trials_do_not_end_it() -> None:
    def objective(config: dict[str, Any]) -> float:
        return config["y"] + config["x"] if config["x"] > 0.3 else math.nan

    result = run("cmaes", objective=objective, n_trials=150)
    assert sum(trial.state == "failed" for trial in result.frozen_trials) > 0
    assert result.best_value < 0.35


# -- the distribution ------------------------------------------------------------------------------


def proposer(number: int) -> SharedDistribution:
    return CMAES().proposer(Problem(SPACE, LOSS, 4), Place(number, number, 4))


def finished(n: int, *, loss: float | None = None) -> TaskTable:
    """Finished tasks at random points; their losses are those of a bowl, or all the same."""
    points = np.random.default_rng(8).random((n, 2)).tolist()
    losses = [(x - 0.3) ** 2 + (y - 0.7) ** 2 if loss is None else loss for x, y in points]
    return TaskTable.from_results(
        [{"x": x, "y": y} for x, y in points], [{"loss": value} for value in losses]
    )


def state_of(worker: SharedDistribution) -> list[Any]:
    """Return the parameters of a worker's distribution."""
    own = worker._distribution
    return [own._mean.tolist(), own._sigma, own._C.tolist(), own.population_size]


def test_two_workers_that_read_the_same_log_have_the_same_distribution() -> None:
    log = finished(50)
    at_once, in_parts = Archive(SPACE, LOSS), Archive(SPACE, LOSS)
    first, second = proposer(0), proposer(1)
    assert state_of(first) == state_of(second)
    at_once.add(log)
    mine = first.propose(at_once, Pending(SPACE), untimed, 1)
    for begin in range(0, 50, 7):
        in_parts.add(log[begin : begin + 7])
        theirs = second.propose(in_parts, Pending(SPACE), untimed, 1)
    assert state_of(first) == state_of(second)
    assert state_of(first) != state_of(proposer(0))
    assert mine[0].config != theirs[0].config  # each samples with a stream of its own


def test_failed_trials_do_not_make_distributions_differ() -> None:
    log, failed = finished(40), finished(48)[40:]
    at_once, in_parts = Archive(SPACE, LOSS), Archive(SPACE, LOSS)
    first, second = proposer(0), proposer(1)
    at_once.add(log)
    at_once.add_failed(failed)
    first.propose(at_once, Pending(SPACE), untimed, 1)
    for part in range(4):
        in_parts.add(log[10 * part : 10 * part + 10])
        in_parts.add_failed(failed[2 * part : 2 * part + 2])
        second.propose(in_parts, Pending(SPACE), untimed, 1)
    assert state_of(first) == state_of(second)


def test_an_incomplete_population_changes_nothing() -> None:
    archive, worker = Archive(SPACE, LOSS), proposer(0)
    before = state_of(worker)
    archive.add(finished(POPULATION - 1))
    worker.propose(archive, Pending(SPACE), untimed, 1)
    assert state_of(worker) == before
    archive.add(finished(POPULATION)[POPULATION - 1 :])
    worker.propose(archive, Pending(SPACE), untimed, 1)
    assert state_of(worker) != before


def test_it_moves_to_the_better_half() -> None:
    archive, worker = Archive(SPACE, LOSS), proposer(0)
    archive.add(finished(60))
    worker.propose(archive, Pending(SPACE), untimed, 1)
    (x, y), *_ = state_of(worker)
    assert math.hypot(x - 0.3, y - 0.7) < math.hypot(0.5 - 0.3, 0.5 - 0.7)


def test_a_restart_has_twice_the_population_and_the_same_mean_in_all_workers() -> None:
    """A distribution that learns nothing ends: all losses are equal."""
    archive, workers = Archive(SPACE, LOSS), [proposer(0), proposer(1)]
    flat = finished(400, loss=0.0)
    restarts: list[Any] = []
    populations: list[Any] = []
    for begin in range(0, 400, POPULATION):
        archive.add(flat[begin : begin + POPULATION])
        notes = [w.propose(archive, Pending(SPACE), untimed, 1)[0].notes for w in workers]
        assert state_of(workers[0]) == state_of(workers[1])
        assert notes[0] == notes[1]
        if not restarts or notes[0]["n_restarts"] != restarts[-1]:
            restarts.append(notes[0]["n_restarts"])
            populations.append(state_of(workers[0])[-1])
    assert restarts[:2] == [0, 1]
    assert populations == [POPULATION * 2**i for i in range(len(restarts))]


def test_workers_of_a_run_restart_at_the_same_result() -> None:
    result = run("cmaes", objective=lambda config: 0.0, n_trials=400)
    notes = [trial.notes for trial in result.frozen_trials if "n_restarts" in trial.notes]
    notes.sort(key=lambda note: note["n_known"])
    restarts = [note["n_restarts"] for note in notes]
    assert restarts[-1] >= 1
    assert restarts == sorted(restarts)


# -- problems that it refuses ----------------------------------------------------------------------

XY = {"x": Float(0, 1), "y": Float(0, 1)}
TWO_GOALS = {"metric": ["a", "b"], "direction": ["minimize", "minimize"]}
REFUSED = pytest.mark.parametrize(
    ("space", "goals", "message"),
    [
        (XY | {"kind": Categorical(["a", "b"])}, {}, "got unordered parameters ['kind']"),
        (XY | {"on": Boolean()}, {}, "got unordered parameters"),
        (
            {"n": Integer(1, 3), "x": Float(0, 1, when={"n": 1}), "y": Float(0, 1)},
            {},
            "got conditions; use another optimizer, such as 'adbo' or 'de'",
        ),
        ({"x": Float(0, 1)}, {}, "at least two ordered parameters without conditions"),
        ({"x": Float(0, 1)}, {}, "got 1 of them"),
        (XY, TWO_GOALS, "CMA-ES optimizes one goal, but there are ['a', 'b']; optimize one of"),
    ],
)


def by_tune(space: Any, **goals: Any) -> Any:
    return tune(objectives.bowl, space, optimizer="cmaes", url="redis://127.0.0.1:1", **goals)


def by_simulate(space: Any, **goals: Any) -> Any:
    return simulate(
        objectives.bowl,
        space,
        optimizer="cmaes",
        n_workers=1,
        duration=lambda config, number: 1.0,
        **goals,
    )


def by_advisor(space: Any, **goals: Any) -> Any:
    return Advisor(space, "never-begun", optimizer="cmaes", url="redis://127.0.0.1:1", **goals)


ALL_DOORS = pytest.mark.parametrize("door", [by_tune, by_simulate, by_advisor])


@ALL_DOORS
@REFUSED
def test_a_problem_that_it_cannot_solve_is_refused(
    space: Any, goals: dict[str, Any], message: str, door: Any
) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # the message is checked below
        door(space, **goals)
    assert message in str(refusal.value)


@ALL_DOORS
def test_the_error_names_a_missing_package(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(ImportError, match=r"needs the package cmaes: pip install 'rush-hpo\[cmaes"):
        door(XY)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_deviation_that_is_not_positive_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"need sigma > 0, got .*; try 0\.3"):
        CMAES(sigma=sigma)
