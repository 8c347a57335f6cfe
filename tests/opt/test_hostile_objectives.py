"""Objectives that raise and return what ends other programs: their trials fail, and no more."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from experiments.hostile_objectives.cases import KINDS
from rush_core import EmbeddedServer, WorkerState
from rush_opt import Categorical, Float, TuneResult, tune
from tests.typed import present

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

FINE = ["fine 1", "fine 2", "fine 3"]

HOSTILE = {
    name: case
    for name, case in {**KINDS["raises"], **KINDS["returns"]}.items()
    if case.n_together > 1 and case.free.state == "failed"
}

# A run in which no trial has finished is stopped after some failures: each worker begins well.
CASES = [*FINE[:2], *HOSTILE, FINE[2]]


def objective(config: dict[str, Any]) -> Any:
    case = config["case"]
    return HOSTILE[case].act(1.0, None) if case in HOSTILE else 1.0


@contextmanager
def placed(place: str) -> Iterator[dict[str, Any]]:
    """Return the options of a run whose objectives are evaluated in a certain place."""
    if place == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield {"executor": pool}
    else:
        yield {"trial_timeout": 60.0} if place == "processes with limits" else {}


@pytest.fixture(scope="module", params=["processes", "processes with limits", "threads"])
def run(request: pytest.FixtureRequest, server: EmbeddedServer) -> TuneResult:
    """A run without a name whose two workers meet every case."""
    with placed(request.param) as options:
        return tune(
            objective,
            {"case": Categorical(CASES)},
            n_workers=2,
            n_trials=len(CASES),
            optimizer="random",
            initial_design=[{"case": case} for case in CASES],
            url=server.url,
            progress=False,
            **options,
        )


@pytest.mark.parametrize("case", list(HOSTILE))
def test_a_hostile_objective_fails_its_trial_with_the_reason(case: str, run: TuneResult) -> None:
    (trial,) = (t for t in run.frozen_trials if t.params["case"] == case)
    assert trial.state == "failed"
    assert not trial.lost
    assert re.search(HOSTILE[case].free.pattern, present(trial.error))
    assert len(present(trial.error)) < 200_000


def test_no_hostile_objective_ends_its_worker(run: TuneResult) -> None:
    assert run.stop_reason == "n_trials"
    assert sorted(t.params["case"] for t in run.frozen_trials) == sorted(CASES)
    assert {t.params["case"] for t in run.frozen_trials if t.state == "finished"} == set(FINE)
    assert [(worker.state, worker.reason) for worker in run.workers] == [
        (WorkerState.STOPPED, "")
    ] * 2


def end_process() -> None:
    os._exit(3)


def kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_in_the_worker_loop() -> None:
    """Let the next call of the worker loop fail, as an error of our own would."""
    from rush_opt.evaluation.runner import TrialRunner

    TrialRunner.may_start = None  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("end", [end_process, kill_process, raise_in_the_worker_loop])
@pytest.mark.parametrize("optimizer", ["random", "acbo"])
def test_a_worker_that_ends_all_the_same_is_replaced(
    end: Callable[[], None], optimizer: str, server: EmbeddedServer
) -> None:
    def objective(config: dict[str, Any]) -> float:
        if config["x"] > 0.99:
            end()
        return float(config["x"])

    points = [{"x": i / 12} for i in range(6)]
    result = tune(
        objective,
        {"x": Float(0, 1)},
        n_workers=2,
        n_trials=12,
        optimizer=optimizer,
        seed=1,
        initial_design=[*points[:3], {"x": 1.0}, points[3], {"x": 0.995}, *points[4:]],
        url=server.url,
        progress=False,
    )
    counted = [trial for trial in result.frozen_trials if trial.counts]
    assert result.stop_reason == "n_trials"
    assert len(counted) == 12
    assert {trial.state for trial in counted} == {"finished"}
    ended = [w for w in result.workers if w.state is WorkerState.LOST or w.reason]
    assert len(ended) >= 2
    assert len(result.workers) > len(ended)


def test_what_finished_is_the_result_of_a_run_whose_workers_all_end(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def objective(config: dict[str, Any]) -> float:
        if config["x"] > 0.5:
            kill_process()
        return float(config["x"])

    result = tune(
        objective,
        {"x": Float(0, 1)},
        n_workers=2,
        n_trials=100,
        optimizer="random",
        initial_design=[{"x": 0.25}, {"x": 0.125}, *[{"x": 1 - i / 100} for i in range(40)]],
        url=server.url,
        progress=False,
    )
    assert result.stop_reason == "workers failed"
    assert sorted(t.params["x"] for t in result.frozen_trials if t.counts) == [0.125, 0.25]
    assert "6 workers were lost or failed" in caplog.text
    assert "SIGKILL" in caplog.text
