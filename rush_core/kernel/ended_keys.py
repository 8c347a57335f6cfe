"""The keys of all tasks that have ended: what a client needs that waits for some of them."""

from __future__ import annotations

from rush_core.connection.connection import Connection
from rush_core.kernel.logs import LogPosition
from rush_core.kernel.task import decode_tasks
from rush_core.keys import NetworkKeys

__all__ = ["EndedKeys"]


class EndedKeys:
    """The keys of the finished and the failed tasks, each of which is transferred once.

    A key takes about 150 bytes of memory.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys

    Attributes
    ----------
    found : set of str
        The keys of the tasks that had ended at the last read.
    """

    def __init__(self, connection: Connection, keys: NetworkKeys) -> None:
        self._finished = LogPosition(connection, keys.finished, _decode_keys)
        self._failed = LogPosition(connection, keys.failed, _decode_keys)
        self.found: set[str] = set()

    def read(self) -> bool:
        """Read what is new; return False if a log was replaced, because the network was reset."""
        was_reset = False
        for log in (self._finished, self._failed):
            n_before = log.n_read
            new: list[str] = log.read(list)
            # All of a log that was replaced is new.
            if log.n_read - len(new) != n_before and not was_reset:
                was_reset = True
                self.found.clear()
            self.found.update(new)
        return not was_reset

    @property
    def n_read(self) -> tuple[int, int]:
        """How many finished and how many failed tasks have been read."""
        return self._finished.n_read, self._failed.n_read


def _decode_keys(records: list[bytes], redis_key: bytes) -> list[str]:
    return [task.key for task in decode_tasks(records, redis_key)]
