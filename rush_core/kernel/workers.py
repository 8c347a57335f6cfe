"""The record of a worker, and reading all of a network.

The server holds one record for each worker that ever joined, a MessagePack array:

==========  ================================================================================
worker      fields
==========  ================================================================================
registered  ``worker_id``, ``host``, ``pid``, ``started_at``, ``heartbeat_s``, ``number``
ended       the same, then ``ended_at``, ``state``, ``reason``
==========  ================================================================================

A worker is registered while the hash of clients has its epoch, see `rush_core.kernel.commands`.
"""

from __future__ import annotations

import enum
import os
import re
import socket

import msgspec

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_on, read_atomically, retry_unreachable
from rush_core.errors import CorruptRecordError
from rush_core.kernel.codec import array_header, encode
from rush_core.kernel.task import decode_tasks, failed_end
from rush_core.keys import NetworkKeys

__all__ = [
    "WorkerInfo",
    "WorkerState",
    "decode_workers",
    "fetch_watched",
    "fetch_workers",
    "registration",
    "removal",
]


class WorkerState(enum.StrEnum):
    """Whether a worker is registered and, if not, how it ended."""

    RUNNING = "running"  # registered
    STOPPING = "stopping"  # registered, and asked to stop after its task
    STOPPED = "stopped"  # left the network itself
    INTERRUPTED = "interrupted"  # left the network itself, because of a signal from outside
    KILLED = "killed"  # removed by a manager
    LOST = "lost"  # removed because its process died or its heartbeat expired


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as the server described it when it was fetched.

    Attributes
    ----------
    worker_id : str
    number : int
        Order of joining, from 0. No two workers of a network have the same.
    host : str
    pid : int
    state : WorkerState
    started_at, ended_at : float or None
        Seconds since 1970 by the server's clock. `ended_at` is None while it is registered.
    reason : str or None
        Why it ended, if more is known than its state.
    heartbeat_s : float or None
        Seconds without a heartbeat after which it counts as lost; None if it sends none.
    task_keys : tuple of str
        The tasks that it is running.
    """

    worker_id: str
    number: int
    host: str
    pid: int
    state: WorkerState
    started_at: float
    ended_at: float | None
    reason: str | None
    heartbeat_s: float | None
    task_keys: tuple[str, ...]


class _Record(msgspec.Struct, array_like=True, frozen=True):
    worker_id: str
    host: str
    pid: int
    started_at: float
    heartbeat_s: float | None
    number: int
    ended_at: float | None = None
    state: WorkerState | None = None
    reason: str | None = None


_decode_record = msgspec.msgpack.Decoder(_Record).decode

_N_REGISTERED = 6  # fields of the record of a registered worker

# What `register_worker.lua` and `request_stop.lua` write.
_EPOCH = re.compile(rb"\d+s?")


def fetch_workers(connection: Connection, keys: NetworkKeys) -> list[WorkerInfo]:
    """Fetch all workers that ever joined, in order of joining; one round trip, atomic.

    Raises
    ------
    CorruptRecordError
        If a key of the network holds something else than such records.
    """
    reads = ((b"HVALS", keys.workers), (b"HGETALL", keys.clients), (b"HVALS", keys.running))
    found = retry_unreachable(lambda: read_atomically(connection, reads))
    records, clients, running = found
    epochs = dict(zip(clients[::2], clients[1::2], strict=True))
    for client, epoch in epochs.items():
        if not _EPOCH.fullmatch(epoch):
            raise CorruptRecordError(
                f"{keys.clients.decode()} must hold an epoch, a number, for client "
                f"{client!r:.80}, found {epoch!r:.80}; another program wrote to it: reset this "
                "network",
                key=keys.clients.decode(),
            )
    task_keys: dict[str, list[str]] = {}
    for task in decode_tasks(running, keys.running):
        task_keys.setdefault(task.worker_id, []).append(task.key)
    workers = decode_workers(records, keys)
    workers.sort(key=lambda worker: worker.number)
    return [
        _info(worker, epochs.get(worker.worker_id.encode()), task_keys.get(worker.worker_id, []))
        for worker in workers
    ]


def fetch_watched(connection: Connection, keys: NetworkKeys) -> dict[str, tuple[float, float]]:
    """Fetch the registered workers that send heartbeats; one round trip.

    Returns
    -------
    dict of str to tuple of float and float
        When each has joined, seconds since 1970 by the server's clock; and after how many seconds
        without a heartbeat it counts as lost.

    Raises
    ------
    CorruptRecordError
        If the key holds something else than records of workers.
    """
    read = pack((b"HVALS", keys.workers))
    records = retry_unreachable(lambda: execute_on(connection, keys.workers, read))
    return {
        worker.worker_id: (worker.started_at, worker.heartbeat_s)
        for worker in decode_workers(records, keys)
        if worker.ended_at is None and worker.heartbeat_s is not None
    }


def decode_workers(records: list[bytes], keys: NetworkKeys) -> list[_Record]:
    """Decode records of workers.

    Raises
    ------
    CorruptRecordError
        If one is no record of a worker; the message names the key.
    """
    try:
        return [_decode_record(record) for record in records]
    except msgspec.MsgspecError as error:
        raise CorruptRecordError(
            f"{keys.workers.decode()} holds bytes that are no worker record ({error}); another "
            "program wrote to it: reset this network",
            key=keys.workers.decode(),
        ) from None


def _info(record: _Record, epoch: bytes | None, task_keys: list[str]) -> WorkerInfo:
    if epoch is None:
        state = record.state or WorkerState.LOST
    else:
        state = WorkerState.STOPPING if epoch.endswith(b"s") else WorkerState.RUNNING
    return WorkerInfo(
        worker_id=record.worker_id,
        number=record.number,
        host=record.host,
        pid=record.pid,
        state=state,
        started_at=record.started_at,
        ended_at=record.ended_at,
        reason=record.reason,
        heartbeat_s=record.heartbeat_s,
        task_keys=tuple(task_keys),
    )


def registration(worker_id: str, started_at: float, heartbeat_s: float | None) -> bytes:
    """Pack the record of this process as a worker, without its number: the server appends that."""
    fields = (worker_id, socket.gethostname(), os.getpid(), started_at, heartbeat_s)
    return bytes((array_header(_N_REGISTERED),)) + encode(fields)[1:]


def removal(
    worker_id: str,
    state: WorkerState,
    *,
    at: float,
    reason: str,
    task_error: str,
    max_retries: int = 0,
) -> tuple[bytes, ...]:
    """Pack the arguments that the scripts that remove a worker have in common.

    Parameters
    ----------
    worker_id : str
    state : WorkerState
        How the worker ended.
    at : float
        Seconds since 1970 by the server's clock.
    reason : str
        Why it ended; may be empty.
    task_error : str
        The error of its running tasks that are failed. Their `result_extra` has ``lost``, which
        distinguishes them from tasks that the worker failed itself.
    max_retries : int
        A running task is queued again, not failed, if it was lost at most so often before.
    """
    return (
        worker_id.encode(),
        encode((at, state.value, reason))[1:],
        encode(worker_id),
        failed_end(at, task_error, {"lost": state.value}),
        b"%d" % max_retries,
    )
