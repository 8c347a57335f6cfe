"""Heartbeats: a silent worker is found once, a live one never, and a lost one can come back."""

import ctypes
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from rush_core import (
    EmbeddedServer,
    Heartbeat,
    Network,
    RushError,
    TaskState,
    Worker,
    WorkerLostError,
    WorkerState,
)
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.core.loopback import PASSWORD, LoopbackServer
from tests.core.processes import evaluating, info_of, wait_for_running_tasks
from tests.fixture_types import Launch
from tests.threads import at_once, in_background
from tests.waiting import wait_until

PATIENCE_S = 30.0

# On a busy machine, a heartbeat can be some tenths of a second late.
QUICK = Heartbeat(period_s=0.02, expire_s=0.8)
BESIDE = Heartbeat(period_s=0.05, expire_s=3.0, own_process=True)


def holding_the_interpreter(worker: Worker) -> None:
    """A loop whose task is a call of foreign code that never lets another thread run."""
    worker.start_task({"pid": os.getpid()})
    ctypes.PyDLL(None).sleep(600)


def find_lost(network: Network) -> list[str]:
    return wait_until(network.detect_lost_workers, PATIENCE_S)


def fall_silent(worker: Worker) -> None:
    """Stop the heartbeats of a worker in this process."""
    assert worker._heart is not None
    worker._heart.close()


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# -- live workers -------------------------------------------------------------------------------


def test_a_live_worker_is_not_lost_during_a_long_task(
    network: Network, server: EmbeddedServer
) -> None:
    beat = Heartbeat(period_s=0.05, expire_s=0.5)
    with Worker(network.network_id, url=server.url, heartbeat=beat) as worker:
        key = worker.start_task({"x": 1})
        end = time.monotonic() + 3 * beat.expire_s
        while time.monotonic() < end:
            assert network.detect_lost_workers() == []
            time.sleep(0.005)
        assert not worker.should_stop()
        assert key is not None
        assert worker.finish_task(key, {})


def test_a_worker_without_heartbeats_is_never_found_silent(
    network: Network, server: EmbeddedServer
) -> None:
    connection = Connection(server.url)
    with Worker(network.network_id, url=server.url, heartbeat=None) as worker:
        alive = NetworkKeys(network.network_id).alive(worker.worker_id)
        assert connection.execute(pack(("EXISTS", alive))) == 0
        assert network.detect_lost_workers() == []
        assert info_of(network, worker.worker_id).heartbeat_s is None
        assert info_of(network, worker.worker_id).state is WorkerState.RUNNING
    connection.close()


def test_no_worker_is_lost_because_the_server_was_away(
    loopback_server: LoopbackServer, launch: Launch
) -> None:
    with Network("away", loopback_server.url) as network:
        command = network.worker_command(evaluating, heartbeat=QUICK)
        launch(command, RUSH_REDIS_PASSWORD=PASSWORD)
        (task,) = wait_for_running_tasks(network)
        pid, alive = task.config["pid"], NetworkKeys("away").alive(task.worker_id)
        os.kill(pid, signal.SIGSTOP)  # it continues after the check
        before = loopback_server.ask("GET", alive)
        assert network.detect_lost_workers() == []
        seen_at = time.monotonic()
        loopback_server.kill()
        wait_until(lambda: time.monotonic() - seen_at > QUICK.expire_s)
        loopback_server.start()
        assert loopback_server.ask("GET", alive) == before
        assert network.detect_lost_workers() == []
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: loopback_server.ask("GET", alive) != before)
        assert network.detect_lost_workers() == []
        assert network.count_tasks().running == 1
        os.kill(pid, signal.SIGKILL)
        assert find_lost(network) == [task.worker_id]


def test_a_heartbeat_does_not_depend_on_the_clock_of_the_server(
    network: Network, server: EmbeddedServer
) -> None:
    connection = Connection(server.url)
    with Worker(network.network_id, url=server.url, heartbeat=QUICK) as worker:
        alive = NetworkKeys(network.network_id).alive(worker.worker_id)
        assert connection.execute(pack(("PTTL", alive))) == -1  # it never expires
        wait_until(lambda: int(connection.execute(pack(("GET", alive)))) >= 5)
        # Not even a heartbeat that vanishes makes a live worker silent.
        connection.execute(pack(("DEL", alive)))
        assert network.detect_lost_workers() == []
        wait_until(lambda: connection.execute(pack(("EXISTS", alive))))
        assert network.detect_lost_workers() == []
    connection.close()


def test_only_a_manager_that_has_watched_long_enough_finds_a_silent_worker(
    network: Network, server: EmbeddedServer
) -> None:
    with Worker(network.network_id, url=server.url, heartbeat=QUICK) as worker:
        fall_silent(worker)
        assert network.detect_lost_workers() == []
        seen_at = time.monotonic()
        wait_until(lambda: time.monotonic() - seen_at > QUICK.expire_s)
        with Network(network.network_id, server.url) as newcomer:
            assert newcomer.detect_lost_workers() == []
            assert network.detect_lost_workers() == [worker.worker_id]
            assert newcomer.detect_lost_workers() == []


def test_a_worker_that_comes_back_is_watched_anew(network: Network, server: EmbeddedServer) -> None:
    beat = Heartbeat(period_s=50.0, expire_s=50.0)
    with Worker(network.network_id, url=server.url, heartbeat=beat) as worker:
        registry = network._registry
        assert network.detect_lost_workers() == []
        mark, since = registry._seen[worker.worker_id]
        registry._seen[worker.worker_id] = mark, since - 50.0
        assert network.detect_lost_workers() == [worker.worker_id]
        registry._seen[worker.worker_id] = mark, since - 50.0
        assert worker.rejoin()  # its heartbeats begin with the same number
        assert network.detect_lost_workers() == []


# -- silent workers -----------------------------------------------------------------------------


def test_of_several_managers_one_finds_the_killed_worker(
    network: Network, launch: Launch, server: EmbeddedServer
) -> None:
    launch(network.worker_command(evaluating, heartbeat=QUICK))
    (task,) = wait_for_running_tasks(network)
    assert network.detect_lost_workers() == []
    os.kill(task.config["pid"], signal.SIGKILL)
    found: list[str] = []

    def look() -> None:
        with Network(network.network_id, server.url) as survivor:
            while network.count_tasks().running:
                found.extend(survivor.detect_lost_workers())
            found.extend(survivor.detect_lost_workers())

    at_once([look] * 4)
    assert found == [task.worker_id]
    (failed,) = network.fetch_tasks()
    assert (failed.key, failed.state) == (task.key, TaskState.FAILED)
    assert failed.error is not None
    assert "its heartbeat expired" in failed.error
    assert failed.result_extra == {"lost": "lost"}
    info = info_of(network, task.worker_id)
    assert (info.state, info.heartbeat_s) == (WorkerState.LOST, QUICK.expire_s)
    assert info.task_keys == ()


def test_a_worker_that_was_suspended_too_long_loses_its_task_and_goes_on(
    network: Network, launch: Launch
) -> None:
    def loop(worker: Worker) -> None:
        key = worker.start_task({"pid": os.getpid()})
        assert key is not None
        wait_until(lambda: worker.count_tasks().failed, 60.0)  # suspended here, and lost meanwhile
        won = worker.finish_task(key, {"y": "late"})
        seen = {"won": won, "lost": worker.is_lost, "back": worker.rejoin()}
        seen |= {"lost again": worker.is_lost, "won again": worker.finish_task(key, {})}
        key = worker.start_task({})
        assert key is not None
        worker.finish_task(key, {**seen, "number": worker.number})

    process = launch(network.worker_command(loop, heartbeat=QUICK))
    (task,) = wait_for_running_tasks(network)
    os.kill(task.config["pid"], signal.SIGSTOP)
    assert find_lost(network) == [task.worker_id]
    assert info_of(network, task.worker_id).state is WorkerState.LOST
    os.kill(task.config["pid"], signal.SIGCONT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    (failed,), (finished,) = network.fetch_tasks("failed"), network.fetch_tasks("finished")
    assert (failed.key, failed.result) == (task.key, None)
    assert finished.worker_id == task.worker_id
    assert finished.result == {
        **{"won": False, "lost": True, "back": True, "lost again": False, "won again": False},
        "number": 0,
    }
    info = info_of(network, task.worker_id)
    assert (info.number, info.state) == (0, WorkerState.STOPPED)
    warnings = [record for record in network.read_log() if record.level == "WARNING"]
    assert [record.worker_id for record in warnings] == [task.worker_id]
    assert "its result is discarded" in warnings[0].message


def test_commands_that_a_worker_sent_before_it_came_back_are_refused(
    network: Network, server: EmbeddedServer
) -> None:
    with Worker(network.network_id, url=server.url, heartbeat=QUICK) as worker:
        network.push_tasks([{"x": 0}])
        key = worker.start_task({"x": 1})
        assert key is not None
        before = worker._transitions
        fall_silent(worker)
        assert find_lost(network) == [worker.worker_id]
        assert worker.finish_task(key, {"y": 1}) is False
        assert worker.rejoin()
        new = worker.start_task({"x": 2})
        assert new is not None
        tasks = list(network.fetch_tasks())
        now, worker._transitions = worker._transitions, before  # as it was when it was lost
        assert worker.finish_task(new, {"y": 1}) is False
        assert worker.fail_task(new, "late") is False
        for command in (lambda: worker.start_task({"x": 3}), worker.claim_task):
            with pytest.raises(WorkerLostError):
                command()
        worker._transitions = now
        assert list(network.fetch_tasks()) == tasks
        assert worker.finish_task(new, {"y": 2})
    assert network.count_tasks() == (1, 0, 1, 1)


@pytest.mark.parametrize("end", ["kill", "reset"])
def test_a_killed_worker_cannot_come_back(network: Network, worker: Worker, end: str) -> None:
    if end == "kill":
        network.stop_workers([worker.worker_id], kill=True)
    else:
        network.reset()
    with pytest.raises(WorkerLostError, match="rejoin"):
        worker.start_task({"x": 1})
    assert worker.is_lost
    assert worker.rejoin() is False
    with pytest.raises(WorkerLostError):
        worker.start_task({"x": 1})


def test_a_registered_worker_cannot_come_back(network: Network, worker: Worker) -> None:
    with pytest.raises(RushError, match="already"):
        worker.rejoin()
    assert worker.start_task({"x": 1})


def test_a_worker_that_comes_back_after_all_were_asked_to_stop_stops(
    network: Network, server: EmbeddedServer
) -> None:
    with Worker(network.network_id, url=server.url, heartbeat=QUICK) as worker:
        fall_silent(worker)
        find_lost(network)
        network.stop_workers()
        assert worker.rejoin()
        assert worker.start_task({"x": 1}) is None
        assert worker.should_stop()


# -- heartbeats from a process of their own -----------------------------------------------------


def test_a_worker_that_holds_the_interpreter_needs_a_heartbeat_process(
    network: Network, launch: Launch
) -> None:
    plain = Heartbeat(BESIDE.period_s, BESIDE.expire_s)
    launch(network.worker_command(holding_the_interpreter, heartbeat=BESIDE))
    (lives,) = wait_for_running_tasks(network)
    (heart,) = psutil.Process(lives.config["pid"]).children()
    launch(network.worker_command(holding_the_interpreter, heartbeat=plain))
    # The worker that began later is lost; by then the other has lived longer than its heartbeat.
    (lost,) = [t for t in wait_for_running_tasks(network, 2) if t.key != lives.key]
    assert find_lost(network) == [lost.worker_id]
    assert info_of(network, lives.worker_id).state is WorkerState.RUNNING
    # Only another process can end a worker that handles no signals.
    process = psutil.Process(lives.config["pid"])
    network.stop_workers([lives.worker_id], kill=True)
    assert sorted(network.fetch_tasks("failed").keys) == sorted([lost.key, lives.key])
    wait_until(lambda: is_gone(process), PATIENCE_S)
    wait_until(lambda: is_gone(heart), PATIENCE_S)


def test_a_worker_is_not_lost_while_its_heartbeat_process_starts(
    network: Network, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"  # opening it for reading waits until it is opened for writing
    os.mkfifo(gate)
    (tmp_path / "sitecustomize.py").write_text(f"open({str(gate)!r}).close()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    beat = Heartbeat(QUICK.period_s, QUICK.expire_s, own_process=True)
    joined = threading.Event()

    def join() -> Worker:
        worker = Worker(network.network_id, url=server.url, heartbeat=beat)
        joined.set()
        return worker

    joining = in_background(join)
    network.wait_for_workers(1, timeout_s=PATIENCE_S)
    end = time.monotonic() + 2 * beat.expire_s
    while time.monotonic() < end:
        assert network.detect_lost_workers() == []
        time.sleep(0.005)
    assert not joined.is_set()
    gate.open("w").close()
    joining().close()
    assert network.fetch_workers()[0].state is WorkerState.STOPPED


def test_a_worker_whose_heartbeat_process_does_not_start_leaves_with_an_error(
    network: Network, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RushError, match="exit code 7"):
        Worker(network.network_id, url=server.url, heartbeat=BESIDE)
    (info,) = network.fetch_workers()
    assert info.state is WorkerState.STOPPED
    assert "could not send heartbeats" in str(info.reason)


def test_the_heartbeat_process_ends_when_the_worker_dies(network: Network, launch: Launch) -> None:
    def loop(worker: Worker) -> None:
        child = os.fork()  # a forked child has copies of the worker's pipes
        if child == 0:
            time.sleep(600.0)
            os._exit(0)
        worker.start_task({"pid": os.getpid(), "child": child})
        time.sleep(600.0)

    launch(network.worker_command(loop, heartbeat=BESIDE))
    (task,) = wait_for_running_tasks(network)
    worker = psutil.Process(task.config["pid"])
    child = psutil.Process(task.config["child"])
    (heart,) = [process for process in worker.children() if process.pid != child.pid]
    try:
        worker.kill()
        wait_until(lambda: is_gone(heart), PATIENCE_S)
    finally:
        child.kill()
    assert find_lost(network) == [task.worker_id]


def test_the_heartbeat_process_ends_when_the_worker_leaves(
    network: Network, server: EmbeddedServer
) -> None:
    before = set(psutil.Process().children())
    with Worker(network.network_id, url=server.url, heartbeat=BESIDE) as worker:
        (heart,) = set(psutil.Process().children()) - before
        assert server.url not in " ".join(heart.cmdline())
        assert worker.worker_id in heart.cmdline()
    assert not heart.is_running()
    assert info_of(network, worker.worker_id).state is WorkerState.STOPPED


# -- being killed -------------------------------------------------------------------------------


def test_a_worker_killed_from_elsewhere_ends_its_process(network: Network, launch: Launch) -> None:
    process = launch(network.worker_command(evaluating, heartbeat=QUICK))
    (task,) = wait_for_running_tasks(network)
    network.stop_workers([task.worker_id], kill=True)
    assert network.fetch_tasks("failed").keys == [task.key]
    assert process.wait(PATIENCE_S) != 0
    assert info_of(network, task.worker_id).state is WorkerState.KILLED


@pytest.mark.parametrize("end", ["leave", "kill", "lose", "reset"])
def test_no_heartbeat_is_left(network: Network, server: EmbeddedServer, end: str) -> None:
    connection, keys = Connection(server.url), NetworkKeys(network.network_id)
    # A heartbeat that would last much longer than the test.
    beat = QUICK if end == "lose" else Heartbeat(period_s=0.02, expire_s=1000.0)
    killed = threading.Event()
    worker = Worker(network.network_id, url=server.url, heartbeat=beat, on_killed=killed.set)
    asked = pack(("EXISTS", keys.alive(worker.worker_id)))
    assert connection.execute(asked) == 1
    if end == "leave":
        worker.close()
    elif end == "kill":
        network.stop_workers(kill=True)
        assert killed.wait(PATIENCE_S)  # a late heartbeat leaves nothing either
    elif end == "lose":
        fall_silent(worker)
        find_lost(network)
    else:
        network.reset()
        assert killed.wait(PATIENCE_S)
    assert connection.execute(asked) == 0
    worker.close()
    connection.close()


@pytest.mark.parametrize(
    ("period_s", "expire_s"),
    [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0)],
)
def test_invalid_times_are_refused(period_s: float, expire_s: float) -> None:
    with pytest.raises(ValueError, match="period_s"):
        Heartbeat(period_s=period_s, expire_s=expire_s)
