"""Connections lost in the middle of a command: it is done once, and never when it comes late."""

import threading
from collections.abc import Callable, Iterator

import pytest

from rush_core import EmbeddedServer, Heartbeat, Network, RushError, Worker, WorkerLostError
from rush_core.connection.connection import Connection, pack
from tests.core.proxy import BreakingProxy
from tests.waiting import wait_until


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[BreakingProxy]:
    with BreakingProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def far_worker(network: Network, proxy: BreakingProxy) -> Iterator[Worker]:
    """A worker of `network` whose connection can be cut; its scripts are known to the server."""
    network.push_tasks([{"warm": "up"}])
    with Worker(network.network_id, url=proxy.url) as worker:
        task = worker.claim_task()
        assert task is not None
        worker.fail_task(task.key, "over")
        key = worker.start_task({"warm": "up"})
        assert key is not None
        worker.report_task(key, {})
        worker.finish_and_fetch_new(key, {})
        network.reset(workers=False)
        worker.fetch_new_tasks()
        yield worker


@pytest.fixture(params=["cut_before_request", "cut_before_reply"])
def cut(request: pytest.FixtureRequest, proxy: BreakingProxy) -> Callable[[], None]:
    """Plan to lose the next request, or its reply."""
    plan: Callable[[], None] = getattr(proxy, request.param)
    return plan


def test_a_start_whose_reply_is_lost_starts_once(
    network: Network, far_worker: Worker, proxy: BreakingProxy, cut: Callable[[], None]
) -> None:
    cut()
    key = far_worker.start_task({"x": 1}, limit=1)
    assert proxy.n_breaks == 1
    assert key is not None
    assert network.fetch_tasks().keys == [key]
    assert far_worker.start_task({"x": 2}, limit=1) is None
    assert far_worker.finish_task(key, {"y": 1})


def test_starts_that_the_budget_cuts_short_stay_as_they_were(
    network: Network, far_worker: Worker, proxy: BreakingProxy, cut: Callable[[], None]
) -> None:
    cut()
    keys = far_worker.start_tasks([{"x": i} for i in range(4)], limit=3)
    assert proxy.n_breaks == 1
    assert len(keys) == 3
    assert sorted(network.fetch_tasks("running").keys) == sorted(keys)


def test_a_claim_whose_reply_is_lost_claims_once(
    network: Network, far_worker: Worker, proxy: BreakingProxy, cut: Callable[[], None]
) -> None:
    keys = network.push_tasks([{"x": 1}, {"x": 2}])
    cut()
    task = far_worker.claim_task()
    assert proxy.n_breaks == 1
    assert task is not None
    assert (task.key, task.config) == (keys[0], {"x": 1})
    assert network.count_tasks() == (1, 1, 0, 0)


def test_a_claim_that_slept_while_the_connection_broke_still_claims(
    network: Network, far_worker: Worker, proxy: BreakingProxy, cut: Callable[[], None]
) -> None:
    assert far_worker.claim_task() is None
    cut()
    (key,) = network.push_tasks([{"x": 1}])
    task = far_worker.claim_task(timeout_s=5.0)
    assert task is not None
    assert task.key == key
    assert network.count_tasks() == (0, 1, 0, 0)


@pytest.mark.parametrize("ending", ["finish", "fail", "finish and fetch"])
def test_an_end_whose_reply_is_lost_is_recognised(
    network: Network,
    far_worker: Worker,
    proxy: BreakingProxy,
    cut: Callable[[], None],
    ending: str,
) -> None:
    first, second = far_worker.start_tasks([{"x": 1}, {"x": 2}])
    cut()
    if ending == "finish":
        assert far_worker.finish_task(first, {"y": 1})
    elif ending == "fail":
        assert far_worker.fail_task(first, "no")
    else:
        won, new = far_worker.finish_and_fetch_new(first, {"y": 1})
        assert won
        assert new.keys == [first]
    assert proxy.n_breaks == 1
    (task,) = network.fetch_tasks("finished", "failed")
    assert task.key == first
    assert network.fetch_tasks("running").keys == [second]
    assert not far_worker.finish_task(first, {"y": 2})


@pytest.mark.parametrize("fetch", [False, True])
def test_a_report_whose_reply_is_lost_is_there_once(
    network: Network,
    far_worker: Worker,
    proxy: BreakingProxy,
    cut: Callable[[], None],
    fetch: bool,
) -> None:
    (key,) = far_worker.start_tasks([{"x": 1}])
    assert far_worker.report_and_fetch_new(key, {"step": 1})[0]
    cut()
    if fetch:
        won, new = far_worker.report_and_fetch_new(key, {"step": 2})
        assert [report.values for report in new] == [{"step": 2}]
    else:
        won = far_worker.report_task(key, {"step": 2})
    assert won
    assert proxy.n_breaks == 1
    assert [report.values["step"] for report in network.fetch_new_reports()] == [1, 2]


def test_a_report_that_is_not_ours_is_still_refused_after_its_reply_was_lost(
    network: Network,
    far_worker: Worker,
    worker: Worker,
    proxy: BreakingProxy,
    cut: Callable[[], None],
) -> None:
    (others,) = worker.start_tasks([{"x": 1}])
    assert worker.report_task(others, {"step": 1})
    cut()
    assert not far_worker.report_task(others, {"step": 1})
    assert proxy.n_breaks == 1
    (report,) = network.fetch_new_reports()
    assert report.worker_id == worker.worker_id


def test_ends_of_which_some_are_not_ours_are_recognised_one_by_one(
    network: Network,
    far_worker: Worker,
    worker: Worker,
    proxy: BreakingProxy,
    cut: Callable[[], None],
) -> None:
    mine, ended = far_worker.start_tasks([{"x": 1}, {"x": 2}])
    (others,) = worker.start_tasks([{"x": 3}])
    far_worker.finish_task(ended, {"y": 0})
    cut()
    won = far_worker.finish_tasks([others, mine, ended, "nobody-1"], [{"y": 1}] * 4)
    assert proxy.n_breaks == 1
    assert won == [False, True, False, False]
    assert network.fetch_tasks("finished").keys == [ended, mine]


@pytest.mark.parametrize("ending", ["finish", "fail", "report"])
def test_what_became_of_a_command_is_found_out_without_reading_a_long_log(
    network: Network,
    far_worker: Worker,
    worker: Worker,
    proxy: BreakingProxy,
    cut: Callable[[], None],
    ending: str,
) -> None:
    first, second = far_worker.start_tasks([{"x": 1}, {"x": 2}])
    (others,) = worker.start_tasks([{"x": 3}])
    n = 3000
    network.push_finished_tasks([{"x": 0}] * n, [{"y": 0}] * n)
    network.push_failed_tasks([{"x": 0}] * n, ["no"] * n)
    for step in range(n if ending == "report" else 0):
        worker.report_task(others, {"step": step})
    ends: dict[str, Callable[[str], bool]] = {
        "finish": lambda key: far_worker.finish_task(key, {"y": 1}),
        "fail": lambda key: far_worker.fail_task(key, "no"),
        "report": lambda key: far_worker.report_task(key, {"step": 0}),
    }
    end = ends[ending]
    assert end(first)
    before = proxy.n_reply_bytes
    cut()
    assert end(second)
    assert proxy.n_breaks == 1
    assert proxy.n_reply_bytes - before < 40_000  # of some 150,000 and more
    assert network.count_tasks().running == (3 if ending == "report" else 1)


def test_a_command_that_was_never_sent_is_not_looked_for(
    network: Network, far_worker: Worker, proxy: BreakingProxy
) -> None:
    key = far_worker.start_task({"x": 1})
    assert key is not None
    network.push_finished_tasks([{"x": 0}] * 400, [{"y": 0}] * 400)
    proxy.cut_before_reply()
    assert far_worker.count_tasks() == (0, 1, 400, 0)
    before = proxy.n_reply_bytes
    assert far_worker.finish_task(key, {"y": 1})
    assert proxy.n_reply_bytes - before == len(b":1\r\n:1\r\n")  # the new epoch, and the finish


@pytest.mark.parametrize("command", ["finish", "push", "push finished"])
def test_what_was_executed_is_found_behind_much_that_came_after_it(
    network: Network, far_worker: Worker, proxy: BreakingProxy, command: str
) -> None:
    keys = far_worker.start_tasks([{"x": 1}] * 700)
    with Network(network.network_id, proxy.url) as far:
        far.push_finished_tasks([{"x": 0}], [{"y": 0}])
        calls: dict[str, Callable[[], object]] = {
            "finish": lambda: far_worker.finish_tasks(keys, [{"y": 1}] * 700) == [True] * 700,
            "push": lambda: len(far.push_tasks([{"x": 2}, {"x": 3}])) == 2,
            "push finished": lambda: len(far.push_finished_tasks([{"x": 2}], [{"y": 2}])) == 1,
        }
        commands = (far_worker if command == "finish" else far)._transitions._commands
        raise_epoch = commands._raise_epoch

        def let_time_pass() -> bool:
            network.clear_queue()
            network.push_finished_tasks([{"x": 4}] * 1200, [{"y": 4}] * 1200)
            return raise_epoch()

        commands._raise_epoch = let_time_pass  # type: ignore[method-assign]
        proxy.cut_before_reply()
        assert calls[command]()
    assert proxy.n_breaks == 1
    assert (
        network.count_tasks()
        == {
            "finish": (0, 0, 1901, 0),
            "push": (0, 700, 1201, 2),
            "push finished": (0, 700, 1202, 0),
        }[command]
    )


def remove_before_it_asks_again(network: Network, worker: Worker) -> None:
    """Remove the worker when its reply is lost, and it is about to find out what became of it."""
    commands = worker._transitions._commands
    raise_epoch = commands._raise_epoch

    def remove_first() -> bool:
        network.stop_workers([worker.worker_id], kill=True)
        return raise_epoch()

    commands._raise_epoch = remove_first  # type: ignore[method-assign]


def test_tasks_that_were_failed_are_told_from_those_lost_after_them(
    network: Network, far_worker: Worker, proxy: BreakingProxy
) -> None:
    failed, lost = far_worker.start_tasks([{"x": 1}, {"x": 2}])
    remove_before_it_asks_again(network, far_worker)
    proxy.cut_before_reply()
    assert far_worker.fail_tasks([failed, failed], ["no", "no"]) == [True, False]
    assert proxy.n_breaks == 1
    assert network.fetch_tasks("failed").keys == [failed, lost]
    assert not far_worker.fail_task(lost, "no")


@pytest.mark.parametrize("place", ["queued", "finished", "failed"])
def test_a_push_whose_reply_is_lost_pushes_once(
    network: Network, proxy: BreakingProxy, cut: Callable[[], None], place: str
) -> None:
    with Network(network.network_id, proxy.url) as far:
        push: dict[str, Callable[[], list[str]]] = {
            "queued": lambda: far.push_tasks([{"x": 1}, {"x": 2}]),
            "finished": lambda: far.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}] * 2),
            "failed": lambda: far.push_failed_tasks([{"x": 1}, {"x": 2}], ["no"] * 2),
        }
        before = push[place]()
        cut()
        keys = push[place]()
        assert proxy.n_breaks == 1
        assert network.fetch_tasks(place).keys == before + keys


def test_a_queue_cleared_while_the_connection_broke_is_cleared_once(
    network: Network, proxy: BreakingProxy, cut: Callable[[], None]
) -> None:
    with Network(network.network_id, proxy.url) as far:
        far.clear_queue()
        keys = network.push_tasks([{"x": 1}, {"x": 2}])
        cut()
        far.clear_queue()
        assert proxy.n_breaks == 1
        assert network.fetch_tasks().keys == keys
        assert network.count_tasks() == (0, 0, 0, 2)


def test_a_worker_removed_while_the_connection_broke_is_removed_once(
    network: Network, worker: Worker, proxy: BreakingProxy, cut: Callable[[], None]
) -> None:
    key = worker.start_task({"x": 1})
    with Network(network.network_id, proxy.url) as far:
        far.stop_workers()
        cut()
        far.stop_workers([worker.worker_id], kill=True)
        assert proxy.n_breaks == 1
    assert network.fetch_tasks("failed").keys == [key]


def test_reading_survives_a_lost_connection(
    network: Network, proxy: BreakingProxy, cut: Callable[[], None]
) -> None:
    keys = network.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}, {"y": 2}])
    with Network(network.network_id, proxy.url) as far:
        reads: list[Callable[[], object]] = [
            lambda: far.fetch_tasks().keys == keys,
            lambda: far.fetch_finished_tasks().keys == keys,
            lambda: far.fetch_new_tasks().keys == keys,
            lambda: far.fetch_new_tasks(timeout_s=0.05).keys == [],
            lambda: far.count_tasks() == (0, 0, 2, 0),
            lambda: far.fetch_workers() == [],
        ]
        for read in reads:
            cut()
            assert read()
        assert proxy.n_breaks == len(reads)


def test_the_cache_survives_a_reset_and_a_connection_lost_at_once(
    network: Network, proxy: BreakingProxy
) -> None:
    with Network(network.network_id, proxy.url) as far:
        network.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}, {"y": 2}])
        assert len(far.fetch_finished_tasks()) == 2
        network.reset()
        keys = network.push_finished_tasks([{"x": 3}], [{"y": 3}])
        proxy.cut_before_reply()
        assert far.fetch_finished_tasks().keys == keys
        assert far.fetch_finished_tasks().keys == keys


def test_a_registration_whose_reply_is_lost_is_recognised(
    network: Network, worker: Worker, proxy: BreakingProxy, cut: Callable[..., None]
) -> None:
    cut(containing=b":unwanted")
    with Worker(network.network_id, url=proxy.url, worker_id="far") as far:
        assert proxy.n_breaks == 1
        assert far.number == 1
        assert far.start_task({"x": 1}) is not None
        with pytest.raises(RushError, match="already"):
            Worker(network.network_id, url=proxy.url, worker_id="far")
    assert [info.worker_id for info in network.fetch_workers()] == [worker.worker_id, "far"]


def test_a_worker_whose_return_is_not_answered_is_back_once(
    network: Network, proxy: BreakingProxy, cut: Callable[..., None]
) -> None:
    beat = Heartbeat(period_s=0.02, expire_s=0.3)
    with Worker(network.network_id, url=proxy.url, worker_id="far", heartbeat=beat) as far:
        assert far._heart is not None
        far._heart.close()
        wait_until(network.detect_lost_workers)
        assert not far.finish_task("nobody-1", {})
        assert far.is_lost
        cut(containing=b":unwanted")
        assert far.rejoin()
        assert proxy.n_breaks == 1
        assert far.start_task({"x": 1}) is not None
        assert [info.number for info in network.fetch_workers()] == [0]


@pytest.mark.parametrize("ending", ["finish", "fail", "report"])
def test_an_end_that_was_done_before_its_worker_was_put_out_is_recognised(
    network: Network, far_worker: Worker, proxy: BreakingProxy, ending: str
) -> None:
    """The reply is lost, and before the worker can ask again it is removed."""
    key = far_worker.start_task({"x": 1})
    assert key is not None
    remove_before_it_asks_again(network, far_worker)
    proxy.cut_before_reply()
    if ending == "report":
        assert far_worker.report_task(key, {"step": 1})
        assert proxy.n_breaks == 1
        assert not far_worker.report_task(key, {"step": 2})
        assert [report.values for report in network.fetch_new_reports()] == [{"step": 1}]
        return
    won = far_worker.finish_task(key, {"y": 1}) if ending == "finish" else None
    assert won or far_worker.fail_task(key, "no")
    assert proxy.n_breaks == 1
    assert network.count_tasks() == ((0, 0, 1, 0) if ending == "finish" else (0, 0, 0, 1))
    assert not any("lost" in task.result_extra for task in network.fetch_tasks())


def test_what_became_of_a_command_is_found_out_when_there_is_memory_again(
    network: Network, worker: Worker
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    connection = Connection(network.url)
    with BreakingProxy(network.url) as proxy, Worker(network.network_id, url=proxy.url) as far:
        mine = far.start_task({"x": 2})
        assert mine is not None

        def run_out() -> None:
            connection.execute(pack(("CONFIG", "SET", "maxmemory", "1")))
            proxy.deliver_held_request()
            threading.Timer(0.1, have_enough).start()

        def have_enough() -> None:
            connection.execute(pack(("CONFIG", "SET", "maxmemory", "0")))

        proxy.hold_request(b":finished", then=run_out)
        try:
            assert far.finish_task(mine, {"y": 2})
        finally:
            have_enough()
    assert network.fetch_tasks("finished").keys == [mine]
    connection.close()


@pytest.mark.parametrize("command", ["start", "claim", "report", "finish", "fail", "push", "clear"])
def test_a_command_of_an_older_epoch_that_arrives_late_is_refused(
    network: Network, far_worker: Worker, proxy: BreakingProxy, command: str
) -> None:
    far_worker.start_task({"x": 0})
    ended, key = far_worker.start_tasks([{"x": 1}, {"x": 2}])
    far_worker.finish_task(ended, {"y": 1})
    network.push_tasks([{"x": 3}, {"x": 4}])
    with Network(network.network_id, proxy.url) as far:
        far.push_tasks([{"x": 5}])
        commands: dict[str, Callable[[], object]] = {
            "start": lambda: far_worker.start_task({"x": 6}),
            "claim": lambda: far_worker.claim_task(),
            "report": lambda: far_worker.report_task(key, {"step": 1}),
            "finish": lambda: far_worker.finish_task(key, {"y": 2}),
            "fail": lambda: far_worker.fail_task(key, "no"),
            "push": lambda: far.push_tasks([{"x": 7}]),
            "clear": lambda: far.clear_queue(),
        }
        proxy.hold_request()
        commands[command]()  # got lost, was repeated, and succeeded
        assert proxy.n_breaks == 1
        before, counts = list(network.fetch_tasks()), network.count_tasks()
        assert proxy.deliver_held_request() == b":-1\r\n"
        assert (list(network.fetch_tasks()), network.count_tasks()) == (before, counts)
        assert len(network.fetch_new_reports()) == (command == "report")


@pytest.mark.parametrize("command", ["start", "claim", "report", "finish", "fail"])
def test_a_late_command_of_a_worker_that_was_removed_is_refused(
    network: Network, far_worker: Worker, proxy: BreakingProxy, command: str
) -> None:
    key = far_worker.start_task({"x": 1})
    assert key is not None
    assert far_worker.finish_task("nobody-1", {}) is False
    network.push_tasks([{"x": 3}])
    commands: dict[str, Callable[[], object]] = {
        "start": lambda: far_worker.start_task({"x": 6}),
        "claim": far_worker.claim_task,
        "report": lambda: far_worker.report_task(key, {"step": 1}),
        "finish": lambda: far_worker.finish_task(key, {"y": 2}),
        "fail": lambda: far_worker.fail_task(key, "no"),
    }
    network.stop_workers([far_worker.worker_id], kill=True)
    proxy.hold_request()
    if command in ("report", "finish", "fail"):
        assert commands[command]() is False
    else:
        with pytest.raises(WorkerLostError):
            commands[command]()
    assert proxy.n_breaks == 1
    assert proxy.deliver_held_request() == b":-1\r\n"
    assert network.count_tasks() == (1, 0, 0, 1)
    assert network.fetch_new_reports() == []
    with pytest.raises(WorkerLostError):
        far_worker.start_task({"x": 2})
