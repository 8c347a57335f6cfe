"""The messages between a forking process and its owner: one JSON value a line, in both directions.

Paths are bytes, because a path need not be text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = [
    "Answer",
    "Ended",
    "Forked",
    "Kill",
    "Lines",
    "NotForked",
    "Request",
    "Start",
    "Unsafe",
    "encode",
]


class Start(msgspec.Struct, frozen=True, tag=True):
    """Fork a worker.

    Attributes
    ----------
    worker_id : str
    out, err : bytes
        The files to which its standard output and standard error are appended.
    """

    worker_id: str
    out: bytes
    err: bytes


class Kill(msgspec.Struct, frozen=True, tag=True):
    """Kill a worker; nothing happens if it has ended."""

    worker_id: str


class Forked(msgspec.Struct, frozen=True, tag=True):
    """A worker runs as the process `pid`."""

    worker_id: str
    pid: int


class NotForked(msgspec.Struct, frozen=True, tag=True):
    """The process of a worker could not be made."""

    worker_id: str
    reason: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The process of a worker has ended with this exit code (-n after signal n)."""

    worker_id: str
    code: int


class Unsafe(msgspec.Struct, frozen=True, tag=True):
    """The process does not fork, for this reason; it exits, and no worker has been started."""

    reason: str


Request = Start | Kill
Answer = Forked | NotForked | Ended | Unsafe


class Lines:
    """Takes the bytes that come through a pipe apart into messages.

    Parameters
    ----------
    kind : type
        The union of the messages that may come.
    """

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        self._rest = b""

    def read(self, pipe: int) -> Iterator[Any] | None:
        """Wait for bytes; return the messages that they complete, None at the end of the file."""
        received = os.read(pipe, 65536)
        if not received:
            return None
        *lines, self._rest = (self._rest + received).split(b"\n")
        return map(self._decoder.decode, lines)


def encode(message: Request | Answer) -> bytes:
    """Return a message as a line."""
    return msgspec.json.encode(message) + b"\n"
