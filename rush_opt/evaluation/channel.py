"""Messages to and from an evaluation process, each of which has a time limit."""

from __future__ import annotations

import select
import socket
import time
import zlib

from rush_opt.evaluation.limited_process import HEADER, LARGEST_MESSAGE, MARK, framed

__all__ = ["Channel", "GarbledError"]

_READ_AT_ONCE = 2**18  # bytes


class GarbledError(Exception):
    """Bytes came that are no message: the objective has written to the connection."""


class Channel:
    """The worker's end of the connection to its evaluation process; no call waits without end.

    Parameters
    ----------
    connection : socket.socket
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._received = bytearray()

    def send(self, message: bytes, timeout_s: float) -> None:
        """Send a message.

        Raises
        ------
        TimeoutError
            If the other end does not read it in time.
        OSError
            If the other end is closed.
        """
        until = time.monotonic() + timeout_s
        rest = memoryview(framed(message))
        while rest:
            try:
                rest = rest[self._connection.send(rest) :]
            except BlockingIOError:
                if not self._wait(select.POLLOUT, until):
                    raise TimeoutError from None

    def receive(self, timeout_s: float) -> bytes | None:
        """Return the next message; None if it is not complete in time.

        Raises
        ------
        EOFError, OSError
            If the other end is closed.
        GarbledError
            If bytes came that are no message.
        """
        until = time.monotonic() + timeout_s
        while (message := self._first_received()) is None:
            if not self._wait(select.POLLIN, until):
                return None
            if not (part := self._connection.recv(_READ_AT_ONCE)):
                raise EOFError
            self._received += part
            if time.monotonic() >= until:  # the other end may send all the time
                return self._first_received()
        return message

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def _first_received(self) -> bytes | None:
        """Take the first message out of the bytes that were received, if it is complete."""
        received = self._received
        if not received.startswith(MARK[: len(received)]):
            raise GarbledError
        if len(received) < HEADER.size:
            return None
        _, length, checksum = HEADER.unpack_from(received)
        if length > LARGEST_MESSAGE:
            raise GarbledError
        end = HEADER.size + length
        if len(received) < end:
            return None
        message = bytes(memoryview(received)[HEADER.size : end])
        del received[:end]
        if zlib.crc32(message) != checksum:
            raise GarbledError
        return message

    def _wait(self, event: int, until: float) -> bool:
        """Wait until the connection is ready for an event; tell whether it is before `until`."""
        poll = select.poll()  # unlike `select.select`, for any number of open descriptors
        poll.register(self._connection, event)
        return bool(poll.poll(max(until - time.monotonic(), 0.0) * 1000))
