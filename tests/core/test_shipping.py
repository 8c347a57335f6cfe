"""Worker loops on their way: digests, signatures, and what cannot be shipped."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rush_core import EmbeddedServer, LoopError, Network, Worker, WorkersFailedError
from rush_core.connection import Connection, pack
from rush_core.keys import NetworkKeys
from rush_core.shipping import load_loop, pack_loop, store_loop


@pytest.fixture
def connection(server: EmbeddedServer) -> Iterator[Connection]:
    connection = Connection(server.url)
    yield connection
    connection.close()


@pytest.fixture
def keys(network: Network) -> NetworkKeys:
    return NetworkKeys(network.network_id)


def add(worker: Worker, a: int, *, b: int = 0) -> int:
    return a + b


def test_a_loop_arrives_with_its_arguments(connection: Connection, keys: NetworkKeys) -> None:
    offset = 1000

    def loop(worker: Worker, a: int, *, b: int) -> int:
        return a + b + offset

    digest = store_loop(connection, keys, pack_loop(loop, (1,), {"b": 2}))
    loaded, args, kwargs = load_loop(connection, keys, digest)
    assert (args, kwargs) == ((1,), {"b": 2})
    assert loaded(None, *args, **kwargs) == 1003


def test_large_objects_arrive_whole(connection: Connection, keys: NetworkKeys) -> None:
    data = bytes(range(256)) * 40_000  # ten megabytes
    digest = store_loop(connection, keys, pack_loop(add, (data,), {}))
    _, (arrived,), _ = load_loop(connection, keys, digest)
    assert arrived == data


def test_several_loops_live_beside_each_other(connection: Connection, keys: NetworkKeys) -> None:
    first = store_loop(connection, keys, pack_loop(add, (1,), {}))
    second = store_loop(connection, keys, pack_loop(add, (2,), {}))
    assert load_loop(connection, keys, first)[1] == (1,)
    assert load_loop(connection, keys, second)[1] == (2,)


def test_the_same_secret_opens(
    connection: Connection, keys: NetworkKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSH_SECRET", "sesame")
    digest = store_loop(connection, keys, pack_loop(add, (1,), {}))
    assert load_loop(connection, keys, digest)[1] == (1,)


@pytest.mark.parametrize(("sent", "received"), [("", "sesame"), ("sesame", ""), ("a", "b")])
def test_another_secret_is_refused_before_anything_is_unpickled(
    connection: Connection,
    keys: NetworkKeys,
    monkeypatch: pytest.MonkeyPatch,
    sent: str,
    received: str,
) -> None:
    unpickled: list[bool] = []
    monkeypatch.setenv("RUSH_SECRET", sent)
    digest = store_loop(connection, keys, pack_loop(add, (1,), {}))
    monkeypatch.setenv("RUSH_SECRET", received)
    monkeypatch.setattr("cloudpickle.loads", lambda content: unpickled.append(True))
    with pytest.raises(LoopError, match="RUSH_SECRET") as error:
        load_loop(connection, keys, digest)
    assert error.value.key == digest
    assert unpickled == []


@pytest.mark.parametrize("position", [40, -1])
def test_an_altered_loop_is_refused_before_anything_is_unpickled(
    connection: Connection, keys: NetworkKeys, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    unpickled: list[bool] = []
    digest = store_loop(connection, keys, pack_loop(add, (1,), {}))
    stored = bytearray(connection.execute(pack(("HGET", keys.loops, digest))))
    stored[position] ^= 1
    connection.execute(pack(("HSET", keys.loops, digest, bytes(stored))))
    monkeypatch.setattr("cloudpickle.loads", lambda content: unpickled.append(True))
    with pytest.raises(LoopError, match="altered"):
        load_loop(connection, keys, digest)
    assert unpickled == []


def test_a_forged_signature_is_refused(
    connection: Connection, keys: NetworkKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSH_SECRET", "sesame")
    digest = store_loop(connection, keys, pack_loop(add, (1,), {}))
    stored = connection.execute(pack(("HGET", keys.loops, digest)))
    connection.execute(pack(("HSET", keys.loops, digest, bytes(32) + stored[32:])))
    with pytest.raises(LoopError, match="RUSH_SECRET"):
        load_loop(connection, keys, digest)


def test_a_loop_that_is_not_there_is_explained(
    network: Network, connection: Connection, keys: NetworkKeys
) -> None:
    digest = store_loop(connection, keys, pack_loop(add, (1,), {}))
    network.reset()
    with pytest.raises(LoopError, match="has no worker loop"):
        load_loop(connection, keys, digest)


UNPICKLABLE: dict[str, Callable[[Network], Any]] = {
    "lock": lambda network: threading.Lock(),
    "generator": lambda network: (i for i in range(3)),
    "network": lambda network: network,
}


@pytest.mark.parametrize("make", UNPICKLABLE.values(), ids=UNPICKLABLE)
def test_arguments_that_cannot_be_pickled_are_explained(
    network: Network, make: Callable[[Network], Any]
) -> None:
    argument = make(network)
    for args, kwargs in (((argument,), {}), ((), {"a": argument})):
        with pytest.raises(LoopError, match="cannot ship 'add' and its arguments"):
            network.start_workers(add, 1, args=args, kwargs=kwargs)
    assert network.join_workers(0.0)


def test_what_cannot_be_called_is_no_loop(network: Network) -> None:
    with pytest.raises(TypeError, match="loop must be callable"):
        network.start_workers("add", 1)  # type: ignore[arg-type]


def test_what_cannot_be_unpickled_here_is_explained(
    connection: Connection, keys: NetworkKeys
) -> None:
    class Unpicklable:
        def __reduce__(self) -> tuple[Any, ...]:
            return int, ("no number",)

    digest = store_loop(connection, keys, pack_loop(add, (Unpicklable(),), {}))
    with pytest.raises(LoopError, match=r"cannot unpickle.*same software"):
        load_loop(connection, keys, digest)


def test_a_worker_with_another_secret_never_runs_the_loop(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loop(worker: Worker) -> None:
        worker.start_task({})

    monkeypatch.setenv("RUSH_SECRET", "one")
    signature = "rush_core.shipping._signature"
    monkeypatch.setattr(signature, lambda packed: b"somebody else's signature......!")
    network.start_workers(loop, 1)
    with pytest.raises(WorkersFailedError, match="RUSH_SECRET"):
        network.wait_for_workers(timeout_s=30.0)
    assert network.count_tasks() == (0, 0, 0, 0)
