"""Find the reply to a command whose reply was lost, from the data of the network.

A client asks this after it has raised its epoch (`rush_core.kernel.commands`): from then on the
command can no longer be executed, so what is in the data is final.

Each method gets the arguments of one command. It returns the reply that was lost, or None if the
command was not executed and may be sent again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import read_atomically
from rush_core.kernel.codec import encode
from rush_core.keys import NetworkKeys

__all__ = ["LostReplies"]

# How many records of a log are read at once. A usual record has some hundred bytes, so this keeps
# a reply below a megabyte.
_SLICE = 500

_decode_fields = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class LostReplies:
    """Finds the lost replies to one client's commands.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    client_id : str
    """

    def __init__(self, connection: Connection, keys: NetworkKeys, client_id: str) -> None:
        self._connection = connection
        self._keys = keys
        self._packed_worker = encode(client_id)

    def started(self, tasks: tuple[bytes, ...]) -> int | None:
        """Of tasks that were to be started: key and record of each in turn."""
        return self._count_running(tasks[::2]) or None

    def claimed(self, arguments: tuple[bytes, ...]) -> bytes | None:
        """Of a claim: the packed start, which a claimed record ends with."""
        start = arguments[0]
        records: list[bytes] = self._connection.execute(pack((b"HVALS", self._keys.running)))
        return next((r for r in records if r.endswith(start) and self._is_own(r)), None)

    def finished(self, tasks: tuple[bytes, ...]) -> list[int] | None:
        """Of tasks that were to be finished: key and packed end of each in turn."""
        return self._ended(self._keys.finished, tasks)

    def failed(self, tasks: tuple[bytes, ...]) -> list[int] | None:
        """Of tasks that were to be failed: key and packed end of each in turn."""
        return self._ended(self._keys.failed, tasks)

    def reported(self, report: tuple[bytes, ...]) -> list[int] | None:
        """Of a report: the task's key and the packed end of the report."""
        return self._logged(self._keys.reports, report)

    def pushed(self, records: tuple[bytes, ...]) -> int | None:
        """Of records that were to be queued."""
        key, keys = _packed_key(records[0]), self._keys
        # A task can go from the queue to running and back: both are read at the same moment. A
        # task that has ended stays in its log.
        running = (b"HEXISTS", keys.running, msgspec.msgpack.decode(key, type=str))
        reads = [(b"LRANGE", keys.queued, 0, -1), running]
        queued, is_running = read_atomically(self._connection, reads)
        if is_running or any(key in record for record in queued):
            return len(records)
        return self.pushed_finished(records) or self.pushed_failed(records)

    def pushed_finished(self, records: tuple[bytes, ...]) -> int | None:
        """Of records that were to be appended to the finished log."""
        return self._appended(self._keys.finished, records)

    def pushed_failed(self, records: tuple[bytes, ...]) -> int | None:
        """Of records that were to be appended to the failed tasks."""
        return self._appended(self._keys.failed, records)

    def cleared(self, arguments: tuple[bytes, ...]) -> None:
        """Of a clearing of the queue: it may be repeated, twice does the same as once."""

    def _ended(self, log: bytes, tasks: tuple[bytes, ...]) -> list[int] | None:
        # All tasks are ended in one step: if one is still running under this worker, none was.
        return None if self._count_running(tasks[::2]) else self._logged(log, tasks)

    def _logged(self, log: bytes, tasks: tuple[bytes, ...]) -> list[int] | None:
        """Find in a log which of the tasks this worker's command has written there."""
        keys = [encode(key.decode()) for key in tasks[::2]]
        # If a key was given twice, its first end was written.
        ends = dict(zip(reversed(keys), reversed(tasks[1::2]), strict=True))
        written = set()
        for record in self._read_backwards(log):
            if not self._is_own(record):
                continue
            key = _packed_key(record)
            # The end holds a time of this process's clock, so no other command wrote the same.
            if key in ends and record.endswith(ends[key]):
                written.add(key)
            elif b"lost" not in record:
                # The log has this worker's records in the order of its commands: this one is of an
                # earlier command. Records of lost tasks are an exception, others wrote them.
                break
        if not written:
            return None  # the command was not executed, or this worker ran none of the tasks
        won = []
        for key in keys:
            won.append(int(key in written))
            written.discard(key)
        return [*won, 0]

    def _appended(self, log: bytes, records: tuple[bytes, ...]) -> int | None:
        key = _packed_key(records[0])
        found = any(key in record for record in self._read_backwards(log))
        return len(records) if found else None

    def _read_backwards(self, log: bytes) -> Iterator[bytes]:
        """Yield the records of a log from its end; one round trip for each slice.

        The record that is searched for is near the end, and a whole log may be too large for one
        reply. If the log grows meanwhile, some records are yielded twice, and none is missed.
        """
        for last in itertools.count(-1, -_SLICE):
            request = (b"LRANGE", log, last - _SLICE + 1, last)
            records = self._connection.execute(pack(request))
            yield from reversed(records)
            if len(records) < _SLICE:
                return

    def _count_running(self, keys: Sequence[bytes]) -> int:
        """Count which of the tasks run under this worker."""
        reads = [(b"HGET", self._keys.running, key) for key in keys]
        records: list[bytes | None] = read_atomically(self._connection, reads)
        return sum(record is not None and self._is_own(record) for record in records)

    def _is_own(self, record: bytes) -> Any:
        """Tell whether a record names this worker: its id follows the first byte."""
        return record[1:].startswith(self._packed_worker)


def _packed_key(record: bytes) -> bytes:
    """Return a task's key with its length in front: no other key begins with the same bytes."""
    return bytes(_decode_fields(record)[2])
