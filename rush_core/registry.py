"""The registry of workers: who takes part, who did, and how they ended."""

from __future__ import annotations

import enum
import os
import socket
from collections.abc import Iterable

import hiredis
import msgspec

from rush_core.codec import encode
from rush_core.connection import Connection, pack, refusal
from rush_core.errors import CorruptRecordError, RushError
from rush_core.keys import NetworkKeys
from rush_core.script import PATIENCE_S, Script, retry_unreachable
from rush_core.task import decode_tasks, failed_end

__all__ = ["Registry", "WorkerInfo", "WorkerState"]


class WorkerState(enum.StrEnum):
    """Whether a worker takes part and, if not, how that came."""

    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"
    LOST = "lost"


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One worker as it stood when it was fetched.

    Attributes
    ----------
    number : int
        In order of joining, from 0; never used twice in a network.
    started_at, ended_at : float or None
        Seconds since 1970 by the server's clock.
    reason : str or None
        Why it ended, where that is not its state.
    task_keys : tuple of str
        The tasks it is running.
    """

    worker_id: str
    number: int
    host: str
    pid: int
    state: WorkerState
    started_at: float
    ended_at: float | None
    reason: str | None
    task_keys: tuple[str, ...]


class _Record(msgspec.Struct, array_like=True, frozen=True):
    """What the server holds of a worker; leaving appends the last three fields."""

    worker_id: str
    host: str
    pid: int
    started_at: float
    heartbeat_s: float | None
    number: int
    ended_at: float | None = None
    state: str | None = None
    reason: str | None = None


_decode_record = msgspec.msgpack.Decoder(_Record).decode


class Registry:
    """Enters workers into a network, removes them, asks them to stop and lists them.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    """

    def __init__(self, connection: Connection, keys: NetworkKeys) -> None:
        self._connection = connection
        self._keys = k = keys
        self._register = Script("register_worker", k.clients, k.workers, k.stop, k.waiting)
        self._remove = Script(
            "remove_worker",
            *(k.clients, k.workers, k.running, k.failed, k.started, k.idle, k.waiting),
        )
        self._request_stop = Script("request_stop", k.clients, k.workers, k.stop, k.idle, k.waiting)

    def register(self, worker_id: str, started_at: float) -> int:
        """Enter this process as a worker with epoch 1; one round trip.

        Returns
        -------
        int
            The worker's number in the network.

        Raises
        ------
        RushError
            If a worker of this name takes part already.
        """
        record = (worker_id, socket.gethostname(), os.getpid(), started_at, None)
        # One field short of what the array header says: the script appends the number.
        packed = b"\x96" + encode(record)[1:]
        number: int = self._register.run(
            self._connection, worker_id.encode(), b"1", packed, self._keys.wake("")
        )
        if number < 0:
            raise RushError(
                f"a worker named {worker_id!r} takes part in network {self._keys.network_id!r} "
                "already; choose another worker_id, or give none to have one made",
                key=worker_id,
            )
        return number

    def remove(
        self,
        worker_id: str,
        state: WorkerState,
        *,
        reason: str,
        task_error: str,
        at: float,
        patience_s: float = PATIENCE_S,
    ) -> int:
        """Put a worker out and fail its running tasks with `task_error`; one round trip.

        Their `result_extra` says ``lost``, to tell them from tasks that failed by themselves.

        Returns
        -------
        int
            How many tasks were failed; -1 if it takes no part (any more).
        """
        n_failed: int = retry_unreachable(
            lambda: self._remove.run(
                self._connection,
                worker_id.encode(),
                encode((at, state.value, reason))[1:],
                encode(worker_id),
                failed_end(at, task_error, {"lost": state.value}),
                self._keys.wake(""),
            ),
            patience_s,
        )
        return n_failed

    def request_stop(self, worker_ids: Iterable[str] | None) -> int:
        """Ask workers (None: all, also those to come) to stop; one round trip.

        Returns
        -------
        int
            How many were asked.
        """
        named = [] if worker_ids is None else [worker_id.encode() for worker_id in worker_ids]
        if worker_ids is not None and not named:
            return 0
        asked: int = retry_unreachable(
            lambda: self._request_stop.run(self._connection, self._keys.wake(""), *named)
        )
        return asked

    def allow_start(self) -> None:
        """Withdraw the wish that workers to come stop at once; one round trip."""
        retry_unreachable(lambda: self._connection.execute(pack((b"DEL", self._keys.stop))))

    def fetch(self) -> list[WorkerInfo]:
        """Fetch all workers that ever took part, in order of joining; one round trip."""
        k = self._keys
        request = [
            pack((b"MULTI",)),
            pack((b"HVALS", k.workers)),
            pack((b"HGETALL", k.clients)),
            pack((b"HVALS", k.running)),
            pack((b"EXEC",)),
        ]
        replies = retry_unreachable(lambda: self._connection.execute_many(request))[-1]
        if isinstance(replies, hiredis.ReplyError):
            raise refusal(replies)
        records, clients, running = replies
        epochs = dict(zip(clients[::2], clients[1::2], strict=True))
        tasks: dict[str, list[str]] = {}
        for task in decode_tasks(running, k.running):
            tasks.setdefault(task.worker_id, []).append(task.key)
        try:
            workers = [_decode_record(record) for record in records]
        except msgspec.MsgspecError as error:
            raise CorruptRecordError(
                f"{k.workers.decode()} holds bytes that are no worker record ({error})",
                key=k.workers.decode(),
            ) from None
        workers.sort(key=lambda worker: worker.number)
        return [
            _info(worker, epochs.get(worker.worker_id.encode()), tasks.get(worker.worker_id, []))
            for worker in workers
        ]


def _info(record: _Record, epoch: bytes | None, task_keys: list[str]) -> WorkerInfo:
    if epoch is None:
        state = WorkerState(record.state or WorkerState.LOST)
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
        task_keys=tuple(task_keys),
    )
