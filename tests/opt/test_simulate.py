"""Runs in virtual time: compared with closed forms and real runs, and checks of arguments."""

import inspect
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rush_core import EmbeddedServer
from rush_opt import (
    ADBO,
    AllTrialsFailedError,
    Boolean,
    Float,
    Integer,
    Trial,
    TuneResult,
    simulate,
    tune,
)
from rush_opt.arguments.plan import make_problem
from rush_opt.optimizers import OPTIMIZERS
from rush_opt.simulation.coordination import ALONE, ON_NODES, Coordination, VirtualServer
from rush_opt.simulation.costs import Costs
from tests.opt.objectives import bowl
from tests.typed import present

SPACE = {"x": Float(0, 1), "y": Float(0, 1)}
ALL = pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))


def always(seconds: float) -> Callable[[dict[str, Any], int], float]:
    return lambda config, number: seconds


def free(n_known: int) -> tuple[float, float]:
    return 0.0, 0.0


def run(**changes: Any) -> TuneResult:
    given = {"n_workers": 4, "duration": always(1.0), "seed": 1, "cost": free}
    return simulate(**(dict[str, Any](objective=bowl, space=SPACE) | given | changes))


class Slope:
    """A surrogate that is sure that the lowest first coordinate is best, or that all are equal."""

    def __init__(self, slope: float) -> None:
        self._slope = slope

    def fit(self, X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> "Slope":
        return self

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._slope * np.asarray(X[:, 0], dtype=np.float64), np.zeros(len(X))


STEEP, FLAT = ADBO(surrogate=Slope(1.0)), ADBO(surrogate=Slope(0.0))


# -- closed forms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adbo", "random", "acbo"])
def test_workers_with_free_proposals_are_busy_all_the_time(optimizer: str) -> None:
    result = run(optimizer=optimizer, n_workers=7, timeout=20.0)
    assert len(result.frozen_trials) == 7 * 20
    assert result.stop_reason == "timeout"
    assert result.ended_at == result.deadline == 20.0
    assert result.objective_share == pytest.approx(1.0)
    assert result.busy_share == pytest.approx(1.0)
    assert result.utilization["n_trials"].tolist() == [20] * 7
    assert [t.ended_at for t in result.frozen_trials] == [1.0 + i // 7 for i in range(140)]


def test_the_time_for_proposals_is_not_objective_time() -> None:
    # Design: 6 points for 4 workers. Two workers evaluate two of those, then all alternate.
    result = run(optimizer=FLAT, timeout=31.5, cost=lambda n_known: (1.0, 0.5))
    proposals = [t for t in result.frozen_trials if "lambda" in t.notes]
    assert all(t.notes["surrogate_s"] == 1.0 for t in proposals)
    assert all(t.notes["acquisition_s"] == 0.5 for t in proposals)
    # One of 1 s of design, then 12 rounds of 2.5 s; the others begin their rounds a second later
    # and are in the middle of their 12th evaluation (0.5 s of it over) at the end.
    assert sorted(result.utilization["n_trials"]) == [13, 13, 14, 14]
    table = result.utilization.sort_values("n_trials")
    assert table["objective"].tolist() == pytest.approx([13.0, 13.0, 13.5, 13.5])
    assert table["surrogate"].tolist() == pytest.approx([12.0] * 4)
    assert table["acquisition"].tolist() == pytest.approx([6.0] * 4)
    assert result.busy_share == pytest.approx((4 * 18.0 + 53.0) / (4 * 31.5))
    assert sum(present(t.ended_at) <= present(result.deadline) for t in result.frozen_trials) == 52


@pytest.mark.parametrize(
    ("n_workers", "seconds", "each_s", "per_s"),
    [
        (8, 4.0, 0.1, 2.0),  # the workers are the bottleneck: n / d
        (8, 4.0, 1.0, 1.0),  # the proposer is: 1 / c
        (64, 1.0, 0.25, 4.0),
    ],
)
def test_a_central_proposer_limits_the_throughput(
    n_workers: int, seconds: float, each_s: float, per_s: float
) -> None:
    result = run(
        optimizer="acbo",
        n_workers=n_workers,
        timeout=120.0,
        initial_design=0,
        duration=always(seconds),
        cost=lambda n_known: (0.75 * each_s, 0.25 * each_s),
    )
    in_time = sum(t.ended_at <= 120.0 for t in result.frozen_trials)
    assert in_time == pytest.approx(120.0 * per_s, rel=0.05)
    share = per_s * seconds / n_workers
    assert result.objective_share == pytest.approx(share, rel=0.05)
    assert result.busy_share == pytest.approx(share + per_s * each_s / n_workers, rel=0.05)


def test_a_batch_is_proposed_one_by_one_and_the_next_one_waits_for_it() -> None:
    # A batch is two of four workers': 2 times 1 s of proposing, then 5 s of evaluating.
    result = run(
        optimizer="clbo",
        timeout=70.0,
        initial_design=0,
        duration=always(5.0),
        cost=lambda n_known: (0.5, 0.5),
    )
    ends = [trial.ended_at for trial in result.frozen_trials]
    assert ends == [7.0 * (1 + i // 2) for i in range(20)]
    assert result.objective_share == pytest.approx(10 * 2 * 5.0 / (4 * 70.0))
    assert result.busy_share == pytest.approx(10 * 2 * 6.0 / (4 * 70.0))


def test_a_trial_counts_in_shares_only_up_to_the_timeout() -> None:
    result = run(optimizer="random", n_workers=1, timeout=10.0, duration=always(4.0))
    assert [t.ended_at for t in result.frozen_trials] == [4.0, 8.0, 12.0]
    assert result.ended_at == 12.0
    assert result.utilization["wall"].tolist() == [10.0]
    assert result.objective_share == pytest.approx(1.0)
    assert sum(present(t.ended_at) <= present(result.deadline) for t in result.frozen_trials) == 2


def test_the_last_trial_goes_to_the_proposal_that_is_ready_first() -> None:
    # One trial is left when worker 0 begins a long proposal and worker 1 a short one.
    costs = iter([(9.0, 0.0), (1.0, 0.0)])
    result = run(
        n_workers=2, n_trials=3, initial_design=2, cost=lambda n_known: next(costs, (0.0, 0.0))
    )
    last = result.frozen_trials[-1]
    assert (last.worker, last.started_at) == (1, 2.0)


@ALL
def test_trials_come_in_order_of_completion_and_the_budget_is_exact(optimizer: str) -> None:
    result = run(
        optimizer=optimizer,
        n_workers=5,
        n_trials=60,
        duration=lambda config, number: 1.0 + (number * 7) % 5,
    )
    ends = [trial.ended_at for trial in result.frozen_trials]
    assert ends == sorted(ends)
    assert [trial.number for trial in result.frozen_trials] == list(range(60))
    assert len({trial.key for trial in result.frozen_trials}) == 60
    assert {trial.worker for trial in result.frozen_trials} == set(range(5))
    assert result.stop_reason == "n_trials"
    assert len(result.trials) == 60


@ALL
def test_a_seed_repeats_a_run_whose_cost_is_given(optimizer: str) -> None:
    def once(seed: int) -> TuneResult:
        return run(
            optimizer=optimizer,
            n_trials=50,
            seed=seed,
            duration=lambda config, number: 1.0 + config["x"],
            cost=lambda n_known: (0.01, 0.001 * n_known),
        )

    assert once(3).frozen_trials == once(3).frozen_trials
    assert once(3).frozen_trials != once(4).frozen_trials


def test_a_virtual_worker_proposes_as_a_real_one_with_the_same_seed(server: EmbeddedServer) -> None:
    real = tune(bowl, SPACE, n_workers=1, n_trials=30, seed=5, url=server.url, progress=False)
    virtual = run(n_workers=1, n_trials=30, seed=5)
    assert [t.params for t in virtual.frozen_trials] == [t.params for t in real.frozen_trials]


def points_of(result: TuneResult) -> list[tuple[Any, ...]]:
    return [tuple(trial.params.values()) for trial in result.frozen_trials]


@pytest.mark.parametrize("n_workers", [1, 3, 8, 16])
def test_no_point_of_a_discrete_space_is_evaluated_twice_while_others_are_left(
    n_workers: int,
) -> None:
    result = run(
        objective=lambda config: config["n"] + config["on"],
        space={"n": Integer(1, 10), "on": Boolean()},
        n_workers=n_workers,
        n_trials=30,
        duration=lambda config, number: 1.0 + 0.01 * (number % 7),
        cost=lambda n_known: (0.001, 0.001),
    )
    points = points_of(result)
    started = sorted(range(30), key=lambda i: present(result.frozen_trials[i].started_at))
    assert len({points[i] for i in started[:20]}) == 20
    assert len(points) == 30  # then repeats are all that is left


def test_a_refused_proposal_costs_time_and_is_made_again() -> None:
    # Both workers are free at 1 s, and propose the better one of two points that are left. Both
    # try to start it at 2 s: the second worker is refused, and starts the other point at 3 s.
    result = run(
        objective=lambda config: config["n"],
        space={"n": Integer(1, 4)},
        n_workers=2,
        n_trials=4,
        initial_design=[{"n": 3}, {"n": 4}],
        optimizer=STEEP,
        cost=lambda n_known: (0.75, 0.25),
    )
    first, second = result.frozen_trials[2:]
    assert (first.params, first.started_at) == ({"n": 1}, 2.0)
    assert (second.params, second.started_at) == ({"n": 2}, 3.0)
    assert (first.notes["surrogate_s"], first.notes["acquisition_s"]) == (0.75, 0.25)
    assert (second.notes["surrogate_s"], second.notes["acquisition_s"]) == (1.5, 0.5)


def test_points_that_differ_are_never_refused() -> None:
    n_proposals = 0

    def cost(n_known: int) -> tuple[float, float]:
        nonlocal n_proposals
        n_proposals += 1
        return 0.25, 0.25

    # Every 1.5 s each of 16 workers makes a proposal and sees it through.
    result = run(optimizer=FLAT, n_workers=16, timeout=15.0, initial_design=0, cost=cost)
    assert n_proposals == len(result.frozen_trials) == len(set(points_of(result))) == 160
    assert all(trial.notes["surrogate_s"] == 0.25 for trial in result.frozen_trials)


def test_a_point_that_all_workers_propose_is_evaluated_once() -> None:
    result = run(objective=lambda config: config["x"] + config["y"], n_workers=16, n_trials=200)
    assert points_of(result).count((0.0, 0.0)) == 1
    assert len(set(points_of(result))) == 200


# -- what is measured ------------------------------------------------------------------------------


class Slow:
    """A surrogate that takes CPU time."""

    def fit(self, X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> "Slow":
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        return self

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(X[:, 0], dtype=np.float64), np.zeros(len(X))


def test_the_cpu_time_of_a_decision_delays_its_worker() -> None:
    result = run(optimizer=ADBO(surrogate=Slow()), n_trials=20, cost=None, duration=always(0.25))
    first, *later = (t for t in result.frozen_trials if t.worker == 0)
    ended_at = first.ended_at
    for trial in later:
        spent = sum(trial.notes.get(f"{p}_s", 0.0) for p in ("surrogate", "acquisition"))
        spent += trial.notes.get("coordination_s", 0.0)
        if "lambda" in trial.notes:
            assert trial.notes["surrogate_s"] >= 0.01
            assert trial.notes["coordination_s"] > 0.0
        assert trial.started_at == pytest.approx(ended_at + spent)
        assert trial.ended_at == pytest.approx(present(trial.started_at) + 0.25)
        ended_at = trial.ended_at


@pytest.mark.parametrize("optimizer", ["adbo", "acbo"])
def test_a_real_and_a_virtual_run_have_about_the_same_number_of_trials(
    optimizer: str, server: EmbeddedServer
) -> None:
    def sleeping(config: dict[str, Any]) -> float:
        time.sleep(0.1)
        return bowl(config)

    real = tune(
        *(sleeping, SPACE),
        n_workers=2,
        n_trials=40,
        optimizer=optimizer,
        seed=2,
        url=server.url,
        progress=False,
    )
    virtual = run(
        n_workers=2, n_trials=40, optimizer=optimizer, seed=2, cost=None, duration=always(0.1)
    )
    # Without starting up and loading: from the middle to the end. Sleeping is 90 % of it; a busy
    # machine delays the real run only.
    took = [r.frozen_trials[-1].ended_at - r.frozen_trials[19].ended_at for r in (real, virtual)]
    assert took[1] == pytest.approx(1.0, rel=0.3)
    assert 0.9 * took[1] < took[0] < 3.0 * took[1]


@pytest.mark.parametrize(
    "name",
    [
        *("url", "network_id", "executor", "launch", "trial_timeout", "trial_memory"),
        *("log_folder", "debug", "pruner", "callbacks", "progress"),
    ],
)
def test_arguments_for_real_workers_do_not_exist(name: str) -> None:
    assert name in inspect.signature(tune).parameters
    assert name not in inspect.signature(simulate).parameters


def test_thousands_of_workers_can_be_simulated() -> None:
    result = run(
        optimizer="random", n_workers=4096, n_trials=10_000, cost=None, duration=always(1.0)
    )
    assert len(result.utilization) == 4096
    # At time 0 all workers want to start, and the server handles one after another.
    n_in_third_round = 10_000 - 2 * 4096
    assert result.ended_at == pytest.approx(
        3.0 + n_in_third_round * ON_NODES.server_s(0), rel=0.005
    )


def test_a_server_handles_the_steps_of_all_workers_one_after_another() -> None:
    server = VirtualServer(0.5)
    assert [server.handle(now) for now in (0.0, 0.0, 0.25, 2.0)] == [0.5, 1.0, 1.25, 0.5]


def test_each_record_is_read_once_by_each_host_or_by_each_worker() -> None:
    assert ON_NODES.server_s(0) == ON_NODES.server_step_s
    for_129 = ON_NODES.server_step_s + 2 * ON_NODES.server_record_s
    assert ON_NODES.server_s(129) == pytest.approx(for_129)
    for_alone = ALONE.server_step_s + 129 * ALONE.server_record_s
    assert ALONE.server_s(129) == pytest.approx(for_alone)


def test_a_step_costs_requests_and_the_reading_of_new_records() -> None:
    problem = make_problem(SPACE, "value", "minimize", 1)
    coordination = Coordination(0.25, 0.125, 1.0, 0.5, workers_per_reader=2)
    measured = Costs(problem, None, coordination, 4)
    assert measured.of_step(0.0, 2) == 0.5 + 2.0
    assert measured.of_step(1.0, 0) == 0.25 + 3.0
    assert Costs(problem, free, None, 4).of_step(0.0, 2) == 0.0


# -- objectives ------------------------------------------------------------------------------------


def test_failed_trials_are_kept_with_their_reason() -> None:
    def objective(config: dict[str, Any], trial: Trial) -> Any:
        if trial.worker_number == 0:
            raise ValueError("not here")
        return {"value": config["x"], "model": object() if trial.worker_number == 1 else 3}

    result = run(objective=objective, n_trials=40)
    by_worker = {w: [t for t in result.frozen_trials if t.worker == w] for w in range(4)}
    assert all(present(t.error).endswith("ValueError: not here") for t in by_worker[0])
    assert all("'model'" in present(t.error) for t in by_worker[1])
    assert all(t.result["model"] == 3 for t in by_worker[2] + by_worker[3])
    assert {t.state for t in by_worker[0] + by_worker[1]} == {"failed"}
    assert len(result.frozen_trials) == 40


def test_a_run_whose_first_trials_all_fail_is_stopped() -> None:
    n_calls = 0

    def objective(config: dict[str, Any]) -> float:
        nonlocal n_calls
        n_calls += 1
        raise RuntimeError("no data")

    with pytest.raises(AllTrialsFailedError, match=r"the first 5 trials all failed.*\n.*"):
        run(objective=objective, n_trials=1000)
    assert n_calls < 20


def test_an_objective_that_changes_its_configuration_changes_no_record() -> None:
    def objective(config: dict[str, Any]) -> float:
        value = config.pop("x")
        config["y"] = 99.0
        return float(value)

    result = run(objective=objective, n_trials=10)
    assert all(t.params["x"] == t.value and t.params["y"] <= 1.0 for t in result.frozen_trials)


def test_maximizing_finds_a_large_value() -> None:
    space = {**SPACE, "n": Integer(0, 3), "on": Boolean()}
    result = run(
        objective=lambda c: {"accuracy": c["n"] + c["on"] - bowl(c)},
        space=space,
        metric="accuracy",
        direction="maximize",
        n_trials=60,
    )
    assert result.best_value > 3.9


def test_numbers_count_the_trials_in_order_of_starting() -> None:
    numbers: list[int] = []

    def duration(config: dict[str, Any], number: int) -> float:
        numbers.append(number)
        return 1.0 if number % 2 else 3.0

    result = run(n_trials=30, duration=duration)
    assert numbers == list(range(30))
    assert {present(t.ended_at) - present(t.started_at) for t in result.frozen_trials} == {1.0, 3.0}


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"n_workers": 0}, ValueError, "n_workers must be at least 1"),
        ({"n_workers": None}, TypeError, "n_workers must be a whole number"),
        ({"duration": "3"}, TypeError, "duration must be a number of seconds, or callable"),
        ({"duration": always(0.0)}, ValueError, "duration must return a finite number"),
        ({"duration": always(-1.0)}, ValueError, "got -1.0 for {'x': "),
        ({"duration": always(math.nan)}, ValueError, "got nan"),
        ({"duration": lambda config, number: "1"}, ValueError, "got '1'"),
        ({"cost": 3.0}, TypeError, "cost must be callable"),
        ({"cost": lambda n_known: 1.0}, ValueError, "two finite numbers >= 0; got 1.0"),
        ({"cost": lambda n_known: (1.0, -1.0)}, ValueError, "got (1.0, -1.0)"),
        ({"optimizer": "abdo"}, ValueError, "optimizer must be one of"),
        ({"timeout": 0}, ValueError, "timeout must be"),
        ({"warm_start": 3}, TypeError, "warm_start must be"),
        ({"objective": None}, TypeError, "objective must be callable"),
    ],
)
def test_what_cannot_be_used_is_refused(
    arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as refusal:
        run(**({"n_trials": 20} | arguments))
    assert said in str(refusal.value)
