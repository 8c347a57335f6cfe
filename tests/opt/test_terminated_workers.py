"""SIGTERM to workers, as `kill` and batch systems send it: they are replaced; runs are exact."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from rush_core import EmbeddedServer, Network, WorkerState
from rush_core.kernel.invariants import check_network
from rush_opt import Float, FrozenTrial, tune
from tests.opt.objectives import identity

PATIENCE_S = 30.0  # for what takes a second on an idle machine
X = {"x": Float(0, 1)}


def terminate_all(network_id: str, url: str) -> None:
    """Send SIGTERM to all workers of a run, when both have joined."""
    with Network(network_id, url) as network:
        network.wait_for_workers(2, timeout_s=PATIENCE_S)
        for worker in network.fetch_workers():
            if worker.ended_at is None:
                os.kill(worker.pid, signal.SIGTERM)


@pytest.mark.usefixtures("nothing_is_left_running")
@pytest.mark.parametrize("optimizer", ["random", "acbo"])
def test_workers_that_receive_sigterm_are_replaced(
    optimizer: str,
    server: EmbeddedServer,
    network_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def terminate(trial: FrozenTrial) -> None:
        if trial.number == 1:  # with ACBO, this is sent to its proposer as well
            terminate_all(network_id, server.url)

    result = tune(
        identity,
        X,
        n_workers=2,
        n_trials=5000 if optimizer == "random" else 30,
        optimizer=optimizer,
        seed=1,
        network_id=network_id,
        url=server.url,
        callbacks=[terminate],
        progress=False,
    )
    assert result.stop_reason == "n_trials"
    ended = [trial for trial in result.frozen_trials if not trial.lost]
    assert [trial.state for trial in ended] == ["finished"] * len(ended)
    assert len(ended) == (5000 if optimizer == "random" else 30)
    states = [worker.state for worker in result.workers]
    assert WorkerState.INTERRUPTED in states
    assert "a signal from outside stopped worker" in caplog.text
    check_network(network_id, server.url)


@pytest.fixture
def launched() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes that a test launches; they end by themselves."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    assert [process.wait(30.0) for process in processes] == [0] * len(processes)


def test_a_run_whose_launched_workers_receive_sigterm_says_so(
    launched: list["subprocess.Popen[bytes]"],
    server: EmbeddedServer,
    network_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def terminate(trial: FrozenTrial) -> None:
        if trial.number == 1:
            terminate_all(network_id, server.url)

    def launch(command: str, n_workers: int) -> None:
        line = ["/bin/sh", "-c", f"exec env {command}"]
        launched.extend(subprocess.Popen(line) for _ in range(n_workers))

    result = tune(
        identity,
        X,
        n_workers=2,
        n_trials=1_000_000,
        optimizer="random",
        seed=1,
        network_id=network_id,
        url=server.url,
        launch=launch,
        callbacks=[terminate],
        progress=False,
    )
    assert result.stop_reason == "stopped"
    assert [worker.state for worker in result.workers] == [WorkerState.INTERRUPTED] * 2
    assert "were stopped from outside (2 of 2 by a signal)" in caplog.text
