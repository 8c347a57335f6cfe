"""Runs whose workers are launched by a command, with real processes."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rush_core import EmbeddedServer, Network, WorkersFailedError, WorkerState
from rush_core.kernel.invariants import check_network
from rush_opt import Float, tune
from tests.opt.objectives import identity
from tests.threads import in_background
from tests.waiting import wait_until

PATIENCE_S = 30.0
X = {"x": Float(0, 1)}


Launch = Callable[[str, int], object]


@pytest.fixture
def launched() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes that a test brought to life; they end by themselves or are killed."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def shell(launched: list["subprocess.Popen[bytes]"]) -> Launch:
    """Return what runs a command so many times, each in a group of its own."""

    def launch(command: str, n: int) -> None:
        launched.extend(
            subprocess.Popen(["/bin/sh", "-c", f"exec env {command}"], start_new_session=True)
            for _ in range(n)
        )

    return launch


@pytest.mark.parametrize("optimizer", ["random", "acbo"])
def test_launched_workers_do_the_trials_and_leave(
    optimizer: str,
    launched: list["subprocess.Popen[bytes]"],
    server: EmbeddedServer,
    network_id: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = tune(
        identity,
        X,
        n_workers=2,
        n_trials=30,
        optimizer=optimizer,
        seed=1,
        network_id=network_id,
        url=server.url,
        launch=shell(launched),
    )
    assert result.stop_reason == "n_trials"
    assert [trial.state for trial in result.frozen_trials] == ["finished"] * 30
    pids = {process.pid for process in launched}
    assert len(pids) == 2
    assert {worker.pid for worker in result.workers} <= pids  # the second may have come too late
    assert all(worker.heartbeat_s for worker in result.workers)
    assert [process.wait(PATIENCE_S) for process in launched] == [0, 0]
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"30/30 trials, best value \S+, (1 of 2 workers joined, )?\d+ s, ", last)
    check_network(network_id, server.url)


def test_a_launched_worker_that_is_lost_is_not_replaced_but_another_may_join(
    launched: list["subprocess.Popen[bytes]"], server: EmbeddedServer, network_id: str
) -> None:
    commands: list[str] = []
    start = shell(launched)

    def launch(command: str, n: int) -> None:
        commands.append(command)
        start(command, n)

    def objective(config: dict[str, Any]) -> float:
        if config["x"] == 1.0:
            os.kill(os.getpid(), signal.SIGKILL)
        return float(config["x"])

    def join_when_the_first_is_lost() -> None:
        with Network(network_id, server.url) as network:
            wait_until(
                lambda: [w.state for w in network.fetch_workers()] == [WorkerState.LOST], PATIENCE_S
            )
        start(commands[0], 1)

    joining = in_background(join_when_the_first_is_lost)
    result = tune(
        objective,
        X,
        n_workers=1,
        n_trials=10,
        optimizer="random",
        initial_design=[{"x": 0.5}, {"x": 1.0}],
        network_id=network_id,
        url=server.url,
        launch=launch,
        progress=False,
    )
    joining()
    assert len(commands) == 1
    assert [worker.state for worker in result.workers] == [WorkerState.LOST, WorkerState.STOPPED]
    assert sum(trial.state == "finished" for trial in result.frozen_trials) == 10
    (lost,) = (trial for trial in result.frozen_trials if trial.lost)
    assert lost.params == {"x": 1.0}
    check_network(network_id, server.url)


def test_when_nobody_comes_the_run_ends_at_its_timeout(server: EmbeddedServer) -> None:
    asked: list[tuple[str, int]] = []
    result = tune(
        identity,
        X,
        n_workers=7,
        timeout=0.5,
        url=server.url,
        launch=lambda command, n: asked.append((command, n)),
        progress=False,
    )
    ((command, n),) = asked
    assert n == 7
    assert "rush_core worker" in command
    assert result.stop_reason == "timeout"
    assert result.frozen_trials == []
    assert result.workers == []


def test_after_a_suspend_the_reason_is_told_by_the_servers_time(
    launched: list["subprocess.Popen[bytes]"],
    server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suspended_s = 0.0
    start = shell(launched)

    def launch(command: str, n: int) -> None:
        nonlocal suspended_s
        suspended_s = 3600.0  # the manager's clock stood still, those of the others went on
        start(command, n)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() - suspended_s)
    monkeypatch.setattr("rush_core.connection.clock.time", clock)
    result = tune(
        identity,
        X,
        n_workers=1,
        timeout=1.0,
        optimizer="random",
        url=server.url,
        launch=launch,
        progress=False,
    )
    assert result.stop_reason == "timeout"
    assert result.deadline is not None
    assert result.started_at < result.deadline <= result.ended_at < result.started_at + 600


def test_a_launch_that_raises_ends_the_run_and_leaves_nothing(
    server: EmbeddedServer, network: Network
) -> None:
    def launch(command: str, n: int) -> None:
        raise OSError("no cluster here")

    with pytest.raises(OSError, match="no cluster here"):
        tune(
            *(identity, X),
            network_id=network.network_id,
            url=server.url,
            launch=launch,
            progress=False,
        )
    assert network.fetch_workers() == []


def test_a_launch_whose_process_fails_before_anybody_joined_ends_the_run(
    server: EmbeddedServer, network: Network
) -> None:
    with pytest.raises(
        WorkersFailedError, match="launch= started for 3 workers ended with exit code 7"
    ):
        tune(
            *(identity, X),
            n_workers=3,
            network_id=network.network_id,
            url=server.url,
            launch=lambda command, n: subprocess.Popen(["/bin/sh", "-c", "exit 7"]),
            progress=False,
        )
    assert network.fetch_workers() == []


def test_a_launch_whose_process_fails_with_all_of_its_workers_ends_the_run(
    server: EmbeddedServer, network_id: str, launched: list["subprocess.Popen[bytes]"]
) -> None:
    def launch(command: str, n: int) -> object:
        launched.append(
            subprocess.Popen(["/bin/sh", "-c", f"env {command}; exit 7"], start_new_session=True)
        )
        return launched[-1]

    def objective(config: dict[str, Any]) -> float:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0.0

    with pytest.raises(
        WorkersFailedError, match="launch= started for 1 workers ended with exit code 7"
    ):
        tune(
            *(objective, X),
            n_workers=1,
            network_id=network_id,
            url=server.url,
            launch=launch,
            progress=False,
        )
