"""Check that the data of a network obey the rules that hold at every moment.

The check shares no code with the transitions, so that the two cannot have the same fault: it knows
only the names of keys and the fields of records (`rush_core.kernel.task`), and decodes them itself.
It reads everything in one transaction, so a network may be checked while workers are running.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import read_atomically, retry_unreachable
from rush_core.errors import CorruptRecordError, RushError
from rush_core.keys import NetworkKeys

__all__ = ["check_network", "find_violations"]

# How many pushes a client's wake list may hold: one because it waited for a queued task, one
# because it waited for a change, one because a process that it started has ended.
_MOST_WAKE_UPS = 3

_N_FIELDS = {"queued": 5, "running": 6, "finished": 10, "failed": 10}
_ENDED_WORKER_FIELDS = 9
_REPORT_FIELDS = 5


class _Held(NamedTuple):
    """Everything a network holds, read in one transaction."""

    places: dict[str, list[list[Any]]]
    running_keys: list[str]
    reports: list[list[Any]]
    epochs: dict[str, str]
    workers: dict[str, list[Any]]
    started: int
    marks: set[str]
    idle: set[str]


def check_network(network_id: str, url: str) -> None:
    """Raise if the data of a network break a rule.

    Parameters
    ----------
    network_id, url : str

    Raises
    ------
    RushError
        If a rule is broken; `found` is a list of all violations.
    CorruptRecordError
        If something is no record at all.

    Notes
    -----
    Two round trips; the whole network is transferred. If a worker fails a task itself with an extra
    named ``lost``, the check takes it for a task of a lost worker.
    """
    connection = Connection(url)
    try:
        violations = find_violations(connection, NetworkKeys(network_id))
    finally:
        connection.close()
    if violations:
        text = "\n  ".join(violations)
        raise RushError(f"network {network_id!r} breaks rules:\n  {text}", found=violations)


def find_violations(connection: Connection, keys: NetworkKeys) -> list[str]:
    """Return how a network breaks the rules, one sentence each; two round trips.

    The docstring of each function below is a rule.
    """
    held = retry_unreachable(lambda: _read(connection, keys))
    return [
        *_shapes(held),
        *_one_place_each(held),
        *_running_tasks_have_owners(held),
        *_reports_are_of_tasks(held),
        *_budget_adds_up(held),
        *_marks_are_of_one_task_each(held),
        *_registry_agrees(held),
        *_wake_lists_are_short(held, connection, keys),
    ]


def _shapes(held: _Held) -> Iterator[str]:
    """Each record has the fields of its place."""
    for place, records in held.places.items():
        for record in records:
            named = f"{place} task {record[2]!r}" if len(record) > 2 else f"a {place} record"
            if len(record) != _N_FIELDS[place]:
                yield f"{named} has {len(record)} fields instead of {_N_FIELDS[place]}"
                continue
            if not isinstance(record[3], dict):
                yield f"{named} has no configuration but {record[3]!r}"
            if place == "queued" and record[0]:
                yield f"{named} belongs to worker {record[0]!r}"
            if place == "finished" and (not isinstance(record[7], dict) or record[8] is not None):
                yield f"{named} has result {record[7]!r} and error {record[8]!r}"
            if place == "failed" and (record[7] is not None or not isinstance(record[8], str)):
                yield f"{named} has result {record[7]!r} and error {record[8]!r}"


def _one_place_each(held: _Held) -> Iterator[str]:
    """Each task is in one place only."""
    places: dict[str, list[str]] = {}
    for place, records in held.places.items():
        for record in records:
            places.setdefault(record[2], []).append(place)
    for key, found in places.items():
        if len(found) > 1:
            yield f"task {key!r} is in {len(found)} places: {', '.join(found)}"
    if held.running_keys != [record[2] for record in held.places["running"]]:
        yield "the hash of running tasks has other keys than its records"


def _running_tasks_have_owners(held: _Held) -> Iterator[str]:
    """Each running task belongs to a registered worker."""
    for record in held.places["running"]:
        worker_id, key = record[0], record[2]
        if worker_id not in held.epochs or worker_id not in held.workers:
            yield f"task {key!r} runs under {worker_id!r}, which is not registered"


def _reports_are_of_tasks(held: _Held) -> Iterator[str]:
    """Each report is about a task and an attempt that exist."""
    tasks = {record[2]: record for records in held.places.values() for record in records}
    for report in held.reports:
        worker_id, attempt, key = report[:3]
        if len(report) != _REPORT_FIELDS or not isinstance(report[4], dict):
            yield f"the report {report!r:.80} on task {key!r} has no values"
        if key not in tasks:
            yield f"worker {worker_id!r} reported on task {key!r}, which is nowhere"
            continue
        owner, last = tasks[key][:2]
        # Any worker may have made an earlier attempt. A queued task has not begun its last one.
        whole = isinstance(attempt, int) and isinstance(last, int)
        if not whole or attempt > last or (attempt == last and worker_id != owner):
            yield (
                f"worker {worker_id!r} reported on attempt {attempt} of task {key!r}, which is at "
                f"attempt {last}, of worker {owner!r}"
            )


def _budget_adds_up(held: _Held) -> Iterator[str]:
    """Each place taken in the budget is that of a task which a worker ran and did not lose."""
    taken = len(held.places["running"])
    for record in held.places["finished"] + held.places["failed"]:
        extra = record[9] if len(record) > 9 else None  # too few fields: _shapes reports it
        by_worker, lost = record[0] != "", isinstance(extra, dict) and "lost" in extra
        taken += by_worker and not lost
    if held.started != taken:
        yield f"{held.started} places of the budget are taken, but {taken} tasks take one"


def _marks_are_of_one_task_each(held: _Held) -> Iterator[str]:
    """Each mark belongs to one unique task, and each unique task has its mark."""
    seen: set[str] = set()
    for record in [record for records in held.places.values() for record in records]:
        mark, colon, _ = str(record[2]).partition(":")
        extra = record[9] if len(record) > 9 else None
        if not colon or (isinstance(extra, dict) and "lost" in extra):
            continue
        if mark in seen:
            yield f"two tasks have the mark {mark!r}"
        seen.add(mark)
    if seen != held.marks:
        yield f"the marks {sorted(seen ^ held.marks)} are taken without a task, or not taken by one"


def _registry_agrees(held: _Held) -> Iterator[str]:
    """Each worker has either an epoch or an end, and its own number, counted from 0."""
    for client, epoch in held.epochs.items():
        if not re.fullmatch(r"\d+s?", epoch):
            yield f"client {client!r} has the epoch {epoch!r}"
    for worker_id, record in held.workers.items():
        ended, is_registered = len(record) == _ENDED_WORKER_FIELDS, worker_id in held.epochs
        if record[0] != worker_id or ended == is_registered:
            found = "registered" if is_registered else "not registered"
            yield f"worker {worker_id!r} is {found} as {record!r}"
    numbers = [record[5] for record in held.workers.values()]
    if sorted(map(repr, numbers)) != sorted(map(repr, range(len(numbers)))):
        numbers.sort(key=repr)
        yield f"{len(numbers)} workers joined, and their numbers are {numbers}"
    for client in held.idle:
        if client not in held.workers or held.epochs.get(client, "s").endswith("s"):
            yield f"{client!r} waits for a queued task, but is no worker that may claim one"


def _wake_lists_are_short(held: _Held, connection: Connection, keys: NetworkKeys) -> Iterator[str]:
    """No wake list grows without end."""
    clients = sorted(held.epochs.keys() | held.workers.keys() | held.idle)
    lengths = connection.execute_many([pack((b"LLEN", keys.wake(name))) for name in clients])
    for client, length in zip(clients, lengths, strict=True):
        if length > _MOST_WAKE_UPS:
            yield f"{length} unread pushes in the wake list of {client!r}"


def _read(connection: Connection, keys: NetworkKeys) -> _Held:
    reads: list[tuple[bytes, ...]] = [
        (b"LRANGE", keys.queued, b"0", b"-1"),
        (b"HGETALL", keys.running),
        (b"LRANGE", keys.finished, b"0", b"-1"),
        (b"LRANGE", keys.failed, b"0", b"-1"),
        (b"LRANGE", keys.reports, b"0", b"-1"),
        (b"HGETALL", keys.clients),
        (b"HGETALL", keys.workers),
        (b"GET", keys.started),
        (b"SMEMBERS", keys.unique),
        (b"ZRANGE", keys.idle, b"0", b"-1"),
    ]
    found = read_atomically(connection, reads)
    queued, running, finished, failed, reports, clients, workers, started, marks, idle = found
    places = {"queued": queued, "running": running[1::2], "finished": finished, "failed": failed}
    return _Held(
        places={
            place: [_decoded(record, 5, getattr(keys, place)) for record in records]
            for place, records in places.items()
        },
        running_keys=[_text(key) for key in running[::2]],
        reports=[_decoded(record, _REPORT_FIELDS, keys.reports) for record in reports],
        epochs={_text(name): _text(epoch) for name, epoch in _pairs(clients)},
        workers={_text(name): _decoded(r, 6, keys.workers) for name, r in _pairs(workers)},
        started=_number(started or b"0", keys.started),
        marks={_text(mark) for mark in marks},
        idle={_text(name) for name in idle},
    )


_decode = msgspec.msgpack.Decoder(list[Any], ext_hook=lambda code, data: (code, bytes(data))).decode


def _decoded(record: bytes, n_fields: int, redis_key: bytes) -> list[Any]:
    try:
        fields = _decode(record)
        named = all(isinstance(field, str | int | float | None) for field in (fields[0], fields[2]))
        if len(fields) < n_fields or not named:
            raise ValueError(f"found {fields!r:.80}")
    except (ValueError, IndexError) as error:
        raise _corrupt(redis_key, error) from None
    return fields


def _number(text: bytes, redis_key: bytes) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise _corrupt(redis_key, error) from None


def _corrupt(redis_key: bytes, error: Exception) -> CorruptRecordError:
    return CorruptRecordError(
        f"{redis_key.decode()} holds bytes that cannot be read ({error})", key=redis_key.decode()
    )


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
