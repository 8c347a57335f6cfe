"""What fails in a run, a trial, a worker or a callback, and what becomes of the rest."""

import math
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rush_core import EmbeddedServer, Network, WorkersFailedError, WorkerState
from rush_core.kernel.invariants import check_network
from rush_opt import AllTrialsFailedError, Categorical, Float, FrozenTrial, Trial, TuneResult, tune
from tests.opt.inspecting import configs_of
from tests.threads import in_background
from tests.typed import present
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

PATIENCE_S = 30.0  # for what takes a second on an idle machine

X = {"x": Float(0, 1)}


def wait_for_file(path: Path) -> str:
    return wait_until(lambda: path.read_text() if path.exists() else "", PATIENCE_S)


def write_at_once(path: Path, text: str) -> None:
    """Write a file that is complete as soon as it is there."""
    hidden = path.with_name(f".{path.name}")
    hidden.write_text(text)
    hidden.replace(path)


# -- what an objective may do wrong ----------------------------------------------------------------

RETURNED: dict[str, tuple[Callable[[], Any], str]] = {
    "nan": (lambda: math.nan, "returned nan as 'value'"),
    "inf": (lambda: -math.inf, "returned -inf as 'value'"),
    "none": (lambda: None, "returned None (NoneType) as 'value'"),
    "string": (lambda: "0.5", "returned '0.5' (str) as 'value'"),
    "bool": (lambda: True, "returned True (bool) as 'value'"),
    "no metric": (lambda: {"loss": 0.5}, "has no 'value'; it has ['loss']"),
    "unstorable": (lambda: {"value": 0.5, "model": object()}, "'model'"),
    "exit": (lambda: sys.exit(3), "SystemExit: 3"),
    "raise": (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    "fine": (lambda: 0.5, ""),
}


@pytest.fixture(scope="module")
def wrong(server: EmbeddedServer) -> TuneResult:
    """A run of one worker whose design has every case of `RETURNED` once, in order."""

    def objective(config: dict[str, Any]) -> Any:
        return cases[config["case"]][0]()

    cases = dict(RETURNED)
    return tune(
        objective,
        {"case": Categorical(list(RETURNED))},
        n_workers=1,
        n_trials=len(RETURNED) + 5,
        seed=1,
        # The last one first: a run whose first trials all fail is stopped.
        initial_design=[{"case": case} for case in reversed(RETURNED)],
        url=server.url,
        progress=False,
    )


@pytest.mark.parametrize("case", sorted(set(RETURNED) - {"fine"}))
def test_what_is_no_result_fails_the_trial_with_its_reason(case: str, wrong: TuneResult) -> None:
    trial = next(t for t in wrong.frozen_trials if t.params["case"] == case)
    assert trial.state == "failed"
    assert RETURNED[case][1] in present(trial.error)
    assert not trial.lost
    assert trial.notes["objective_s"] >= 0.0


def test_given_configurations_are_evaluated_first_and_in_order(wrong: TuneResult) -> None:
    assert configs_of(wrong)[: len(RETURNED)] == [{"case": case} for case in reversed(RETURNED)]


def test_no_failure_of_a_trial_ends_its_worker(wrong: TuneResult) -> None:
    assert len(wrong.frozen_trials) == len(RETURNED) + 5
    (worker,) = wrong.workers
    assert worker.state == WorkerState.STOPPED
    assert not worker.reason


def test_a_run_whose_first_trials_all_fail_is_stopped_and_shows_why(
    server: EmbeddedServer, network_id: str
) -> None:
    n_calls = 0

    def objective(config: dict[str, Any]) -> float:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 6:
            threading.Event().wait(PATIENCE_S)  # five are enough: this one is killed
        raise RuntimeError(f"no data, try {n_calls}")

    with pytest.raises(AllTrialsFailedError, match="the first 5 trials all failed") as error:
        tune(
            objective,
            X,
            n_workers=1,
            n_trials=1000,
            network_id=network_id,
            url=server.url,
            progress=False,
        )
    message = str(error.value)
    assert "RuntimeError: no data, try 1" in message
    assert "Traceback" in message
    with Network(network_id, server.url) as network:
        failed = network.fetch_tasks("failed")
        assert error.value.key == failed[0].key
        assert f"{failed[0].config}" in message
        assert [t.result_extra.get("lost") for t in failed] == [None] * 5 + ["killed"]
        assert network.count_tasks().running == 0
    check_network(network_id, server.url)


# -- killed workers --------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_its_place_given_back(
    server: EmbeddedServer, tmp_path: Path, network_id: str
) -> None:
    hold, third = tmp_path / "hold", tmp_path / "third"
    called_with: list[Any] = []

    def objective(config: dict[str, Any], trial: Trial) -> float:
        if config["x"] == 1.0:
            write_at_once(hold, f"{os.getpid()} {trial.key}")
            threading.Event().wait(PATIENCE_S)
        # A run that has all its trials needs no third worker.
        if trial.worker_number == 2:
            write_at_once(third, "here")
        wait_for_file(third)
        return float(config["x"])

    def kill() -> None:
        os.kill(int(wait_for_file(hold).split()[0]), signal.SIGKILL)

    killing = in_background(kill)
    result = tune(
        objective,
        X,
        n_workers=2,
        n_trials=30,
        optimizer="random",
        seed=4,
        network_id=network_id,
        url=server.url,
        initial_design=[{"x": 0.25}, {"x": 1.0}, {"x": 0.5}],
        callbacks=[called_with.append],
        progress=False,
    )
    killing()
    pid, key = hold.read_text().split()

    (lost,) = (trial for trial in result.frozen_trials if trial.lost)
    assert (lost.key, lost.state, lost.params) == (key, "failed", {"x": 1.0})
    assert "was lost: its process was killed by SIGKILL" in present(lost.error)
    assert lost.value is None

    others = [trial for trial in result.frozen_trials if not trial.lost]
    assert [trial.state for trial in others] == ["finished"] * 30
    assert called_with == result.frozen_trials
    assert result.stop_reason == "n_trials"

    assert [worker.number for worker in result.workers] == [0, 1, 2]
    (killed,) = (worker for worker in result.workers if worker.state == WorkerState.LOST)
    assert killed.pid == int(pid)
    assert lost.worker == killed.number != 2
    assert "SIGKILL" in present(killed.reason)
    check_network(network_id, server.url)


def test_an_objective_that_always_ends_its_process_ends_the_run(
    server: EmbeddedServer, network_id: str
) -> None:
    with pytest.raises(WorkersFailedError, match="3 workers were lost") as error:
        tune(
            lambda config: os.kill(os.getpid(), signal.SIGKILL),
            X,
            n_workers=1,
            n_trials=50,
            network_id=network_id,
            url=server.url,
            progress=False,
        )
    assert "SIGKILL" in str(error.value)
    with Network(network_id, server.url) as network:
        counts = network.count_tasks()
        assert (counts.running, counts.finished, counts.failed) == (0, 0, 3)
        assert [w.state for w in network.fetch_workers()] == [WorkerState.LOST] * 3
    check_network(network_id, server.url)


# -- callbacks -------------------------------------------------------------------------------------


def test_an_exception_of_a_callback_ends_the_run_and_leaves_nothing(
    server: EmbeddedServer, network_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EnoughError(Exception):
        pass

    def objective(config: dict[str, Any]) -> float:
        if config["x"] > 0.5:
            threading.Event().wait(PATIENCE_S)  # busy when the run ends
        return float(config["x"])

    def callback(trial: FrozenTrial) -> None:
        with Network(network_id, server.url) as network:
            wait_until(lambda: network.count_tasks().running == 1)
        raise EnoughError(trial.number)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where workers' output goes
    with pytest.raises(EnoughError):
        tune(
            objective,
            X,
            n_workers=1,
            n_trials=10_000,
            network_id=network_id,
            url=server.url,
            initial_design=[{"x": 0.25}, {"x": 0.75}],
            callbacks=[callback],
            progress=False,
        )
    assert list(tmp_path.iterdir()) == []
    with Network(network_id, server.url) as network:
        assert network.count_tasks() == (0, 0, 1, 1)
        (killed,) = network.fetch_tasks("failed")
        assert killed.result_extra["lost"] == "killed"
        (worker,) = network.fetch_workers()
        assert worker.state == WorkerState.KILLED
    check_network(network_id, server.url)
