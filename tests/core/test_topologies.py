"""Finding the server to talk to: behind sentinels through a failover, and in a cluster."""

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from rush_core import Network, ServerUnreachableError, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.invariants import check_network
from tests.core.topologies import Cluster, Replicated, slot_of
from tests.threads import in_background
from tests.waiting import wait_until

PATIENCE_S = 30.0


def repeating(worker: Worker) -> None:
    while not worker.should_stop():
        if key := worker.start_task({"x": 1}):
            worker.finish_task(key, {"y": 1})


def claiming(worker: Worker) -> None:
    while not worker.should_stop():
        if task := worker.claim_task(timeout_s=5.0):
            worker.finish_task(task.key, {"y": task.config["x"]})


# -- behind sentinels ---------------------------------------------------------------------------


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[Replicated]:
    replicated = Replicated(tmp_path)
    yield replicated
    replicated.close()


def test_the_primary_is_found_and_followed_when_it_changes_places(
    replicated: Replicated, network_id: str
) -> None:
    url = replicated.url
    with Network(network_id, url) as network, Worker(network_id, url=url) as worker:
        network.start_workers(claiming, 1)
        network.wait_for_workers(timeout_s=PATIENCE_S)
        key = worker.start_task({"x": 1})
        assert key is not None
        replicated.wait_for_replica()
        replicated.swap()
        # All still hold connections to the old primary, which refuses to write.
        assert worker.finish_task(key, {"y": 1})
        keys = network.push_tasks([{"x": i} for i in range(5)])
        wait_until(lambda: network.count_tasks().finished == 6, PATIENCE_S)
        assert {key, *keys} == set(network.fetch_finished_tasks().keys)
        network.stop_workers()
        assert network.join_workers(PATIENCE_S)
    check_network(network_id, url)
    check_network(network_id, replicated.replica.url)


def test_a_failover_in_the_middle_of_a_run_loses_nothing_that_was_replicated(
    replicated: Replicated, network_id: str
) -> None:
    url = replicated.url
    with Network(network_id, url) as network, Worker(network_id, url=url) as worker:
        network.start_workers(repeating, 2)
        wait_until(lambda: network.count_tasks().finished > 10, PATIENCE_S)
        keys = worker.start_tasks([{"x": i} for i in range(10)])
        assert all(worker.finish_tasks(keys, [{"y": 1}] * 10))
        replicated.wait_for_replica()
        replicated.primary.kill()
        late = worker.start_task({"x": 11})
        assert late is not None
        assert worker.finish_task(late, {"y": 1})
        assert replicated.replica.ask("ROLE")[0] == b"master"
        n_finished = network.count_tasks().finished
        wait_until(lambda: network.count_tasks().finished > n_finished + 10, PATIENCE_S)
        network.stop_workers()
        assert network.join_workers(PATIENCE_S)
        # What came later was acknowledged by the new primary: all of it is there.
        assert {*keys, late} <= set(network.fetch_finished_tasks().keys)
        assert {info.state for info in network.fetch_workers()} <= {"stopped", "stopping"}
    check_network(network_id, url)


def test_behind_sentinels_only_the_primary_of_the_service_is_taken(
    replicated: Replicated, network_id: str
) -> None:
    copy = pickle.loads(pickle.dumps(Connection(replicated.url)))
    assert copy.execute(pack(("ROLE",)))[0] == b"master"
    assert "correct-horse" not in repr(copy)
    copy.close()
    with pytest.raises(ServerUnreachableError, match="does not know 'stduy'") as error:
        Network("any", replicated.url.replace("/study/", "/stduy/"))
    assert "correct-horse" not in str(error.value)
    replica = Connection(replicated.replica.url)
    with pytest.raises(ServerUnreachableError, match=r"READONLY.*connect to its primary"):
        replica.execute(pack(("SET", f"rush:{{{network_id}}}:x", "1")))
    replica.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:1",
        "redis+sentinel://127.0.0.1:port/study",
        "redis+sentinel:///study",
    ],
)
def test_a_url_with_sentinels_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis\+sentinel://host:port,host:port/service/db"):
        Network("any", url)


# -- in a cluster -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


@pytest.mark.parametrize("entry", [0, 1, 2])
def test_any_node_of_a_cluster_leads_to_the_network(
    cluster: Cluster, network_id: str, entry: int
) -> None:
    url = cluster.nodes[entry].url
    with Network(network_id, url) as network, Worker(network_id, url=url) as worker:
        keys = network.push_tasks([{"x": 1}, {"x": 2}])
        task = worker.claim_task(timeout_s=1.0)
        assert task is not None
        won, new = worker.finish_and_fetch_new(task.key, {"y": 1})
        assert won
        assert new.keys == [keys[0]]
        assert network.fetch_tasks().keys == [keys[1], keys[0]]
        assert network.fetch_new_tasks(timeout_s=1.0).keys == [keys[0]]
        assert network.clear_queue() == 1
        assert network.count_tasks() == (0, 0, 1, 1)
        network.reset(workers=False)
        assert network.count_tasks() == (0, 0, 0, 0)
    check_network(network_id, url)


def test_workers_of_a_cluster_wake_and_log(cluster: Cluster, network_id: str) -> None:
    def loop(worker: Worker) -> None:
        logging.getLogger("study").warning("hello")
        claiming(worker)

    with Network(network_id, cluster.nodes[0].url) as network:
        network.start_workers(loop, 2)
        network.wait_for_workers(timeout_s=PATIENCE_S)
        keys = network.push_tasks([{"x": i} for i in range(20)])
        wait_until(lambda: network.count_tasks().finished == 20, PATIENCE_S)
        assert set(network.fetch_finished_tasks().keys) == set(keys)
        network.stop_workers()
        assert network.join_workers(PATIENCE_S)
        assert [record.message for record in network.read_log()] == ["hello"] * 2
    check_network(network_id, cluster.nodes[0].url)


def test_a_network_whose_slot_moves_is_followed(cluster: Cluster, network_id: str) -> None:
    source = cluster.holder(network_id)
    target = (source + 1) % 3
    url = cluster.nodes[source].url
    with Network(network_id, url) as network, Worker(network_id, url=url) as worker:
        first, second = worker.start_tasks([{"x": 1}, {"x": 2}])
        assert worker.claim_task() is None
        network.fetch_new_tasks(timeout_s=0.01)
        cluster.move(network_id, source, target)
        assert worker.finish_and_fetch_new(first, {"y": 1})[1].keys == [first]
        assert network.fetch_new_tasks(timeout_s=1.0).keys == [first]
        assert worker.claim_task(timeout_s=0.01) is None
        assert worker.finish_task(second, {"y": 2})
        network.push_tasks([{"x": 3}])
        assert network.count_tasks() == (1, 0, 2, 0)
        assert cluster.nodes[target].ask("CLUSTER", "COUNTKEYSINSLOT", slot_of(network_id))
        # And back, while a worker sleeps until a task is queued.
        network.clear_queue()

        def claim() -> str:
            while not (task := worker.claim_task(timeout_s=20.0)):
                pass
            return task.key

        claimed = in_background(claim)
        idle = f"rush:{{{network_id}}}:idle"
        wait_until(lambda: cluster.nodes[target].ask("ZCARD", idle))
        cluster.move(network_id, target, source)
        (key,) = network.push_tasks([{"x": 4}])
        assert claimed() == key
    check_network(network_id, url)


def test_what_meets_a_slot_on_its_way_waits_for_its_arrival(
    cluster: Cluster, network_id: str
) -> None:
    source = cluster.holder(network_id)
    target = (source + 1) % 3
    url = cluster.nodes[source].url
    with Network(network_id, url) as network:
        network.push_tasks([{"x": 1}])
        cluster.begin_move(network_id, source, target)
        pushed = in_background(lambda: network.push_finished_tasks([{"x": 2}], [{"y": 2}]))
        cluster.move(network_id, source, target)
        assert pushed() == network.fetch_tasks("finished").keys
        assert network.count_tasks() == (1, 0, 1, 0)
    check_network(network_id, url)


def test_a_connection_in_a_cluster_survives_a_restart_and_pickling(
    cluster: Cluster, network_id: str
) -> None:
    holder = cluster.holder(network_id)
    url = cluster.nodes[(holder + 1) % 3].url
    with Network(network_id, url) as network, Worker(network_id, url=url) as worker:
        key = worker.start_task({"x": 1})
        assert key is not None
        cluster.nodes[holder].kill()
        cluster.nodes[holder].start()
        assert worker.finish_task(key, {"y": 1})
        assert network.count_tasks() == (0, 0, 1, 0)
        copy = pickle.loads(pickle.dumps(Connection(url)))
        assert copy.execute(pack(("LLEN", f"rush:{{{network_id}}}:finished"))) == 1
        copy.close()
    check_network(network_id, url)
