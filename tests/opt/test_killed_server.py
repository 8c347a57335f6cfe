"""Runs whose embedded server is killed."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from rush_core import Network
from rush_core.connection.connection import Connection, pack, parse_info
from rush_opt import Float, FrozenTrial, tune

SPACE = {"x": Float(-1, 1)}


def slow(config: dict[str, Any]) -> float:
    time.sleep(0.05)
    return float(config["x"] ** 2)


def kill_server(url: str) -> None:
    connection = Connection(url)
    info = parse_info(connection.execute(pack(("INFO", "server"))).decode())
    connection.close()
    os.kill(int(info["process_id"]), signal.SIGKILL)


@pytest.mark.parametrize("optimizer", ["random", "adbo"])
def test_a_named_run_stays_exact_when_its_server_is_killed(
    network_id: str, optimizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    def kill_sometimes(trial: FrozenTrial) -> None:
        ended.append(trial.key)
        if len(ended) in (5, 20, 35):
            with Network(network_id) as network:
                kill_server(network.url)

    result = tune(
        slow,
        SPACE,
        n_workers=2,
        n_trials=50,
        optimizer=optimizer,
        network_id=network_id,
        callbacks=[kill_sometimes],
        progress=False,
    )
    assert len(result.trials) == 50
    assert set(result.trials["state"]) == {"finished"}
    assert len(set(ended)) == len(ended) == 50
    assert caplog.text.count("it is started again on its data") == 3


def test_an_unnamed_run_that_loses_its_server_returns_what_it_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = Network().url
    ended: list[str] = []

    def kill_once(trial: FrozenTrial) -> None:
        ended.append(trial.key)
        if len(ended) == 10:
            kill_server(url)

    result = tune(slow, SPACE, n_workers=2, n_trials=1000, callbacks=[kill_once], progress=False)
    assert result.stop_reason == "server lost"
    assert [trial.key for trial in result.frozen_trials] == ended
    assert result.best_value == min(result.trials["value"])
    assert "because it lost its server" in caplog.text
    assert tune(slow, SPACE, n_workers=1, n_trials=3, progress=False).stop_reason == "n_trials"


def set_memory(url: str, n_bytes: int) -> None:
    connection = Connection(url)
    connection.execute(pack(("CONFIG", "SET", "maxmemory", n_bytes)))
    connection.close()


def test_a_run_waits_for_a_server_without_memory_and_stays_exact() -> None:
    url = Network().url
    ended: list[str] = []

    def take_memory(trial: FrozenTrial) -> None:
        ended.append(trial.key)
        if len(ended) == 10:
            set_memory(url, 1)
            threading.Timer(3.0, set_memory, (url, 0)).start()

    result = tune(slow, SPACE, n_workers=2, n_trials=40, callbacks=[take_memory], progress=False)
    assert result.stop_reason == "n_trials"
    assert set(result.trials["state"]) == {"finished"}
    assert len(result.trials) == len(set(ended)) == 40


@pytest.mark.long
def test_an_unnamed_run_whose_server_stays_without_memory_returns_what_it_had() -> None:
    url = Network().url
    ended: list[str] = []

    def take_memory(trial: FrozenTrial) -> None:
        ended.append(trial.key)
        if len(ended) == 10:
            set_memory(url, 1)

    try:
        result = tune(
            slow, SPACE, n_workers=2, n_trials=1000, callbacks=[take_memory], progress=False
        )
    finally:
        set_memory(url, 0)
    assert result.stop_reason == "server lost"
    assert [trial.key for trial in result.frozen_trials] == ended
    assert sum(trial.state == "finished" for trial in result.frozen_trials) >= 10
