"""Copies the logs of ended tasks from the server into memory, for all workers of a host."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_all_on
from rush_core.errors import RushError
from rush_core.kernel.shared_log import MOST_AGE_S, SharedLog, SharedLogs
from rush_core.kernel.slices import SLICE, batches
from rush_core.kernel.waiting import ChangeWaiter
from rush_core.keys import NetworkKeys
from rush_core.node.log_writer import SharedLogWriter

__all__ = ["LogFollower"]

logger = logging.getLogger(__name__)

# The pause after a read that has found something, seconds: so much for each client of the network,
# within limits. Workers learn so much later what others have finished. A read takes the server some
# 10 us, and the reader some 100 us, so the reads take at most some percent of their cores.
_PAUSE_PER_CLIENT_S = 0.0002
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.004, 0.02

# While nothing ends, the server is read so often: workers trust a log that was read a moment ago.
_LONGEST_WAIT_S = MOST_AGE_S / 2

# The pause after an error of the server, seconds; meanwhile workers read the server themselves.
_ERROR_PAUSE_S = 1.0


class _ReplacedError(Exception):
    """The server has another log than the one that was read before."""


class LogFollower:
    """Follows the logs of ended tasks; it appends all that is new to those in memory.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    client_id : str
        The name under which it waits in the server.
    shared : SharedLogs

    Attributes
    ----------
    pause_s : float
        The pause after a read that has found something.

    Raises
    ------
    OSError
        If a log in memory is damaged.
    """

    def __init__(
        self, connection: Connection, keys: NetworkKeys, client_id: str, shared: SharedLogs
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._shared = shared
        self._changes = ChangeWaiter(connection, keys, client_id)
        self._finished = _Copy(keys.finished, shared.finished)
        self._failed = _Copy(keys.failed, shared.failed)
        self._count_clients = pack((b"HLEN", keys.clients))
        self.pause_s = _LONGEST_PAUSE_S

    def run(self, pause: Callable[[float], bool]) -> None:
        """Read until ``pause(seconds)`` returns True, or the logs in memory can be used no more.

        If the network was reset, or there is no room, the logs are closed, and workers read the
        server from then on.
        """
        is_logged = False
        while True:
            try:
                if self.read():
                    wait_s = self.pause_s
                else:
                    wait_s = 0.0
                    self._wait()
                is_logged = False
            except RushError as error:
                if not is_logged:
                    logger.warning("the workers of this host read the server for now: %s", error)
                is_logged = True
                wait_s = _ERROR_PAUSE_S
            except (_ReplacedError, OSError) as error:
                logger.warning("each worker of this host reads the logs from now on: %s", error)
                self._shared.close()
                return
            if pause(wait_s):
                return

    def read(self) -> int:
        """Append what is new; return how many records. One round trip for each slice.

        Raises
        ------
        RushError
            If the server cannot be reached, or refuses the read.
        OSError
            If there is no room.
        """
        n_before = self._finished.n_records + self._failed.n_records
        redis_keys = (self._keys.finished, self._keys.failed, self._keys.clients)
        has_more = True
        while has_more:
            # Time counts from the request: what ends later may be missing in the reply.
            began = time.monotonic_ns()
            requests = (self._finished.request(), self._failed.request(), self._count_clients)
            finished, failed, n_clients = execute_all_on(self._connection, redis_keys, requests)
            has_more = self._finished.accept(finished) | self._failed.accept(failed)
        self._shared.stamp(began)
        wanted_s = n_clients * _PAUSE_PER_CLIENT_S
        self.pause_s = min(max(wanted_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        return self._finished.n_records + self._failed.n_records - n_before

    def _wait(self) -> None:
        """Wait in the server until a task ends, at most as long as workers trust the logs."""
        n_finished, n_failed = self._finished.n_records, self._failed.n_records
        self._changes.wait_and_read(_LONGEST_WAIT_S, n_finished, n_failed=n_failed)


class _Copy:
    """One log, and its copy in memory.

    Parameters
    ----------
    redis_key : bytes
    log : SharedLog
    """

    def __init__(self, redis_key: bytes, log: SharedLog) -> None:
        self._redis_key = redis_key
        self._writer = SharedLogWriter(log)

    @property
    def n_records(self) -> int:
        """How many records have been copied."""
        return self._writer.n_records

    def request(self) -> bytes:
        """Pack a read of the next slice, which overlaps the copy by one record."""
        start = max(self.n_records - 1, 0)
        return pack((b"LRANGE", self._redis_key, start, start + SLICE))

    def accept(self, records: list[bytes]) -> bool:
        """Append the reply to `request`; return whether there may be further slices."""
        last = self._writer.last
        if last is not None and records[:1] != [last]:
            raise _ReplacedError(f"{self._redis_key.decode()} was replaced: the network was reset")
        for batch in batches(records if last is None else records[1:]):
            self._writer.append(list(batch))
        return len(records) > SLICE
