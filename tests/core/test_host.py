"""Workers of one host: the command that starts several of them and looks after them."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, Worker, WorkerState
from rush_core.connection.connection import Connection, pack
from rush_core.launching import room
from tests.core.importing import Module, write_module
from tests.core.loopback import LoopbackServer
from tests.core.processes import (
    PATIENCE_S,
    evaluating,
    info_of,
    is_alive,
    polite,
    sharing,
    wait_for_running_tasks,
)
from tests.fixture_types import Launch
from tests.waiting import wait_until

CORE = shlex.join([sys.executable, "-P", "-m", "rush_core"])


def failing(worker: Worker) -> None:
    raise ValueError("no such learner")


def loading(worker: Worker, module: Module) -> None:
    """A loop that cannot be loaded."""


def end_of(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return the exit code of a command, and its standard error."""
    _, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, errors


def test_several_workers_share_one_command_and_one_import(
    network: Network, launch: Launch, tmp_path: Path
) -> None:
    command = network.worker_command(sharing, args=(50,))
    assert end_of(launch(f"{command} --workers 3")) == (0, "")
    assert network.count_tasks() == (0, 0, 50, 0)
    workers = network.fetch_workers()
    assert [info.state for info in workers] == [WorkerState.STOPPED] * 3
    assert len({info.pid for info in workers}) == 3


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_lost_worker_is_replaced_and_its_task_is_queued_again(
    start_method: str, server: EmbeddedServer, network_id: str, launch: Launch
) -> None:
    with Network(network_id, server.url, max_retries=2) as network:
        command = network.worker_command(evaluating)
        process = launch(f"{command} --workers 2 --start-method {start_method}")
        first, second = wait_for_running_tasks(network, 2)
        os.kill(first.config["pid"], signal.SIGKILL)
        wait_until(lambda: len(network.fetch_workers()) == 3, PATIENCE_S)
        wait_until(lambda: network.count_tasks() == (1, 2, 0, 0), PATIENCE_S)
        assert is_alive(second.config["pid"])
        assert process.poll() is None
        assert first.worker_id is not None
        assert info_of(network, first.worker_id).state is WorkerState.LOST


def test_the_loop_that_was_shipped_last_is_the_default(
    network: Network, server: EmbeddedServer, launch: Launch
) -> None:
    for n in (10, 20):
        network.worker_command(sharing, args=(n,))
    network.start_workers(polite, 1, is_default=False)
    wait_for_running_tasks(network)
    for n_workers in ("", "--workers auto"):
        command = f"{CORE} worker {network.network_id} --url {server.url} {n_workers}"
        assert end_of(launch(command)) == (0, "")
    assert network.count_tasks().finished == 19
    assert len(network.fetch_workers()) == 2 + room.usable_cpus()
    network.stop_workers()
    assert network.join_workers(PATIENCE_S)


@pytest.mark.parametrize("secret", ["", "the same"])
def test_the_default_loop_of_a_server_that_others_reach_must_be_signed(
    secret: str,
    loopback_server: LoopbackServer,
    network_id: str,
    launch: Launch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUSH_SECRET", secret)
    with Network(network_id, loopback_server.url) as network:
        network.worker_command(sharing, args=(3,))
        environment = {"RUSH_REDIS_URL": loopback_server.url, "RUSH_SECRET": secret}
        code, errors = end_of(launch(f"{CORE} worker {network_id}", **environment))
        assert network.count_tasks().finished == (3 if secret else 0)
    assert code == (0 if secret else 1)
    assert ("set the same RUSH_SECRET" in errors) == (not secret)


def test_sigterm_lets_the_workers_end_their_tasks(network: Network, launch: Launch) -> None:
    process = launch(f"exec {CORE} worker {network.network_id} --url {network.url} --workers 2")
    assert "no worker loop yet" in end_of(process)[1]
    network.worker_command(polite)
    process = launch(f"exec {CORE} worker {network.network_id} --url {network.url} --workers 2")
    wait_for_running_tasks(network, 2)
    process.terminate()
    assert end_of(process) == (0, "")
    assert network.count_tasks() == (0, 0, 2, 0)
    assert {info.state for info in network.fetch_workers()} == {WorkerState.STOPPED}


@pytest.mark.parametrize("end", ["grace", "second signal"])
def test_tasks_that_do_not_end_in_the_grace_time_fail(
    end: str, network: Network, launch: Launch, pids: list[int]
) -> None:
    network.worker_command(evaluating)
    grace_s = 0.5 if end == "grace" else 600.0
    command = f"exec {CORE} worker {network.network_id} --url {network.url}"
    process = launch(f"{command} --workers 2 --grace {grace_s}")
    pids += [task.config["pid"] for task in wait_for_running_tasks(network, 2)]
    process.send_signal(signal.SIGINT)
    if end == "second signal":
        process.send_signal(signal.SIGTERM)
    assert end_of(process) == (0, "")
    assert network.count_tasks() == (0, 0, 0, 2)
    assert {info.state for info in network.fetch_workers()} == {WorkerState.KILLED}


def test_workers_are_gone_within_a_second_of_their_command(
    network: Network, launch: Launch, pids: list[int]
) -> None:
    network.worker_command(evaluating)
    process = launch(f"exec {CORE} worker {network.network_id} --url {network.url} --workers 2")
    wait_for_running_tasks(network, 2)
    pids += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.kill()
    killed_at = time.monotonic()
    wait_until(lambda: not any(map(is_alive, pids)), PATIENCE_S)
    assert time.monotonic() - killed_at < 1.0


def test_a_host_that_vanishes_leaves_nothing_running(network: Network, launch: Launch) -> None:
    beat = Heartbeat(period_s=0.05, expire_s=1.0)
    network.worker_command(evaluating)
    command = f"exec {CORE} worker {network.network_id} --url {network.url} --workers 2"
    process = launch(f"{command} --heartbeat {beat.period_s} {beat.expire_s}")
    wait_for_running_tasks(network, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    for member in (*family, process):
        os.kill(member.pid, signal.SIGSTOP)  # nobody notices the end of another
    for member in (*family, process):
        os.kill(member.pid, signal.SIGKILL)

    def tasks_have_failed() -> bool:
        network.detect_lost_workers()
        return network.count_tasks() == (0, 0, 0, 2)

    wait_until(tasks_have_failed, PATIENCE_S)


def test_workers_that_were_stopped_or_killed_are_not_replaced(
    network: Network, launch: Launch
) -> None:
    network.worker_command(evaluating)
    process = launch(f"exec {CORE} worker {network.network_id} --url {network.url} --workers 2")
    wait_for_running_tasks(network, 2)
    network.stop_workers(kill=True)
    assert end_of(process) == (0, "")
    assert len(network.fetch_workers()) == 2


def test_a_loop_that_fails_is_not_run_again(network: Network, launch: Launch) -> None:
    network.worker_command(failing)
    command = f"{CORE} worker {network.network_id} --url {network.url} --workers 2"
    code, errors = end_of(launch(command))
    assert code == 1
    assert errors.count("ValueError: no such learner") == 1
    assert len(network.fetch_workers()) == 2


def test_a_loop_that_cannot_be_loaded_ends_the_command(
    network: Network, launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "raise ImportError('not here')")
    network.worker_command(loading, args=(module,))
    command = f"{CORE} worker {network.network_id} --url {network.url} --workers 2"
    code, errors = end_of(launch(command))
    assert code == 1
    assert "ImportError: not here" in errors
    assert network.fetch_workers() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--workers 0", "must be a count >= 1, or auto, got '0'"),
        ("--workers many", "must be a count >= 1, or auto, got 'many'"),
        ("--workers 100000000", "have no room: at most"),
        ("--workers 2 --worker-id one", "--worker-id names one worker"),
        ("--workers 2 --grace -1", "--grace must be between"),
        ("--grace 1", "--grace needs --workers"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: str, words: str, network: Network, launch: Launch
) -> None:
    network.worker_command(evaluating)
    code, errors = end_of(
        launch(f"{CORE} worker {network.network_id} --url {network.url} {options}")
    )
    assert code in (1, 2)
    assert words in errors
    assert "Traceback" not in errors
    assert network.fetch_workers() == []


def test_more_workers_than_the_server_takes_connections_are_refused(
    network: Network, launch: Launch
) -> None:
    connection = Connection(network.url)
    before = connection.execute(pack(("CONFIG", "GET", "maxclients")))[1]
    connection.execute(pack(("CONFIG", "SET", "maxclients", "100")))
    try:
        network.worker_command(evaluating)
        command = f"{CORE} worker {network.network_id} --url {network.url} --workers 60"
        assert "connections of the server" in end_of(launch(command))[1]
    finally:
        connection.execute(pack(("CONFIG", "SET", "maxclients", before)))
        connection.close()


@pytest.mark.parametrize(
    ("limits", "n_cpus"),
    [
        ({"a/b": "150000 100000", "a": "max 100000"}, 1),
        ({"a/b": "max 100000", "a": "50000 100000"}, 1),
        ({"a/b": "max 100000"}, None),
        ({}, None),
    ],
)
def test_the_cpu_time_of_a_control_group_counts(
    limits: dict[str, str], n_cpus: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_here = room.usable_cpus()
    monkeypatch.setattr(room, "_CGROUPS", tmp_path)
    monkeypatch.setattr(room, "_own_group", lambda: "a/b")
    for group, text in limits.items():
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / group / "cpu.max").write_text(f"{text}\n")
    assert room.usable_cpus() == min(n_cpus or n_here, n_here)
