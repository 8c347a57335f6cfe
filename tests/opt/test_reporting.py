"""What one worker's trials report while they run, and how they are stopped by that."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from rush_core import Network, Task, Worker
from rush_opt import Float, MedianRule, Space, SuccessiveHalving, Trial
from rush_opt.evaluation.runner import TrialRunner
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.stopping.trial_rules import Pruner
from tests.fixture_types import Join
from tests.opt.objectives import N_STEPS, learning, rising
from tests.opt.trials import runner
from tests.typed import present, unchecked

X = {"x": Float(0, 1)}
HALVING = SuccessiveHalving(min_resource=1, reduction_factor=3)


def run(trials: TrialRunner, x: float = 0.5) -> list[Task]:
    """Run one trial; return what finished."""
    key = trials.start({"x": x})
    assert key is not None
    return list(trials.run_and_fetch_new(key, {"x": x}).finished)


def test_reports_have_the_step_and_the_value_of_the_objective(
    worker: Worker, network: Network
) -> None:
    (task,) = run(runner(worker, rising, goals=[Goal("loss", "maximize")], pruner=HALVING))
    reports = network.fetch_new_reports()
    assert {report.key for report in reports} == {task.key}
    assert [report.values for report in reports][:2] == [
        {"step": 1, "value": -0.5},
        {"step": 2, "value": 0.0},
    ]
    assert len(reports) == N_STEPS
    assert "stopped_at" not in task.result_extra


@pytest.mark.parametrize(
    ("objective", "goal"), [(learning, Goal("loss")), (rising, Goal("loss", "maximize"))]
)
def test_a_stopped_trial_is_finished_with_its_last_report(
    worker: Worker, objective: Callable[..., Any], goal: Goal
) -> None:
    trials = runner(worker, objective, goals=[goal], pruner=HALVING)
    good, bad = (0.1, 0.9) if goal.direction == "minimize" else (0.9, 0.1)
    (best,) = run(trials, good)
    (stopped,) = run(trials, bad)
    assert "stopped_at" not in best.result_extra
    assert stopped.result_extra["stopped_at"] == 1
    assert stopped.result == {"loss": pytest.approx(bad + goal.sign)}


def test_reports_of_one_worker_stop_trials_of_another(join: Join) -> None:
    here, there = (runner(join(), learning, pruner=HALVING) for _ in range(2))
    run(here, 0.1)
    stopped = run(there, 0.9)[-1]
    assert stopped.result_extra["stopped_at"] == 1


def test_a_worker_that_comes_later_knows_what_was_reported_before(join: Join) -> None:
    run(runner(join("first"), learning, pruner=HALVING), 0.1)
    stopped = run(runner(join("second"), learning, pruner=HALVING), 0.9)[-1]
    assert stopped.result_extra["stopped_at"] == 1


def test_a_mapping_that_a_stopped_trial_returns_keeps_all_but_its_value(worker: Worker) -> None:
    def objective(config: dict[str, Any], trial: Trial) -> dict[str, Any]:
        value = learning(config, trial)
        return {"loss": value - 100, "model": "tree"}

    trials = runner(worker, objective, pruner=HALVING)
    assert run(trials, 0.1)[0].result == {"loss": 0.1 + 1 / 9 - 100, "model": "tree"}
    assert run(trials, 0.9)[0].result == {"loss": 1.9, "model": "tree"}


def test_a_trial_that_does_not_ask_goes_on_to_its_end(worker: Worker) -> None:
    def deaf(config: dict[str, Any], trial: Trial) -> float:
        for step in (1, 2, 3):
            trial.report(config["x"], step)
        return float(config["x"])

    trials = runner(worker, deaf, pruner=HALVING)
    run(trials, 0.1)
    (task,) = run(trials, 0.9)
    assert task.result == {"loss": 0.9}
    assert "stopped_at" not in task.result_extra


def test_the_decision_to_stop_a_trial_is_final(worker: Worker) -> None:
    told: list[bool] = []

    def late(config: dict[str, Any], trial: Trial) -> float | None:
        for step in (1, 2):  # there is no rung at 2
            trial.report(config["x"], step)
        told.extend((trial.should_stop(), trial.should_stop()))
        return None if told[-1] else 0.1

    trials = runner(worker, late, pruner=HALVING)
    run(trials, 0.1)
    (task,) = run(trials, 0.9)
    assert told == [False, False, True, True]
    assert task.result_extra["stopped_at"] == 2
    assert task.result == {"loss": 0.9}


def test_a_trial_that_diverged_is_stopped_and_fails(worker: Worker, network: Network) -> None:
    def diverging(config: dict[str, Any], trial: Trial) -> float:
        value = math.nan if config["x"] > 0.5 else config["x"]
        trial.report(value, 1)
        return -1.0 if trial.should_stop() else value

    trials = runner(worker, diverging, pruner=HALVING)
    run(trials, 0.1)
    assert run(trials, 0.9) == []
    (failed,) = network.fetch_tasks("failed")
    assert "its last report, which was nan" in present(failed.error)
    assert failed.result_extra["stopped_at"] == 1


@pytest.mark.parametrize("ask", ["run", "nothing"])
def test_without_a_rule_no_trial_should_stop(worker: Worker, network: Network, ask: str) -> None:
    if ask == "run":
        network.push_tasks([{"x": 0.5}])
        trials = runner(worker, learning)
        waiting = trials.claim()
        assert waiting is not None
        network.stop_workers()  # the run ends, its running trials go on
        (task,) = trials.run_and_fetch_new(*waiting).finished
        assert not trials.may_start()
    else:
        (task,) = run(runner(worker, learning))
    assert task.result == {"loss": 0.5 + 1 / N_STEPS}
    assert len(network.fetch_new_reports()) == N_STEPS


@pytest.mark.parametrize("pruner", [None, HALVING])
def test_a_trial_that_its_worker_has_lost_should_stop(
    worker: Worker, network: Network, pruner: Pruner | None
) -> None:
    told: list[tuple[bool, float | None]] = []

    def taken(config: dict[str, Any], trial: Trial) -> float:
        trial.report(1.0, 1)
        network.stop_workers([worker.worker_id], kill=True)
        told.append((trial.should_stop(), trial.stopped_at))
        trial.report(1.0, 2)
        told.append((trial.should_stop(), trial.stopped_at))
        return 1.0

    assert run(runner(worker, taken, pruner=pruner)) == []
    assert told == [(False, None), (True, 2)]
    assert [report.values["step"] for report in network.fetch_new_reports()] == [1]


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ([(1.0, 2), (1.0, 2)], "greater at each report, got 2 after 2"),
        ([(1.0, 2), (1.0, 1.5)], "greater at each report, got 1.5 after 2"),
        ([(1.0, -1)], "step must be finite, >= 0"),
        ([(1.0, math.nan)], "step must be finite, >= 0"),
        ([(1.0, "1")], "step must be a number, got '1'"),
        ([(1.0, True)], "step must be a number, got True"),
        ([("1.0", 1)], "a reported value must be a number, got '1.0'"),
        ([(None, 1)], "a reported value must be a number, got None"),
        ([(np.str_("1"), 1)], "a reported value must be a number, got"),
        ([(np.ones(2), 1)], "TypeError"),
    ],
)
def test_an_invalid_report_fails_the_trial_and_the_error_says_what_must_hold(
    worker: Worker, network: Network, reports: list[tuple[Any, Any]], said: str
) -> None:
    def objective(config: dict[str, Any], trial: Trial) -> float:
        for value, step in reports:
            trial.report(value, step)
        return 0.0

    assert run(runner(worker, objective)) == []
    (failed,) = network.fetch_tasks("failed")
    assert said in present(failed.error)
    assert len(network.fetch_new_reports()) == len(reports) - 1


def test_numbers_of_other_libraries_can_be_reported(worker: Worker, network: Network) -> None:
    def objective(config: dict[str, Any], trial: Trial) -> float:
        trial.report(unchecked(np.float32(0.5)), unchecked(np.int64(3)))
        trial.report(unchecked(np.array(0.25)), np.float64(3.5))
        trial.report(unchecked(Decimal("0.125")), 4)
        return 0.0

    assert len(run(runner(worker, objective))) == 1
    said = [report.values for report in network.fetch_new_reports()]
    assert said == [
        {"step": 3, "value": 0.5},
        {"step": 3.5, "value": 0.25},
        {"step": 4, "value": 0.125},
    ]


def test_an_archive_has_values_of_completed_trials_and_points_of_stopped_ones(
    join: Join,
) -> None:
    worker, onlooker = join(), join()
    trials = runner(worker, learning, pruner=HALVING)
    for x in (0.25, 0.75, 0.5, 0.125):  # each of the whole ones was the best so far
        run(trials, x)
    archive = Archive(Space(X), [Goal("loss")])
    archive.add(onlooker.fetch_new_tasks())
    assert len(archive) == 2
    assert archive.X.ravel().tolist() == [0.25, 0.125]
    assert archive.y.tolist() == [0.25 + 1 / N_STEPS, 0.125 + 1 / N_STEPS]
    for x in (0.25, 0.75, 0.5, 0.125):
        assert np.array([x]) in archive
    assert np.array([0.625]) not in archive


def test_reporting_counts_as_coordination_and_not_as_objective(worker: Worker) -> None:
    def objective(config: dict[str, Any], trial: Trial) -> float:
        for step in range(200):
            trial.report(0.0, step)
        return 0.0

    (task,) = run(runner(worker, objective, pruner=MedianRule()))
    notes = task.result_extra
    assert 0.0 <= notes["objective_s"] < notes["coordination_s"]
