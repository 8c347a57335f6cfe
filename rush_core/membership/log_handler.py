"""Send the log records of a worker to its network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rush_core.connection.connection import Connection, pack
from rush_core.errors import RushError
from rush_core.kernel.codec import encode
from rush_core.keys import NetworkKeys
from rush_core.membership.log_levels import LogLevels

__all__ = ["NetworkLogHandler", "log_to_network"]

# About how many records the server keeps. A record has some hundred bytes.
_MAX_RECORDS = b"10000"

# A worker must not wait long for a record that the server does not take.
_TIMEOUT_S = 5.0


class NetworkLogHandler(logging.Handler):
    """Sends each log record to the network, in one round trip on a connection of its own.

    A record that cannot be sent is dropped: logging must not make a worker loop fail.

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
        self._connection = Connection(url, timeout_s=_TIMEOUT_S)
        self._keys = keys
        self._worker_id = worker_id

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, or drop it."""
        try:
            fields = (self._worker_id, record.levelname, record.name, self.format(record))
            limit = (b"MAXLEN", b"~", _MAX_RECORDS)
            request = (b"XADD", self._keys.log, *limit, b"*", b"r", encode(fields))
            self._connection.execute(pack(request))
        except RushError:
            pass
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        super().close()


# Several workers in one process share the loggers. The level of each logger must be the least
# severe one that any of them sends, and must be restored when the last of them leaves.
_lock = threading.Lock()
_active: list[LogLevels] = []
_before: dict[str, tuple[int, int]] = {}  # by logger: its own level, and the one that it inherited


@contextmanager
def log_to_network(url: str, keys: NetworkKeys, worker_id: str, level: str) -> Iterator[None]:
    """Send this worker's log records to the network during a ``with`` block.

    Parameters
    ----------
    url : str
    keys : NetworkKeys
    worker_id : str
    level : str
        The text form of `LogLevels`.
    """
    levels = LogLevels.of(level)
    handler = NetworkLogHandler(url, keys, worker_id, logging.NOTSET)
    handler.addFilter(levels.includes)
    here = threading.current_thread()
    if here is not threading.main_thread():  # one of several workers in this process
        handler.addFilter(lambda record: record.thread == here.ident)
    root = logging.getLogger()
    with _lock:
        _active.append(levels)
        _set_levels()
        root.addHandler(handler)
    try:
        yield
    finally:
        with _lock:
            root.removeHandler(handler)
            _active.remove(levels)
            _set_levels()
        handler.close()


def _set_levels() -> None:
    """Let the loggers pass on what any worker sends; the caller holds the lock."""
    for name in ["", *(name for levels in _active for name in levels.named)]:
        logger = logging.getLogger(name)
        _before.setdefault(name, (logger.level, logger.getEffectiveLevel()))
    for name, (own, effective) in _before.items():
        least = min([levels.level_of(name) for levels in _active], default=None)
        logging.getLogger(name).setLevel(own if least is None else min(effective, least))
    if not _active:
        _before.clear()
