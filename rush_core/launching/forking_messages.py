"""The messages between a forking process and its owner: one JSON value a line, in both directions.

Paths are bytes, because a path need not be text.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

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
    """The process of a worker runs."""

    worker_id: str


class NotForked(msgspec.Struct, frozen=True, tag=True):
    """The process of a worker could not be made."""

    worker_id: str
    reason: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The process of a worker has ended, with a code as `describe_exit` takes it."""

    worker_id: str
    code: int


class Unsafe(msgspec.Struct, frozen=True, tag=True):
    """The process does not fork, for this reason; it exits, and no worker has been started."""

    reason: str


Request = Start | Kill
Answer = Forked | NotForked | Ended | Unsafe


T = TypeVar("T")


class Lines(Generic[T]):
    """Splits bytes that come through a socket into messages.

    Parameters
    ----------
    kind : type
        The union of the messages that may come.
    """

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)
        self._rest = b""

    def split(self, received: bytes) -> list[T]:
        """Return the messages that these bytes complete."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        return [self._decoder.decode(line) for line in lines]


def encode(message: Request | Answer) -> bytes:
    """Return a message as a line."""
    return msgspec.json.encode(message) + b"\n"
