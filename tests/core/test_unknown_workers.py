"""To stop workers that never joined is reported: nobody was asked."""

import subprocess
import sys
import warnings

import pytest

from rush_core import Network, WorkerState
from tests.core.processes import evaluating, info_of, polite
from tests.fixture_types import Join

PATIENCE_S = 30.0


@pytest.mark.parametrize("kill", [False, True])
def test_stopping_a_worker_that_never_joined_is_a_warning(
    network: Network, join: Join, kill: bool
) -> None:
    worker_id = join().worker_id
    with pytest.warns(
        UserWarning, match=rf"no worker with the id 'w1', 'w2' .*'{network.network_id}'"
    ):
        network.stop_workers(["w1", worker_id, "w2"], kill=kill)
    state = info_of(network, worker_id).state
    assert state is (WorkerState.KILLED if kill else WorkerState.STOPPING)


def test_stopping_workers_that_joined_or_ended_is_none(network: Network, join: Join) -> None:
    ended, killed = join(), join()
    ended.close()
    ids = [ended.worker_id, killed.worker_id, *network.start_workers(polite, 1)]
    network.wait_for_workers(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.stop_workers(ids)
        network.stop_workers(ids, kill=True)
        network.stop_workers([])
        network.stop_workers()


def test_killing_a_process_that_has_not_joined_yet_is_none(network: Network) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.stop_workers(network.start_workers(evaluating, 1), kill=True)
    assert network.join_workers(PATIENCE_S)


def test_the_command_line_names_unknown_workers(network: Network) -> None:
    network.push_tasks([{"x": 1}])  # a network without anything does not exist
    command = [sys.executable, "-m", "rush_core", "stop", network.network_id, "w1"]
    done = subprocess.run([*command, "--url", network.url], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert "no worker with the id 'w1' has joined network" in done.stderr
