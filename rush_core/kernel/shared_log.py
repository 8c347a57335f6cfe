"""Logs in memory: one process of a host reads the server's logs for all workers of this host.

A shared log holds the records of one log from its beginning, without gaps. So a worker can go on
in it from where it stopped in the server's log, and the reverse. It only grows.

Each log is a file in memory without a name, which consists of frames. A frame has some records:

==========  =====================================================
bytes       content
==========  =====================================================
4           the size of the packed records in bytes
4           how many records there are
8           the index of the first record in the log
4           CRC-32 of the packed records, which begins with the index
the rest    the records, as one MessagePack array
==========  =====================================================

Numbers are little-endian. A reader takes a frame only if its index, its checksum and the number of
records are right. So half a frame, or bytes that another program has overwritten, are never taken
for records.

The *board* is a page of numbers of 8 bytes, which all processes have mapped: when the server was
last read, whether the logs were closed, and where each log ends. Who writes the logs and the board
is in `rush_core.node`.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

__all__ = ["MOST_AGE_S", "Place", "SharedLog", "SharedLogs", "pack_frame", "read_frames"]

logger = logging.getLogger(__name__)

# A worker uses the logs if the server was read at most so long ago. Usually it was read some
# milliseconds ago; if the process that reads has died or was stopped, workers read the server.
MOST_AGE_S = 1.0
_MOST_AGE_NS = int(MOST_AGE_S * 1e9)

# The numbers on the board.
_READ_AT, _CLOSED, _FIRST_END = 0, 1, 2

_HEAD = struct.Struct("<IIQI")

# So many bytes are read at a time. Only a frame that is larger is read as a whole.
_CHUNK = 4 * 1024**2

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class Place(NamedTuple):
    """A place between two frames of a shared log.

    Attributes
    ----------
    n_records : int
        How many records come before it.
    offset : int
        How many bytes come before it.
    """

    n_records: int
    offset: int


def pack_frame(records: list[bytes], index: int) -> bytes:
    """Pack records into a frame; `index` is that of the first."""
    payload = _encode(records)
    return _HEAD.pack(len(payload), len(records), index, _checksum(payload, index)) + payload


def read_frames(file: int, place: Place, end: int) -> Iterator[tuple[list[bytes], Place]]:
    """Read whole frames, some megabytes at a time.

    Parameters
    ----------
    file : int
        The descriptor.
    place : Place
        Where to begin.
    end : int
        Where to end, in bytes.

    Yields
    ------
    records : list of bytes
    behind : Place
        The place behind them. The last one is before `end` if a frame is not whole.
    """
    size = _CHUNK
    while (left := end - place.offset) > 0:
        data = memoryview(os.pread(file, min(left, size), place.offset))
        records, behind = _unpack_frames(data, place)
        if behind == place:
            size = _HEAD.size + _HEAD.unpack_from(data)[0] if len(data) > _HEAD.size else 0
            if not len(data) < size <= left:  # else only its beginning was read
                return
        else:
            yield records, behind
        place = behind


def _unpack_frames(data: memoryview, place: Place) -> tuple[list[bytes], Place]:
    """Return the records of the whole frames at the beginning of `data`; the place behind them."""
    records: list[bytes] = []
    index, start = place.n_records, _HEAD.size
    while start < len(data):
        size, n, first, checksum = _HEAD.unpack_from(data, start - _HEAD.size)
        payload = data[start : start + size]
        if len(payload) < size or first != index or _checksum(payload, index) != checksum:
            break
        if not n or len(found := _decode(payload)) != n:
            break
        records += found
        index += n
        start += size + _HEAD.size
    return records, Place(index, place.offset + start - _HEAD.size)


def _checksum(payload: bytes | memoryview, index: int) -> int:
    return zlib.crc32(payload, index & 0xFFFFFFFF)


class SharedLog:
    """One log in memory, as a worker reads it.

    Parameters
    ----------
    logs : SharedLogs
    number : int
        Which of the logs.

    Attributes
    ----------
    file : int
        The descriptor of its frames.
    """

    def __init__(self, logs: SharedLogs, number: int) -> None:
        self.is_fresh = logs.is_fresh
        self.file = os.memfd_create("rush-log")
        self._board = logs.board
        self._end = _FIRST_END + number

    @property
    def end(self) -> int:
        """How many bytes of it are whole frames."""
        return self._board[self._end]

    def set_end(self, end: int) -> None:
        """State where its last whole frame ends; only the process that writes it does this."""
        self._board[self._end] = end

    def read(self, place: Place, end: int) -> tuple[list[bytes], Place]:
        """Read the records from a place to `end`, in bytes, or until a frame is not whole.

        Returns
        -------
        records : list of bytes
        behind : Place
            The place behind them.
        """
        records: list[bytes] = []
        behind = place
        for found, further in read_frames(self.file, place, end):
            records += found
            behind = further
        return records, behind


class SharedLogs:
    """The logs of ended tasks that the workers of one host share.

    Make it before the processes are forked that read and write the logs: they inherit it. Only for
    Linux.

    Attributes
    ----------
    board : memoryview
    finished, failed : SharedLog
    wanted : int
        The descriptor of an event: a worker has asked for the logs.

    Raises
    ------
    OSError
        If the system has no files in memory, or no room for them.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError("only Linux has files in memory without a name")
        page = mmap.mmap(-1, mmap.PAGESIZE)  # shared with forked processes
        self.board = memoryview(page).cast("Q")
        self.wanted = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._has_asked = False
        self.finished = SharedLog(self, 0)
        self.failed = SharedLog(self, 1)

    def is_fresh(self) -> bool:
        """Return whether the server was read a moment ago.

        The first call asks for that: the logs are not read before a worker needs them.
        """
        read_at = self.board[_READ_AT]
        if time.monotonic_ns() - read_at < _MOST_AGE_NS:
            return True
        if not (read_at or self._has_asked):
            self._has_asked = True
            os.eventfd_write(self.wanted, 1)
        return False

    def stamp(self, read_at_ns: int) -> None:
        """State when the server was last read, by the monotonic clock, in nanoseconds."""
        self.board[_READ_AT] = read_at_ns

    def read_age_s(self) -> float | None:
        """Return how long ago the server was read, seconds; None if the logs are not read."""
        read_at = self.board[_READ_AT]
        return (time.monotonic_ns() - read_at) / 1e9 if read_at else None

    @property
    def is_closed(self) -> bool:
        """Whether nobody may use the logs any more."""
        return bool(self.board[_CLOSED])

    def close(self) -> None:
        """Let nobody use the logs any more, in any process, and free their memory."""
        self.board[_CLOSED] = 1
        self.stamp(0)
        for log in (self.finished, self.failed):
            os.ftruncate(log.file, 0)
