"""Networks as a whole: reset, beside each other, and under several managers."""

import pytest

from rush_core import EmbeddedServer, Network, Worker, WorkerLostError
from rush_core.kernel.invariants import check_network
from tests.fixture_types import Join


def test_reset_deletes_everything_and_the_network_goes_on(network: Network, join: Join) -> None:
    worker = join()
    network.push_tasks([{"x": 1}, {"x": 2}])
    key = worker.start_task({"x": 3})
    assert key is not None
    network.reset()
    assert network.count_tasks() == (0, 0, 0, 0)
    assert network.fetch_workers() == []
    assert worker.finish_task(key, {"y": 1}) is False
    with pytest.raises(WorkerLostError):
        worker.start_task({"x": 4})
    network.push_tasks([{"x": 5}])
    assert network.fetch_tasks("queued").configs == [{"x": 5}]
    assert join().number == 0


def test_reset_of_the_tasks_keeps_the_workers_and_frees_the_budget(
    network: Network, worker: Worker
) -> None:
    key = worker.start_task({"x": 1}, limit=1)
    assert key is not None
    network.push_tasks([{"x": 2}])
    network.reset(workers=False)
    assert network.count_tasks() == (0, 0, 0, 0)
    assert worker.finish_task(key, {"y": 1}) is False
    assert worker.start_task({"x": 3}, limit=1) is not None
    assert [info.worker_id for info in network.fetch_workers()] == [worker.worker_id]


def test_two_networks_on_one_server_never_see_each_other(
    network: Network, worker: Worker, network_id: str, server: EmbeddedServer
) -> None:
    with (
        Network(f"{network_id}-other", server.url) as other,
        Worker(f"{network_id}-other", url=server.url, worker_id=worker.worker_id) as stranger,
    ):
        key = worker.start_task({"x": 1}, limit=1)
        assert key is not None
        network.push_tasks([{"x": 2}])
        assert other.count_tasks() == (0, 0, 0, 0)
        assert stranger.claim_task() is None
        assert stranger.finish_task(key, {"y": 1}) is False
        assert stranger.start_task({"x": 3}, limit=1) is not None
        other.stop_workers()
        other.reset()
        assert network.count_tasks() == (1, 1, 0, 0)
        assert worker.claim_task() is not None
        check_network(other.network_id, server.url)


def test_several_managers_can_look_after_one_network(
    network: Network, worker: Worker, server: EmbeddedServer
) -> None:
    with Network(network.network_id, server.url) as second:
        keys = network.push_tasks([{"x": 1}]) + second.push_tasks([{"x": 2}])
        assert second.fetch_tasks("queued").keys == keys
        assert second.clear_queue() == 2
        assert network.fetch_tasks("failed").keys == keys


def test_the_old_name_of_describe_works_with_a_warning(network: Network) -> None:
    assert network.describe({"space": "x"}) == {"space": "x"}
    with pytest.warns(DeprecationWarning, match="describe"):
        assert network.push_about({"space": "y"}) == {"space": "x"}
