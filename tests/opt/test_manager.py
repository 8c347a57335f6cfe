"""The manager of a run sleeps in the server, which wakes it."""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rush_core import EmbeddedServer, Network, WorkersFailedError, WorkerState, serve
from rush_core.connection.connection import Connection, pack
from rush_opt import Float, FrozenTrial, Trial, TuneResult, tune
from tests.waiting import wait_until

PATIENCE_S = 60.0
X = {"x": Float(0, 1)}

# Far less than the manager sleeps without a wake-up.
AT_ONCE_S = 5.0


class Gate:
    """A file for which the objective of each trial waits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, config: dict[str, Any]) -> float:
        wait_until(self.path.exists, PATIENCE_S)
        return float(config["x"])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server in which no other client sleeps."""
    with serve() as server:
        yield server


def longest_sleep_s(url: str) -> float:
    """Return for how long a client has been asleep in the server, whole seconds."""
    connection = Connection(url)
    clients = connection.execute(pack(("CLIENT", "LIST"))).decode().splitlines()
    connection.close()
    fields = [dict(pair.split("=", 1) for pair in line.split()) for line in clients]
    return max((int(f["idle"]) for f in fields if f["cmd"] == "blpop"), default=-math.inf)


def test_the_manager_sleeps_while_nothing_happens_and_wakes_at_once(
    own_server: EmbeddedServer, network_id: str, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    gate, told = Gate(tmp_path / "open"), []

    def tell(trial: FrozenTrial) -> None:
        told.append(time.monotonic())

    run: Future[TuneResult] = pool.submit(
        tune,
        gate,
        X,
        n_workers=1,
        n_trials=1,
        optimizer="random",
        seed=1,
        network_id=network_id,
        url=own_server.url,
        callbacks=[tell],
        progress=False,
    )
    with Network(network_id, own_server.url) as network:
        wait_until(lambda: network.count_tasks().running, PATIENCE_S)
        wait_until(lambda: longest_sleep_s(own_server.url) >= 2)
        opened = time.monotonic()
        gate.path.touch()
        result = run.result()
        assert told[0] - opened < AT_ONCE_S
        assert time.monotonic() - told[0] < AT_ONCE_S
    assert result.stop_reason == "n_trials"


class FirstIsKilled:
    """Ends the first worker, lets others join when `go_on` exists, and is a `Gate` to them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gate = folder, Gate(folder / "open")

    @property
    def go_on(self) -> Path:
        return self.folder / "go on"

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker, which joins after this."""
        self.__dict__.update(state)
        try:
            (self.folder / "first").touch(exist_ok=False)
        except FileExistsError:
            wait_until(self.go_on.exists, PATIENCE_S)

    def __call__(self, config: dict[str, Any]) -> float:
        if config["x"] == 1.0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.gate(config)


def test_a_worker_that_is_lost_while_another_is_waited_for_is_replaced_at_once(
    own_server: EmbeddedServer, network_id: str, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    objective = FirstIsKilled(tmp_path)
    run: Future[TuneResult] = pool.submit(
        tune,
        objective,
        X,
        n_workers=2,
        n_trials=2,
        optimizer="random",
        initial_design=[{"x": 1.0}, {"x": 0.5}],
        network_id=network_id,
        url=own_server.url,
        start_method="spawn",  # so that each worker unpickles the objective
        progress=False,
    )
    with Network(network_id, own_server.url) as network:

        def states() -> list[WorkerState]:
            return [worker.state for worker in network.fetch_workers()]

        wait_until(lambda: states() == [WorkerState.LOST], PATIENCE_S)
        wait_until(lambda: longest_sleep_s(own_server.url) >= 1)  # it was woken for the loss
        objective.go_on.touch()
        wait_until(lambda: len(states()) >= 2, PATIENCE_S)
        wait_until(lambda: len(states()) == 3, AT_ONCE_S)
        objective.gate.path.touch()
        result = run.result()
    assert [worker.state for worker in result.workers] == [WorkerState.LOST] + 2 * [
        WorkerState.STOPPED
    ]
    assert result.stop_reason == "n_trials"


def fail(trial: FrozenTrial) -> None:
    raise ValueError("of a callback")


@pytest.mark.parametrize("callbacks", [[], [fail]], ids=["without an error", "with an error"])
def test_a_network_that_cannot_be_removed_costs_no_result(
    callbacks: list[Callable[[FrozenTrial], None]],
    own_server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reset = Network.reset

    def refused(network: Network) -> None:
        connection = Connection(own_server.url)
        connection.execute(pack(("ACL", "SETUSER", "default", "-@scripting")))
        connection.close()
        reset(network)

    monkeypatch.setattr(Network, "reset", refused)
    result = tune(
        lambda config: config["x"],
        X,
        n_workers=1,
        n_trials=3,
        optimizer="random",
        url=own_server.url,
        callbacks=callbacks,
        progress=False,
    )
    assert result.stop_reason == ("callback failed" if callbacks else "n_trials")
    assert result.best_trial.state == "finished"
    assert "could not be removed" in caplog.text


@pytest.mark.parametrize("is_named", [True, False])
def test_a_callback_that_raises_loses_no_finished_trial(
    is_named: bool, server: EmbeddedServer, network_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    def fail_at_third(trial: FrozenTrial) -> None:
        seen.append(trial.params)
        if len(seen) == 3:
            raise ValueError("of a callback")

    def run() -> TuneResult:
        return tune(
            lambda config: config["x"],
            X,
            n_workers=2,
            n_trials=10**6,
            optimizer="random",
            url=server.url,
            network_id=network_id if is_named else None,
            callbacks=[fail_at_third],
            progress=False,
        )

    if is_named:
        with pytest.raises(ValueError, match="of a callback"):
            run()
        with Network(network_id, server.url) as network:
            params = network.fetch_finished_tasks().configs
    else:
        result = run()
        assert result.stop_reason == "callback failed"
        params = [trial.params for trial in result.frozen_trials]
        assert "in fail_at_third" in caplog.text
    assert params[:3] == seen
    assert len(seen) == 3


def test_a_callback_that_raises_before_a_trial_has_finished_ends_the_run_with_its_error(
    server: EmbeddedServer,
) -> None:
    def first_fails(config: dict[str, float], trial: Trial) -> float:
        raise ArithmeticError

    with pytest.raises(ValueError, match="of a callback"):
        tune(
            first_fails,
            X,
            n_workers=1,
            n_trials=3,
            optimizer="random",
            url=server.url,
            callbacks=[fail],
            progress=False,
        )


def test_a_run_whose_network_vanishes_does_not_end_as_if_it_was_stopped(
    own_server: EmbeddedServer, network_id: str
) -> None:
    seen = set()

    def lose_everything(trial: FrozenTrial) -> None:
        seen.add(trial.worker)
        if len(seen) < 2:  # one that has not joined yet would end for another reason
            return
        connection = Connection(own_server.url)
        connection.execute(pack(("FLUSHALL",)))
        connection.close()

    with pytest.raises(WorkersFailedError, match="or the server lost its data"):
        tune(
            lambda config: config["x"],
            X,
            n_workers=2,
            n_trials=10**6,
            optimizer="random",
            network_id=network_id,
            url=own_server.url,
            callbacks=[lose_everything],
            progress=False,
        )
