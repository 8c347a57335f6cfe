"""What ended is read from both logs at once, along with the end of a task or by itself."""

from collections.abc import Callable, Iterator

import pytest

from rush_core import EmbeddedServer, EndedTasks, Network, Worker
from tests.core.proxy import BreakingProxy

Join = Callable[..., Worker]
BOTH = pytest.mark.parametrize("fails", [False, True], ids=["finish", "fail"])


def end_and_fetch(worker: Worker, key: str, fails: bool) -> tuple[bool, EndedTasks]:
    if fails:
        return worker.fail_and_fetch_ended(key, "no", extra={"z": 1})
    return worker.finish_and_fetch_ended(key, {"y": 1}, extra={"z": 1})


@BOTH
def test_ending_and_fetching_in_one_tells_what_ended_either_way(
    network: Network, worker: Worker, fails: bool
) -> None:
    finished = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    failed = network.push_failed_tasks([{"x": 2}], ["no"])
    key = worker.start_task({"x": 3})
    assert key is not None
    (failed if fails else finished).append(key)
    won, ended = end_and_fetch(worker, key, fails)
    assert won
    assert ended.finished.keys == finished
    assert ended.failed.keys == failed
    (own,) = (task for table in ended for task in table if task.key == key)
    assert own.result_extra == {"z": 1}
    assert network.count_tasks() == (0, 0, len(finished), len(failed))
    won, ended = end_and_fetch(worker, key, fails)
    assert not won
    assert not any(ended)


def test_what_was_fetched_one_way_is_not_new_the_other(network: Network, worker: Worker) -> None:
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    network.push_failed_tasks([{"x": 2}], ["no"])
    assert list(map(len, worker.fetch_new_ended_tasks())) == [1, 1]
    assert not worker.fetch_new_tasks()
    assert not worker.fetch_new_failed_tasks()
    network.push_finished_tasks([{"x": 3}], [{"y": 3}])
    network.push_failed_tasks([{"x": 4}], ["no"])
    assert len(worker.fetch_new_tasks()) == len(worker.fetch_new_failed_tasks()) == 1
    assert not any(worker.fetch_new_ended_tasks())


def test_only_what_failed_by_itself_has_failed(network: Network, join: Join) -> None:
    lost, worker = join(), join()
    lost.start_task({"x": 1})
    network.stop_workers([lost.worker_id], kill=True)
    network.push_tasks([{"x": 2}])
    network.clear_queue()
    failed = network.push_failed_tasks([{"x": 3}], ["no"])
    assert worker.fetch_new_ended_tasks().failed.keys == failed


@BOTH
def test_waiting_for_what_ended_is_over_when_something_did(
    network: Network, join: Join, fails: bool
) -> None:
    waiting, ending = join(), join()
    keys = ending.start_tasks([{"x": 1}, {"x": 2}])
    waiting.fetch_new_ended_tasks(timeout_s=0.01)  # of those that joined
    for key in keys:  # the one is there before the wait, the other one comes after a wait
        end_and_fetch(ending, key, fails)
        ended = waiting.fetch_new_ended_tasks(timeout_s=600.0)
        assert (ended.failed if fails else ended.finished).keys == [key]
        assert not (ended.finished if fails else ended.failed)


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[BreakingProxy]:
    with BreakingProxy(server.url) as proxy:
        yield proxy


@pytest.mark.parametrize("lost", ["request", "reply"])
@BOTH
def test_an_end_that_is_lost_with_the_connection_is_found_out_and_both_logs_are_read(
    network: Network, proxy: BreakingProxy, lost: str, fails: bool
) -> None:
    finished = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    failed = network.push_failed_tasks([{"x": 2}], ["no"])
    with Worker(network.network_id, url=proxy.url, heartbeat=None) as worker:
        key = worker.start_task({"x": 3})
        assert key is not None
        (failed if fails else finished).append(key)
        (proxy.cut_before_request if lost == "request" else proxy.cut_before_reply)()
        won, ended = end_and_fetch(worker, key, fails)
        assert proxy.n_breaks == 1
        assert won
        assert ended.finished.keys == finished
        assert ended.failed.keys == failed
    assert network.fetch_tasks("finished", "failed").keys == finished + failed


def test_a_reset_begins_both_logs_anew(network: Network, worker: Worker) -> None:
    for x in range(3):
        finished = network.push_finished_tasks([{"x": x}], [{"y": x}])
        failed = network.push_failed_tasks([{"x": x}], ["no"])
        ended = worker.fetch_new_ended_tasks()
        assert (ended.finished.keys, ended.failed.keys) == (finished, failed)
        network.reset(workers=False)
