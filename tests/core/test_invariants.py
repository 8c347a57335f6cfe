"""The checker of invariants notices what cannot be."""

from collections.abc import Iterator

import pytest

from rush_core import EmbeddedServer, Network, RushError, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.codec import encode
from rush_core.kernel.invariants import check_network, find_violations
from rush_core.keys import NetworkKeys

QUEUED = encode(("", 0, "key-1", {"x": 1}, None))
MARKED = encode(("", 0, "12345678:key-1", {"x": 1}, None))
MARKED_TOO = encode(("", 0, "12345678:key-2", {"x": 1}, None))
RUNNING = encode(("ghost", 0, "key-1", {"x": 1}, None, 5.0))
FINISHED = encode(("", 0, "key-1", {"x": 1}, None, 5.0, 6.0, {"y": 1}, None, None))
WORKER = encode(("second", "host", 1, 5.0, None, 7, 6.0, "stopped", None))
NOWHERE = encode(("second", 0, "key-2", 5.0, {"step": 1}))
EMPTY = encode(("", 0, "key-1", 5.0, None))
AHEAD = encode(("", 1, "key-1", 5.0, {"step": 1}))
FAILED = encode(("", 0, "key-1", {"x": 1}, None, 5.0, 6.0, None, "no", None))


@pytest.fixture
def busy_network(server: EmbeddedServer, network_id: str) -> Iterator[Network]:
    """A network with something of everything, which a test may then spoil."""
    with Network(network_id, server.url) as network, Worker(network_id, url=server.url) as worker:
        network.push_tasks([{"x": 0}])
        network.push_finished_tasks([{"x": 0}], [{"y": 0}])
        keys = worker.start_tasks([{"x": 1}, {"x": 2}, {"x": 3}])
        worker.finish_task(keys[0], {"y": 1})
        worker.fail_task(keys[1], "no")
        check_network(network_id, server.url)
        yield network


@pytest.mark.parametrize(
    ("write", "violation"),
    [
        ([("RPUSH", "finished", FINISHED), ("RPUSH", "queued", QUEUED)], "in 2 places"),
        ([("RPUSH", "failed", FAILED), ("RPUSH", "failed", FAILED)], "in 2 places"),
        ([("RPUSH", "queued", FINISHED)], "10 fields instead of 5"),
        ([("RPUSH", "finished", FAILED)], "has result None and error 'no'"),
        ([("RPUSH", "failed", FINISHED)], "and error None"),
        ([("HSET", "running", "key-1", RUNNING)], "registered"),
        ([("HSET", "running", "key-2", RUNNING)], "has other keys than its records"),
        ([("INCR", "started")], "places of the budget are taken"),
        ([("HSET", "workers", "second", WORKER)], "numbers are [0, 7]"),
        ([("DEL", "workers")], "registered"),
        ([("HSET", "clients", "somebody", "x")], "has the epoch 'x'"),
        ([("SADD", "unique", "12345678")], "taken without a task"),
        ([("RPUSH", "queued", MARKED), ("RPUSH", "queued", MARKED_TOO)], "two tasks have the mark"),
        ([("ZADD", "idle", 1, "somebody")], "waits for a queued task"),
        ([("RPUSH", "reports", NOWHERE)], "'key-2', which is nowhere"),
        ([("RPUSH", "finished", FINISHED), ("RPUSH", "reports", EMPTY)], "has no values"),
        ([("RPUSH", "finished", FINISHED), ("RPUSH", "reports", AHEAD)], "at attempt 0"),
    ],
)
def test_a_spoiled_network_is_noticed(
    busy_network: Network, write: list[tuple[object, ...]], violation: str
) -> None:
    keys = NetworkKeys(busy_network.network_id)
    connection = Connection(busy_network.url)
    try:
        for command, place, *arguments in write:
            connection.execute(pack((command, getattr(keys, str(place)), *arguments)))
        assert any(violation in found for found in find_violations(connection, keys))
        with pytest.raises(RushError, match="breaks rules") as error:
            check_network(busy_network.network_id, busy_network.url)
        assert error.value.found == find_violations(connection, keys)
    finally:
        busy_network.reset()
        connection.close()


def test_wake_ups_that_nobody_reads_are_noticed(busy_network: Network) -> None:
    keys = NetworkKeys(busy_network.network_id)
    (worker,) = busy_network.fetch_workers()
    connection = Connection(busy_network.url)
    connection.execute(pack(("RPUSH", keys.wake(worker.worker_id), *("1234",) * 9)))
    assert "9 unread pushes" in find_violations(connection, keys)[0]
    connection.close()
