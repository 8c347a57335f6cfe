"""Values that are nested deep: refused when they are written, named when they are read."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rush_core import CorruptRecordError, Network, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.codec import DEEPEST, encode
from rush_core.keys import NetworkKeys


def nested(n_levels: int, *, in_dicts: bool = False) -> Any:
    value: Any = 1
    for _ in range(n_levels):
        value = {"in": value} if in_dicts else [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def at_depth(n_frames: int, call: Callable[[], object]) -> object:
    """Call a function with so many further frames on the stack."""
    return call() if n_frames == 0 else at_depth(n_frames - 1, call)


TOO_DEEP = {
    "one level too many": nested(DEEPEST + 1),
    "dicts": nested(DEEPEST + 1, in_dicts=True),
    "tuples in a list": [0, (1, nested(DEEPEST - 1))],
    "900 levels": nested(900),
    "100,000 levels": nested(100_000),
    "a list that contains itself": cyclic(),
}


@pytest.mark.parametrize("value", TOO_DEEP.values(), ids=TOO_DEEP)
def test_what_is_nested_too_deep_is_refused_by_its_name(
    network: Network, worker: Worker, value: Any
) -> None:
    keys = worker.start_tasks([{"x": 1}, {"x": 2}])
    before = network.fetch_tasks()
    bad, good = {"fine": 1, "culprit": value}, {"fine": 1}
    calls: list[tuple[str, Callable[[], object]]] = [
        ("configuration parameter", lambda: worker.start_task(bad)),
        ("configuration parameter", lambda: network.push_tasks([good, bad])),
        ("extra", lambda: network.push_tasks([good], extras=[bad])),
        ("result", lambda: worker.finish_task(keys[0], bad)),
        ("extra", lambda: worker.fail_task(keys[0], "no", extra=bad)),
        ("result", lambda: network.push_finished_tasks([good], [bad])),
        ("report", lambda: worker.report_task(keys[0], bad)),
        ("about", lambda: network.describe(bad)),
    ]
    for where, call in calls:
        with pytest.raises(ValueError, match=rf"{where} 'culprit' must be .* at most 100 levels"):
            call()
    assert network.fetch_tasks() == before


@pytest.mark.parametrize("in_dicts", [False, True])
def test_the_deepest_values_are_read_also_from_a_deep_stack(
    network: Network, worker: Worker, in_dicts: bool
) -> None:
    value = {"x": nested(DEEPEST, in_dicts=in_dicts)}
    (key,) = network.push_tasks([value], extras=[value])
    claimed = worker.claim_task()
    assert claimed is not None
    worker.report_task(key, value)
    worker.finish_task(key, value, extra=value)

    def read() -> None:
        (task,) = network.fetch_tasks()
        (report,) = network.fetch_new_reports()
        assert task.config == task.extra == task.result == task.result_extra == value
        assert report.values == value

    at_depth(600, read)


def test_large_values_that_are_not_deep_are_stored(network: Network) -> None:
    floats = np.random.default_rng(1).random(10_000)
    value = {"list": floats.tolist(), "array": floats, "rows": [[{"x": i}] for i in range(1000)]}
    network.push_tasks([value])
    (config,) = network.fetch_tasks().configs
    assert config["list"] == value["list"]
    assert config["rows"] == value["rows"]
    np.testing.assert_array_equal(config["array"], floats)


# A mapping with a value that is nested deep, packed by hand.
DEEP = b"\x81" + encode("x") + 5000 * b"\x91" + b"\xc0"


def record(key: str, *after_key: bytes) -> bytes:
    """Pack a record of a task or a report from its fields, which are packed."""
    fields = (encode("a-worker-of-another-version"), encode(0), encode(key), *after_key)
    return bytes((0x90 | len(fields),)) + b"".join(fields)


def test_a_record_that_is_too_deep_is_named_with_its_key(network: Network, worker: Worker) -> None:
    keys, connection = NetworkKeys(network.network_id), Connection(network.url)
    nil, time = encode(None), encode(5.0)
    finished = record("k-7", DEEP, nil, time, time, encode({"y": 1}), nil, nil)
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    connection.execute(pack((b"RPUSH", keys.finished, finished)))
    connection.execute(pack((b"HSET", keys.running, "k-8", record("k-8", DEEP, nil, time))))
    connection.execute(pack((b"RPUSH", keys.reports, record("k-9", time, DEEP))))
    calls: list[tuple[bytes, str, Callable[[], object]]] = [
        (keys.finished, "record 1, of task 'k-7'", network.fetch_finished_tasks),
        (keys.finished, "record 1, of task 'k-7'", network.fetch_new_tasks),
        (keys.finished, "record 1, of task 'k-7'", lambda: worker.fetch_tasks("finished")),
        (keys.running, "record 0, of task 'k-8'", lambda: network.fetch_tasks("running")),
        (keys.reports, "record 0, of task 'k-9'", network.fetch_new_reports),
    ]
    for redis_key, named, fetch in calls:
        for _ in range(2):
            with pytest.raises(CorruptRecordError, match=named) as error:
                fetch()
            assert str(error.value).startswith(redis_key.decode())
            assert error.value.key == named[-4:-1]
    connection.close()
    network.reset()
