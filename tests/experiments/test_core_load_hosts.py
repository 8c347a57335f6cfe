"""Simulated hosts: one reader each, and writes that are sent together."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.core_load.generator import generate_load
from experiments.core_load.hosts_report import as_markdown, summarize, undisturbed
from experiments.core_load.measurement import Measurement
from experiments.core_load.plan import HostPlan, LoadPlan
from experiments.core_load.requests import NETWORK_ID, StepRequests, load_scripts
from experiments.core_load.watched import WatchedServer, watched_server
from rush_core import Network
from rush_core.kernel.invariants import check_network


@pytest.fixture
def fresh() -> Iterator[WatchedServer]:
    """A server of its own: the load's network always has the same name."""
    with watched_server() as server:
        load_scripts(server.url)
        yield server


def load_on(server: WatchedServer, n_workers: int, period_s: float, hosts: HostPlan) -> Measurement:
    """Run a load of hosts for half a second."""
    plan = LoadPlan(n_workers, None, 0.0, 0.5, period_s, hosts)
    requests = [StepRequests(i) for i in range(n_workers)]
    rng = np.random.default_rng(1)
    return generate_load(plan, requests, server.path, server.path, server.cpu_s, rng)


def test_workers_of_a_host_write_and_its_reader_reads(fresh: WatchedServer) -> None:
    found = load_on(fresh, 10, 0.05, HostPlan(4, read_pause_s=0.01))
    n_hosts = 3
    assert found.n_connections == 10 + 2 * n_hosts
    with Network(NETWORK_ID, fresh.url) as network:
        n_finished = len(network.fetch_finished_tasks())
        check_network(NETWORK_ID, fresh.url)
    assert n_finished >= len(found.latencies_s["step"]) > 0
    # Each read but the first of a host overlaps the one before by one record.
    n_new = found.n_records - found.n_reads - found.n_waits
    assert n_new == pytest.approx(n_hosts * n_finished, abs=n_hosts * 15)


def test_a_reader_waits_in_the_server_while_nothing_is_new(fresh: WatchedServer) -> None:
    found = load_on(fresh, 1, 0.2, HostPlan(1, read_pause_s=0.001))
    # At the start, at each of at most four finished tasks, and when clients join.
    assert 0 < found.n_waits <= 8
    assert found.n_reads <= 2 * found.n_waits + 2


def test_writes_of_a_host_are_sent_together(fresh: WatchedServer) -> None:
    hosts = HostPlan(8, read_pause_s=0.01, write_pause_s=0.02)
    found = load_on(fresh, 8, 0.02, hosts)
    assert found.n_connections == 3
    assert found.n_sent / found.n_sends > 2
    with Network(NETWORK_ID, fresh.url) as network:
        tasks = network.fetch_finished_tasks()
        assert {task.worker_id for task in tasks} == {f"{i:08x}" for i in range(8)}
        check_network(NETWORK_ID, fresh.url)


def test_requests_differ_in_the_key_of_the_task_only() -> None:
    requests = StepRequests(7)
    requests.join()
    first, second = requests.start(), requests.start()
    assert first.count(b"000000070000-1000001") == 2  # beside the record, and in it
    assert first.replace(b"1000001", b"1000002") == second
    assert requests.finish().count(b"000000070000-1000002") == 1


def rows_of(n_workers: int, server_cpu: float, **changed: Any) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {
        "n_workers": n_workers,
        "read_pause_ms": 20.0,
        "write_pause_ms": None,
        "period_s": 1.0,
        "n": 100,
        "achieved_per_s": float(n_workers),
        "n_hosts": n_workers // 128,
        "connections": n_workers + n_workers // 128,
        "wanted_per_s": float(n_workers),
        "reads_per_s": 50.0,
        "records_per_s": 1e5,
        "mb_per_s": 20.0,
        "writes_per_send": 1.0,
        "server_cpu": server_cpu,
        "server_wait": 0.0,
        "generator_cpu": 0.5,
        "generator_wait": 0.0,
        "lag_p99_ms": 0.1,
        "server_peak_mb": 10.0,
        "load": 0.5,
        "server": "valkey 9",
        "machine": "a machine",
        "python": "3.11",
        "commit": "abc",
        "started": "2026-01-02T03:04:05+00:00",
        **changed,
    }
    return [
        {**shared, "operation": operation, "p50_ms": 1.0, "p99_ms": p99}
        for operation, p99 in (("finish", 2.0), ("start", 2.0), ("step", 4.0), ("read", 3.0))
    ]


def test_the_table_leaves_out_what_others_disturbed() -> None:
    rows = pd.DataFrame(
        [
            *rows_of(8192, 0.9, started="2026-01-01T00:00:00+00:00"),
            *rows_of(8192, 0.6),
            *rows_of(8192, 0.3, server_wait=0.4),
            *rows_of(16_384, 0.99, achieved_per_s=14_000.0),
            *rows_of(2048, 0.7, read_pause_ms=None, n_hosts=2048, connections=2048),
        ]
    )
    summary = summarize(undisturbed(rows))
    assert summary["server_cpu"].tolist() == [0.7, 0.6, 0.99]
    assert summary["keeps_up"].tolist() == [True, True, False]
    assert summary["full"].tolist() == ["", "", "server"]
    table = as_markdown(summary, rows)
    assert "Of 4 measurements, 1 are left out" in table
    assert "| each worker reads | 2,048 |  |  | 2,048 | yes |  | 0.70 | 0.50 | 1 |" in table
    assert "| one reader | 16,384 | 20 |  | 14,000 | no | server | 0.99 |" in table
