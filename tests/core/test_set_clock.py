"""The clock of the server's machine is set while workers run."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rush_core import Heartbeat, Network, Worker
from tests.core.loopback import LoopbackServer
from tests.core.processes import wait_for_running_tasks
from tests.typed import present
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="libfaketime's wheel is for Linux")

HEARTBEAT = Heartbeat(period_s=0.1, expire_s=1.0)
DAY_S = 86_400.0

SetClock = Callable[[float], None]


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The file that says how far the clock of the server is set, seconds."""
    return tmp_path / "clock"


@pytest.fixture
def set_clock(clock: Path) -> SetClock:
    """Set the clock of the server so many seconds before or after that of this machine."""

    def set_clock(seconds: float) -> None:
        new = clock.with_suffix(".new")
        new.write_text(f"{seconds:+g}\n")
        new.replace(clock)

    set_clock(0.0)
    return set_clock


@pytest.fixture
def server(tmp_path: Path, clock: Path, set_clock: SetClock) -> Iterator[LoopbackServer]:
    """A server that reads the time of day through libfaketime, as if its clock had been set."""
    package = present(importlib.util.find_spec("libfaketime")).submodule_search_locations
    folder = Path(present(package)[0]) / "vendor" / "libfaketime" / "src"
    environment = {
        "LD_PRELOAD": str(folder / "libfaketime.so.1"),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    server = LoopbackServer(tmp_path, environment=environment)
    server.start()
    yield server
    server.stop()


def loop(worker: Worker) -> None:
    """Run one task until the worker is asked to stop."""
    key = present(worker.start_task({"pid": os.getpid()}))
    while not worker.should_stop():
        worker.claim_task(timeout_s=0.1)
    worker.finish_task(key, {"y": 1.0})


@pytest.mark.parametrize("by_s", [20.0, DAY_S, -DAY_S])
def test_a_live_worker_is_not_lost_when_the_clock_is_set(
    server: LoopbackServer, set_clock: SetClock, by_s: float
) -> None:
    with Network("clock", server.url) as network:
        (worker_id,) = network.start_workers(loop, 1, heartbeat=HEARTBEAT)
        (task,) = wait_for_running_tasks(network)
        assert network.detect_lost_workers() == []
        set_clock(by_s)
        wait_until(lambda: abs(network.fetch_time() - time.time() - by_s) < 10.0)
        until = time.monotonic() + 2 * HEARTBEAT.expire_s
        while time.monotonic() < until:
            network.fetch_new_tasks(timeout_s=0.1)
            assert network.detect_lost_workers() == []
        network.stop_workers()
        assert network.join_workers(timeout_s=30.0)
        (finished,) = network.fetch_finished_tasks()
        assert (finished.key, finished.worker_id) == (task.key, worker_id)


def test_a_dead_worker_is_lost_after_its_silence_though_the_clock_is_set_back(
    server: LoopbackServer, set_clock: SetClock
) -> None:
    with Worker("clock", url=server.url, heartbeat=HEARTBEAT) as worker:
        worker.start_task({})
        with Network("clock", server.url) as network:
            assert network.detect_lost_workers() == []
            present(worker._heart).close()  # as if its machine had stopped
            set_clock(-DAY_S)
            began = time.monotonic()
            wait_until(lambda: network.fetch_time() - time.time() < -DAY_S / 2)
            wait_until(lambda: network.detect_lost_workers() == [worker.worker_id])
            assert time.monotonic() - began >= HEARTBEAT.expire_s / 2
            assert network.count_tasks() == (0, 0, 0, 1)


def test_the_duration_of_a_task_is_right_when_the_clock_is_set_meanwhile(
    server: LoopbackServer, set_clock: SetClock
) -> None:
    with Worker("clock", url=server.url) as worker:
        began = time.monotonic()
        key = present(worker.start_task({}))
        set_clock(DAY_S)
        with Network("clock", server.url) as network:
            wait_until(lambda: network.fetch_time() - time.time() > DAY_S / 2)
        worker.finish_task(key, {"y": 1.0})
        longest_s = time.monotonic() - began
        (task,) = worker.fetch_finished_tasks()
        assert 0.0 <= present(task.ended_at) - present(task.started_at) <= longest_s
