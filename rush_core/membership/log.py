"""Log records of workers into the network, and back to whoever asks.

A worker's handler sends each record of Python's `logging` to one bounded stream, which managers
read or follow. Log records are for people: one that cannot be sent is dropped, and never an error
in the loop that logged it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from rush_core.connection.connection import Connection, pack, refusal
from rush_core.connection.script import execute_on, name_culprit, retry_unreachable
from rush_core.errors import CorruptRecordError, RushError, ServerUnreachableError
from rush_core.kernel.codec import encode
from rush_core.keys import NetworkKeys

__all__ = ["LogReader", "LogRecord", "NetworkLogHandler"]

# About how many records the server keeps; one has some hundred bytes.
_MAX_RECORDS = b"10000"


@dataclass(frozen=True)
class LogRecord:
    """One record as it was read.

    Attributes
    ----------
    time : float
        When the server received it, seconds since 1970.
    worker_id : str
    level : str
        ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.
    logger : str
        The name of the logger.
    message : str
        With the traceback, if one was logged.
    """

    time: float
    worker_id: str
    level: str
    logger: str
    message: str

    def __str__(self) -> str:
        return f"{self.time:.3f} {self.worker_id} {self.level} {self.logger}: {self.message}"


class NetworkLogHandler(logging.Handler):
    """Sends log records to the network; one round trip each, on a connection of its own.

    Parameters
    ----------
    url : str
    keys : NetworkKeys
    worker_id : str
    level : str or int
        The least severe records to send.
    """

    def __init__(self, url: str, keys: NetworkKeys, worker_id: str, level: str | int) -> None:
        super().__init__(level)
        self._connection = Connection(url, timeout_s=5.0)
        self._keys = keys
        self._worker_id = worker_id

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, or drop it."""
        try:
            fields = (self._worker_id, record.levelname, record.name, self.format(record))
            self._connection.execute(
                pack(
                    (
                        *(b"XADD", self._keys.log, b"MAXLEN", b"~", _MAX_RECORDS, b"*"),
                        *(b"r", encode(fields)),
                    )
                )
            )
        except RushError:
            pass
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        super().close()


class LogReader:
    """Reads the log records of a network.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    """

    def __init__(self, connection: Connection, keys: NetworkKeys) -> None:
        self._connection = connection
        self._keys = keys

    def read(self, n: int | None) -> list[LogRecord]:
        """Return the last `n` records (None: all that are kept), oldest first; one round trip."""
        return [_decode(entry, self._keys.log)[1] for entry in self._last_entries(n)]

    def follow(self, timeout_s: float, n: int | None = 0) -> Iterator[LogRecord]:
        """Yield the last `n` records, and then those that come, each when it comes; misses none.

        The server keeps its reply back until there is one; ends when none came for `timeout_s`
        seconds.
        """
        position = b"0"
        for entry in self._last_entries(1 if n == 0 else n):
            position, record = _decode(entry, self._keys.log)
            if n != 0:
                yield record
        while True:
            request = pack(
                (
                    *(b"XREAD", b"BLOCK", max(round(timeout_s * 1000), 1)),  # 0 would be for ever
                    *(b"STREAMS", self._keys.log, position),
                )
            )
            try:
                reply = self._connection.execute_many((request,), block_s=timeout_s)[0]
            except ServerUnreachableError:
                retry_unreachable(lambda: self._connection.execute(pack((b"PING",))))
                continue
            if not reply:
                return
            if isinstance(reply, Exception):
                raise name_culprit(refusal(reply), self._connection, (self._keys.log,))
            for entry in reply[0][1]:
                position, record = _decode(entry, self._keys.log)
                yield record

    def _last_entries(self, n: int | None) -> list[tuple[bytes, list[bytes]]]:
        log, count = self._keys.log, () if n is None else (b"COUNT", n)
        request = pack((b"XREVRANGE", log, b"+", b"-", *count))
        entries: list[tuple[bytes, list[bytes]]]
        entries = retry_unreachable(lambda: execute_on(self._connection, log, request))
        return entries[::-1]


def _decode(entry: tuple[bytes, list[bytes]], redis_key: bytes) -> tuple[bytes, LogRecord]:
    position, fields = entry
    try:
        worker_id, level, logger, message = _decode_fields(fields[1])
        milliseconds = int(position.split(b"-")[0])
    except (msgspec.MsgspecError, ValueError, IndexError, TypeError) as error:
        raise CorruptRecordError(
            f"{redis_key.decode()} holds an entry that is no log record ({error})",
            key=redis_key.decode(),
        ) from None
    return position, LogRecord(milliseconds / 1000, worker_id, level, logger, message)


_decode_fields = msgspec.msgpack.Decoder(tuple[str, str, str, str]).decode
