"""Read the log records that workers sent to their network (see `rush_core.membership.log_handler`).

The server keeps them in one stream of limited length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from rush_core.arguments import check_count
from rush_core.connection.connection import Connection, pack, refusal
from rush_core.connection.script import execute_on, name_culprit, retry_unreachable
from rush_core.errors import CorruptRecordError, ServerUnreachableError
from rush_core.keys import NetworkKeys
from rush_core.terminal import local_time, printable

__all__ = ["LogReader", "LogRecord", "decode_entry"]


@dataclass(frozen=True)
class LogRecord:
    """One log record of a worker.

    Attributes
    ----------
    time : float
        When the server received it, seconds since 1970 by the server's clock.
    worker_id : str
    level : str
        ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.
    logger : str
        The name of the logger.
    message : str
        The text, with the traceback if one was logged.
    """

    time: float
    worker_id: str
    level: str
    logger: str
    message: str

    def __str__(self) -> str:
        """Return the record as a terminal can show it: only the message has several lines."""
        head = printable(f"{self.worker_id} {self.level} {self.logger}")
        return (
            f"{local_time(self.time, decimals=3)} {head}: {printable(self.message, indent='    ')}"
        )


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
        """Return the last `n` records (None: all that the server keeps), oldest first.

        One round trip.
        """
        return [decode_entry(entry, self._keys.log)[1] for entry in self._last_entries(n)]

    def follow(self, timeout_s: float, n: int | None = 0) -> Iterator[LogRecord]:
        """Yield the last `n` records, then each new record as soon as the server has it.

        No record is missed. The server holds its reply back until there is a new record; the
        iteration ends when none came for `timeout_s` seconds.
        """
        position = b"0"
        for entry in self._last_entries(1 if n == 0 else n):
            position, record = decode_entry(entry, self._keys.log)
            if n != 0:
                yield record
        while True:
            block_ms = max(round(timeout_s * 1000), 1)  # 0 would mean without end
            request = pack((b"XREAD", b"BLOCK", block_ms, b"STREAMS", self._keys.log, position))
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
                position, record = decode_entry(entry, self._keys.log)
                yield record

    def _last_entries(self, n: int | None) -> list[tuple[bytes, list[bytes]]]:
        count = () if n is None else (b"COUNT", check_count("n", n, least=0))
        log = self._keys.log
        request = pack((b"XREVRANGE", log, b"+", b"-", *count))
        entries: list[tuple[bytes, list[bytes]]]
        entries = retry_unreachable(lambda: execute_on(self._connection, log, request))
        return entries[::-1]


_decode_fields = msgspec.msgpack.Decoder(tuple[str, str, str, str]).decode


def decode_entry(entry: tuple[bytes, list[bytes]], redis_key: bytes) -> tuple[bytes, LogRecord]:
    """Return an entry's position in the stream and the record in it.

    Raises
    ------
    CorruptRecordError
        If the entry has no log record; the message names `redis_key`.
    """
    position, fields = entry
    try:
        worker_id, level, logger, message = _decode_fields(fields[1])
        seconds = int(position.split(b"-")[0]) / 1000
    except (msgspec.MsgspecError, ValueError, IndexError, TypeError, OverflowError) as error:
        raise CorruptRecordError(
            f"{redis_key.decode()} holds an entry that is not a log record ({error})",
            key=redis_key.decode(),
        ) from None
    return position, LogRecord(seconds, worker_id, level, logger, message)
