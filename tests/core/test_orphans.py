"""Workers whose manager is killed: they are gone within a second, whatever their loop does."""

import ctypes
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, TaskState, Worker
from rush_core.launching.local import StartMethod
from tests.core.processes import PATIENCE_S, is_alive, wait_for_running_tasks
from tests.waiting import wait_until

GONE_WITHIN_S = 1.0

MANAGER = """
import ctypes, os, signal, sys, threading, time
from rush_core import Heartbeat, Network

def sleep():
    time.sleep(600.0)

def hold_the_interpreter():
    ctypes.PyDLL(None).sleep(600)

def block_all_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(600.0)

def catch_every_exception():
    while True:
        try:
            time.sleep(600.0)
        except BaseException:
            pass

def close_the_input():
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600.0)

def stop_itself():
    os.kill(os.getpid(), signal.SIGSTOP)

def wait_for_a_child():
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600.0)
        os._exit(0)
    os.waitpid(child, 0)

def loop(worker, act):
    worker.start_task({"pid": os.getpid()})
    act()

network = Network("NETWORK", URL)
network.start_workers(loop, 1, args=(globals()[sys.argv[1]],), heartbeat=HEARTBEAT)
print(network.url, flush=True)
time.sleep(600.0)
"""

ACTS = [
    "sleep",
    "hold_the_interpreter",
    "block_all_signals",
    "catch_every_exception",
    "close_the_input",
    "stop_itself",
    "wait_for_a_child",
]


def hold_the_interpreter(worker: Worker, for_s: float) -> None:
    """A loop whose task holds the interpreter's lock: no thread can send heartbeats."""
    key = worker.start_task({})
    assert key is not None
    ctypes.PyDLL(None).usleep(round(for_s * 1e6))
    worker.finish_task(key, {})


@contextmanager
def managed(
    folder: Path, act: str, network_id: str, url: str | None, heartbeat: Heartbeat | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a manager whose only worker does `act`; yield the process and the server's URL."""
    script = folder / "manager.py"
    text = MANAGER.replace("NETWORK", network_id).replace("URL", repr(url))
    script.write_text(text.replace("HEARTBEAT", repr(heartbeat)))
    command = [sys.executable, str(script), act]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as manager:
        assert manager.stdout is not None
        try:
            yield manager, manager.stdout.readline().strip()
        finally:
            manager.kill()


def wait_for_gone(processes: list[psutil.Process], killed_at: float) -> float:
    """Wait until processes are gone; return after how many seconds they were."""
    wait_until(lambda: not any(is_alive(process.pid) for process in processes), PATIENCE_S)
    return time.monotonic() - killed_at


@pytest.mark.parametrize("act", ACTS)
def test_a_worker_is_gone_within_a_second_of_its_manager(
    act: str, server: EmbeddedServer, network: Network, pids: list[int], tmp_path: Path
) -> None:
    with managed(tmp_path, act, network.network_id, server.url) as (manager, _):
        (task,) = wait_for_running_tasks(network)
        worker = psutil.Process(task.config["pid"])
        if act == "wait_for_a_child":
            wait_until(worker.children)
        if act == "stop_itself":
            wait_until(lambda: worker.status() == psutil.STATUS_STOPPED)
        group = [worker, *worker.children()]
        pids += [process.pid for process in group]
        manager.kill()
        assert wait_for_gone(group, time.monotonic()) < GONE_WITHIN_S


def test_workers_are_gone_with_a_manager_whose_server_ends_as_well(
    network_id: str, pids: list[int], tmp_path: Path
) -> None:
    with managed(tmp_path, "hold_the_interpreter", network_id, None) as (manager, url):
        with Network(network_id, url) as network:
            (task,) = wait_for_running_tasks(network)
        family = psutil.Process(manager.pid).children(recursive=True)
        pids += [process.pid for process in family]
        assert task.config["pid"] in pids
        manager.kill()
        assert wait_for_gone(family, time.monotonic()) < GONE_WITHIN_S


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_no_process_that_looked_after_workers_outlives_them(
    start_method: StartMethod, network: Network, tmp_path: Path
) -> None:
    before = set(psutil.Process().children(recursive=True))
    network.start_workers(lambda worker: None, 2, log_folder=tmp_path, start_method=start_method)
    assert network.join_workers(PATIENCE_S)
    wait_until(lambda: not set(psutil.Process().children(recursive=True)) - before, PATIENCE_S)


@pytest.mark.parametrize("heartbeat", [None, Heartbeat(period_s=0.05, expire_s=1.0)])
def test_a_worker_that_is_killed_together_with_its_manager_is_found_lost(
    heartbeat: Heartbeat | None, server: EmbeddedServer, network: Network, tmp_path: Path
) -> None:
    with managed(tmp_path, "sleep", network.network_id, server.url, heartbeat) as (manager, _):
        (task,) = wait_for_running_tasks(network)
        (info,) = network.fetch_workers()
        # By default, too: the server is none of the manager's.
        assert info.heartbeat_s == (heartbeat or Heartbeat()).expire_s
        if heartbeat is None:
            return
        family = psutil.Process(manager.pid).children(recursive=True)
        for process in family:
            process.suspend()  # nobody notices the end of another
        manager.kill()
        for process in family:
            process.kill()
    with Network(network.network_id, server.url) as other:
        assert wait_until(other.detect_lost_workers) == [info.worker_id]
    (failed,) = network.fetch_tasks()
    assert (failed.key, failed.state) == (task.key, TaskState.FAILED)


@pytest.mark.parametrize("named", [False, True])
def test_workers_of_a_network_that_ends_with_its_manager_send_no_heartbeats(named: bool) -> None:
    with Network(f"kept-{secrets.token_hex(4)}" if named else None) as network:
        network.start_workers(lambda worker: None, 1)
        network.wait_for_workers(timeout_s=PATIENCE_S)
        (info,) = network.fetch_workers()
    assert info.heartbeat_s == (Heartbeat().expire_s if named else None)


def test_a_silent_worker_is_not_lost_to_the_manager_that_watches_its_process(
    network: Network,
) -> None:
    heartbeat = Heartbeat(period_s=0.05, expire_s=0.5)
    network.start_workers(
        hold_the_interpreter, 1, args=(4 * heartbeat.expire_s,), heartbeat=heartbeat
    )
    wait_for_running_tasks(network)
    while network.count_tasks().running:
        assert network.detect_lost_workers() == []
    assert network.join_workers(PATIENCE_S)
    assert network.count_tasks() == (0, 0, 1, 0)
