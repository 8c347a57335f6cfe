"""Counting off the server's replies without decoding the records in them.

A generator that looked at each record would be slower than the server. All records of the load have
one length, so the first length in a reply tells where the reply ends.
"""

from __future__ import annotations

from typing import Any

import hiredis

# Longer than the count of records and the length of the first one, with what is around them.
_LONGEST_HEAD = 40

_COLON, _MINUS, _ZERO = b":-0"


class ReplyStream:
    """The replies on one connection: integers, and lists of records of one length."""

    def __init__(self) -> None:
        self._head = b""  # of a reply whose beginning is not there as a whole
        self._missing = 0  # bytes of records still to come
        self._n_records = 0

    def receive(self, data: memoryview) -> list[int | None]:
        """Take in bytes.

        Returns
        -------
        list of int or None
            Of each reply that ends in them, the number of records, or None for an integer.

        Raises
        ------
        RuntimeError
            If a reply is an error or says that nothing was changed, or if records differ in length.
        """
        if _is_one_number(data) and not (self._missing or self._head):
            return [None]
        ended: list[int | None] = []
        at = self._skip(data, 0, ended)
        while at < len(data):
            head = self._head + data[at : at + _LONGEST_HEAD].tobytes()
            parsed = parse_head(head)
            if parsed is None:
                self._head = head
                break
            length, n_records, body = parsed
            at += length - len(self._head)
            self._head = b""
            if n_records:
                self._n_records, self._missing = n_records, body
                at = self._skip(data, at, ended)
            else:
                ended.append(n_records)
        return ended

    def _skip(self, data: memoryview, at: int, ended: list[int | None]) -> int:
        """Pass over records; return where the next reply begins."""
        if not self._missing:
            return at
        n_passed = min(self._missing, len(data) - at)
        self._missing -= n_passed
        if not self._missing:
            if data[at + n_passed - 1] != ord("\n"):
                raise RuntimeError("need records of one length, found others: no reply ends here")
            ended.append(self._n_records)
        return at + n_passed


class WakeupReply:
    """The replies to a wait in the server, and to the reads behind it, from first to last byte.

    Parameters
    ----------
    n_reads : int

    Attributes
    ----------
    replies : list
    """

    def __init__(self, n_reads: int) -> None:
        # Before the reads: the wait's script, the blocking pop, and three numbers.
        self._n_replies = 5 + n_reads
        self._reader = hiredis.Reader()
        self.replies: list[Any] = []

    def receive(self, data: memoryview) -> bool:
        """Take in bytes; return whether the replies are complete.

        Raises
        ------
        ReplyError
            If the server answers with an error.
        """
        self._reader.feed(data.tobytes())
        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            self.replies.append(reply)
        return len(self.replies) == self._n_replies


def _is_one_number(data: memoryview) -> bool:
    """Tell whether this is the reply to one write, as it nearly always is."""
    return data.nbytes == 4 and data[0] == _COLON and data[1] != _MINUS and data[1] != _ZERO


def parse_head(head: bytes) -> tuple[int, int | None, int] | None:
    """Parse the beginning of a reply.

    Returns
    -------
    tuple, or None if the beginning is not there as a whole
        Its length, bytes; the number of records, None for an integer; the length of all records
        with what is around them, bytes.
    """
    first, found, rest = head.partition(b"\r\n")
    if first[:1] == b"-" or first in (b":-1", b":-2", b":0"):
        raise RuntimeError(f"need a server that goes along, got {head!r}")
    if not found:
        return None
    length = len(first) + 2
    if first[:1] == b":":
        return length, None, 0
    if first[:1] != b"*":
        raise RuntimeError(f"need records of one length, found others: {head!r} begins no reply")
    n_records = int(first[1:])
    if n_records == 0:
        return length, 0, 0
    size, found, _ = rest.partition(b"\r\n")
    if not found:
        return None
    return length, n_records, n_records * (len(size) + 2 + int(size[1:]) + 2)
