"""What workers, managers and loops leave behind when they are gone."""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from rush_core import EmbeddedServer, Network, Worker, WorkerState, serve
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.core.processes import evaluating, info_of, is_alive, wait_for_running_tasks
from tests.waiting import wait_until

PATIENCE_S = 30.0  # for what takes well under a second on an idle machine


def test_closing_leaves_no_process_no_client_and_no_file(
    server: EmbeddedServer,
    network_id: str,
    pids: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    connection, keys = Connection(server.url), NetworkKeys(network_id)
    with Network(network_id, server.url) as network:
        network.start_workers(evaluating, 2)
        pids += [task.config["pid"] for task in wait_for_running_tasks(network, 2)]
        network.push_tasks([{"x": 1}])
        network.fetch_new_tasks(timeout_s=0.01)
        assert connection.execute(pack(("HLEN", keys.clients))) == 3
        assert list(tmp_path.iterdir())
    assert not any(map(is_alive, pids))
    assert list(tmp_path.iterdir()) == []
    for key in (keys.clients, keys.waiting, keys.idle):
        assert connection.execute(pack(("EXISTS", key))) == 0
    with Network(network_id, server.url) as later:
        assert later.count_tasks() == (1, 0, 0, 2)
        assert {info.state for info in later.fetch_workers()} == {WorkerState.KILLED}
        later.reset()
    # Lists of wake-ups that no client reads expire after a minute.
    _, left = connection.execute(
        pack(("SCAN", "0", "MATCH", f"rush:{{{network_id}}}:*", "COUNT", "100000"))
    )
    assert all(b":wake:" in key and connection.execute(pack(("TTL", key))) > 0 for key in left)
    connection.close()


def test_closing_with_many_workers_is_soon_over_when_the_server_is_gone(pids: list[int]) -> None:
    with serve() as server:
        network = Network("gone", server.url)
        network.start_workers(evaluating, 3)
        pids += [task.config["pid"] for task in wait_for_running_tasks(network, 3)]
    began = time.monotonic()
    network.close()
    assert time.monotonic() - began < 10.0  # twice the patience for one that is killed


def test_closing_twice_is_no_error(network: Network, worker: Worker) -> None:
    worker.close()
    worker.close()
    network.push_tasks([{"x": 1}])
    network.close()
    network.close()


def test_reset_kills_the_workers_and_forgets_them(network: Network, pids: list[int]) -> None:
    network.start_workers(evaluating, 2)
    pids += [task.config["pid"] for task in wait_for_running_tasks(network, 2)]
    network.reset()
    assert not any(map(is_alive, pids))
    assert network.fetch_workers() == []
    assert network.count_tasks() == (0, 0, 0, 0)
    assert network.detect_lost_workers() == []
    network.start_workers(evaluating, 1)
    wait_for_running_tasks(network)


def test_threads_and_children_that_a_loop_left_behind_are_not_waited_for_long(
    network: Network, tmp_path: Path, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)

    def loop(worker: Worker) -> None:
        atexit.register(lambda: print("at the exit"))  # the last, for it was the first
        children = multiprocessing.get_context("fork")
        leashed = children.Process(target=time.sleep, args=(600.0,), daemon=True)
        leashed.start()
        free = children.Process(target=time.sleep, args=(600.0,))
        free.start()
        threading.Thread(target=time.sleep, args=(600.0,)).start()
        for child in (leashed, free):
            key = worker.start_task({"pid": child.pid})
            assert key is not None
            worker.finish_task(key, {})

    (worker_id,) = network.start_workers(loop, 1, log_folder=tmp_path)
    assert network.join_workers(PATIENCE_S)
    assert info_of(network, worker_id).state is WorkerState.STOPPED
    pids += [task.config["pid"] for task in network.fetch_finished_tasks()]
    assert "at the exit" in (tmp_path / f"{worker_id}.out").read_text()


def test_a_thread_that_a_loop_left_behind_may_end_what_it_does(
    network: Network, tmp_path: Path
) -> None:
    has_left, is_written = tmp_path / "left", tmp_path / "written"

    def write() -> None:
        wait_until(has_left.exists, PATIENCE_S)
        is_written.touch()

    def loop(worker: Worker) -> None:
        threading.Thread(target=write).start()

    (worker_id,) = network.start_workers(loop, 1)
    network.wait_for_workers()
    wait_until(lambda: info_of(network, worker_id).ended_at is not None, PATIENCE_S)
    assert not network.join_workers(0.0)
    has_left.touch()
    assert network.join_workers(PATIENCE_S)
    assert is_written.exists()


def test_a_child_forked_by_a_loop_ends_at_a_signal(network: Network) -> None:
    def loop(worker: Worker) -> None:
        for _ in range(50):
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600.0,))
            child.start()
            child.terminate()  # whether it has begun to run or not
            child.join()
            key = worker.start_task({})
            assert key is not None
            worker.finish_task(key, {"exit": child.exitcode})
        assert not worker.should_stop()

    (worker_id,) = network.start_workers(loop, 1)
    assert network.join_workers(PATIENCE_S)
    assert info_of(network, worker_id).reason == ""
    results = network.fetch_finished_tasks().results
    assert results == [{"exit": -signal.SIGTERM}] * 50


def test_nothing_survives_a_manager_that_is_killed_but_the_child_it_forked(
    tmp_path: Path, pids: list[int]
) -> None:
    script = tmp_path / "manager.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys, time
        from rush_core import Network

        def loop(worker):
            worker.start_task({"pid": os.getpid()})
            while True:
                time.sleep(60.0)

        network = Network("orphans")
        network.start_workers(loop, 2)
        while network.count_tasks().running < 2:
            network.fetch_new_tasks(timeout_s=0.05)
        pids = [task.config["pid"] for task in network.fetch_tasks("running")]
        forked = os.fork()  # as an idle process pool does, which knows nothing of its owner's end
        if forked:
            print(network.url, forked, *pids, flush=True)
        time.sleep(600)
        """)
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    manager = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert manager.stdout is not None
        url, forked, *workers = manager.stdout.readline().split()
        family = psutil.Process(manager.pid).children(recursive=True)
        pids += [process.pid for process in family if process.pid != int(forked)]
        assert {int(pid) for pid in workers} <= set(pids)
        assert any("server" in process.name() for process in family)
    finally:
        manager.kill()
        manager.wait()
    folder = Path(url.removeprefix("unix://")).parent
    try:
        wait_until(lambda: not any(map(is_alive, pids)), PATIENCE_S)
        wait_until(lambda: not folder.exists(), PATIENCE_S)
    finally:
        os.kill(int(forked), signal.SIGKILL)
        manager.communicate()
