"""Runs that go on where another one stood, with managers that were really killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from rush_core import EmbeddedServer, Network, WorkerState
from rush_core.invariants import check_network
from rush_opt import Float, tune

PATIENCE_S = 30.0
X = {"x": Float(0, 1)}

MANAGER = """
import sys, time
from rush_opt import Float, tune

def objective(config):
    time.sleep(0.05)
    return config["x"]

tune(objective, {"x": Float(0, 1)}, n_workers=2, n_trials=10_000, optimizer="random", seed=3,
     network_id=sys.argv[1], url=sys.argv[2] or None, progress=False)
"""


def objective(config: dict[str, Any]) -> float:
    time.sleep(0.01)
    return float(config["x"])


@pytest.mark.parametrize("workers_die_as_well", [False, True])
def test_a_run_goes_on_after_its_manager_was_killed(
    workers_die_as_well: bool, server: EmbeddedServer, network_id: str, tmp_path: Path
) -> None:
    script = tmp_path / "manager.py"
    script.write_text(MANAGER)
    manager = subprocess.Popen([sys.executable, str(script), network_id, server.url])
    with Network(network_id, server.url) as network:
        wait_until(lambda: network.count_tasks().finished >= 10, PATIENCE_S)
        pids = [worker.pid for worker in network.fetch_workers()]
        if workers_die_as_well:
            os.kill(pids[0], signal.SIGSTOP)  # nobody puts out what the manager did not see end
        manager.kill()
        manager.wait()
        if workers_die_as_well:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        before = network.count_tasks().finished
    result = tune(
        *(objective, X),
        n_workers=2,
        n_trials=before + 20,
        optimizer="random",
        seed=3,
        network_id=network_id,
        url=server.url,
        progress=False,
    )
    assert result.stop_reason == "n_trials"
    ended = [trial for trial in result.frozen_trials if not trial.lost]
    assert len(ended) == before + 20
    assert all(trial.state == "finished" for trial in ended)
    assert any(trial.lost for trial in result.frozen_trials)
    points = [trial.params["x"] for trial in result.frozen_trials]
    assert len(set(points)) == len(points)  # new workers draw from streams of their own
    assert all(worker.state is not WorkerState.RUNNING for worker in result.workers)
    with Network(network_id, server.url) as network:
        assert network.count_tasks().running == 0
    check_network(network_id, server.url)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"direction": "maximize"}, "direction was 'minimize' and is 'maximize'"),
        ({"space": {"x": Float(0, 2)}}, "parameter 'x' was Float(0.0, 1.0) and is Float(0.0, 2.0)"),
        ({"space": X | {"y": Float(0, 1)}}, "parameter 'y' was not there and is Float(0.0, 1.0)"),
    ],
)
def test_a_network_begun_with_other_arguments_is_refused_with_what_differs(
    changes: dict[str, Any], said: str, server: EmbeddedServer, network: Network
) -> None:
    network.push_about(
        {
            "metric": "value",
            "direction": "minimize",
            "space": {"x": "Float(0.0, 1.0)"},
            "constraints": [],
        }
    )
    given: dict[str, Any] = {"space": X} | changes
    with pytest.raises(ValueError, match="begun with other arguments") as refusal:
        tune(objective, **given, network_id=network.network_id, url=server.url, progress=False)
    assert said in str(refusal.value)
    assert network.fetch_workers() == []
    assert network.count_tasks() == (0, 0, 0, 0)


def test_only_what_a_worker_ran_takes_a_place_in_the_budget(network: Network) -> None:
    network.push_finished_tasks([{"x": 0.1 * i} for i in range(5)], [{"value": 1.0}] * 5)
    network.push_tasks([{"x": 0.1 * i} for i in range(7)])
    assert network.clear_queue() == 7
    result = tune(
        *(objective, X),
        n_workers=1,
        n_trials=6,
        optimizer="random",
        network_id=network.network_id,
        url=network.url,
        progress=False,
    )
    assert result.stop_reason == "n_trials"
    assert sum(trial.counts for trial in result.frozen_trials) == 6
    assert network.count_tasks() == (0, 0, 5 + 6, 7)
