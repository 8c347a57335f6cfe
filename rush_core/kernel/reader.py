"""Reading tasks: a log from where one left off, and any states as one look.

A log (finished or failed tasks, reports) only grows, so what was decoded once stays valid. Each
read overlaps the last one by one record: if that record is still there, the log is still the one
that was read before; if not, the network was reset in between and reading begins anew.

Several threads may read on: what one of them was given, no other is.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import hiredis

from rush_core.arguments import check_timeout
from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import (
    Script,
    execute_all_on,
    execute_on,
    look,
    pack_sleep,
    retry_unreachable,
)
from rush_core.errors import ServerUnreachableError
from rush_core.kernel.report import Report, decode_reports
from rush_core.kernel.table import EndedTasks, TaskTable
from rush_core.kernel.task import Task, TaskCounts, TaskState, decode_tasks
from rush_core.keys import NetworkKeys

__all__ = ["LogPosition", "TaskReader"]

R = TypeVar("R")


class LogPosition(Generic[R]):
    """How far one has read in a list that only grows.

    Parameters
    ----------
    connection : Connection
    redis_key : bytes
        The list.
    decode : callable
        ``decode(records, redis_key)``: what the records say, a list.
    """

    def __init__(
        self,
        connection: Connection,
        redis_key: bytes,
        decode: Callable[[list[bytes], bytes], list[R]],
    ) -> None:
        self._connection = connection
        self._redis_key = redis_key
        self._decode = decode
        # LRANGE key first -1, of which only the first index changes.
        self._request = b"*4\r\n$6\r\nLRANGE\r\n$%d\r\n%b\r\n" % (len(redis_key), redis_key)
        self._request += b"$%d\r\n%b\r\n$2\r\n-1\r\n"
        self._last: bytes | None = None
        self.n_read = 0

    def request(self) -> bytes:
        """Pack the range read of all that is new."""
        first = b"%d" % (self.n_read - 1 if self.n_read else 0)
        return self._request % (len(first), first)

    def accept(self, records: list[bytes], request: bytes) -> tuple[list[R], bool]:
        """Take in the reply to `request`; read again if another thread has read on meanwhile.

        Returns
        -------
        new : list
        continues : bool
            False if the log was replaced since the last read; `new` is then all of it, after a
            second round trip.
        """
        with self._connection.together:
            return self._take_in(records) if request == self.request() else self.read()

    def read(self) -> tuple[list[R], bool]:
        """Read what is new; one round trip. Returns what `accept` returns."""
        with self._connection.together:
            return self._take_in(self._execute())

    def _take_in(self, records: list[bytes]) -> tuple[list[R], bool]:
        continues = True
        if self._last is not None:
            continues = bool(records) and records[0] == self._last
            if continues:
                records = records[1:]
            else:
                self.n_read, self._last = 0, None
                records = self._execute()
        new = self._decode(records, self._redis_key)
        if records:
            self._last = records[-1]
            self.n_read += len(records)
        return new, continues

    def _execute(self) -> list[bytes]:
        records: list[bytes] = execute_on(self._connection, self._redis_key, self.request())
        return records


class TaskReader:
    """Everything a client can ask about tasks; it changes nothing.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    client_id : str
        The name under which this client is woken.
    waiting : Connection
        Where to wait: another one if several threads share `connection`.
    """

    def __init__(
        self, connection: Connection, keys: NetworkKeys, client_id: str, waiting: Connection
    ) -> None:
        self._connection = connection
        self._waiting = waiting
        self._keys = keys
        self._count = Script("count_tasks", keys.queued, keys.running, keys.finished, keys.failed)
        self.go_by(client_id)
        self._cached: list[Task] = []
        self._cached_log = LogPosition(connection, keys.finished, decode_tasks)
        self.new_log = LogPosition(connection, keys.finished, decode_tasks)
        self._failed_log = LogPosition(connection, keys.failed, decode_tasks)
        self.reports = LogPosition(connection, keys.reports, decode_reports)
        # As they were at the end of the last sleep.
        self._n_finished = self._n_failed = self._n_joined = self._n_clients = 0

    def go_by(self, client_id: str) -> None:
        """Be woken under this name from now on."""
        k = self._keys
        self._client = client_id.encode()
        self._wake = k.wake(client_id)
        self._sleep = Script(
            "wait_for_change",
            *(k.finished, k.failed, k.workers, k.waiting, self._wake, k.clients),
        )

    def count(self) -> TaskCounts:
        """Count the tasks in each place, as one look; one round trip."""
        counts = retry_unreachable(lambda: self._count.run(self._connection))
        return TaskCounts(*counts)

    def fetch(self, states: tuple[str, ...]) -> TaskTable:
        """Fetch the tasks in some states (all if none is named), as one look; one round trip."""
        wanted = [TaskState(state) for state in states] or list(TaskState)
        places = [
            (getattr(self._keys, state.value), state is TaskState.RUNNING)
            for state in TaskState
            if state in wanted
        ]
        reads = [(b"HVALS", key) if is_hash else (b"LRANGE", key, 0, -1) for key, is_hash in places]
        found = retry_unreachable(lambda: look(self._connection, reads))
        tasks: list[Task] = []
        for (key, _), records in zip(places, found, strict=True):
            tasks += decode_tasks(records, key)
        return TaskTable(tasks)

    def fetch_finished(self) -> TaskTable:
        """Fetch all finished tasks, those fetched before from the cache; one round trip."""
        with self._connection.together:
            new, _ = retry_unreachable(self._cached_log.read)
            if len(new) == self._cached_log.n_read:
                # All is new; a new list: tables handed out before keep the old one.
                self._cached = []
            self._cached += new
            return TaskTable(self._cached, len(self._cached))

    def fetch_new(self, timeout_s: float) -> TaskTable:
        """Fetch the tasks finished since the last call; one round trip.

        If there are none, the server keeps its reply back until a task ends, a worker joins or
        leaves, or the time is over.
        """
        timeout_s = check_timeout(timeout_s)
        if timeout_s > 0:
            request = self.new_log.request()
            (records,) = self._wait(timeout_s, self.new_log.n_read, request)
            return TaskTable(retry_unreachable(lambda: self.new_log.accept(records, request))[0])
        return TaskTable(retry_unreachable(self.new_log.read)[0])

    def fetch_new_failed(self) -> TaskTable:
        """Fetch the tasks that failed by themselves since the last call; one round trip."""
        return _by_themselves(retry_unreachable(self._failed_log.read)[0])

    def fetch_new_ended(self, timeout_s: float) -> EndedTasks:
        """Fetch what `fetch_new` and `fetch_new_failed` do; one round trip for both."""
        timeout_s = check_timeout(timeout_s)
        requests = self.ended_requests()
        if timeout_s > 0:
            replies = self._wait(timeout_s, self.new_log.n_read, *requests)
            return self.accept_ended(replies, requests)
        logs = (self._keys.finished, self._keys.failed)
        read = functools.partial(execute_all_on, self._connection, logs, requests)
        return self.accept_ended(retry_unreachable(read), requests)

    def ended_requests(self) -> tuple[bytes, bytes]:
        """Pack the reads of all that is new of both logs of ended tasks."""
        return self.new_log.request(), self._failed_log.request()

    def accept_ended(
        self, replies: Sequence[list[bytes]], requests: tuple[bytes, bytes]
    ) -> EndedTasks:
        """Take in the replies to `ended_requests`."""
        logs = (self.new_log, self._failed_log)
        accepts = [
            functools.partial(log.accept, reply, request)
            for log, reply, request in zip(logs, replies, requests, strict=True)
        ]
        (finished, _), (failed, _) = map(retry_unreachable, accepts)
        return EndedTasks(TaskTable(finished), _by_themselves(failed))

    def fetch_new_reports(self) -> list[Report]:
        """Fetch what was reported since the last call; one round trip."""
        return retry_unreachable(self.reports.read)[0]

    def wait(self, timeout_s: float) -> None:
        """Sleep until something changes; not at all if something did since the last sleep."""
        read = pack((b"LLEN", self._keys.finished))
        (self._n_finished,) = self._wait(timeout_s, self._n_finished, read)

    def _wait(self, timeout_s: float, n_finished: int, *reads: bytes) -> list[Any]:
        """Wait as long as is left of the time, however often the server goes away meanwhile.

        Returns
        -------
        list
            The replies to `reads`, packed requests that are executed when the waiting is over.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline - time.monotonic(), 0.0)
            try:
                return self._wait_once(left_s, n_finished, reads)
            except ServerUnreachableError:
                retry_unreachable(lambda: self._waiting.execute(pack((b"PING",))))

    def _wait_once(self, timeout_s: float, n_finished: int, reads: Sequence[bytes]) -> list[Any]:
        known = (n_finished, self._n_failed, self._n_joined, self._n_clients)
        replies = self._waiting.execute_many(
            (
                self._sleep.pack_source(self._client, *known),
                pack_sleep(self._wake, timeout_s),
                pack((b"LLEN", self._keys.failed)),
                pack((b"HLEN", self._keys.workers)),
                pack((b"HLEN", self._keys.clients)),  # who left is not among them any more
                *reads,  # the last: what counts as known has then been read
            ),
            block_s=timeout_s,
        )
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise self._sleep.refused(self._waiting, reply)
        self._n_failed, self._n_joined, self._n_clients = replies[2:5]
        return replies[5:]


def _by_themselves(failed: list[Task]) -> TaskTable:
    """Leave out what is not known to be bad: lost tasks, and those taken out of the queue."""
    started = [task for task in failed if task.started_at is not None]
    return TaskTable([task for task in started if "lost" not in task.result_extra])
