"""What the nodes of a network write about their hosts, and how a status shows it."""

from __future__ import annotations

import os
import signal
import socket
import time

import psutil
import pytest

from rush_core import (
    CorruptRecordError,
    Heartbeat,
    HostInfo,
    Network,
    Worker,
    host_lines,
    status_lines,
    status_values,
)
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.core.processes import evaluating, wait_for_running_tasks
from tests.waiting import wait_until

PATIENCE_S = 60.0
QUICK = Heartbeat(period_s=0.05, expire_s=5.0)
HOST = socket.gethostname()


def computing(worker: Worker) -> None:
    """Use a core, and follow what the others finish."""
    while key := worker.start_task({"x": 1}):
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
        worker.finish_and_fetch_new(key, {"y": 1})
        if worker.should_stop():
            return


def only_host(network: Network) -> HostInfo:
    hosts = network.fetch_hosts()
    assert len(hosts) == 1
    return hosts[0]


def test_a_node_writes_what_its_workers_use_until_they_have_ended(network: Network) -> None:
    network.start_workers(computing, 2, heartbeat=QUICK)

    def is_complete() -> bool:
        hosts = network.fetch_hosts()
        if not hosts or hosts[0].n_workers < 2:
            return False
        return None not in (hosts[0].usage.memory, hosts[0].usage.read_age_s)

    wait_until(is_complete, PATIENCE_S)
    wait_until(lambda: only_host(network).usage.cores > 0.1, PATIENCE_S)
    info = only_host(network)
    assert (info.host, info.n_workers, info.period_s) == (HOST, 2, QUICK.period_s)
    pids = [worker.pid for worker in network.fetch_workers()]
    resident = sum(psutil.Process(pid).memory_info().rss for pid in pids)
    assert info.usage.memory is not None
    assert 1e6 < info.usage.memory <= 1.2 * resident
    assert info.usage.read_age_s is not None
    assert 0 <= info.usage.read_age_s < PATIENCE_S
    assert not info.is_silent
    line = host_lines(network.fetch_workers(), [info])[0]
    assert line.startswith(f"{HOST}: 2 running; ")
    assert status_lines(network)[1].startswith(f"{HOST}: 2 running; ")
    assert status_values(network)["hosts"][0]["host"] == HOST
    network.stop_workers()
    assert network.join_workers(PATIENCE_S)
    network.close()
    wait_until(lambda: not stored(network), PATIENCE_S)


def stored(network: Network) -> list[bytes]:
    """Return what the server holds about hosts."""
    connection = Connection(network.url)
    found: list[bytes] = connection.execute(pack((b"HVALS", NetworkKeys(network.network_id).hosts)))
    connection.close()
    return found


def test_a_node_that_is_killed_is_silent_and_its_record_goes_with_a_reset(
    network: Network, pids: list[int]
) -> None:
    network.start_workers(evaluating, 2, heartbeat=QUICK)
    tasks = wait_for_running_tasks(network, 2)
    pids += [task.config["pid"] for task in tasks]
    node = psutil.Process(pids[-1]).parent()
    assert node is not None
    wait_until(lambda: bool(network.fetch_hosts()), PATIENCE_S)
    os.kill(node.pid, signal.SIGKILL)
    wait_until(lambda: only_host(network).is_silent, PATIENCE_S)
    assert "; silent for " in host_lines([], network.fetch_hosts())[0]
    network.reset()
    assert network.fetch_hosts() == []


def test_hosts_without_a_node_are_shown_by_the_states_of_their_workers(network: Network) -> None:
    with Worker(network.network_id, url=network.url), Worker(network.network_id, url=network.url):
        assert network.fetch_hosts() == []
        assert status_lines(network)[1] == f"{HOST}: 2 running"
        assert status_values(network)["hosts"] == []
    assert host_lines(network.fetch_workers(), []) == [f"{HOST}: 2 stopped"]


def test_heartbeats_count_although_the_key_of_hosts_is_spoiled(network: Network) -> None:
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)
    connection.execute(pack((b"SET", keys.hosts, b"x")))
    network.start_workers(evaluating, 1, heartbeat=QUICK)
    task = wait_for_running_tasks(network, 1)[0]
    assert task.worker_id is not None
    read = pack((b"GET", keys.alive(task.worker_id)))
    wait_until(lambda: int(connection.execute(read) or 0) > 3, PATIENCE_S)
    connection.execute(pack((b"DEL", keys.hosts)))
    connection.execute(pack((b"HSET", keys.hosts, b"another", b"x")))
    with pytest.raises(CorruptRecordError, match="no record of a host"):
        network.fetch_hosts()
    network.stop_workers(kill=True)
    connection.close()
