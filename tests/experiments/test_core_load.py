"""The load on the server: what is sent, how replies are counted, what the table says."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from experiments.core_load.generator import generate_load
from experiments.core_load.plan import LoadPlan
from experiments.core_load.replies import ReplyStream
from experiments.core_load.report import as_markdown, draw, fit_costs, last_whole_run, summarize
from experiments.core_load.requests import NETWORK_ID, StepRequests, load_scripts
from experiments.core_load.watched import WatchedServer, replicate, watched_server
from rush_core import Network
from rush_core.kernel.invariants import check_network

REPLIES = b":1\r\n*3\r\n$4\r\nab\r\n\r\n$4\r\n:1\r\n\r\n$4\r\n*1\r\n\r\n*0\r\n:1\r\n"


@pytest.fixture
def fresh() -> Iterator[WatchedServer]:
    """A server of its own: the load's network always has the same name."""
    with watched_server() as server:
        load_scripts(server.url)
        yield server


@pytest.mark.parametrize("size", range(1, len(REPLIES) + 1))
def test_replies_are_counted_however_they_are_cut(size: int) -> None:
    stream = ReplyStream()
    found = []
    for first in range(0, len(REPLIES), size):
        found += stream.receive(memoryview(REPLIES[first : first + size]))
    assert found == [None, 3, 0, None]


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"-NOSCRIPT no such script\r\n", "goes along"),
        (b":-1\r\n", "goes along"),
        (b":0\r\n", "goes along"),
        (b"*2\r\n$1\r\na\r\n$3\r\nabc\r\n:1\r\n", "one length"),
        (b"$1\r\na\r\n", "one length"),
    ],
)
def test_replies_that_would_spoil_the_count_are_refused(reply: bytes, complaint: str) -> None:
    with pytest.raises(RuntimeError, match=complaint):
        ReplyStream().receive(memoryview(reply))


@pytest.mark.parametrize(("read_every", "n_reads_per_step"), [(1, 1), (2, 0.5), (None, 0)])
def test_simulated_workers_do_what_real_ones_may(
    fresh: WatchedServer, read_every: int | None, n_reads_per_step: float
) -> None:
    n_workers = 10
    plan = LoadPlan(n_workers, read_every, warm_up_s=0.2, window_s=0.5, period_s=0.1)
    requests = [StepRequests(i) for i in range(n_workers)]
    found = generate_load(
        plan, requests, fresh.path, fresh.path, fresh.cpu_s, np.random.default_rng(1)
    )
    n_steps = len(found.latencies_s["step"])
    assert n_steps > 0
    assert found.n_reads == pytest.approx(n_reads_per_step * n_steps, abs=n_workers)
    assert all(s > 0 for latencies in found.latencies_s.values() for s in latencies)
    began, ended = (cast(float, mark) for mark in found.marks)
    assert began <= ended
    with Network(NETWORK_ID, fresh.url) as network:
        tasks = network.fetch_finished_tasks()
        assert len(tasks) >= n_steps
        assert {task.worker_id for task in tasks} == {f"{i:08x}" for i in range(n_workers)}
        check_network(NETWORK_ID, fresh.url)


def test_every_record_is_read_once_and_one_again(fresh: WatchedServer) -> None:
    plan = LoadPlan(2, 1, warm_up_s=0.0, window_s=0.5, period_s=0.05)
    requests = [StepRequests(i) for i in range(2)]
    found = generate_load(
        plan, requests, fresh.path, fresh.path, fresh.cpu_s, np.random.default_rng(1)
    )
    # Each read overlaps the one before, the first ones do not; at the end some are left to read.
    n_new = found.n_records - found.n_reads + 2
    n_finished = len(found.latencies_s["finish"])
    assert n_new == pytest.approx(2 * n_finished, abs=4)


def test_reads_at_a_replica_leave_the_primary_alone(fresh: WatchedServer) -> None:
    with watched_server() as replica:
        replicate(fresh, replica)
        for server in (fresh, replica):
            server.execute("CONFIG", "RESETSTAT")
        plan = LoadPlan(4, 1, warm_up_s=0.2, window_s=0.5, period_s=0.1)
        requests = [StepRequests(i) for i in range(4)]
        found = generate_load(
            plan, requests, fresh.path, replica.path, fresh.cpu_s, np.random.default_rng(1)
        )
        assert found.n_records > 0
        assert b"cmdstat_lrange" not in commands_of(fresh)
        assert b"cmdstat_lrange" in commands_of(replica)


def commands_of(server: WatchedServer) -> bytes:
    return bytes(server.execute("INFO", "commandstats"))


def rows_of(
    reading: str, n_workers: int, server_cpu: float, achieved: float
) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {
        "clients": "simulated",
        "reading": reading,
        "n_workers": n_workers,
        "wanted_per_s": n_workers,
        "achieved_per_s": achieved,
        "reads_per_s": 0.0 if reading == "never" else achieved,
        "records_per_s": 0.0 if reading == "never" else achieved * n_workers,
        "mb_per_s": 1.0,
        "server_cpu": server_cpu,
        "server_wait": 0.0,
        "replica_cpu": 0.2 if "replica" in reading else None,
        "generator_cpu": 0.3,
        "lag_p99_ms": 0.1,
        "server_peak_mb": 10.0,
        "n": 100,
        "server": "valkey 9",
        "machine": "a machine",
        "python": "3.11",
        "commit": "abc",
        "started": "today",
    }
    return [
        {**shared, "operation": operation, "repeat": repeat, "p50_ms": 1.0, "p99_ms": p99}
        for operation in ("finish", "start", "step")
        for repeat, p99 in enumerate((2.0, 4.0))
    ]


@pytest.fixture
def rows() -> pd.DataFrame:
    """Rows of a server that takes 50 µs for a task and 0.2 µs for a record."""
    every, replica = "every step", "every step, at a replica"
    found = [
        *rows_of("never", 448, 448 * 50e-6, 448),
        *rows_of("never", 1024, 1024 * 50e-6, 1024),
        *rows_of(every, 64, 0.5, 64),
        *rows_of(every, 448, 448 * 50e-6 + 448**2 * 0.2e-6, 448),
        *rows_of(every, 1024, 1024 * 50e-6 + 1024**2 * 0.2e-6, 1024),
        *rows_of(every, 4096, 1.0, 1000),
        *rows_of("every 5th step", 1024, 0.25, 1024),
        *rows_of(replica, 1024, 0.06, 1024),
    ]
    task = {**found[0], "clients": "processes", "reading": every, "n_workers": 2}
    found.append({**task, "operation": "task", "achieved_per_s": 7000.0, "wanted_per_s": None})
    return pd.DataFrame(found)


def test_costs_are_fitted_to_the_cells_that_keep_up(rows: pd.DataFrame) -> None:
    costs = fit_costs(summarize(rows))
    assert costs.n == 4  # neither the smallest one, nor the one behind, nor the replica's
    assert (costs.task_us, costs.record_us) == pytest.approx((50.0, 0.2))
    assert costs.worst == pytest.approx(0.0, abs=1e-9)
    assert costs.cores(costs.largest_network, costs.largest_network**2) == pytest.approx(1.0)


def test_cells_are_medians_over_repeats(rows: pd.DataFrame) -> None:
    summary = summarize(rows).set_index(["clients", "reading", "n_workers"])
    cell = summary.loc[("simulated", "every step", 4096)]
    assert (cell["step_p99_ms"], cell["n_steps"], cell["repeats"]) == (3.0, 200, 2)
    assert not cell["keeps_up"]
    assert summary["keeps_up"].sum() == len(summary) - 1


def test_the_last_whole_run_is_shown(rows: pd.DataFrame) -> None:
    first, second = rows.assign(started="monday"), rows.assign(started="tuesday")
    ended_early = rows.head(6).assign(started="wednesday")
    assert set(last_whole_run(pd.concat([first, second, ended_early]))["started"]) == {"tuesday"}


def test_the_table_says_what_follows_from_the_rows(rows: pd.DataFrame) -> None:
    table = as_markdown(summarize(rows), rows)
    assert "| 2 | 7,000 |" in table
    assert "| every step | 4,096 | 1,000 | no |" in table
    assert "Cores = 50.0 µs per task + 0.200 µs per record" in table
    assert "has 1,024 workers" in table
    assert "4,096 workers get 1,000 tasks per second instead of 4,096" in table
    assert "from 0.26 cores at 1,024 tasks per second to 0.06 cores at 1,024" in table


def test_the_figure_shows_the_table(rows: pd.DataFrame) -> None:
    summary = summarize(rows)
    speed, share, wait = draw(summary, rows).axes
    assert np.asarray(speed.lines[0].get_ydata()).tolist() == [7000.0]
    shown = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in wait.lines}
    assert shown["everybody reads all, every step"] == [3.0] * 4
    assert "cores" in share.get_ylabel()
    assert "ms" in wait.get_ylabel()
