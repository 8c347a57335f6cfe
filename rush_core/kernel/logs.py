"""Reading logs: lists of records that only grow, of which each read transfers only what is new.

A log is read in slices, so that a long one does not hold the server for long. If the connection
breaks in between, the next read goes on after the last slice that has arrived.

Each read overlaps the last one by one record. If this record is still in its place, the list is
still the one that was read before. If not, the network was reset, and reading starts anew.

Another process of this host may copy the log into memory (`rush_core.kernel.shared_log`). Then a
read takes from the copy what is new there, and from the server only the rest. At the end of a task,
a worker can do without the rest. Then it gets its own record before it is in the copy, and skips it
when it comes.

Several threads may read with one object: each record is returned to one of them. If a read is
interrupted, for example by Ctrl-C, the next read returns what it had taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import chain
from typing import Generic, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from rush_core.connection.connection import Connection
from rush_core.connection.script import execute_on, retry_unreachable
from rush_core.kernel.shared_log import Place, SharedLog
from rush_core.kernel.slices import SLICE
from rush_core.kernel.table import TaskTable
from rush_core.kernel.task import Task, decode_tasks

__all__ = ["LogPosition", "Position", "TaskCache"]

logger = logging.getLogger(__name__)

R = TypeVar("R")
S = TypeVar("S")


Ahead: TypeAlias = "tuple[bytes, Ahead] | None"


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
    ahead : tuple of bytes and tuple, or None
        Records further behind in the log that were returned already: the last of them, and the
        others in the same form. To add one takes the same time however many there are.
    place : Place
        Up to where the log was read in memory. If `n_read` is larger than its `n_records`, the
        rest was read from the server.
    """

    n_read: int
    last: bytes | None
    waiting: tuple[list[R], ...]
    ahead: Ahead = None
    place: Place = Place(0, 0)


class LogPosition(Generic[R]):
    """How far a log has been read.

    Parameters
    ----------
    connection : Connection
    redis_key : bytes
        The log.
    decode : callable
        ``decode(records, redis_key)`` returns what the records hold, as a list.
    shared : SharedLog, optional
        The same log in memory.

    Attributes
    ----------
    position : Position
    must_ask : bool
        Whether the next read has to ask the server, not the memory.
    """

    def __init__(
        self,
        connection: Connection,
        redis_key: bytes,
        decode: Callable[[list[bytes], bytes], list[R]],
        shared: SharedLog | None = None,
    ) -> None:
        self._connection = connection
        self._redis_key = redis_key
        self._decode = decode
        self._shared = shared
        self.must_ask = False
        self._doubtful = -1  # where a frame in memory was not whole at the last read
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

    @property
    def is_in_memory(self) -> bool:
        """Whether `read_copy` takes what is in memory, without a round trip."""
        return not self.must_ask and self._shared is not None and self._shared.is_fresh()

    def ask_server(self) -> None:
        """Let the next read ask the server: this client has appended to the log."""
        self.must_ask = self._shared is not None

    @property
    def is_read_to_end(self) -> bool:
        """Whether nothing is new in memory."""
        at = self.position
        if self._shared is None or self.must_ask or at.waiting:
            return False
        return self._shared.end == at.place.offset

    def read(self, convert: Callable[[list[R]], S]) -> S:
        """Read what is new, and return what `convert` makes of it; one round trip for each slice.

        If the log was replaced since the last read, all of it is new, after one more round trip.
        """
        self.catch_up()
        return self._take(self.look, convert)

    def read_copy(self, convert: Callable[[list[R]], S]) -> S:
        """Read what is new in memory; no round trip. If it is not fresh, read the server.

        Returns what `convert` makes of what is new.
        """
        return self._take(self._look_in_memory, convert)

    def read_own(self, own: bytes, decoded: R, convert: Callable[[list[R]], S]) -> S:
        """Read what is new in memory after this client has appended a record, like `read_copy`.

        The caller has held ``connection.exclusive`` and found that the log is in memory, before it
        appended the record. If the record is not in memory yet, it comes last.

        Parameters
        ----------
        own : bytes
        decoded : object
            What the record holds.
        convert : callable
        """
        if not self.is_read_to_end:
            return self._take(lambda: self._look_in_memory(own), convert)
        # The most frequent case: nothing is new but the record.
        new = [decoded]
        is_taken = False
        try:
            result = convert(new)
            at = self.position
            behind: Position[R] = Position(at.n_read, at.last, (), (own, at.ahead), at.place)
            # One line without a call: an interrupt comes before it or after it.
            self.position, is_taken = behind, True
            return result
        except BaseException:
            if is_taken:
                self.give_back(new)
            raise

    def accept(self, records: list[bytes], request: bytes, convert: Callable[[list[R]], S]) -> S:
        """Take the reply to `request`, and read further slices if there are any.

        If another thread has read since the request was packed, read again. Returns what `convert`
        makes of what is new.
        """
        # The same object: before and after the first record, two requests are equal.
        return self._take(
            lambda: self.look(records if request is self.request() else None), convert
        )

    def catch_up(self) -> None:
        """Take what is new from memory, if it is fresh; the next read returns it."""
        if self._shared is not None and self._shared.is_fresh():
            with self._connection.exclusive:
                if (found := self._look_at_copy(None)) is not None:
                    new, behind = found
                    # If an interrupt comes before this is stored, the next read finds it again.
                    self.position = replace(behind, waiting=(new,) if new else ())

    def give_back(self, new: list[R]) -> None:
        """Let the next read return these records again: the caller was interrupted."""
        with self._connection.exclusive:
            before = self.position
            self.position = replace(before, waiting=(new, *before.waiting))

    def look(self, reply: list[bytes] | None = None) -> tuple[list[R], Position[R]]:
        """Return what is new in the server, and the position behind it, which the caller stores.

        No round trip for a first slice that is given: `reply`, the reply to `request`. The caller
        holds ``connection.exclusive``.
        """
        records = self._execute() if reply is None else reply
        while True:
            before = self.position
            n_read, last, waiting = before.n_read, before.last, before.waiting
            ahead, place = before.ahead, before.place
            if last is not None and records[:1] != [last]:
                # The log was replaced: read it from its beginning. The memory has the old one.
                self._shared = None
                self.position = Position(0, None, (), ahead)
            else:
                fresh = records if last is None else records[1:]
                n_read += len(fresh)
                last = records[-1] if records else None
                if ahead:
                    fresh, ahead = _skip(fresh, ahead)
                new = self._decode(fresh, self._redis_key)
                if len(records) <= SLICE:
                    every = list(chain(*waiting, new)) if waiting else new
                    return every, Position(n_read, last, (), ahead, place)
                self.position = Position(n_read, last, (*waiting, new), ahead, place)
            records = self._execute()

    def _look_in_memory(self, own: bytes | None = None) -> tuple[list[R], Position[R]]:
        """Return what is new in memory, or, if the log is not in memory, in the server."""
        found = self._look_at_copy(own) if self.is_in_memory else None
        return self.look() if found is None else found

    def _look_at_copy(self, own: bytes | None) -> tuple[list[R], Position[R]] | None:
        """Return what is new in memory, like `look`; None if it cannot be used."""
        shared = self._shared
        if shared is None:
            return None
        before = self.position
        n_read, last, waiting = before.n_read, before.last, before.waiting
        ahead, place = before.ahead, before.place
        records: list[bytes] = []
        if shared.end != place.offset:
            found = self._read_memory(shared, n_read, last, place)
            if found is None:
                return None
            records, place = found
            if records:
                n_read, last = n_read + len(records), records[-1]
                if ahead:
                    records, ahead = _skip(records, ahead)
        if own is not None and own not in records:
            records.append(own)
            ahead = (own, ahead)
        new = self._decode(records, self._redis_key)
        every = list(chain(*waiting, new)) if waiting else new
        return every, Position(n_read, last, (), ahead, place)

    def _read_memory(
        self, shared: SharedLog, n_read: int, last: bytes | None, place: Place
    ) -> tuple[list[bytes], Place] | None:
        """Read the records from number `n_read` on; `place` is there or before.

        Returns None if the server must be asked.
        """
        end = shared.end
        records, behind = shared.read(place, end)
        if behind.offset != end:
            # On some processors, the end may be seen before the bytes. The second time, they are
            # damaged.
            if behind.offset == self._doubtful:
                self._leave_memory("some of its bytes were overwritten")
            self._doubtful = behind.offset
            return None
        n_known = n_read - place.n_records
        if n_known == 0:
            return records, behind
        if n_known > len(records):
            return [], behind  # the server has been read further than the memory goes
        if records[n_known - 1] != last:
            self._leave_memory("it holds another log than the server")
            return None
        return records[n_known:], behind

    def _leave_memory(self, reason: str) -> None:
        self._shared = None
        logger.warning(
            "%s is read from the server from now on, not from the memory of this host: %s",
            self._redis_key.decode(),
            reason,
        )

    def _take(
        self,
        look: Callable[[], tuple[list[R], Position[R]]],
        convert: Callable[[list[R]], S],
    ) -> S:
        new: list[R] = []
        is_taken = False
        try:
            with self._connection.exclusive:
                new, behind = look()
                result = convert(new)
                # One line without a call: an interrupt comes before it or after it.
                self.position, is_taken, self.must_ask = behind, True, False
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


def _skip(records: list[bytes], ahead: Ahead) -> tuple[list[bytes], Ahead]:
    """Leave out records that were returned already; return also those that are still to come."""
    returned = []
    while ahead is not None:
        own, ahead = ahead
        returned.append(own)
    came = set(returned).intersection(records)
    for own in returned:
        if own not in came:
            ahead = (own, ahead)
    return [record for record in records if record not in came] if came else records, ahead


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
