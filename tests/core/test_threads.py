"""One worker or network that several threads of a process use at once."""

import itertools
import threading
from collections.abc import Callable
from functools import partial

from rush_core import Network, TaskTable, Worker
from rush_core.connection.connection import Connection, pack
from tests.waiting import wait_until

N_THREADS = 4


def at_once(*calls: Callable[[], None]) -> None:
    """Make each call in a thread of its own; raise the first error of any."""
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def cut_all_others(connection: Connection) -> None:
    """Let the server cut the connections of all its clients but this one."""
    connection.execute(pack(("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")))


def test_threads_that_share_a_worker_lose_nothing_when_its_connection_breaks(
    network: Network, worker: Worker
) -> None:
    connection, is_over = Connection(network.url), threading.Event()
    started: list[str] = []
    cuts: list[int] = []

    def evaluate() -> None:
        while (key := worker.start_task({"x": 1}, limit=2000)) is not None:
            started.append(key)
            assert worker.report_task(key, {"step": 1})
            assert worker.finish_task(key, {"y": 1})

    def has_gone_on(n: int) -> bool:
        return len(started) >= 100 * n or is_over.is_set()

    def cut() -> None:
        for n in itertools.count(1):
            wait_until(partial(has_gone_on, n))
            if is_over.is_set():
                return
            cut_all_others(connection)
            cuts.append(n)

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        at_once(*[evaluate] * N_THREADS)
    finally:
        is_over.set()
        cutting.join()
        connection.close()
    assert cuts
    assert not worker.is_lost
    assert sorted(network.fetch_tasks("finished").keys) == sorted(started)
    assert network.count_tasks() == (0, 0, 2000, 0)
    assert len(network.fetch_new_reports()) == 2000


def test_each_thread_starts_within_its_own_limit(network: Network, worker: Worker) -> None:
    worker.start_tasks([{"x": 0}] * 100)

    def start_none() -> None:
        for _ in range(500):
            assert worker.start_task({"x": 1}, limit=100) is None

    def start_all() -> None:
        for _ in range(500):
            assert worker.start_task({"x": 2}, limit=600) is not None

    at_once(start_none, start_all)
    assert network.count_tasks().running == 600


def test_threads_that_read_at_once_get_each_task_once(network: Network, worker: Worker) -> None:
    n, is_over = 600, threading.Event()
    fetched: list[str] = []
    new: list[str] = []

    def push() -> None:
        try:
            for i in range(n):
                network.push_finished_tasks([{"x": i}], [{"y": i}])
        finally:
            is_over.set()

    def fetch() -> None:
        while not is_over.is_set():
            keys = network.fetch_finished_tasks().keys
            assert len(set(keys)) == len(keys)

    def fetch_new() -> None:
        while not is_over.is_set():
            new.extend(network.fetch_new_tasks().keys)

    def fetch_new_in_time() -> None:
        while not is_over.is_set():
            new.extend(network.fetch_new_tasks(timeout_s=0.05).keys)

    def finish() -> None:
        while not is_over.is_set():
            key = worker.start_task({"x": 1})
            assert key is not None
            won, table = worker.finish_and_fetch_new(key, {"y": 1})
            assert won
            fetched.extend(table.keys)

    at_once(push, fetch, fetch, fetch_new, fetch_new_in_time, finish, finish)
    new.extend(network.fetch_new_tasks().keys)
    fetched.extend(worker.fetch_new_tasks().keys)
    everything = network.fetch_tasks("finished").keys
    assert len(everything) > n
    assert sorted(new) == sorted(fetched) == sorted(everything)
    assert network.fetch_finished_tasks().keys == everything


def test_a_reply_from_before_another_thread_read_the_first_task_makes_nothing_new_again(
    network: Network, worker: Worker
) -> None:
    log = worker._reader.new_log
    request = log.request()
    reply: list[bytes] = []  # nothing had finished yet
    keys = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert worker.fetch_new_tasks().keys == keys
    assert log.accept(reply, request, TaskTable).keys == []
    assert worker.fetch_new_tasks().keys == []
