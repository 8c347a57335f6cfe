"""Fetching the tasks in some states: of a small network at one moment, of a large one in slices.

A log only grows, so what it held at one moment can be read later. The queue cannot: tasks leave it
while it is read. What a large network's tasks look like in between is in `fetch_tasks`.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from typing import NamedTuple

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_on, read_atomically
from rush_core.kernel.slices import SLICE
from rush_core.kernel.task import Task, TaskState, decode_tasks
from rush_core.keys import NetworkKeys

__all__ = ["fetch_tasks"]


class _Look(NamedTuple):
    """What is read at one moment: running tasks, and of each list its beginning and its length."""

    running: list[bytes]
    beginnings: dict[TaskState, list[bytes]]
    lengths: dict[TaskState, int]


def fetch_tasks(
    connection: Connection, keys: NetworkKeys, states: Collection[TaskState]
) -> list[Task]:
    """Fetch the tasks in some states, in the order of `TaskState`.

    One round trip, atomic, if each list has at most `SLICE` tasks. Otherwise it takes one further
    round trip for each further slice. Then each task is returned once, in a state that it had
    during the call. A task that was added during the call may be missing.

    Raises
    ------
    ServerUnreachableError
        If the connection breaks; the call can be repeated.
    CorruptRecordError
        If something is no record of a task.
    """
    while True:
        look = _look(connection, keys, states)
        behind: list[bytes] = []
        if look.lengths.get(TaskState.QUEUED, 0) > SLICE:
            behind = _read_queue(connection, keys)
            # Tasks that were queued again are in front: the second look has them.
            look = _look(connection, keys, states)
            if look.lengths[TaskState.QUEUED] <= SLICE:
                behind = []  # the look has the whole queue
        ended: list[Task] | None = []
        for state in (TaskState.FINISHED, TaskState.FAILED):
            if state in states and ended is not None:
                records = _read_log(connection, getattr(keys, state.value), look, state)
                ended = None if records is None else ended + _decode(records, keys, state)
        if ended is not None:
            others = _decode(look.running, keys, TaskState.RUNNING) + ended
            return _queued(look, behind, keys, others) + others


def _look(connection: Connection, keys: NetworkKeys, states: Collection[TaskState]) -> _Look:
    """Read the beginnings of some lists, and the running tasks; one round trip, atomic."""
    lists = [state for state in TaskState if state in states and state is not TaskState.RUNNING]
    reads: list[tuple[bytes | int, ...]] = []
    for state in lists:
        redis_key = getattr(keys, state.value)
        reads += [(b"LRANGE", redis_key, 0, SLICE - 1), (b"LLEN", redis_key)]
    if TaskState.RUNNING in states:
        reads.append((b"HVALS", keys.running))
    replies = read_atomically(connection, reads)
    return _Look(
        running=replies.pop() if TaskState.RUNNING in states else [],
        beginnings=dict(zip(lists, replies[::2], strict=True)),
        lengths=dict(zip(lists, replies[1::2], strict=True)),
    )


def _read_queue(connection: Connection, keys: NetworkKeys) -> list[bytes]:
    """Read the queue from its end to its front, in slices.

    Tasks leave it at the front and are added at the end. So those that stay are read, some twice.
    """
    slices: list[list[bytes]] = []
    for last in count(-1, -SLICE):
        request = pack((b"LRANGE", keys.queued, last - SLICE + 1, last))
        slices.append(execute_on(connection, keys.queued, request))
        if len(slices[-1]) < SLICE:
            return list(dict.fromkeys(record for part in reversed(slices) for record in part))
    raise AssertionError("count() does not end")


def _read_log(
    connection: Connection, redis_key: bytes, look: _Look, state: TaskState
) -> list[bytes] | None:
    """Read what a log held at the look; None if the log was replaced since then."""
    records, length = list(look.beginnings[state]), look.lengths[state]
    while len(records) < length:
        # It overlaps by one record, which shows that the log is still the same.
        last = min(len(records) + SLICE, length) - 1
        request = pack((b"LRANGE", redis_key, len(records) - 1, last))
        part = execute_on(connection, redis_key, request)
        if len(part) < 2 or part[0] != records[-1]:
            return None
        records += part[1:]
    return records


def _queued(look: _Look, behind: list[bytes], keys: NetworkKeys, others: list[Task]) -> list[Task]:
    """Return the queued tasks: those of the look, then those behind them which have not left."""
    front = _decode(look.beginnings.get(TaskState.QUEUED, []), keys, TaskState.QUEUED)
    if not behind:
        return front
    read = set(behind)
    records = look.beginnings[TaskState.QUEUED]
    new = [task for task, record in zip(front, records, strict=True) if record not in read]
    elsewhere = {task.key for task in (*new, *others)}
    tasks = _decode(behind, keys, TaskState.QUEUED)
    return new + [task for task in tasks if task.key not in elsewhere]


def _decode(records: list[bytes], keys: NetworkKeys, state: TaskState) -> list[Task]:
    return decode_tasks(records, getattr(keys, state.value))
