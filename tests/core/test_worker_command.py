"""The printed command: one line that can run anywhere, any number of times, without a secret."""

import os
import shlex
import signal
import sys
import threading

import psutil
import pytest

from rush_core import Heartbeat, LoopError, Network, Worker, WorkerState
from rush_core.kernel.invariants import check_network
from tests.core.loopback import PASSWORD, LoopbackServer
from tests.core.processes import evaluating, polite, sharing, wait_for_running_tasks
from tests.fixture_types import Launch

PATIENCE_S = 30.0
QUICK = Heartbeat(period_s=0.02, expire_s=1.0)


def test_a_printed_command_runs_any_number_of_times(network: Network, launch: Launch) -> None:
    command = network.worker_command(sharing, args=(50,), heartbeat=QUICK)
    assert "\n" not in command
    assert sys.executable in shlex.split(command)
    for process in [launch(command), launch(command)]:
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, errors) == (0, "")
    assert network.count_tasks() == (0, 0, 50, 0)
    workers = network.fetch_workers()
    assert [info.number for info in workers] == [0, 1]
    assert {info.state for info in workers} == {WorkerState.STOPPED}
    assert len({info.pid for info in workers}) == 2
    # This manager did not start these processes: it does not wait for them.
    assert network.join_workers(0.0)
    assert network.detect_lost_workers() == []


def test_workers_of_a_printed_command_can_be_waited_for_and_stopped(
    network: Network, launch: Launch
) -> None:
    process = launch(network.worker_command(polite, heartbeat=QUICK))
    network.wait_for_workers(1, timeout_s=PATIENCE_S)
    (task,) = wait_for_running_tasks(network)
    network.stop_workers([task.worker_id])
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    assert network.fetch_tasks("finished").keys == [task.key]


def test_a_signal_ends_a_worker_of_a_printed_command_after_its_task(
    network: Network, launch: Launch
) -> None:
    process = launch(network.worker_command(polite, heartbeat=QUICK))
    (task,) = wait_for_running_tasks(network)
    os.kill(task.config["pid"], signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    assert network.fetch_tasks("finished").keys == [task.key]


def test_a_printed_command_has_the_heartbeat_that_was_given(
    network: Network, launch: Launch
) -> None:
    beat = Heartbeat(period_s=0.25, expire_s=12.5, own_process=True)
    launch(network.worker_command(polite, heartbeat=beat))
    (task,) = wait_for_running_tasks(network)
    (info,) = network.fetch_workers()
    assert info.heartbeat_s == 12.5
    (heart,) = psutil.Process(task.config["pid"]).children()
    assert heart.cmdline()[-2:] == ["0.25", "12.5"]


def test_a_worker_killed_from_elsewhere_ends_its_process_and_fails_its_task(
    network: Network, launch: Launch
) -> None:
    process = launch(network.worker_command(evaluating, heartbeat=QUICK))
    (task,) = wait_for_running_tasks(network)
    network.stop_workers(kill=True)
    (failed,) = network.fetch_tasks()
    assert (failed.key, failed.state) == (task.key, "failed")
    assert failed.error == f"worker {task.worker_id} was lost: killed by the manager"
    assert process.wait(PATIENCE_S) != 0
    assert not psutil.pid_exists(task.config["pid"])
    (info,) = network.fetch_workers()
    assert (info.state, info.reason) == (WorkerState.KILLED, "killed by the manager")


def test_the_password_comes_from_the_environment_and_is_not_printed(
    loopback_server: LoopbackServer, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Network("locked", loopback_server.url) as network:
        beat = Heartbeat(period_s=0.05, expire_s=30.0, own_process=True)
        command = network.worker_command(polite, heartbeat=beat)
        assert loopback_server.bare_url in shlex.split(command)[0]
        for secret in (PASSWORD, "battery", "staple"):
            assert secret not in command
        refused = launch(command)
        _, errors = refused.communicate(timeout=PATIENCE_S)
        assert refused.returncode == 1
        assert errors.startswith("rush: ")
        assert "Traceback" not in errors
        assert network.fetch_workers() == []

        process = launch(command, RUSH_REDIS_PASSWORD=PASSWORD)
        (task,) = wait_for_running_tasks(network)
        worker = psutil.Process(task.config["pid"])
        (heart,) = worker.children()
        for lines in (worker.cmdline(), heart.cmdline()):
            assert "battery" not in " ".join(lines)
        network.stop_workers()
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, errors) == (0, "")
        assert network.count_tasks() == (0, 0, 1, 0)
    check_network("locked", loopback_server.url)


def test_a_wrong_password_is_refused_and_never_shown(
    loopback_server: LoopbackServer, launch: Launch
) -> None:
    with Network("locked", loopback_server.url) as network:
        process = launch(network.worker_command(polite), RUSH_REDIS_PASSWORD="mistyped")
        output = "".join(process.communicate(timeout=PATIENCE_S))
        assert process.returncode == 1
        assert "password" in output
        assert "mistyped" not in output


def test_a_worker_without_the_secret_does_not_run_the_loop(
    network: Network, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSH_SECRET", "between us")
    command = network.worker_command(sharing, args=(3,), heartbeat=QUICK)
    assert "between us" not in command
    for other in ("", "another"):
        process = launch(command, RUSH_SECRET=other)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert "RUSH_SECRET" in errors
        assert "Traceback" not in errors
        assert "between us" not in errors
    assert network.fetch_workers() == []
    assert network.count_tasks() == (0, 0, 0, 0)
    process = launch(command)
    assert process.wait(PATIENCE_S) == 0
    assert network.count_tasks() == (0, 0, 3, 0)


def test_after_a_reset_an_old_command_says_that_its_loop_is_gone(
    network: Network, launch: Launch
) -> None:
    command = network.worker_command(sharing, args=(3,))
    network.reset()
    process = launch(command)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "has no worker loop" in errors
    assert network.fetch_workers() == []


def test_a_loop_that_cannot_be_shipped_gives_no_command(network: Network) -> None:
    lock = threading.Lock()

    def loop(worker: Worker) -> None:
        with lock:
            pass

    with pytest.raises(LoopError, match="cannot ship 'loop'"):
        network.worker_command(loop)
