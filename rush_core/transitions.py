"""The only code that changes a task's state: one server-side script per transition.

Every script that a client runs checks the client's *epoch*, a number that the client raises
whenever its connection broke. A command sent earlier carries the older epoch and is refused when it
reaches the server late, so after raising the epoch a client can look at what is there, see whether
its last command was executed, and repeat it if not: nothing is doubled and nothing is lost. The
same check keeps out a worker that was removed, whose epoch is gone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, TypeVar

import hiredis

from rush_core.codec import encode
from rush_core.connection import Connection, pack, refusal
from rush_core.errors import ServerRefusedError, ServerUnreachableError, WorkerLostError
from rush_core.keys import NetworkKeys
from rush_core.task import decode_tasks

__all__ = ["Script", "Transitions", "retry_unreachable"]

T = TypeVar("T")

# How long a client tries to reach a server that was there before: longer than a restart takes.
PATIENCE_S = 20.0

_OUT, _STOP = -1, -2  # replies of guarded scripts


class Script:
    """A server-side script with its keys bound.

    Parameters
    ----------
    name : str
        File in ``rush_core/scripts`` without its suffix.
    keys : bytes
        Redis keys, in the order that the file's head comment names them.
    """

    def __init__(self, name: str, *keys: bytes) -> None:
        self.source = _source(name)
        digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()
        self._head = (b"EVALSHA", digest, len(keys), *keys)

    def pack(self, *arguments: Any) -> bytes:
        """Pack a call."""
        return pack(self._head + arguments)

    def pack_source(self, *arguments: Any) -> bytes:
        """Pack a call that brings the script along, where a missing one could not be mended."""
        _, _, *keys = self._head
        return pack((b"EVAL", self.source, *keys, *arguments))

    def run(self, connection: Connection, *arguments: Any) -> Any:
        """Call the script; one round trip, three when the server does not have it yet."""
        request = pack(self._head + arguments)
        try:
            return connection.execute(request)
        except ServerRefusedError as error:
            if not _is_missing(error.found):
                raise
            self.load(connection)
            return connection.execute(request)

    def load(self, connection: Connection) -> None:
        """Hand the script to the server; one round trip."""
        connection.execute(pack(("SCRIPT", "LOAD", self.source)))


def _source(name: str) -> bytes:
    folder = resources.files("rush_core.scripts")
    source = folder.joinpath(f"{name}.lua").read_bytes()
    if b"-- Uses: wake.lua" in source:
        source = folder.joinpath("wake.lua").read_bytes() + source
    return source


def _is_missing(reply: object) -> bool:
    return str(reply).startswith("NOSCRIPT")


def retry_unreachable(call: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Call again, with growing pauses, while the server cannot be reached.

    Only for what may be done twice.

    Raises
    ------
    ServerUnreachableError
        When `patience_s` seconds have passed.
    """
    deadline = time.monotonic() + patience_s
    pause_s = 0.01
    while True:
        try:
            return call()
        except ServerUnreachableError:
            if time.monotonic() + pause_s > deadline:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 1.0)


class Transitions:
    """The state changes that one client makes.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    client_id : str
        A worker's id, or the name under which a manager's commands are known.
    epoch : int
        1 for a worker, whose registration set it; 0 for a client that is let in when it first
        changes something.
    """

    def __init__(
        self, connection: Connection, keys: NetworkKeys, client_id: str, *, epoch: int
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._client = client_id.encode()
        self._packed_worker = encode(client_id)
        self._wake_prefix = keys.wake("")
        self._is_worker = epoch > 0
        self._epoch = epoch
        self._generation = connection.generation if epoch else -1
        self.stop_requested = False
        k = keys
        self._start = Script("start_tasks", k.clients, k.counts, k.running)
        self._claim = Script("claim_task", k.clients, k.counts, k.queued, k.running, k.idle)
        self._finish = Script("end_tasks", k.clients, k.running, k.finished, k.waiting)
        self._fail = Script("end_tasks", k.clients, k.running, k.failed, k.waiting)
        self._push = Script("push_tasks", k.clients, k.queued, k.idle)
        self._push_finished = Script("push_ended_tasks", k.clients, k.finished, k.waiting)
        self._push_failed = Script("push_ended_tasks", k.clients, k.failed, k.waiting)
        self._clear = Script("clear_queue", k.clients, k.queued, k.failed, k.waiting)
        self._renew = Script("renew_client", k.clients)
        self._sleep = Script("wait_for_queued", k.clients, k.queued, k.idle, k.wake(client_id))
        self._blocking_pop = (b"BLPOP", k.wake(client_id))

    def start(self, keys: Sequence[bytes], records: Sequence[bytes], limit: int | None) -> int:
        """Make records running, the first ones as far as the budget goes; one round trip.

        Returns
        -------
        int
            How many were started; 0 also when the worker was asked to stop.
        """
        pairs = [part for pair in zip(keys, records, strict=True) for part in pair]

        def settle() -> int | None:
            running = self._running(keys)
            return sum(running) or None

        reply = self._guarded(self._start, (_limit(limit), *pairs), settle)
        return max(self._note_stop(reply), 0)

    def claim(self, limit: int | None, started_at: float, timeout_s: float) -> bytes | None:
        """Take the longest waiting task; one round trip, two if it has to be waited for."""
        packed_start = encode(started_at)
        arguments = (_limit(limit), self._packed_worker, packed_start)

        def settle() -> bytes | None:
            records: list[bytes] = self._connection.execute(pack((b"HVALS", self._keys.running)))
            mine = (record for record in records if record.endswith(packed_start))
            return next((r for r in mine if r[1:].startswith(self._packed_worker)), None)

        reply = self._guarded(self._claim, (*arguments, b""), settle)
        if reply is None and timeout_s > 0:
            self._sleep_until_queued(timeout_s)
            reply = self._guarded(self._claim, (*arguments, b"1"), settle)
        if isinstance(reply, int):
            self._note_stop(reply)
            return None
        record: bytes | None = reply
        return record

    def finish(self, keys: Sequence[bytes], ends: Sequence[bytes]) -> list[bool]:
        """Append running tasks, with their results, to the finished log; one round trip.

        Returns
        -------
        list of bool
            False where the task is not running under this worker; then nothing was written.
        """
        return self._end(self._finish, self._keys.finished, keys, ends)

    def fail(self, keys: Sequence[bytes], ends: Sequence[bytes]) -> list[bool]:
        """Move running tasks to the failed ones; otherwise as `finish`."""
        return self._end(self._fail, self._keys.failed, keys, ends)

    def finish_and_read(self, key: bytes, end: bytes, read: bytes) -> tuple[bool, Any]:
        """Finish a task and, in the same send, execute the packed request `read`.

        Returns
        -------
        won : bool
        reply : object
            The reply to `read`, executed after the finish.
        """
        if self._generation == self._connection.generation:
            request = self._finish.pack(*self._end_arguments((key,), (end,)))
            try:
                ended, reply = self._connection.execute_many((request, read))
            except ServerUnreachableError:
                pass  # settled below, as any finish whose reply was lost
            else:
                if isinstance(reply, hiredis.ReplyError):
                    raise refusal(reply)
                if isinstance(ended, list):
                    return self._note_ends(ended)[0], reply
                if ended == _OUT:
                    return False, reply
                if not _is_missing(ended):
                    raise refusal(ended)
        won = self.finish((key,), (end,))[0]
        return won, retry_unreachable(lambda: self._connection.execute(read))

    def push(self, records: Sequence[bytes]) -> None:
        """Append records to the queue; one round trip."""
        self._append(self._push, self._keys.queued, records)

    def push_finished(self, records: Sequence[bytes]) -> None:
        """Append records to the finished log; one round trip."""
        self._append(self._push_finished, self._keys.finished, records)

    def push_failed(self, records: Sequence[bytes]) -> None:
        """Append records to the failed tasks; one round trip."""
        self._append(self._push_failed, self._keys.failed, records)

    def clear_queue(self, end: bytes) -> int:
        """Make all queued tasks failed; one round trip."""
        n_cleared: int = self._guarded(self._clear, (self._wake_prefix, end), lambda: None)
        self._require_known(n_cleared)
        return n_cleared

    def _end(
        self, script: Script, destination: bytes, keys: Sequence[bytes], ends: Sequence[bytes]
    ) -> list[bool]:
        def settle() -> list[int] | None:
            if any(self._running(keys)):
                return None
            log = self._connection.execute(pack((b"LRANGE", destination, 0, -1)))
            # The end holds a time of this process's clock: no other record ends in the same bytes.
            return [any(r.endswith(end) and key in r for r in log) for key, end in pairs] + [0]

        pairs = list(zip(keys, ends, strict=True))
        reply = self._guarded(script, self._end_arguments(keys, ends)[2:], settle)
        return [False] * len(keys) if reply == _OUT else self._note_ends(reply)

    def _end_arguments(self, keys: Sequence[bytes], ends: Sequence[bytes]) -> tuple[Any, ...]:
        pairs = [part for pair in zip(keys, ends, strict=True) for part in pair]
        return self._client, self._epoch, self._packed_worker, self._wake_prefix, *pairs

    def _append(self, script: Script, destination: bytes, records: Sequence[bytes]) -> None:
        def settle() -> int | None:
            key = decode_tasks(records[:1], destination)[0].key.encode()
            return len(records) if any(key in record for record in self._everything()) else None

        self._require_known(self._guarded(script, (self._wake_prefix, *records), settle))

    def _guarded(
        self, script: Script, arguments: tuple[Any, ...], settle: Callable[[], Any | None]
    ) -> Any:
        """Run a script that checks the epoch.

        `settle` looks, after the epoch was raised, whether the script was executed before the
        connection broke: it returns the reply that was lost, or None to execute the script again.
        """
        if self._generation == self._connection.generation:
            try:
                return script.run(self._connection, self._client, self._epoch, *arguments)
            except ServerUnreachableError:
                pass

        def again() -> Any:
            self._raise_epoch()
            reply = settle()
            if reply is not None:
                return reply
            return script.run(self._connection, self._client, self._epoch, *arguments)

        return retry_unreachable(again)

    def _raise_epoch(self) -> None:
        # The connection is opened first: the epoch must be younger than anything sent before.
        self._epoch += 1
        may_join = b"" if self._is_worker else b"1"
        self._require_known(self._renew.run(self._connection, self._client, self._epoch, may_join))
        self._generation = self._connection.generation

    def _sleep_until_queued(self, timeout_s: float) -> None:
        sleep = (
            self._sleep.pack_source(self._client, self._epoch),
            pack((*self._blocking_pop, timeout_s)),
        )
        try:
            first = self._connection.execute_many(sleep, block_s=timeout_s)[0]
        except ServerUnreachableError:
            return  # the claim that follows reconnects
        if isinstance(first, hiredis.ReplyError):
            raise refusal(first)

    def _running(self, keys: Sequence[bytes]) -> list[int]:
        asked = [pack((b"HEXISTS", self._keys.running, key)) for key in keys]
        replies: list[int] = self._connection.execute_many(asked)
        return replies

    def _everything(self) -> list[bytes]:
        k = self._keys
        lists = [pack((b"LRANGE", key, 0, -1)) for key in (k.queued, k.finished, k.failed)]
        replies = self._connection.execute_many(
            [pack((b"MULTI",)), *lists, pack((b"HVALS", k.running)), pack((b"EXEC",))]
        )
        return [record for records in replies[-1] for record in records]

    def _note_stop(self, reply: int) -> int:
        if reply == _STOP:
            self.stop_requested = True
        else:
            self._require_known(reply)
        return reply

    def _note_ends(self, reply: list[int]) -> list[bool]:
        if reply[-1]:
            self.stop_requested = True
        return [won == 1 for won in reply[:-1]]

    def _require_known(self, reply: int) -> None:
        if reply == _OUT:
            raise WorkerLostError(
                f"{self._client.decode()!r} takes no part in network {self._keys.network_id!r} any "
                "more: it was declared lost, killed, or the network was reset; its unfinished "
                "tasks were failed. Register a new worker to go on",
                key=self._client.decode(),
            )


def _limit(limit: int | None) -> int | bytes:
    return b"" if limit is None else limit
