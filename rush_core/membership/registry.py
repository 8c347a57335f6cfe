"""The registry of workers: who takes part, who did, and how they ended."""

from __future__ import annotations

import enum
import math
import os
import re
import socket
import time
from collections.abc import Iterable

import msgspec

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import PATIENCE_S, Script, look, retry_unreachable
from rush_core.errors import CorruptRecordError, RushError, WorkerLostError
from rush_core.kernel.codec import encode
from rush_core.kernel.task import decode_tasks, failed_end
from rush_core.keys import NetworkKeys

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
    heartbeat_s : float or None
        Seconds without a sign of life after which it counts as lost; None if it gives none.
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
    heartbeat_s: float | None
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
    state: WorkerState | None = None
    reason: str | None = None


_NOT_LOST, _UNWANTED = -2, -3  # replies of the registration script

_EPOCH = re.compile(rb"\d+s?")

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
        self._request_stop = Script("request_stop", k.clients, k.workers, k.stop, k.idle, k.waiting)
        self._generation = connection.generation
        self._reachable_since = -math.inf

    def register(
        self,
        worker_id: str,
        started_at: float,
        *,
        epoch: int,
        expire_s: float | None,
        after_loss: bool = False,
    ) -> int:
        """Enter this process as a worker; one round trip.

        If the reply is lost with the connection, the same registration is sent again, and the
        server recognises it.

        Parameters
        ----------
        worker_id : str
        started_at : float
            Seconds since 1970 by the server's clock.
        epoch : int
            Higher than any the worker used before.
        expire_s : float or None
            How long it counts as alive without a further sign of life; None if it gives none.
        after_loss : bool
            Whether it comes back after it was declared lost.

        Returns
        -------
        int
            The worker's number in the network.

        Raises
        ------
        RushError
            If a worker of this name takes part already.
        WorkerLostError
            If it wants to come back but was not declared lost: it was killed or forgotten. Or its
            manager gave it up before it joined.
        """
        k = self._keys
        register = Script(
            "register_worker",
            *(k.clients, k.workers, k.stop, k.waiting, k.unwanted, k.alive(worker_id)),
        )
        record = (worker_id, socket.gethostname(), os.getpid(), started_at, expire_s)
        # One field short of what the array header says: the script appends the number.
        packed = b"\x96" + encode(record)[1:]
        expire_ms = b"" if expire_s is None else b"%d" % round(expire_s * 1000)
        number: int = retry_unreachable(
            lambda: register.run(
                self._connection,
                worker_id.encode(),
                b"%d" % epoch,
                packed,
                k.wake(""),
                expire_ms,
                b"1" if after_loss else b"",
            )
        )
        if number == _UNWANTED:
            raise WorkerLostError(
                f"worker {worker_id!r} is not to join network {k.network_id!r} any more: its "
                "manager was closed, or gave it up",
                key=worker_id,
            )
        if number == _NOT_LOST:
            raise WorkerLostError(
                f"worker {worker_id!r} cannot come back to network {k.network_id!r}: it was "
                "killed, or the network was reset; register a new worker to go on",
                key=worker_id,
            )
        if number < 0:
            raise RushError(
                f"a worker named {worker_id!r} takes part in network {k.network_id!r} already; "
                "choose another worker_id, or give none to have one made",
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
        max_retries: int = 0,
        only_if_expired: bool = False,
        or_refuse: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> bool:
        """Remove a worker; one round trip, atomic, and of several that try one wins.

        Its running tasks are queued again if they were lost no more than `max_retries` times, else
        failed with `task_error`. The `result_extra` of these says ``lost``, to tell them from tasks
        that failed by themselves. With `or_refuse`, a worker that has not joined yet is refused
        when it does: its call may have begun, or its registration be under way.

        Returns
        -------
        bool
            False if it takes no part (any more), or gave a sign of life although `only_if_expired`.
        """
        k = self._keys
        remove = Script(
            "remove_worker",
            *(k.clients, k.workers, k.running, k.queued, k.failed, k.started, k.idle, k.waiting),
            *(k.unwanted, k.unique, k.alive(worker_id)),
        )
        reply = retry_unreachable(
            lambda: remove.run(
                self._connection,
                worker_id.encode(),
                encode((at, state.value, reason))[1:],
                encode(worker_id),
                failed_end(at, task_error, {"lost": state.value}),
                k.wake(""),
                b"%d" % max_retries,
                b"1" if only_if_expired else b"",
                b"1" if or_refuse else b"",
            ),
            patience_s,
        )
        return bool(reply != -1)

    def find_silent(self) -> list[str]:
        """Find workers that take part but whose last sign of life has expired; two round trips.

        A server that is away hears nobody, and the signs expire all the same. After the connection
        was broken, silence counts again once the worker could have been heard for long enough.
        """
        watched = {
            worker.worker_id: worker.heartbeat_s
            for worker in self.fetch()
            if worker.ended_at is None and worker.heartbeat_s is not None
        }
        if not watched:
            return []
        asked = [pack((b"EXISTS", self._keys.alive(worker_id))) for worker_id in watched]
        alive = retry_unreachable(lambda: self._connection.execute_many(asked))
        reachable_s = self._reachable_s()
        return [
            worker_id
            for (worker_id, heartbeat_s), lives in zip(watched.items(), alive, strict=True)
            if not lives and heartbeat_s <= reachable_s
        ]

    def _reachable_s(self) -> float:
        """Return for how long the connection has held, as far as is known, seconds."""
        if self._connection.generation != self._generation:
            self._generation = self._connection.generation
            self._reachable_since = time.monotonic()
        return time.monotonic() - self._reachable_since

    def request_stop(
        self, worker_ids: Iterable[str] | None, *, patience_s: float = PATIENCE_S
    ) -> int:
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
            lambda: self._request_stop.run(self._connection, self._keys.wake(""), *named),
            patience_s,
        )
        return asked

    def allow_workers(self) -> None:
        """Withdraw the wish that workers to come stop at once; one round trip."""
        retry_unreachable(lambda: self._connection.execute(pack((b"DEL", self._keys.stop))))

    def fetch(self) -> list[WorkerInfo]:
        """Fetch all workers that ever took part, in order of joining; one round trip."""
        k = self._keys
        reads = ((b"HVALS", k.workers), (b"HGETALL", k.clients), (b"HVALS", k.running))
        found = retry_unreachable(lambda: look(self._connection, reads))
        records, clients, running = found
        epochs = dict(zip(clients[::2], clients[1::2], strict=True))
        for client, epoch in epochs.items():
            if not _EPOCH.fullmatch(epoch):
                raise CorruptRecordError(
                    f"{k.clients.decode()} holds {epoch!r:.80} of client {client!r:.80}, which is "
                    "no epoch",
                    key=k.clients.decode(),
                )
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
