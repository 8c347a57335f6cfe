"""Can this network be in this state? A judge that shares nothing with what it judges.

It knows only key names and the shape of records (`rush_core.kernel.task`), decodes them itself,
and looks at everything at once, so it may be asked at any moment of a running network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import look, retry_unreachable
from rush_core.errors import CorruptRecordError, RushError
from rush_core.keys import NetworkKeys

__all__ = ["check_network", "find_violations"]

# How many wake-ups may lie in a client's list unread: one as a claimer, one as a reader, one of
# a process that ended.
_MOST_WAKE_UPS = 3

_N_FIELDS = {"queued": 5, "running": 6, "finished": 10, "failed": 10}
_ENDED_WORKER_FIELDS = 9
_REPORT_FIELDS = 5


class _Look(NamedTuple):
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
    """Raise unless the network can be in the state it is in.

    Parameters
    ----------
    network_id, url : str

    Raises
    ------
    RushError
        If a rule is broken; `found` lists every violation.

    Notes
    -----
    Two round trips, transferring the whole network. A task that a worker failed by itself with an
    extra named ``lost`` is mistaken for one of a lost worker.
    """
    connection = Connection(url)
    try:
        violations = find_violations(connection, NetworkKeys(network_id))
    finally:
        connection.close()
    if violations:
        text = "\n  ".join(violations)
        raise RushError(
            f"network {network_id!r} is in an impossible state:\n  {text}", found=violations
        )


def find_violations(connection: Connection, keys: NetworkKeys) -> list[str]:
    """Return what is wrong with a network, one sentence each; empty if nothing is."""
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


def _shapes(look: _Look) -> Iterator[str]:
    for place, records in look.places.items():
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


def _one_place_each(look: _Look) -> Iterator[str]:
    places: dict[str, list[str]] = {}
    for place, records in look.places.items():
        for record in records:
            places.setdefault(record[2], []).append(place)
    for key, found in places.items():
        if len(found) > 1:
            yield f"task {key!r} is in {len(found)} places: {', '.join(found)}"
    if look.running_keys != [record[2] for record in look.places["running"]]:
        yield "the running tasks are filed under other keys than their own"


def _running_tasks_have_owners(look: _Look) -> Iterator[str]:
    for record in look.places["running"]:
        worker_id, key = record[0], record[2]
        if worker_id not in look.epochs or worker_id not in look.workers:
            yield f"task {key!r} runs under {worker_id!r}, who takes no part"


def _reports_are_of_tasks(look: _Look) -> Iterator[str]:
    tasks = {record[2]: record for records in look.places.values() for record in records}
    for report in look.reports:
        worker_id, attempt, key = report[:3]
        if len(report) != _REPORT_FIELDS or not isinstance(report[4], dict):
            yield f"the report {report!r:.80} on task {key!r} has no values"
        if key not in tasks:
            yield f"worker {worker_id!r} reported on task {key!r}, which is nowhere"
            continue
        owner, last = tasks[key][:2]
        # Whoever made an earlier attempt may be anybody; a queued task has not made its last yet.
        whole = isinstance(attempt, int) and isinstance(last, int)
        if not whole or attempt > last or (attempt == last and worker_id != owner):
            yield (
                f"worker {worker_id!r} reported on attempt {attempt} of task {key!r}, which is at "
                f"attempt {last}, of worker {owner!r}"
            )


def _budget_adds_up(look: _Look) -> Iterator[str]:
    taken = len(look.places["running"])
    for record in look.places["finished"] + look.places["failed"]:
        extra = record[9] if len(record) > 9 else None  # one too short is told above
        by_worker, lost = record[0] != "", isinstance(extra, dict) and "lost" in extra
        taken += by_worker and not lost
    if look.started != taken:
        yield f"{look.started} places of the budget are taken, by {taken} tasks"


def _marks_are_of_one_task_each(look: _Look) -> Iterator[str]:
    seen: set[str] = set()
    for record in [record for records in look.places.values() for record in records]:
        mark, colon, _ = str(record[2]).partition(":")
        extra = record[9] if len(record) > 9 else None
        if not colon or (isinstance(extra, dict) and "lost" in extra):
            continue
        if mark in seen:
            yield f"two tasks have the mark {mark!r}"
        seen.add(mark)
    if seen != look.marks:
        yield f"the marks {sorted(seen ^ look.marks)} are either a task's or taken, but not both"


def _registry_agrees(look: _Look) -> Iterator[str]:
    for client, epoch in look.epochs.items():
        if not re.fullmatch(r"\d+s?", epoch):
            yield f"client {client!r} has the epoch {epoch!r}"
    for worker_id, record in look.workers.items():
        ended, takes_part = len(record) == _ENDED_WORKER_FIELDS, worker_id in look.epochs
        if record[0] != worker_id or ended == takes_part:
            yield f"worker {worker_id!r} {'takes' if takes_part else 'takes no'} part as {record!r}"
    numbers = [record[5] for record in look.workers.values()]
    if sorted(map(repr, numbers)) != sorted(map(repr, range(len(numbers)))):
        numbers.sort(key=repr)
        yield f"{len(numbers)} workers joined, and their numbers are {numbers}"
    for client in look.idle:
        if client not in look.workers or look.epochs.get(client, "s").endswith("s"):
            yield f"{client!r} waits for a queued task, but is no worker that may claim one"


def _wake_lists_are_short(look: _Look, connection: Connection, keys: NetworkKeys) -> Iterator[str]:
    clients = sorted(look.epochs.keys() | look.workers.keys() | look.idle)
    lengths = connection.execute_many([pack((b"LLEN", keys.wake(name))) for name in clients])
    for client, length in zip(clients, lengths, strict=True):
        if length > _MOST_WAKE_UPS:
            yield f"{length} wake-ups of {client!r} lie unread"


def _read(connection: Connection, keys: NetworkKeys) -> _Look:
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
    found = look(connection, reads)
    queued, running, finished, failed, reports, clients, workers, started, marks, idle = found
    places = {"queued": queued, "running": running[1::2], "finished": finished, "failed": failed}
    return _Look(
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
