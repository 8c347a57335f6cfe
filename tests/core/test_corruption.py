"""What another program leaves in a network's keys is said by the key's name, and moves nothing."""

from __future__ import annotations

import contextlib
import secrets
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rush_core import (
    CorruptRecordError,
    EmbeddedServer,
    Network,
    RushError,
    ServerRefusedError,
    Task,
    Worker,
    WorkerLostError,
)
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.codec import encode
from rush_core.kernel.invariants import check_network, find_violations
from rush_core.keys import NetworkKeys
from rush_core.launching.shipping import load_loop, pack_loop, store_loop

# What holds the tasks, the budget and the workers: no failed call may change any of it.
KEPT = ("queued", "running", "finished", "failed", "reports", "started", "workers")

QUEUED = encode(("", 0, "spoiled-1", {"x": 1}, None))
RUNNING = encode(("w", 0, "spoiled-1", {"x": 1}, None, 5.0))
ENDED = encode(("w", 0, "spoiled-1", {"x": 1}, None, 5.0, 6.0, {"y": 1}, None, None))
FAILED = encode(("w", 0, "spoiled-1", {"x": 1}, None, 5.0, 6.0, None, "no", None))
REPORT = encode(("w", 0, "spoiled-1", 5.0, {"step": 1}))
WORKER = encode(("w", "host", 1, 5.0, None, 0))


class Spoiled:
    """A network with something of everything, and all that its clients can do."""

    def __init__(self, url: str) -> None:
        self.network_id = f"test-{secrets.token_hex(6)}"
        self.keys = NetworkKeys(self.network_id)
        self.connection = Connection(url)
        self.network = Network(self.network_id, url)
        self.network.push_finished_tasks([{"x": 0}], [{"y": 0}])
        self.network.push_failed_tasks([{"x": 0}], ["no"])
        self.network.push_tasks([{"x": 1}, {"x": 2}])
        self.worker = Worker(self.network_id, url=url, worker_id="w", heartbeat=None)
        self.key = self.worker.start_task({"x": 3}) or ""
        self.other = Worker(self.network_id, url=url, worker_id="other", heartbeat=None)
        self.digest = store_loop(self.connection, self.keys, pack_loop(len, (), {}))
        self.joined: list[Worker] = []

    def calls(self) -> dict[str, Callable[[], object]]:
        network, worker = self.network, self.worker
        return {
            "fetch_tasks": lambda: read(network.fetch_tasks()),
            "fetch_finished_tasks": lambda: read(network.fetch_finished_tasks()),
            "fetch_new_tasks": lambda: read(worker.fetch_new_tasks()),
            "wait": lambda: read(worker.fetch_new_tasks(timeout_s=0.001)),
            "fetch_new_failed_tasks": lambda: read(worker.fetch_new_failed_tasks()),
            "fetch_new_ended_tasks": lambda: list(map(read, worker.fetch_new_ended_tasks())),
            "wait for ended": lambda: list(
                map(read, worker.fetch_new_ended_tasks(timeout_s=0.001))
            ),
            "count_tasks": network.count_tasks,
            "to_numpy": lambda: network.fetch_finished_tasks().to_numpy(["x"]),
            "fetch_workers": network.fetch_workers,
            "wait_for_workers": lambda: network.wait_for_workers(2, timeout_s=0.001),
            "should_stop": lambda: (worker.should_stop(), worker.should_stop()),
            "read_log": network.read_log,
            "follow_log": lambda: list(network.follow_log(timeout_s=0.001, n=None)),
            "check_network": lambda: find_violations(self.connection, self.keys),
            "claim and wait": lambda: worker.claim_task(timeout_s=0.001),
            "detect_lost_workers": network.detect_lost_workers,
            "start": lambda: worker.start_task({"x": 4}),
            "start unique": lambda: worker.start_task({"x": 4}, unique=b"4"),
            "claim": worker.claim_task,
            "fetch_new_reports": lambda: [r.values for r in worker.fetch_new_reports()],
            "report": lambda: worker.report_task(self.key, {"step": 1}),
            "finish": lambda: worker.finish_task(self.key, {"y": 1}),
            "fail": lambda: worker.fail_task(self.key, "no"),
            "finish and fetch": lambda: worker.finish_and_fetch_new(self.key, {"y": 1}),
            "finish and fetch ended": lambda: worker.finish_and_fetch_ended(self.key, {"y": 1}),
            "fail and fetch ended": lambda: worker.fail_and_fetch_ended(self.key, "no"),
            "report and fetch": lambda: worker.report_and_fetch_new(self.key, {"step": 1}),
            "push": lambda: network.push_tasks([{"x": 5}]),
            "push_finished": lambda: network.push_finished_tasks([{"x": 5}], [{"y": 5}]),
            "push_failed": lambda: network.push_failed_tasks([{"x": 5}], ["no"]),
            "ask to stop": lambda: stop(network, "other", kill=False),
            "clear_queue": network.clear_queue,
            "register": self.register,
            "kill": lambda: stop(network, "w", kill=True),
            "ship a loop": lambda: network.worker_command(len),
            "load a loop": lambda: load_loop(self.connection, self.keys, self.digest),
            "describe": lambda: network.describe({"space": "x"}),
            "push_note": lambda: network.push_note("run", {"x": 1}),
            "fetch_notes": network.fetch_notes,
            "fetch_hosts": network.fetch_hosts,
            "leave": self.other.close,
        }

    def register(self) -> None:
        self.joined.append(Worker(self.network_id, url=self.network.url, heartbeat=None))

    def kept(self) -> list[bytes | None]:
        return [self.connection.execute(pack((b"DUMP", getattr(self.keys, name)))) for name in KEPT]

    def close(self) -> None:
        self.network.reset()  # mends whatever it was
        check_network(self.network_id, self.network.url)
        assert self.network.fetch_workers() == []
        for worker in (self.worker, self.other, *self.joined):
            worker.close()
        self.network.close()
        self.connection.close()


@contextlib.contextmanager
def spoiled(url: str) -> Iterator[Spoiled]:
    here = Spoiled(url)
    yield here
    here.close()


def stop(network: Network, worker_id: str, *, kill: bool) -> None:
    """Stop a worker, whether or not the spoiled key shows that it has joined."""
    with warnings.catch_warnings(action="ignore"):
        network.stop_workers([worker_id], kill=kill)


def read(tasks: Any) -> None:
    """Decode everything of each task."""
    for task in tasks:
        assert isinstance(task.config, dict)
        assert isinstance(task.extra, dict)
        assert isinstance(task.result, dict | None)
        assert isinstance(task.result_extra, dict)
        repr(task)


def names_what_is_wrong(error: RushError, redis_key: str) -> bool:
    """Tell whether an error names the key, or a task whose values are spoiled."""
    if redis_key in str(error):
        return error.key == redis_key
    return isinstance(error, CorruptRecordError) and repr(error.key) in str(error)


def try_everything(here: Spoiled, name: str) -> set[str]:
    """Call everything; return which calls were refused."""
    redis_key = getattr(here.keys, name).decode()
    # What is sound to the scripts is claimed, and lies in another place then.
    moved_to = here.keys.running.decode()
    refused = set()
    for what, call in here.calls().items():
        before, refusal = here.kept(), None
        try:
            call()
        except (RushError, TimeoutError, ValueError) as error:
            refusal = error
        if refusal is None:
            continue
        # A claimed record that is sound to the scripts has moved as a whole.
        assert here.kept() == before or what.startswith("claim"), (what, refusal)
        if isinstance(refusal, WorkerLostError | TimeoutError):
            assert what in (
                "start",
                "start unique",
                "claim",
                "claim and wait",
                "wait_for_workers",
            ), refusal
        elif isinstance(refusal, ValueError):
            assert what == "to_numpy", refusal
            assert "of every task, but task" in str(refusal)
        else:
            named = names_what_is_wrong(refusal, redis_key)
            moved = name == "queued" and names_what_is_wrong(refusal, moved_to)
            assert named or moved, (what, refusal)
            refused.add(what)
    return refused


READERS = {
    "queued": {"fetch_tasks", "count_tasks", "claim", "push", "clear_queue", "kill"},
    "running": {"fetch_tasks", "count_tasks", "fetch_workers", "start", "claim", "finish", "kill"},
    "finished": {
        *("fetch_finished_tasks", "fetch_new_tasks", "wait", "finish", "push_finished"),
        *("fetch_new_ended_tasks", "wait for ended", "fail and fetch ended"),
    },
    "failed": {
        *("fetch_tasks", "fetch_new_failed_tasks", "push_failed", "kill"),
        *("fetch_new_ended_tasks", "wait for ended", "finish and fetch ended"),
    },
    "reports": {"fetch_new_reports", "report", "report and fetch", "check_network"},
    "clients": {"fetch_workers", "start", "claim", "finish", "push", "should_stop", "register"},
    "workers": {"fetch_workers", "detect_lost_workers", "wait", "register", "leave"},
    "started": {"start", "claim", "check_network", "leave"},
    "hosts": {"fetch_hosts"},
    "stop": set(),
    "unwanted": {"register"},
    "unique": {"start unique"},
    "idle": {"check_network"},
    "waiting": set(),
    "loops": {"ship a loop", "load a loop"},
    "about": {"describe"},
    "notes": {"push_note", "fetch_notes"},
    "log": {"read_log", "follow_log"},
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_key_of_a_wrong_type_is_named_and_nothing_is_moved(
    server: EmbeddedServer, name: str
) -> None:
    with spoiled(server.url) as here:
        redis_key = getattr(here.keys, name)
        here.connection.execute(pack((b"DEL", redis_key)))
        text = ("queued", "idle", "log")  # the others are spoiled by a list
        spoil: tuple[bytes, ...]
        spoil = (b"SET", redis_key, b"x") if name in text else (b"RPUSH", redis_key, b"x")
        if name in ("finished", "failed", "reports"):
            spoil = (b"HSET", redis_key, b"a", b"b")
        here.connection.execute(pack(spoil))
        refused = try_everything(here, name)
        assert refused >= READERS[name]


@pytest.mark.parametrize("name", ["wake", "alive"])
def test_a_spoiled_key_of_one_client_disturbs_no_other(server: EmbeddedServer, name: str) -> None:
    with spoiled(server.url) as here:
        redis_key = getattr(here.keys, name)(here.worker.worker_id)
        here.connection.execute(pack((b"HSET", redis_key, b"a", b"b")))
        here.connection.execute(pack((b"SADD", here.keys.waiting, here.worker.worker_id)))
        here.connection.execute(pack((b"ZADD", here.keys.idle, 1, here.worker.worker_id)))
        assert here.worker.finish_task(here.key, {"y": 1})
        assert len(here.network.push_tasks([{"x": 6}])) == 1
        assert here.network.count_tasks() == (3, 0, 2, 1)


def test_no_sleep_is_begun_on_a_spoiled_key(server: EmbeddedServer) -> None:
    with spoiled(server.url) as here:
        here.network.clear_queue()
        for name in ("idle", "waiting"):
            here.connection.execute(pack((b"SET", getattr(here.keys, name), b"x")))
        here.worker.fetch_new_tasks()
        here.worker.fetch_new_tasks(timeout_s=600.0)  # learns how much there is
        with pytest.raises(ServerRefusedError, match=":waiting"):
            here.worker.fetch_new_tasks(timeout_s=600.0)
        with pytest.raises(ServerRefusedError, match=":idle"):
            here.worker.claim_task(timeout_s=600.0)


# -- bytes that are no record ---------------------------------------------------------------------

VALID = [QUEUED, RUNNING, ENDED, FAILED, REPORT, WORKER]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    """A record of which one byte is another one."""
    record = bytearray(draw(st.sampled_from(VALID)))
    record[draw(st.integers(0, len(record) - 1))] = draw(st.integers(0, 255))
    return bytes(record)


@st.composite
def with_foreign_values(draw: st.DrawFn) -> bytes:
    """A record with anything in the place of its mappings."""
    fields = msgspec.msgpack.decode(draw(st.sampled_from(VALID[:5])))
    for i in draw(st.sets(st.sampled_from(range(3, len(fields))), min_size=1)):
        fields[i] = draw(values)
    return encode(fields)


garbage = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(VALID),
    st.sampled_from(VALID).flatmap(
        lambda record: st.integers(0, len(record)).map(lambda n: record[:n])
    ),
    values.map(encode),
    altered(),
    with_foreign_values(),
)

WRITES: dict[str, tuple[Any, ...]] = {
    "queued": (b"LPUSH",),  # where the next claim meets it
    "running": (b"HSET", b"spoiled-1"),
    "finished": (b"RPUSH",),
    "failed": (b"RPUSH",),
    "reports": (b"RPUSH",),
    "clients": (b"HSET", b"w"),
    "workers": (b"HSET", b"w"),
    "started": (b"SET",),
}


@pytest.mark.parametrize("name", sorted(WRITES))
@given(record=garbage)
@example(record=b"")
@example(record=b"\x95\xa0")
@example(record=b"\x95\xa0\x00\xa9spoiled")
@example(record=b"\x96\xa1w")
@example(record=encode(("", 0, "spoiled-1", 7, None)))
@example(record=encode(("w", 0, "spoiled-1", {"x": 1}, None, 5.0, 6.0, None, None, None)))
@example(record=encode(("w", 0, "spoiled-1", {"x": msgspec.msgpack.Ext(1, b"\xc1")}, None, 5.0)))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_record_are_named_and_nothing_is_moved(
    server: EmbeddedServer, name: str, record: bytes
) -> None:
    with spoiled(server.url) as here:
        command, *field = WRITES[name]
        here.connection.execute(pack((command, getattr(here.keys, name), *field, record)))
        try_everything(here, name)


@given(record=garbage)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_log_entries_that_are_none_are_named(network: Network, record: bytes) -> None:
    connection, redis_key = Connection(network.url), NetworkKeys(network.network_id).log
    connection.execute(pack((b"XADD", redis_key, b"*", b"r", record)))
    refusal = None
    try:
        network.read_log()
    except CorruptRecordError as error:
        refusal = error
    assert refusal is None or refusal.key == redis_key.decode()
    connection.execute(pack((b"DEL", redis_key)))
    connection.close()


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        encode(7),
        encode(({1: 2},)),
        encode(({"x": msgspec.msgpack.Ext(1, encode(("((", [1], b"x")))},)),
        b"\x91\x81\xa1x" + b"\x91" * 2000 + b"\x00",
    ],
)
def test_a_description_that_is_none_is_named(network: Network, stored: bytes) -> None:
    connection, redis_key = Connection(network.url), NetworkKeys(network.network_id).about
    connection.execute(pack((b"SET", redis_key, stored)))
    with pytest.raises(CorruptRecordError, match="are not a description") as error:
        network.describe({"space": "x"})
    assert error.value.key == redis_key.decode()
    connection.close()


@given(stored=garbage)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_loop_that_was_altered_is_never_unpickled(network: Network, stored: bytes) -> None:
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)
    digest = store_loop(connection, keys, pack_loop(len, (), {}))
    connection.execute(pack((b"HSET", keys.loops, digest, stored)))
    with pytest.raises(RushError, match="was altered") as error:
        load_loop(connection, keys, digest)
    assert error.value.key == digest
    connection.close()


@pytest.mark.parametrize(
    ("fields", "attribute"),
    [
        (("w", 0, "k-1", [1], None, 5.0, 6.0, {"y": 1}, None, None), "config"),
        (("w", 0, "k-1", {"x": 1}, 3, 5.0, 6.0, {"y": 1}, None, None), "extra"),
        (("w", 0, "k-1", {"x": 1}, None, 5.0, 6.0, "y", None, None), "result"),
        (("w", 0, "k-1", {"x": 1}, None, 5.0, 6.0, None, None, None), "result"),
        (("w", 0, "k-1", {"x": 1}, None, 5.0, 6.0, {"y": 1}, None, "z"), "result_extra"),
        (("w", 0, "k-1", {1: 1}, None, 5.0, 6.0, {"y": 1}, None, None), "config"),
    ],
)
def test_values_that_are_no_mapping_are_named_with_their_task(
    network: Network, fields: tuple[Any, ...], attribute: str
) -> None:
    connection, keys = Connection(network.url), NetworkKeys(network.network_id)
    connection.execute(pack((b"RPUSH", keys.finished, encode(fields))))
    (task,) = network.fetch_finished_tasks()
    assert isinstance(task, Task)
    with pytest.raises(CorruptRecordError, match=rf"the {attribute} of .* 'k-1'") as error:
        getattr(task, attribute)
    assert error.value.key == "k-1"
    network.reset()
    connection.close()
