"""Reading logs: lists of records that only grow, of which each read transfers only what is new.

A log is read in slices, so that a long one does not hold the server for long. If the connection
breaks in between, the next read goes on after the last slice that has arrived.

Each read overlaps the last one by one record. If this record is still in its place, the list is
still the one that was read before. If not, the network was reset, and reading starts anew.

Several threads may read with one object: each record is returned to one of them. If a read is
interrupted, for example by Ctrl-C, the next read returns what it had taken.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Generic, TypeVar

import msgspec

from rush_core.connection.connection import Connection
from rush_core.connection.script import execute_on, retry_unreachable
from rush_core.kernel.slices import SLICE
from rush_core.kernel.table import TaskTable
from rush_core.kernel.task import Task, decode_tasks

__all__ = ["LogPosition", "Position", "TaskCache"]

R = TypeVar("R")
S = TypeVar("S")


class Position(msgspec.Struct, Generic[R], frozen=True, gc=False):
    """Up to where a log was read. It is replaced as a whole, so no interrupt leaves half of it.

    Attributes
    ----------
    n_read : int
        How many records have been read.
    last : bytes or None
        The last of them.
    waiting : tuple of list
        What was read and not returned yet: the slices of a read that has not come to its end, and
        what calls had read that were interrupted before they returned.
    """

    n_read: int
    last: bytes | None
    waiting: tuple[list[R], ...]


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
    position : Position
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
        self.position: Position[R] = Position(0, None, ())
        self._packed = (-1, b"")  # the last request and its n_read: `accept` needs it again

    @property
    def n_read(self) -> int:
        """How many records have been read."""
        return self.position.n_read

    def request(self) -> bytes:
        """Pack a read of the next slice."""
        n_read = self.position.n_read
        packed_at, request = self._packed
        if packed_at != n_read:
            start = n_read - 1 if n_read else 0
            first, last = b"%d" % start, b"%d" % (start + SLICE)
            request = self._request % (len(first), first, len(last), last)
            self._packed = n_read, request
        return request

    def read(self, convert: Callable[[list[R]], S]) -> S:
        """Read what is new, and return what `convert` makes of it; one round trip for each slice.

        If the log was replaced since the last read, all of it is new, after one more round trip.
        """
        return self._take(None, b"", convert)

    def accept(self, records: list[bytes], request: bytes, convert: Callable[[list[R]], S]) -> S:
        """Take the reply to `request`, and read further slices if there are any.

        If another thread has read since the request was packed, read again. Returns what `read`
        returns.
        """
        return self._take(records, request, convert)

    def give_back(self, new: list[R]) -> None:
        """Let the next read return these records again: the caller was interrupted."""
        with self._connection.exclusive:
            before = self.position
            waiting = (new, *before.waiting)
            self.position = Position(before.n_read, before.last, waiting)

    def look(self, reply: list[bytes] | None = None) -> tuple[list[R], Position[R]]:
        """Return what is new, and the position behind it, which the caller has to store.

        No round trip for a first slice that is given: `reply`, the reply to `request`. The caller
        holds ``connection.exclusive``.
        """
        records = self._execute() if reply is None else reply
        while True:
            before = self.position
            n_read, last, waiting = before.n_read, before.last, before.waiting
            if last is not None and records[:1] != [last]:
                # The log was replaced: read it from its beginning.
                self.position = Position(0, None, ())
            else:
                fresh = records if last is None else records[1:]
                new = self._decode(fresh, self._redis_key)
                n_read += len(fresh)
                last = records[-1] if records else None
                if len(records) <= SLICE:
                    every = list(chain(*waiting, new)) if waiting else new
                    return every, Position(n_read, last, ())
                self.position = Position(n_read, last, (*waiting, new))
            records = self._execute()

    def _take(
        self, reply: list[bytes] | None, request: bytes, convert: Callable[[list[R]], S]
    ) -> S:
        new: list[R] = []
        is_taken = False
        try:
            with self._connection.exclusive:
                is_current = reply is not None and request == self.request()
                new, behind = self.look(reply if is_current else None)
                result = convert(new)
                # One line without a call: an interrupt comes before it or after it.
                self.position, is_taken = behind, True
            return result
        except BaseException:
            if is_taken:
                self.give_back(new)
            raise

    def _execute(self) -> list[bytes]:
        """Read the next slice; try again while the server cannot be reached."""
        request = self.request()
        records: list[bytes] = retry_unreachable(
            lambda: execute_on(self._connection, self._redis_key, request)
        )
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
            new, behind = self._log.look()
            n_before = behind.n_read - len(new)
            # If everything is new, tables that were returned before keep the old list.
            tasks = self._tasks if n_before else []
            tasks[n_before:] = new  # and drop what an interrupted call has added
            table = TaskTable(tasks, len(tasks))
            # One line without a call: an interrupt comes before it or after it.
            self._tasks, self._log.position = tasks, behind
            return table
