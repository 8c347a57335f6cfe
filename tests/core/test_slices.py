"""Large networks: what holds the server goes in slices, and what is interrupted can go on."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from rush_core import EmbeddedServer, Network, ServerRefusedError, Worker
from rush_core.kernel.invariants import check_network
from rush_core.kernel.slices import LARGEST_BATCH_BYTES, SLICE, batches
from tests.core.loopback import LoopbackServer
from tests.core.proxy import BreakingProxy
from tests.waiting import wait_until

PATIENCE_S = 60.0
N = 3 * SLICE + 7


def finishing(worker: Worker) -> None:
    """A loop that empties the queue."""
    while task := worker.claim_task():
        worker.finish_task(task.key, {"y": 1})


def dying(worker: Worker) -> None:
    """A loop that ends its process while it has claimed tasks."""
    for _ in range(20):
        worker.claim_task()
    os._exit(1)


# A process that announces each command that it has executed, and waits for a line before the next.
STEPWISE = """
import sys
from rush_core import Network
from rush_core.kernel.commands import Commands
execute = Commands.run
def execute_and_announce(*arguments):
    reply = execute(*arguments)
    print(reply, flush=True)
    sys.stdin.readline()
    return reply
Commands.run = execute_and_announce
with Network(sys.argv[1], sys.argv[2]) as network:
    {call}
"""


@contextmanager
def stepwise(network: Network, call: str) -> Iterator[Callable[[], int]]:
    """Call a method of a network in a process of its own, which is killed at the end.

    The yielded function lets it execute one more command, and returns the reply.
    """
    command = [sys.executable, "-c", STEPWISE.format(call=call), network.network_id, network.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        n_steps = count()

        def step() -> int:
            if next(n_steps):
                stdin.write(b"\n")
                stdin.flush()
            return int(stdout.readline())

        yield step
        process.kill()


# -- clearing the queue ---------------------------------------------------------------------------


def test_a_clearing_that_was_killed_is_finished_by_another_client(network: Network) -> None:
    keys = network.push_tasks([{"x": i} for i in range(N)])
    with stepwise(network, "network.clear_queue()") as step:
        for n_slices in (1, 2):
            assert step() == SLICE
            assert network.count_tasks() == (N - n_slices * SLICE, 0, 0, n_slices * SLICE)
    assert network.clear_queue() == N - 2 * SLICE
    assert network.count_tasks() == (0, 0, 0, N)
    assert network.fetch_tasks("failed").keys == keys


def test_workers_claim_tasks_between_two_slices_of_a_clearing(network: Network) -> None:
    keys = network.push_tasks([{"x": i} for i in range(4 * SLICE)])
    network.start_workers(finishing, 2)
    wait_until(lambda: network.count_tasks().finished > 0, PATIENCE_S)
    n_cleared = network.clear_queue()
    assert network.join_workers(PATIENCE_S)
    counts = network.count_tasks()
    assert (counts.queued, counts.running, counts.failed) == (0, 0, n_cleared)
    assert sorted(network.fetch_tasks().keys) == sorted(keys)


# -- reading --------------------------------------------------------------------------------------


def test_no_command_reads_more_than_a_slice(
    loopback_server: LoopbackServer, network_id: str
) -> None:
    with Network(network_id, loopback_server.url) as network:
        configs, results = [{"x": i} for i in range(N)], [{"y": i} for i in range(N)]
        keys = network.push_tasks(configs)
        keys += network.push_finished_tasks(configs, results)
        keys += network.push_failed_tasks(configs, ["no"] * N)
        loopback_server.ask("CONFIG", "SET", "slowlog-max-len", "10000")
        loopback_server.ask("CONFIG", "SET", "slowlog-log-slower-than", "0")
        assert network.fetch_tasks().keys == keys
        assert network.fetch_finished_tasks().keys == keys[N : 2 * N]
        assert network.fetch_new_tasks().keys == keys[N : 2 * N]
        entries = loopback_server.ask("SLOWLOG", "GET", "10000")
        reads = [entry[3] for entry in entries if entry[3][0] == b"LRANGE"]
        assert len(reads) > 12
        for _, _, first, last in reads:
            assert 0 <= int(last) - int(first) <= SLICE
        check_network(network_id, loopback_server.url)


def test_each_task_is_read_once_while_workers_claim_finish_and_lose_tasks(
    server: EmbeddedServer, network_id: str
) -> None:
    with Network(network_id, server.url, max_retries=3) as network:
        keys = network.push_tasks([{"x": i} for i in range(3 * SLICE)])
        network.start_workers(dying, 3)
        network.start_workers(finishing, 2)
        n_reads = 0
        while network.count_tasks().queued or n_reads == 0:
            assert sorted(network.fetch_tasks().keys) == sorted(keys)
            unfinished = network.fetch_tasks("queued", "running").keys
            assert len(set(unfinished)) == len(unfinished)
            n_reads += 1
        assert network.join_workers(PATIENCE_S)
        assert sorted(network.fetch_tasks().keys) == sorted(keys)
    check_network(network_id, server.url)


@pytest.mark.parametrize("state", ["queued", "finished"])
def test_a_read_is_repeated_if_the_network_is_reset_meanwhile(
    network: Network, server: EmbeddedServer, state: str
) -> None:
    def push() -> list[str]:
        configs = [{"x": i} for i in range(N)]
        if state == "queued":
            return network.push_tasks(configs)
        return network.push_finished_tasks(configs, [{"y": 1}] * N)

    push()
    new: list[str] = []

    def replace() -> None:
        network.reset(workers=False)
        new.extend(push())

    first = b"%d" % (-2 * SLICE if state == "queued" else SLICE - 1)
    with BreakingProxy(server.url) as proxy, Network(network.network_id, proxy.url) as far:
        proxy.hold_request(containing=b"\r\n%b\r\n" % first, then=replace)
        assert far.fetch_tasks(state).keys == new
        assert proxy.n_breaks == 1


def test_a_read_whose_connection_breaks_goes_on_after_the_last_slice(
    network: Network, server: EmbeddedServer
) -> None:
    configs = [{"x": "a" * 100}] * N
    keys = network.push_finished_tasks(configs, [{"y": 1}] * N)
    with BreakingProxy(server.url) as proxy, Network(network.network_id, proxy.url) as far:
        far.fetch_tasks()
        size = proxy.n_reply_bytes
        for fetch in (far.fetch_new_tasks, far.fetch_finished_tasks):
            proxy.n_reply_bytes = 0
            proxy.cut_before_reply(containing=b"\r\n%d\r\n" % (2 * SLICE))
            assert fetch().keys == keys
            # To begin anew would transfer twice as much.
            assert proxy.n_reply_bytes < 1.8 * size
        assert proxy.n_breaks == 2


# -- pushing --------------------------------------------------------------------------------------


def test_batches_are_of_limited_number_and_size() -> None:
    small = [b"%d" % i for i in range(2 * SLICE + 1)]
    assert [len(batch) for batch in batches(small)] == [SLICE, SLICE, 1]
    assert [record for batch in batches(small) for record in batch] == small
    half = b"a" * (LARGEST_BATCH_BYTES // 2)
    whole = half + half
    records = [b"", half, half, half, whole + b"a", half, whole]
    assert [list(batch) for batch in batches(records)] == [
        [b"", half, half],
        [half],
        [whole + b"a"],
        [half],
        [whole],
    ]
    assert list(batches([])) == []


def test_a_large_push_without_memory_says_how_many_tasks_were_pushed(
    loopback_server: LoopbackServer, network_id: str
) -> None:
    with Network(network_id, loopback_server.url) as network:
        used = re.search(r"used_memory:(\d+)", loopback_server.ask("INFO", "memory").decode())
        assert used is not None
        room = 4 * SLICE * 1000
        loopback_server.ask("CONFIG", "SET", "maxmemory", int(used[1]) + room)
        with pytest.raises(ServerRefusedError, match="maxmemory") as error:
            network.push_tasks([{"i": i, "x": "a" * 1000} for i in range(6 * SLICE)])
        loopback_server.ask("CONFIG", "SET", "maxmemory", "0")
        n_pushed = network.count_tasks().queued
        assert n_pushed in range(SLICE, 6 * SLICE, SLICE)
        (note,) = error.value.__notes__
        assert note == f"the first {n_pushed} of {6 * SLICE} tasks were pushed"
        pushed = [config["i"] for config in network.fetch_tasks("queued").configs]
        assert pushed == list(range(n_pushed))


def test_a_push_that_was_killed_leaves_whole_batches(network: Network) -> None:
    call = f"network.push_tasks([{{'x': i}} for i in range({3 * SLICE})])"
    with stepwise(network, call) as step:
        for n_batches in (1, 2):
            assert step() == SLICE
            assert network.count_tasks().queued == n_batches * SLICE
    pushed = [config["x"] for config in network.fetch_tasks("queued").configs]
    assert pushed == list(range(2 * SLICE))
