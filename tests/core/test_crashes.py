"""Processes and the server really die, at every named point: nothing is lost, doubled or left over.

A worker loop announces the point that it has reached in Redis and then waits there for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from rush_core import (
    EmbeddedServer,
    Heartbeat,
    Network,
    ServerRefusedError,
    Task,
    Worker,
    WorkerState,
)
from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import Script
from rush_core.kernel.invariants import check_network
from rush_core.keys import NetworkKeys
from tests.core.loopback import LoopbackServer
from tests.core.processes import info_of
from tests.core.proxy import BreakingProxy
from tests.fixture_types import Launch
from tests.threads import in_background
from tests.waiting import wait_until

PATIENCE_S = 60.0
QUICK = Heartbeat(period_s=0.05, expire_s=1.0)
BESIDE = Heartbeat(period_s=0.05, expire_s=1.0, own_process=True)
LARGE = "x" * 1_000_000


class Points:
    """Where worker processes announce what they have reached, and wait."""

    def __init__(self, url: str, network_id: str) -> None:
        self._connection = Connection(url)
        self._reached = f"points:{network_id}"

    def reach(self, point: str) -> None:
        """Announce a point, and stay there."""
        self._connection.execute(pack(("RPUSH", self._reached, f"{point} {os.getpid()}")))
        while True:
            time.sleep(60.0)

    def wait_for(self, point: str) -> int:
        """Return the process that reached a point, when it has."""
        reply = self._connection.execute_many(
            [pack(("BLPOP", self._reached, PATIENCE_S))], block_s=PATIENCE_S
        )[0]
        assert reply is not None, f"nobody reached {point!r}"
        found, pid = reply[1].decode().rsplit(" ", 1)
        assert found == point
        return int(pid)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def points(network: Network) -> Iterator[Points]:
    points = Points(network.url, network.network_id)
    yield points
    points.close()


def stopping_at(worker: Worker, point: str) -> None:
    """Work until the point that the test chose: a worker loop."""
    points = Points(worker._connection.url, worker.network_id)
    if point == "registered":
        points.reach(point)
    if point == "claimed":
        assert worker.claim_task(timeout_s=60.0) is not None
        points.reach(point)
    key = worker.start_task({"pid": os.getpid()})
    assert key is not None
    if point in ("started", "before the finish"):
        if point == "before the finish":
            worker.fetch_new_tasks()
        points.reach(point)
    if point == "between two of several":
        more = worker.start_tasks([{"pid": os.getpid()}] * 3)
        assert worker.finish_tasks([key, more[0]], [{"y": 1}, {"y": 2}]) == [True, True]
        points.reach(point)
    if point == "finished":
        assert worker.finish_task(key, {"y": 1})
        points.reach(point)
    if point == "failed":
        assert worker.fail_task(key, "no")
        points.reach(point)


# How many tasks are then queued again, finished and failed, after a task was pushed.
POINTS = {
    "registered": (1, 0, 0),
    "claimed": (1, 0, 0),
    "started": (2, 0, 0),
    "before the finish": (2, 0, 0),
    "between two of several": (3, 2, 0),
    "finished": (1, 1, 0),
    "failed": (1, 0, 1),
}


@pytest.fixture(params=["local", "command", "pool"])
def start(
    request: pytest.FixtureRequest, server: EmbeddedServer, network: Network, launch: Launch
) -> Iterator[Callable[[str], Network]]:
    """Start one worker of each kind that stops at a point; returns the manager that watches it."""
    pools: list[ProcessPoolExecutor] = []
    with Network(network.network_id, server.url, max_retries=1) as manager:

        def start(point: str) -> Network:
            if request.param == "local":
                manager.start_workers(stopping_at, 1, args=(point,))
            elif request.param == "command":
                launch(manager.worker_command(stopping_at, args=(point,), heartbeat=QUICK))
            else:
                context = multiprocessing.get_context("spawn")
                pools.append(ProcessPoolExecutor(1, mp_context=context))
                manager.start_workers(
                    stopping_at, 1, args=(point,), executor=pools[0], heartbeat=QUICK
                )
            return manager

        yield start
        for pool in pools:
            pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_a_point_loses_nothing_and_doubles_nothing(
    start: Callable[[str], Network],
    network: Network,
    points: Points,
    server: EmbeddedServer,
    point: str,
) -> None:
    (pushed,) = network.push_tasks([{"pushed": True}])
    manager = start(point)
    pid = points.wait_for(point)
    assert network.count_tasks()[0] == (0 if point == "claimed" else 1)
    children = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    (lost,) = wait_until(manager.detect_lost_workers, PATIENCE_S)
    (info,) = network.fetch_workers()
    assert (info.worker_id, info.pid, info.state) == (lost, pid, WorkerState.LOST)
    n_queued, n_finished, n_failed = POINTS[point]
    assert network.count_tasks() == (n_queued, 0, n_finished, n_failed)
    assert pushed in network.fetch_tasks("queued").keys
    check_network(network.network_id, server.url)
    assert not any(child.is_running() for child in children)
    # The budget: exactly those places are free that lost tasks had.
    with Worker(network.network_id, url=server.url) as survivor:
        taken, limit = n_finished + n_failed, n_finished + n_failed + n_queued
        tasks = [survivor.claim_task(limit=limit) for _ in range(n_queued)]
        assert all(isinstance(task, Task) for task in tasks)
        assert survivor.start_task({}, limit=limit) is None
        keys = [task.key for task in tasks if task]
        assert survivor.finish_tasks(keys, [{}] * len(keys)) == [True] * len(keys)
    assert network.count_tasks() == (0, 0, limit - n_failed, n_failed)
    assert taken + len(keys) == limit


# -- killed while something is under way --------------------------------------------------------


def test_a_worker_killed_in_the_middle_of_a_large_reply_disturbs_nobody(
    network: Network, points: Points, launch: Launch
) -> None:
    def loop(worker: Worker) -> None:
        points = Points(worker._connection.url, worker.network_id)
        key = worker.start_task({"pid": os.getpid()})
        assert key is not None
        assert worker.finish_task(key, {"y": 1})
        request = pack(("LRANGE", NetworkKeys(worker.network_id).finished, 0, -1))
        connection = worker._connection
        assert connection._socket is not None
        connection._socket.sendall(request)
        connection._socket.recv(10)  # the reply is under way
        points.reach("reading")

    network.push_finished_tasks([{"large": LARGE}] * 10, [{"y": 0}] * 10)
    launch(network.worker_command(loop, heartbeat=QUICK))
    pid = points.wait_for("reading")
    assert network.count_tasks().finished == 11
    os.kill(pid, signal.SIGKILL)
    wait_until(network.detect_lost_workers, PATIENCE_S)
    assert network.count_tasks() == (0, 0, 11, 0)
    assert len(network.fetch_finished_tasks()) == 11


@pytest.mark.parametrize("beat", [QUICK, BESIDE], ids=["thread", "process"])
def test_a_worker_killed_in_the_middle_of_a_beat_is_lost(
    server: EmbeddedServer, network: Network, points: Points, launch: Launch, beat: Heartbeat
) -> None:
    connection, keys = Connection(server.url), NetworkKeys(network.network_id)
    # The server has the script from now on.
    assert Script("beat", keys).run(connection, b"", b"", b"nobody") == [b"nobody", b""]
    with BreakingProxy(server.url) as proxy, Network(network.network_id, proxy.url) as far:
        launch(far.worker_command(stopping_at, args=("started",), heartbeat=beat))
        pid = points.wait_for("started")
        killed = threading.Event()

        def kill() -> None:
            os.kill(pid, signal.SIGKILL)
            killed.set()

        proxy.hold_request(b":alive:", then=kill)
        assert killed.wait(PATIENCE_S)
        (lost,) = wait_until(network.detect_lost_workers, PATIENCE_S)
        late = proxy.deliver_held_request()
        assert late == b"*2\r\n$8\r\n%b\r\n$4\r\nlost\r\n" % lost.encode()  # brings nobody back
    assert connection.execute(pack(("EXISTS", keys.alive(lost)))) == 0
    connection.close()
    assert network.count_tasks() == (0, 0, 0, 1)


@pytest.mark.parametrize("moment", ["before it reaches the server", "after the server has it"])
def test_a_registration_of_a_killed_worker_that_comes_late_is_refused(
    server: EmbeddedServer, network: Network, worker: Worker, moment: str
) -> None:
    with BreakingProxy(server.url) as proxy, Network(network.network_id, proxy.url) as manager:

        def kill() -> None:
            if moment == "after the server has it":
                assert proxy.deliver_held_request() == b":1\r\n"
            manager._started._local._processes[worker_ids[0]].kill()

        worker_ids: list[str] = []
        proxy.hold_request(b":unwanted", then=kill)
        worker_ids += manager.start_workers(stopping_at, 1, args=("registered",))
        assert manager.join_workers(PATIENCE_S)
        assert proxy.n_breaks == 1
        assert proxy.deliver_held_request() == b":-3\r\n"
        states = {info.worker_id: info.state for info in network.fetch_workers()}
        assert states.pop(worker.worker_id) is WorkerState.RUNNING
        came = moment == "after the server has it"
        assert states == ({worker_ids[0]: WorkerState.LOST} if came else {})


PUSHING = """
import sys
from rush_core import Network
with Network(sys.argv[1], sys.argv[2]) as network:
    network.push_tasks([{"x": 0}])
    print("ready", flush=True)
    sys.stdin.readline()
    network.push_tasks([{"x": 1}, {"x": 2}])
"""


@pytest.mark.parametrize("delivered", [False, True])
def test_a_push_of_a_killed_manager_is_there_as_a_whole_or_not_at_all(
    server: EmbeddedServer, network: Network, delivered: bool
) -> None:
    with BreakingProxy(server.url) as proxy:
        pusher = subprocess.Popen(
            [sys.executable, "-c", PUSHING, network.network_id, proxy.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with pusher:
            assert pusher.stdout is not None
            assert pusher.stdin is not None
            pusher.stdout.readline()
            proxy.hold_request(b":queued", then=pusher.kill)
            pusher.stdin.write(b"go on\n")
            pusher.stdin.flush()
            assert pusher.wait(PATIENCE_S) == -signal.SIGKILL
        if delivered:
            assert proxy.deliver_held_request() == b":2\r\n"
    configs = [{"x": 0}, {"x": 1}, {"x": 2}] if delivered else [{"x": 0}]
    assert network.fetch_tasks().configs == configs


# -- killed at any moment -----------------------------------------------------------------------


def claiming(worker: Worker) -> None:
    """Claim and finish until asked to stop: a worker loop."""
    while not worker.should_stop():
        if task := worker.claim_task(timeout_s=60.0):
            worker.finish_task(task.key, {"y": task.config["x"]})


def has_finished(network: Network, n: int) -> bool:
    return network.count_tasks().finished >= n


def has_ended(network: Network, worker_id: str) -> bool:
    return info_of(network, worker_id).ended_at is not None


def joined(network: Network) -> bool:
    network.wait_for_workers(2, timeout_s=PATIENCE_S)
    return True


def test_a_run_whose_workers_are_killed_again_and_again_finishes_every_task_once(
    network: Network, server: EmbeddedServer
) -> None:
    n_tasks, n_kills = 400, 8
    with Network(network.network_id, server.url, max_retries=n_kills) as manager:
        manager.start_workers(claiming, 2)
        keys: list[str] = []
        lost: list[str] = []
        for i in range(n_kills):
            keys += manager.push_tasks([{"x": x} for x in range(n_tasks // n_kills)])
            n_least = len(keys) - 40
            wait_until(partial(has_finished, manager, n_least), PATIENCE_S)
            victim = wait_until(
                lambda: [w for w in manager.fetch_workers() if w.ended_at is None], PATIENCE_S
            )[i % 2 - 1]
            manager.start_workers(claiming, 1)
            os.kill(victim.pid, signal.SIGKILL)
            wait_until(partial(has_ended, manager, victim.worker_id), PATIENCE_S)
        wait_until(lambda: manager.count_tasks() == (0, 0, n_tasks, 0), PATIENCE_S)
        manager.stop_workers()
        assert manager.join_workers(PATIENCE_S)
        lost += manager.detect_lost_workers()
    assert len(set(lost)) == n_kills
    assert sorted(network.fetch_finished_tasks().keys) == sorted(keys)


def test_a_worker_that_ended_while_the_server_had_no_memory_is_put_out_by_the_next_look(
    network: Network, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rush_core.launching.removal.PATIENCE_S", 0.1)
    (worker_id,) = network.start_workers(stopping_at, 1, args=("started",))
    pid = points.wait_for("started")
    connection = Connection(network.url)
    connection.execute(pack(("CONFIG", "SET", "maxmemory", "1")))
    try:
        os.kill(pid, signal.SIGKILL)
        assert network.join_workers(PATIENCE_S)
        with pytest.raises(ServerRefusedError, match="maxmemory"):
            network.detect_lost_workers()
        assert network.count_tasks().running == 1
    finally:
        connection.execute(pack(("CONFIG", "SET", "maxmemory", "0")))
        connection.close()
    assert network.detect_lost_workers() == [worker_id]
    assert network.count_tasks() == (0, 0, 0, 1)


# -- the server dies ----------------------------------------------------------------------------


def pacing(worker: Worker, limit: int, folder: Path) -> None:
    """Use up the budget, and note each acknowledged result: a worker loop."""
    with (folder / worker.worker_id).open("a", buffering=1) as notes:
        while key := worker.start_task({}, limit=limit):
            time.sleep(0.004)  # the objective
            assert worker.finish_and_fetch_new(key, {"by": worker.worker_id})[0]
            notes.write(f"{key}\n")


def test_a_run_goes_on_when_the_server_is_killed_and_comes_back(
    loopback_server: LoopbackServer, launch: Launch, tmp_path: Path
) -> None:
    limit, url = 300, loopback_server.url
    with Network("killed", url) as network:
        args = (limit, tmp_path)
        network.start_workers(pacing, 2, args=args)
        command = network.worker_command(pacing, args=args, heartbeat=Heartbeat(0.5, 10.0))
        elsewhere = launch(command, RUSH_REDIS_PASSWORD="correct-horse/battery@staple")
        n_new = 0
        for n_finished in (30, 100, 170):
            while n_new < n_finished:
                n_new += len(network.fetch_new_tasks(timeout_s=PATIENCE_S))
            loopback_server.kill()
            loopback_server.start()
        while n_new < limit:
            n_new += len(network.fetch_new_tasks(timeout_s=PATIENCE_S))
        assert network.join_workers(PATIENCE_S)
        assert elsewhere.wait(PATIENCE_S) == 0
        assert network.count_tasks() == (0, 0, limit, 0)
        finished = network.fetch_finished_tasks()
        assert n_new == len(set(finished.keys)) == limit
        notes = [path.read_text().split() for path in tmp_path.iterdir()]
        assert sorted(key for keys in notes for key in keys) == sorted(finished.keys)
        assert {info.state for info in network.fetch_workers()} == {WorkerState.STOPPED}
    check_network("killed", url)


def log_something(network: Network) -> None:
    connection, record = Connection(network.url), b"\x94\xa1w\xa4INFO\xa5study\xa2hi"
    connection.execute(pack(("XADD", NetworkKeys("waiting").log, "*", "r", record)))
    connection.close()


WAITS: dict[str, tuple[Callable[[Network, Worker], object], Callable[[Network], object]]] = {
    "claim": (
        lambda network, worker: worker.claim_task(timeout_s=PATIENCE_S),
        lambda network: network.push_tasks([{"x": 1}]),
    ),
    "fetch new": (
        lambda network, worker: len(network.fetch_new_tasks(timeout_s=PATIENCE_S)),
        lambda network: network.push_finished_tasks([{"x": 1}], [{"y": 1}]),
    ),
    "wait for workers": (
        lambda network, worker: joined(network),
        lambda network: Worker("waiting", url=network.url, heartbeat=None).close(),
    ),
    "follow the log": (
        lambda network, worker: next(network.follow_log(timeout_s=PATIENCE_S)),
        log_something,
    ),
}


@pytest.mark.parametrize("wait", WAITS)
def test_who_waits_goes_on_waiting_when_the_server_is_killed_twice_and_wakes_at_once(
    loopback_server: LoopbackServer, wait: str
) -> None:
    begin, end = WAITS[wait]
    with (
        Network("waiting", loopback_server.url) as network,
        Network("waiting", loopback_server.url) as other,
        Worker("waiting", url=loopback_server.url, heartbeat=None) as worker,
    ):
        network.fetch_new_tasks(timeout_s=0.01)
        awake = in_background(lambda: (begin(network, worker), time.monotonic()))
        for _ in range(2):
            wait_until(lambda: n_blocked(other), PATIENCE_S)
            loopback_server.kill()
            loopback_server.start()
        wait_until(lambda: n_blocked(other), PATIENCE_S)
        began = time.monotonic()
        end(other)
        result, ended = awake()
        assert result
        assert ended - began < 1.0  # it takes a millisecond, and every retry's pause is shorter


def n_blocked(network: Network) -> int:
    """Return how many clients sleep in a blocking command."""
    connection = Connection(network.url)
    info = connection.execute(pack(("INFO", "clients"))).decode()
    connection.close()
    return int(info.split("blocked_clients:")[1].split()[0])
