"""Reports on running tasks: shared by all, refused from who does not run the task."""

import os
import signal
import time

import numpy as np
import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, Report, Worker
from tests.core.proxy import BreakingProxy
from tests.fixture_types import Join
from tests.waiting import wait_until

PATIENCE_S = 30.0
QUICK = Heartbeat(period_s=0.02, expire_s=0.3)


def start(worker: Worker) -> str:
    key = worker.start_task({"x": 1})
    assert key is not None
    return key


def steps(reports: list[Report]) -> list[int]:
    return [report.values["step"] for report in reports]


def test_a_report_keeps_what_was_said_and_whose_it_is(network: Network, worker: Worker) -> None:
    key, before = start(worker), worker.now()
    values = {"step": 3, "loss": np.float64(0.5), "curve": np.arange(3.0)}
    assert worker.report_task(key, values)
    (report,) = network.fetch_new_reports()
    assert (report.worker_id, report.attempt, report.key) == (worker.worker_id, 0, key)
    assert (report.values["step"], report.values["loss"]) == (3, 0.5)
    assert report.values["curve"].tolist() == [0.0, 1.0, 2.0]
    assert before <= report.reported_at <= worker.now()
    assert network.count_tasks() == (0, 1, 0, 0)  # it is no end


def test_everybody_sees_all_reports_once_and_in_order(network: Network, join: Join) -> None:
    first, second = join(), join()
    mine, others = start(first), start(second)
    assert first.report_task(mine, {"step": 1})
    won, new = second.report_and_fetch_new(others, {"step": 2})
    assert (won, steps(new)) == (True, [1, 2])
    assert steps(first.fetch_new_reports()) == [1, 2]
    assert first.report_task(mine, {"step": 3})
    assert steps(second.fetch_new_reports()) == [3]
    assert second.fetch_new_reports() == []
    assert steps(network.fetch_new_reports()) == [1, 2, 3]
    assert steps(join().fetch_new_reports()) == [1, 2, 3]  # a late reader misses nothing


def test_what_is_fetched_follows_what_is_new(network: Network, server: EmbeddedServer) -> None:
    with BreakingProxy(server.url) as proxy, Worker(network.network_id, url=proxy.url) as far:
        key = start(far)
        for step in range(500):
            far.report_task(key, {"step": step})
        far.fetch_new_reports()
        before = proxy.n_reply_bytes
        far.report_and_fetch_new(key, {"step": 500})
        assert proxy.n_reply_bytes - before < 200  # two records: the last one known, and the new


@pytest.mark.parametrize("end", ["finish", "fail"])
def test_no_report_is_taken_of_a_task_that_ended(
    network: Network, worker: Worker, end: str
) -> None:
    key = start(worker)
    if end == "finish":
        worker.finish_task(key, {"y": 1})
    else:
        worker.fail_task(key, "no")
    assert not worker.report_task(key, {"step": 1})
    assert worker.report_and_fetch_new(key, {"step": 1}) == (False, [])
    assert network.fetch_new_reports() == []


def test_no_report_is_taken_of_a_task_that_is_not_ones_own(network: Network, join: Join) -> None:
    owner, longer, shorter = join("study-1"), join("study-11"), join("study")
    key = start(owner)
    (queued,) = network.push_tasks([{"x": 2}])
    assert not longer.report_task(key, {"step": 1})
    assert not shorter.report_task(key, {"step": 1})
    assert not owner.report_task(queued, {"step": 1})
    assert not owner.report_task("nobody-1", {"step": 1})
    assert network.fetch_new_reports() == []


@pytest.mark.parametrize("length", [1, 31, 32, 100])
def test_worker_names_of_every_length_can_report(network: Network, join: Join, length: int) -> None:
    worker = join("w" * length)
    key = start(worker)
    assert worker.report_task(key, {"step": 1})
    (report,) = network.fetch_new_reports()
    assert (report.worker_id, report.key) == (worker.worker_id, key)


def test_a_reaped_workers_late_report_is_refused(network: Network, server: EmbeddedServer) -> None:
    lost = Worker(network.network_id, url=server.url, heartbeat=QUICK)
    key = start(lost)
    assert lost.report_task(key, {"step": 1})
    assert lost._heart is not None
    lost._heart.close()
    assert wait_until(network.detect_lost_workers, PATIENCE_S) == [lost.worker_id]
    assert not lost.report_task(key, {"step": 2})
    assert lost.is_lost
    assert lost.rejoin()
    assert not lost.report_task(key, {"step": 3})  # the task has failed meanwhile
    assert steps(network.fetch_new_reports()) == [1]
    lost.close()


def test_reports_on_a_task_that_is_tried_again_tell_the_attempts_apart(
    network: Network, server: EmbeddedServer, join: Join
) -> None:
    with Network(network.network_id, server.url, max_retries=1) as looker:
        lost = Worker(network.network_id, url=server.url, heartbeat=QUICK)
        key = start(lost)
        assert lost.report_task(key, {"step": 1})
        assert lost._heart is not None
        lost._heart.close()
        assert wait_until(looker.detect_lost_workers, PATIENCE_S) == [lost.worker_id]
        survivor = join()
        assert survivor.claim_task() is not None
        assert survivor.report_task(key, {"step": 1})
        assert not lost.report_task(key, {"step": 2})
        lost.close()
    said = [(report.worker_id, report.attempt) for report in network.fetch_new_reports()]
    assert said == [(lost.worker_id, 0), (survivor.worker_id, 1)]


def reporting_until_killed(worker: Worker) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    for step in range(3):
        worker.report_task(key, {"step": step})
    time.sleep(600.0)


def test_what_a_killed_process_reported_is_kept(network: Network) -> None:
    network.start_workers(reporting_until_killed, 1)
    reports: list[Report] = []

    def all_there() -> bool:
        reports.extend(network.fetch_new_reports())
        return len(reports) == 3

    wait_until(all_there, PATIENCE_S)
    (info,) = network.fetch_workers()
    os.kill(info.pid, signal.SIGKILL)
    assert network.join_workers(PATIENCE_S)
    (task,) = network.fetch_tasks("failed")
    assert [report.key for report in reports] == [task.key] * 3
    assert steps(reports) == [0, 1, 2]


def test_the_reply_to_a_report_says_that_the_worker_was_asked_to_stop(
    network: Network, worker: Worker
) -> None:
    key = start(worker)
    network.stop_workers()
    assert worker.report_task(key, {"step": 1})  # the task goes on to its end
    server_is_not_asked = worker._transitions.is_current
    assert worker.should_stop()
    assert server_is_not_asked
    assert worker.finish_task(key, {"y": 1})


@pytest.mark.parametrize("workers", [False, True])
def test_reset_deletes_the_reports_and_who_reads_on_begins_anew(
    network: Network, worker: Worker, workers: bool
) -> None:
    key = start(worker)
    for step in (1, 2):
        worker.report_task(key, {"step": step})
    network.fetch_new_reports()
    network.reset(workers=workers)
    assert not worker.report_task(key, {"step": 3})
    assert network.fetch_new_reports() == []
    if workers:
        return
    key = start(worker)
    won, new = worker.report_and_fetch_new(key, {"step": 4})
    assert (won, steps(new)) == (True, [4])
    assert steps(network.fetch_new_reports()) == [4]


def test_a_report_that_cannot_be_stored_is_refused_by_name(
    network: Network, worker: Worker
) -> None:
    key = start(worker)
    with pytest.raises(TypeError, match=r"report 'model' holds .* cannot be stored"):
        worker.report_task(key, {"step": 1, "model": object()})
    with pytest.raises(TypeError, match="report must be a dict"):
        worker.report_and_fetch_new(key, 0.5)  # type: ignore[arg-type]
    assert network.fetch_new_reports() == []
    assert worker.finish_task(key, {"y": 1})
