"""Worker loops that raise an exception: the manager shows it, and `join_workers` raises."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from rush_core import EmbeddedServer, LoopFailedError, Network, Worker, WorkerState
from tests.core.processes import PATIENCE_S, info_of

PROGRAM = """
import sys
from rush_core import Network

def loop(worker):
    return undefined_name

with Network(sys.argv[1], sys.argv[2]) as network:
    network.start_workers(loop, 3)
    network.join_workers()
print("not reached")
"""


def raise_or_wait(worker: Worker) -> None:
    if worker.number == 0:
        raise ValueError("no such learner")
    while not worker.should_stop():
        time.sleep(0.01)


def test_a_program_whose_worker_loop_has_a_bug_fails_and_shows_it(
    server: EmbeddedServer, network_id: str, tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), network_id, server.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 1
    assert ended.stdout == ""
    # Once from the first worker that failed, and once from the exception of `join_workers`.
    assert ended.stderr.count("NameError: name 'undefined_name' is not defined") == 2
    assert "LoopFailedError: the loop of worker" in ended.stderr


def test_the_error_names_the_worker_and_is_raised_when_all_have_ended(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    network.start_workers(raise_or_wait, 2)
    network.wait_for_workers(timeout_s=PATIENCE_S)
    failed, other = (info.worker_id for info in network.fetch_workers())
    with pytest.raises(LoopFailedError, match="in raise_or_wait") as error:
        network.join_workers(PATIENCE_S, worker_ids=[failed])
    assert error.value.key == failed
    assert not network.join_workers(0.0)  # the other one goes on
    network.stop_workers()
    assert network.join_workers(PATIENCE_S, worker_ids=[other])
    with pytest.raises(LoopFailedError, match="ValueError: no such learner"):
        network.join_workers(0.0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "ValueError: no such learner" in caplog.text
    assert network.detect_lost_workers() == []


def test_a_worker_that_exits_in_order_has_not_failed(network: Network) -> None:
    (worker_id,) = network.start_workers(lambda worker: sys.exit(), 1)
    assert network.join_workers(PATIENCE_S)
    assert info_of(network, worker_id).state is WorkerState.STOPPED


def test_after_a_reset_earlier_failures_are_forgotten(network: Network) -> None:
    network.start_workers(raise_or_wait, 1)
    with pytest.raises(LoopFailedError):
        network.join_workers(PATIENCE_S)
    network.reset()
    assert network.join_workers(0.0)
