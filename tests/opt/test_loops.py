"""How ADBO decides, and the worker loop of every optimizer without a proposing process."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rush_core import Network, TaskTable, Worker
from rush_opt import ADBO, Boolean, Float, Integer, RandomSearch, Space
from rush_opt.evaluation.plan import RunPlan
from rush_opt.models.forest import ExtraTrees
from rush_opt.optimizers import ACBO, CLBO, OPTIMIZERS
from rush_opt.optimizers.base import Phase, Place, Proposal, ProposingOptimizer
from rush_opt.optimizers.decider import Decider
from rush_opt.problem.goal import Goal
from rush_opt.problem.problem import Problem
from rush_opt.running.loops import evaluate_trials
from rush_opt.search.candidates import Candidates
from rush_opt.search.design import random_design, sobol_design
from rush_opt.search.exploration import (
    LAMBDA_MEAN,
    LAMBDA_PERIOD,
    Decaying,
    Exploration,
    Steady,
    draw_lambda,
)
from tests.fixture_types import Join
from tests.opt.plans import LOSS, plan_of
from tests.typed import present
from tests.waiting import wait_until

SPACE = Space({"x": Float(0, 1), "n": Integer(1, 9), "b": Boolean()})
# The same names as in SPACE, without an unordered parameter.
ORDERED = Space({"x": Float(0, 1), "n": Integer(1, 9), "b": Integer(0, 1)})
PLAN = plan_of(SPACE, seed=11, n_trials=30)
PROBLEM = PLAN.problem
NOTHING = TaskTable([])


def line(n: int) -> TaskTable:
    """Finished tasks whose value is their x, spread over [0, 1]."""
    values = np.linspace(0, 1, n).tolist()
    return TaskTable.from_results(
        [{"x": x, "n": 5, "b": False} for x in values], [{"loss": x} for x in values]
    )


class Deciding:
    """A decider whose archive a test fills, and the phases of its last proposal."""

    def __init__(self, settings: ProposingOptimizer, number: int, **changes: Any) -> None:
        self._decider = Decider(settings, replace(PROBLEM, **changes), Place(number, number, 8))
        self.phases: list[Phase] = []

    def tell(self, finished: TaskTable, failed: TaskTable = NOTHING) -> None:
        self._decider.archive.add(finished)
        self._decider.archive.add_failed(failed)

    def propose(self) -> Proposal:
        self.phases = []
        return self._decider.choose(self._note).proposal

    def _note(self, phase: Phase) -> nullcontext[None]:
        self.phases.append(phase)
        return nullcontext()


def worker_of(number: int = 1, settings: ADBO | None = None, **changes: Any) -> Deciding:
    return Deciding(settings or ADBO(), number, **changes)


# -- how ADBO decides ------------------------------------------------------------------------------


def test_without_data_there_is_no_model_and_points_are_drawn_uniformly() -> None:
    state = worker_of(number=5)
    proposal = state.propose()
    assert state.phases == ["acquisition"]
    rng = PROBLEM.worker_rng(5)
    lambda_0 = draw_lambda(rng)
    assert proposal.config == SPACE.decode(random_design(SPACE, 1, rng))[0]
    assert proposal.notes == {"lambda": lambda_0, "n_known": 0}


def test_every_proposal_is_one_of_the_space() -> None:
    state = worker_of()
    state.tell(line(10))
    for _ in range(5):
        config = state.propose().config
        SPACE.validate(config)


def test_notes_count_the_known_results() -> None:
    state = worker_of()
    state.tell(line(3))
    assert state.propose().notes["n_known"] == 3
    state.tell(line(4))
    assert state.propose().notes["n_known"] == 7


def test_the_exploration_weight_decays_and_is_reset() -> None:
    state = worker_of()
    weights = [state.propose().notes["lambda"] for _ in range(LAMBDA_PERIOD + 1)]
    assert weights == [*sorted(weights[:-1], reverse=True), weights[0]]
    assert len(set(weights)) == LAMBDA_PERIOD


def test_the_first_worker_always_explores_at_the_mean() -> None:
    first = worker_of(number=0)
    assert {first.propose().notes["lambda"] for _ in range(LAMBDA_PERIOD + 1)} == {LAMBDA_MEAN}


def test_workers_draw_exploration_weights_of_their_own() -> None:
    states = (worker_of(number) for number in range(8))
    assert len({state.propose().notes["lambda"] for state in states}) == 8


@pytest.mark.parametrize(
    ("goal", "low", "high"),
    [(Goal("loss"), 0.0, 0.2), (Goal("loss", "maximize"), 0.8, 1.0)],
    ids=["minimize", "maximize"],
)
def test_proposals_go_where_the_values_are_better(goal: Goal, low: float, high: float) -> None:
    state = worker_of(goals=(goal,))
    state.tell(line(40))
    proposed = [state.propose().config["x"] for _ in range(LAMBDA_PERIOD)]
    late = proposed[LAMBDA_PERIOD // 2 :]  # when the exploration weight has faded
    assert low <= np.median(late) <= high


def test_a_finished_configuration_is_not_proposed_again() -> None:
    space = Space({"n": Integer(1, 6), "b": Boolean()})
    configs = [{"n": n, "b": b} for n in range(1, 7) for b in (False, True)]
    state = worker_of(space=space)
    left = list(configs)
    state.tell(TaskTable.from_results([left.pop(0)], [{"loss": 0.0}]))
    while left:
        config = state.propose().config
        assert config in left
        left.remove(config)
        state.tell(TaskTable.from_results([config], [{"loss": float(config["n"])}]))


def test_a_space_without_new_points_still_gets_proposals() -> None:
    state = worker_of(space=Space({"b": Boolean()}))
    state.tell(TaskTable.from_results([{"b": False}, {"b": True}], [{"loss": 0.0}, {"loss": 1.0}]))
    assert state.propose().config in ({"b": False}, {"b": True})


def test_the_same_stream_decides_the_same_way() -> None:
    def decide(number: int) -> list[dict[str, Any]]:
        state = worker_of(number)
        state.tell(line(12))
        return [state.propose().config for _ in range(4)]

    assert decide(2) == decide(2)
    assert decide(2) != decide(3)


@pytest.mark.parametrize(
    ("exploration", "n_weights"), [(Decaying(), LAMBDA_PERIOD), (Steady(0.5), 1)]
)
def test_weights_change_as_the_exploration_says(exploration: Exploration, n_weights: int) -> None:
    state = worker_of(settings=ADBO(exploration=exploration))
    weights = {state.propose().notes["lambda"] for _ in range(LAMBDA_PERIOD + 1)}
    assert len(weights) == n_weights
    assert min(weights) >= 0


@pytest.mark.parametrize(
    "make", [lambda: Decaying(mean=-1.0), lambda: Decaying(period=0), lambda: Steady(math.nan)]
)
def test_an_exploration_that_cannot_be_is_refused(make: Callable[[], Exploration]) -> None:
    with pytest.raises(ValueError, match="need"):
        make()


@pytest.mark.parametrize("algorithm", [ADBO, ACBO, CLBO])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"surrogate": 3}, r"surrogate must be ProcessThenTrees\(\) .* method 'fit', got 3"),
        ({"surrogate": "trees"}, "got 'trees'"),
        ({"surrogate": ExtraTrees}, r"write ExtraTrees\(\)"),
        ({"candidates": 500}, "candidates must be an instance of Candidates, .* got 500"),
        ({"candidates": Candidates}, "must be an instance of Candidates"),
    ],
)
def test_settings_that_no_worker_could_use_are_refused_at_once(
    algorithm: type[ADBO | ACBO | CLBO], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        algorithm(**given)


@pytest.mark.parametrize("given", [1.96, Decaying])
def test_an_exploration_that_draws_no_weight_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"exploration must be Decaying\(\) or Steady\(1.96\)"):
        ADBO(exploration=given)


class Plane:
    """A surrogate that knows the truth: the value is the first coordinate."""

    def fit(self, X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> "Plane":
        assert X.shape == (len(y), SPACE.n_dims)
        return self

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(X[:, 0], dtype=np.float64), np.zeros(len(X))


def test_any_surrogate_with_a_mean_and_a_deviation_will_do() -> None:
    state = worker_of(settings=ADBO(surrogate=Plane()))
    state.tell(line(5)[1:])  # the best value is not known yet
    config = state.propose().config
    assert config["x"] < 0.01


@pytest.mark.parametrize(
    ("optimizer", "n_dims", "n_workers", "n"),
    [
        (ADBO(), 3, 4, 7),
        (ADBO(), 3, 8, 11),
        (ACBO(), 3, 8, 11),
        (CLBO(), 3, 8, 11),
        (RandomSearch(), 3, 8, 0),
    ],
)
def test_the_initial_design_follows_from_dimensions_and_workers(
    optimizer: Any, n_dims: int, n_workers: int, n: int
) -> None:
    assert optimizer.n_initial(n_dims, n_workers) == n


# -- the loops -------------------------------------------------------------------------------------

# Workers of these propose for themselves. test_central.py has those with a proposing process, and
# test_grid_search.py has the grid, whose trials are in the queue before the run.
DECENTRALIZED = [
    n for n, made in OPTIMIZERS.items() if made().placement in ("each worker", "independent")
]
ALL = pytest.mark.parametrize("name", DECENTRALIZED)


def space_for(name: str) -> Space:
    """Return a space of the loop tests that this optimizer accepts."""
    settings: Any = OPTIMIZERS[name]()
    try:
        settings.proposer(Problem(SPACE, LOSS, 1), Place(0, 0, 1))
    except ValueError:  # as CMA-ES, which takes no unordered parameter
        return ORDERED
    return SPACE


def on_in(name: str) -> Any:
    """Return the greater value of the parameter b in the space of this optimizer."""
    return space_for(name).decode(np.ones((1, 3)))[0]["b"]


def plan(name: str, *, space: Space | None = None, seed: int = 11, **changes: Any) -> RunPlan:
    """Return the plan of a run of 30 trials with this optimizer."""
    given = {"optimizer": OPTIMIZERS[name](), "n_trials": 30} | changes
    return plan_of(space or space_for(name), seed=seed, **given)


@ALL
def test_a_loop_uses_up_the_budget_exactly(name: str, worker: Worker, network: Network) -> None:
    evaluate_trials(worker, plan(name))
    assert network.count_tasks() == (0, 0, 30, 0)
    for config in network.fetch_finished_tasks().configs:
        space_for(name).validate(config)


@ALL
def test_a_loop_goes_on_after_failures(name: str, worker: Worker, network: Network) -> None:
    def objective(config: dict[str, Any]) -> float:
        return config["x"] if config["b"] else math.nan

    evaluate_trials(worker, plan(name, objective=objective))
    counts = network.count_tasks()
    assert counts.finished + counts.failed == 30
    assert min(counts.finished, counts.failed) > 0


@ALL
def test_a_loop_evaluates_the_queue_before_its_own_proposals(
    name: str, worker: Worker, network: Network
) -> None:
    design = [{"x": 0.125 * i, "n": 1 + i, "b": on_in(name)} for i in range(8)]
    network.push_tasks(design)
    evaluate_trials(worker, plan(name))
    assert network.fetch_finished_tasks().configs[:8] == design
    assert network.count_tasks() == (0, 0, 30, 0)


@ALL
def test_a_loop_leaves_in_the_queue_what_exceeds_the_budget(
    name: str, worker: Worker, network: Network
) -> None:
    network.push_tasks([{"x": 0.5, "n": 1, "b": on_in(name)}] * 5)
    evaluate_trials(worker, plan(name, n_trials=3))
    assert network.count_tasks() == (2, 0, 3, 0)


@ALL
def test_a_loop_ends_after_its_trial_when_asked_to_stop(
    name: str, worker: Worker, network: Network
) -> None:
    def objective(config: dict[str, Any]) -> float:
        if network.count_tasks().finished == 4:
            network.stop_workers()
        return 0.5

    evaluate_trials(worker, plan(name, objective=objective, n_trials=None))
    assert network.count_tasks() == (0, 0, 5, 0)


@ALL
def test_a_loop_ends_at_the_deadline(name: str, worker: Worker, network: Network) -> None:
    timed = plan(name, n_trials=None, timeout_s=0.3, began=worker.now())
    evaluate_trials(worker, timed)
    assert timed.deadline is not None
    assert worker.now() >= timed.deadline
    assert network.count_tasks().finished > 0
    assert network.count_tasks().running == 0


class SlowPlane(Plane):
    """A surrogate that is fitted when the time is over."""

    def __init__(self, worker: Worker, deadline: float) -> None:
        self.worker, self.deadline = worker, deadline

    def fit(self, X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Plane:
        wait_until(lambda: self.worker.now() >= self.deadline)
        return self


def test_a_proposal_that_comes_after_the_deadline_is_not_evaluated(
    worker: Worker, network: Network
) -> None:
    network.push_tasks([{"x": 0.5, "n": n, "b": True} for n in (1, 2, 3)])  # enough for a model
    began = worker.now()
    settings = ADBO(surrogate=SlowPlane(worker, deadline=began + 0.5))
    timed = replace(PLAN, optimizer=settings, n_trials=None, timeout_s=0.5, began=began)
    evaluate_trials(worker, timed)
    assert network.count_tasks() == (0, 0, 3, 0)


@ALL
def test_a_loop_shares_the_budget_with_other_workers(
    name: str, join: Join, network: Network
) -> None:
    evaluate_trials(join(), plan(name, n_trials=10))
    evaluate_trials(join(), plan(name))
    evaluate_trials(join(), plan(name))  # comes too late
    assert network.count_tasks() == (0, 0, 30, 0)


def test_workers_repeat_no_point_while_a_new_one_is_left(join: Join, network: Network) -> None:
    space = Space({"n": Integer(1, 10), "b": Boolean()})
    configs = [{"n": n, "b": b} for n in range(1, 11) for b in (False, True)]
    network.push_tasks(configs[:6])
    small = plan("adbo", space=space, objective=lambda config: config["n"], n_trials=20)
    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(evaluate_trials, join(), small) for _ in range(3)]
    assert [loop.exception() for loop in loops] == [None] * 3
    evaluated = network.fetch_finished_tasks().configs
    assert sorted(evaluated, key=str) == sorted(configs, key=str)


def test_points_repeat_only_after_the_whole_space_was_evaluated(
    worker: Worker, network: Network
) -> None:
    space = Space({"n": Integer(1, 4), "x": Boolean()})
    small = plan("adbo", space=space, objective=lambda config: config["n"], n_trials=12)
    evaluate_trials(worker, small)
    evaluated = [(c["n"], c["x"]) for c in network.fetch_finished_tasks().configs]
    assert len(set(evaluated[:8])) == 8
    assert len(evaluated) == 12


def test_adbo_learns_from_results_from_before_it_joined(network: Network, join: Join) -> None:
    done = line(40)
    results = [present(task.result) for task in done]
    network.push_finished_tasks([task.config for task in done], results)
    evaluate_trials(join(), plan("adbo", n_trials=1))
    own = network.fetch_finished_tasks()[-1]
    assert own.result_extra["n_known"] == 40
    assert own.result_extra["surrogate_s"] > 0.0
    assert own.result_extra["acquisition_s"] > 0.0


@pytest.mark.parametrize(("others_leave", "stays_at_the_mean"), [(True, True), (False, False)])
def test_the_only_worker_explores_at_the_mean(
    network: Network, join: Join, others_leave: bool, stays_at_the_mean: bool
) -> None:
    for other in (join(), join()):
        if others_leave:
            other.close()
    evaluate_trials(join(), plan("adbo", n_trials=5))
    weights = {task.result_extra["lambda"] for task in network.fetch_finished_tasks()}
    assert (weights == {LAMBDA_MEAN}) == stays_at_the_mean


def test_adbo_comes_much_nearer_to_an_optimum_than_random_search_does(
    join: Join, network: Network
) -> None:
    def bowl(config: dict[str, Any]) -> float:
        return float((config["x"] - 0.7) ** 2 + (config["y"] - 0.2) ** 2)

    def best(name: str, seed: int) -> float:
        network.reset()
        smooth = plan(name, space=space, objective=bowl, n_trials=60, seed=seed)
        network.push_tasks(space.decode(sobol_design(space, 8, smooth.problem.design_rng())))
        evaluate_trials(join(), smooth)
        return float(min(network.fetch_finished_tasks().column("loss")))

    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    # Random: pi r**2 = log(2) / 60 for the median of the best of 60 uniform points, r**2 = 0.0037.
    medians = {name: np.median([best(name, s) for s in range(5)]) for name in ("adbo", "random")}
    assert medians["adbo"] < 0.1 * medians["random"]


def test_random_search_draws_the_same_points_for_any_results(join: Join, network: Network) -> None:
    def configs_with(objective: Callable[..., Any]) -> list[dict[str, Any]]:
        network.reset()
        evaluate_trials(join(), plan("random", objective=objective, n_trials=100))
        return network.fetch_tasks("finished", "failed").configs

    drawn = configs_with(lambda config: config["x"])
    assert drawn == configs_with(lambda config: -config["x"])
    assert drawn == configs_with(lambda config: None)
    assert len({tuple(config.items()) for config in drawn}) == 100


def test_random_workers_draw_from_streams_of_their_own(join: Join, network: Network) -> None:
    evaluate_trials(join(), plan("random", n_trials=20))
    evaluate_trials(join(), plan("random", n_trials=40))
    assert len({config["x"] for config in network.fetch_finished_tasks().configs}) == 40


def test_few_proposals_are_in_a_region_where_trials_fail() -> None:
    state = worker_of(space=Space({"n": Integer(1, 50), "m": Integer(1, 3)}))
    proposed = []
    for _ in range(60):
        config = state.propose().config
        proposed.append((config["n"], config["m"]))
        ended = TaskTable.from_results([config], [{"loss": float(config["n"])}])
        if config["m"] == 1:
            state.tell(NOTHING, ended)
        else:
            state.tell(ended)
    assert len(set(proposed)) == 60  # a failed configuration is not proposed again either
    assert sum(m == 1 for _, m in proposed) < 20  # the share of the space that fails
