"""Servers whose memory is used up, and values that no server takes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rush_core import EmbeddedServer, Network, ServerFullError, Worker
from rush_core.connection.connection import Connection, pack
from tests.fixture_types import Join


def set_memory(url: str, n_bytes: int) -> None:
    connection = Connection(url)
    connection.execute(pack(("CONFIG", "SET", "maxmemory", n_bytes)))
    connection.close()


@contextmanager
def no_memory(url: str, for_s: float = 1.0) -> Iterator[None]:
    """Take all memory from a server for some time, or until the end of the block."""
    set_memory(url, 1)
    giving = threading.Timer(for_s, set_memory, (url, 0))
    giving.start()
    try:
        yield
    finally:
        giving.join()
        set_memory(url, 0)


def test_a_client_waits_for_memory(network: Network, worker: Worker) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    with no_memory(network.url):
        network.push_tasks([{"x": 2}])
    with no_memory(network.url):
        won, new = worker.finish_and_fetch_new(key, {"y": 1})
    assert won
    assert new.keys == [key]
    with no_memory(network.url):
        other = worker.start_task({"x": 3})
    assert other is not None
    with no_memory(network.url):
        assert worker.report_task(other, {"step": 1})
    assert network.count_tasks() == (1, 1, 1, 0)


def test_a_client_that_waits_for_tasks_waits_for_memory_first(network: Network, join: Join) -> None:
    worker = join()
    with no_memory(network.url):
        assert worker.claim_task(timeout_s=0.5) is None
    with no_memory(network.url):
        assert len(network.fetch_new_tasks(timeout_s=0.5)) == 0


def test_patience_with_a_full_server_ends(
    network: Network, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rush_core.connection.script.PATIENCE_S", 0.2)
    calls: list[Callable[[], object]] = [
        lambda: network.push_tasks([{"x": 1}]),
        lambda: worker.start_task({"x": 1}),
        lambda: network.fetch_new_tasks(timeout_s=0.1),
    ]
    set_memory(network.url, 1)
    try:
        for call in calls:
            with pytest.raises(ServerFullError, match=r"maxmemory.*nothing was written"):
                call()
    finally:
        set_memory(network.url, 0)
    assert not any(network.count_tasks())


def test_what_is_larger_than_a_server_takes_is_refused_with_its_size(
    network: Network, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = worker.start_task({"x": 1})
    assert key is not None
    refused = r"at most 536,870,912 bytes .* got 536,87[0-9],[0-9]{3}; keep large data in a file"
    with pytest.raises(ValueError, match=refused):
        network.push_tasks([{"data": bytes(512 * 1024**2)}])
    monkeypatch.setattr("rush_core.connection.connection._LARGEST_REQUEST", 1024**2)
    large = bytes(1024**2)
    refused = r"at most 1,048,576 bytes .* got 1,04[0-9],[0-9]{3}; keep large data in a file"
    with pytest.raises(ValueError, match=refused):
        worker.start_task({"data": large})
    with pytest.raises(ValueError, match=refused):
        worker.finish_task(key, {"data": large})
    with pytest.raises(ValueError, match=refused):
        worker.finish_and_fetch_new(key, {"data": large})
    assert worker.finish_task(key, {"y": 1})
    assert network.count_tasks() == (0, 0, 1, 0)


def test_a_large_value_is_stored(server: EmbeddedServer) -> None:
    with Network(url=server.url) as network:
        network.push_tasks([{"data": bytes(100 * 1024**2)}])
        assert len(network.fetch_tasks("queued")[0].config["data"]) == 100 * 1024**2
        network.reset()
