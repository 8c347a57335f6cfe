"""Reading logs: lists of records that only grow, of which each read transfers only what is new.

A log is read in slices, so that a long one does not hold the server for long. If the connection
breaks in between, the next read goes on after the last slice that has arrived.

Each read overlaps the last one by one record. If this record is still in its place, the list is
still the one that was read before. If not, the network was reset, and reading starts anew.

Several threads may read with one object: each record is returned to one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from rush_core.connection.connection import Connection
from rush_core.connection.script import execute_on, retry_unreachable
from rush_core.kernel.slices import SLICE
from rush_core.kernel.table import TaskTable
from rush_core.kernel.task import Task, decode_tasks

__all__ = ["LogPosition", "TaskCache"]

R = TypeVar("R")


class LogPosition(Generic[R]):
    """How far a log has been read.

    Parameters
    ----------
    connection : Connection
    redis_key : bytes
        The log.
    decode : callable
        ``decode(records, redis_key)`` returns what the records hold, as a list.

    Attributes
    ----------
    n_read : int
        How many records have arrived.
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
        # The packed command LRANGE key first last, in which only the two numbers change.
        self._request = b"*4\r\n$6\r\nLRANGE\r\n$%d\r\n%b\r\n" % (len(redis_key), redis_key)
        self._request += b"$%d\r\n%b\r\n$%d\r\n%b\r\n"
        self._last: bytes | None = None
        self._arrived: list[bytes] = []  # slices of a read that has not come to its end
        self._continues = True
        self.n_read = 0

    def request(self) -> bytes:
        """Pack a read of the next slice."""
        start = self.n_read - 1 if self.n_read else 0
        first, last = b"%d" % start, b"%d" % (start + SLICE)
        return self._request % (len(first), first, len(last), last)

    def accept(self, records: list[bytes], request: bytes) -> tuple[list[R], bool]:
        """Take the reply to `request`, and read further slices if there are any.

        If another thread has read since the request was packed, read again.

        Returns
        -------
        new : list
        continues : bool
            False if the log was replaced since the last read. Then `new` is all of it, after a
            second round trip.
        """
        with self._connection.exclusive:
            return self._take(records) if request == self.request() else self.read()

    def read(self) -> tuple[list[R], bool]:
        """Read what is new; one round trip for each slice. Returns what `accept` returns."""
        with self._connection.exclusive:
            return self._take(self._execute())

    def _take(self, records: list[bytes]) -> tuple[list[R], bool]:
        while not self._take_slice(records):
            records = self._execute()
        new = self._decode(self._arrived, self._redis_key)
        self._arrived = []
        continues, self._continues = self._continues, True
        return new, continues

    def _take_slice(self, records: list[bytes]) -> bool:
        """Take the records of one slice; return whether it is the last one."""
        if self._last is not None and records[:1] != [self._last]:
            # The log was replaced: read it from its beginning.
            self.n_read, self._last, self._arrived, self._continues = 0, None, [], False
            return False
        new = records if self._last is None else records[1:]
        if new:
            self._arrived += new
            self._last = new[-1]
            self.n_read += len(new)
        return len(records) <= SLICE

    def _execute(self) -> list[bytes]:
        records: list[bytes] = execute_on(self._connection, self._redis_key, self.request())
        return records


class TaskCache:
    """All tasks of a log, each of which is transferred and decoded once.

    Parameters
    ----------
    connection : Connection
    redis_key : bytes
        The log.
    """

    def __init__(self, connection: Connection, redis_key: bytes) -> None:
        self._connection = connection
        self._log = LogPosition(connection, redis_key, decode_tasks)
        self._tasks: list[Task] = []

    def fetch(self) -> TaskTable:
        """Return all tasks; one round trip for each slice of new ones, which are transferred."""
        with self._connection.exclusive:
            new, _ = retry_unreachable(self._log.read)
            if len(new) == self._log.n_read:
                # Everything is new. Tables that were returned before keep the old list.
                self._tasks = []
            self._tasks += new
            return TaskTable(self._tasks, len(self._tasks))
