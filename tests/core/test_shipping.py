"""Shipping worker loops: digests, signatures, and objects that cannot be shipped."""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rush_core import EmbeddedServer, LoopError, Network, Worker, WorkersFailedError
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from rush_core.launching.shipping import MOST_BYTES, load_loop, pack_loop, store_loop
from tests.fixture_types import Launch


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


def test_a_network_holds_several_loops(connection: Connection, keys: NetworkKeys) -> None:
    first = store_loop(connection, keys, pack_loop(add, (1,), {}))
    second = store_loop(connection, keys, pack_loop(add, (2,), {}))
    assert load_loop(connection, keys, first)[1] == (1,)
    assert load_loop(connection, keys, second)[1] == (2,)


def test_a_loop_is_loaded_with_the_same_secret(
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


def test_a_missing_loop_is_explained(
    network: Network, connection: Connection, keys: NetworkKeys
) -> None:
    digest = store_loop(connection, keys, pack_loop(add, (1,), {}))
    network.reset()
    with pytest.raises(LoopError, match="has no worker loop"):
        load_loop(connection, keys, digest)


UNPICKLABLE: dict[str, Callable[[], Any]] = {
    "lock": threading.Lock,
    "generator": lambda: (i for i in range(3)),
}


@pytest.mark.parametrize("make", UNPICKLABLE.values(), ids=UNPICKLABLE)
def test_arguments_that_cannot_be_pickled_are_explained(
    network: Network, make: Callable[[], Any]
) -> None:
    argument = make()
    for args, kwargs in (((argument,), {}), ((), {"a": argument})):
        with pytest.raises(LoopError, match="cannot ship 'add' and its arguments"):
            network.start_workers(add, 1, args=args, kwargs=kwargs)
    assert network.join_workers(0.0)


def test_a_loop_must_be_callable(network: Network) -> None:
    with pytest.raises(TypeError, match="loop must be callable"):
        network.start_workers("add", 1)  # type: ignore[arg-type]


def test_a_loop_that_cannot_be_unpickled_is_explained(
    connection: Connection, keys: NetworkKeys
) -> None:
    class Unpicklable:
        def __reduce__(self) -> tuple[Any, ...]:
            return int, ("no number",)

    digest = store_loop(connection, keys, pack_loop(add, (Unpicklable(),), {}))
    with pytest.raises(LoopError, match=r"cannot unpickle.*same packages"):
        load_loop(connection, keys, digest)


def test_a_worker_with_another_secret_never_runs_the_loop(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loop(worker: Worker) -> None:
        worker.start_task({})

    monkeypatch.setenv("RUSH_SECRET", "one")
    signature = "rush_core.launching.shipping._signature"
    monkeypatch.setattr(signature, lambda packed: b"somebody else's signature......!")
    network.start_workers(loop, 1)
    with pytest.raises(WorkersFailedError, match="RUSH_SECRET"):
        network.wait_for_workers(timeout_s=30.0)
    assert network.count_tasks() == (0, 0, 0, 0)


# -- through a shared folder ----------------------------------------------------------------------


def measuring(worker: Worker, data: bytes, *, other: bytes = b"") -> None:
    key = worker.start_task({})
    assert key is not None
    worker.finish_task(key, {"n_bytes": len(data) + len(other)})


def test_an_error_about_a_too_large_loop_names_its_largest_argument(
    network: Network, connection: Connection, keys: NetworkKeys
) -> None:
    large = bytes(MOST_BYTES)
    for call in (
        lambda: network.start_workers(measuring, 1, args=(b"small",), kwargs={"other": large}),
        lambda: network.worker_command(measuring, args=(b"small",), kwargs={"other": large}),
    ):
        with pytest.raises(LoopError, match=r"kwargs\['other'\].*inside the f.*shared_f") as error:
            call()
        assert error.value.expected == MOST_BYTES
        assert error.value.found > MOST_BYTES
    with pytest.raises(LoopError, match=r"in args\[0\]"):
        network.start_workers(measuring, 1, args=(large,))
    with pytest.raises(LoopError, match="the loop itself"):
        network.start_workers(lambda worker: len(large), 1)
    assert connection.execute(pack(("EXISTS", keys.loops))) == 0
    assert network.fetch_workers() == []


def test_a_loop_of_any_size_goes_through_a_shared_folder(
    network: Network,
    connection: Connection,
    keys: NetworkKeys,
    launch: Launch,
    tmp_path: Path,
) -> None:
    folder, n_bytes = tmp_path / "shared", MOST_BYTES + 1
    arguments: Any = {"args": (bytes(n_bytes),), "shared_folder": folder}
    network.start_workers(measuring, 1, **arguments)
    assert network.join_workers(60.0)
    process = launch(network.worker_command(measuring, **arguments))
    assert process.communicate(timeout=60.0)[1] == ""
    assert network.fetch_finished_tasks().results == [{"n_bytes": n_bytes}] * 2
    assert connection.execute(pack(("MEMORY", "USAGE", keys.loops))) < 4096
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.fixture
def in_folder(
    connection: Connection, keys: NetworkKeys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """A signed loop in a shared folder; its digest."""
    monkeypatch.setenv("RUSH_SECRET", "sesame")
    return store_loop(connection, keys, pack_loop(add, (1,), {}), tmp_path)


def test_a_signed_loop_in_a_folder_is_loaded_only_with_the_same_secret(
    connection: Connection, keys: NetworkKeys, in_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_loop(connection, keys, in_folder)[1] == (1,)
    unpickled: list[bool] = []
    monkeypatch.setattr("cloudpickle.loads", lambda content: unpickled.append(True))
    for secret in ("another", ""):
        monkeypatch.setenv("RUSH_SECRET", secret)
        with pytest.raises(LoopError, match="RUSH_SECRET"):
            load_loop(connection, keys, in_folder)
    assert unpickled == []


def test_an_altered_or_replaced_file_is_refused_before_anything_is_unpickled(
    connection: Connection,
    keys: NetworkKeys,
    in_folder: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    unpickled: list[bool] = []
    monkeypatch.setattr("cloudpickle.loads", lambda content: unpickled.append(True))
    file = tmp_path / in_folder
    for content in (file.read_bytes()[:-1] + b"!", file.read_bytes()[:-1], b"", b"file:" * 9):
        file.write_bytes(content)
        with pytest.raises(LoopError, match="altered"):
            load_loop(connection, keys, in_folder)
    assert unpickled == []


def test_a_missing_file_in_the_shared_folder_is_explained(
    network: Network, connection: Connection, keys: NetworkKeys, in_folder: str, tmp_path: Path
) -> None:
    (tmp_path / in_folder).unlink()
    with pytest.raises(LoopError, match=r"shared folder.*same path on all machines"):
        load_loop(connection, keys, in_folder)


def test_a_path_with_a_zero_byte_is_explained(
    connection: Connection, keys: NetworkKeys, in_folder: str
) -> None:
    stored = bytes(32) + b"file:/no\0where/" + in_folder.encode()
    connection.execute(pack(("HSET", keys.loops, in_folder, stored)))
    with pytest.raises(LoopError, match="cannot read worker loop"):
        load_loop(connection, keys, in_folder)


@pytest.mark.parametrize("kind", ["device", "named pipe", "link", "too large", "folder"])
def test_a_path_that_cannot_be_a_loop_is_refused_before_it_is_read(
    kind: str, network: Network, launch: Launch, tmp_path: Path
) -> None:
    command = network.worker_command(measuring, args=(b"",), shared_folder=tmp_path)
    (file,) = tmp_path.iterdir()
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)
    stored: bytes = connection.execute(pack(("HGET", keys.loops, file.name)))
    if kind == "device":
        altered = stored.replace(bytes(file), b"/dev/zero")
        assert altered != stored
        connection.execute(pack(("HSET", keys.loops, file.name, altered)))
    file.unlink()
    if kind == "named pipe":
        os.mkfifo(file)
    elif kind == "link":
        file.symlink_to("/dev/zero")
    elif kind == "too large":
        with file.open("wb") as sparse:
            sparse.truncate(1 << 40)
    elif kind == "folder":
        file.mkdir()
    connection.close()
    _, errors = launch(command).communicate(timeout=60.0)
    assert errors.startswith("rush: ")
    reasons = {"device": "its name is not", "too large": "more than", "folder": "folder"}
    assert reasons.get(kind, "it is no regular file") in errors
    assert network.fetch_workers() == []
