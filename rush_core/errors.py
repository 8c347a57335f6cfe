"""Errors of the coordination layer: what must hold, what was found, what to do.

Bad arguments raise `ValueError` or `TypeError` where they are given; what goes wrong between
processes raises one of these.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CorruptRecordError",
    "LikeTaskError",
    "LoopError",
    "RushError",
    "ServerNotFoundError",
    "ServerRefusedError",
    "ServerUnreachableError",
    "WorkerInterrupt",
    "WorkerLostError",
    "WorkersFailedError",
]


class RushError(Exception):
    """Base of all errors of the coordination layer; survives pickling.

    Attributes
    ----------
    key : str or None
        The task or worker concerned.
    expected, found : object
        What had to hold and what was found, where that says more than the message.
    """

    def __init__(
        self, message: str, *, key: str | None = None, expected: Any = None, found: Any = None
    ) -> None:
        super().__init__(message)
        self.key = key
        self.expected = expected
        self.found = found

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self.key, self.expected, self.found)


def _rebuild(cls: type[RushError], message: str, key: Any, expected: Any, found: Any) -> RushError:
    return cls(message, key=key, expected=expected, found=found)


class ServerNotFoundError(RushError):
    """No server binary is on this machine and no URL was given."""


class ServerUnreachableError(RushError, ConnectionError):
    """The server does not answer, refuses the credentials, or the connection broke."""


class ServerRefusedError(RushError):
    """The server answered with an error: too old, out of memory, not permitted, wrong type."""


class WorkerLostError(RushError):
    """The network no longer knows this worker: it was declared lost, killed or reset."""


class WorkersFailedError(RushError):
    """Worker processes ended before they joined the network."""


class LikeTaskError(RushError):
    """A task is not started because one like it was started before."""


class LoopError(RushError):
    """A shipped worker loop cannot be packed, found or trusted."""


class CorruptRecordError(RushError):
    """A Redis key holds bytes that are no record of this network."""


class WorkerInterrupt(BaseException):
    """Raised in a worker loop that is to end at once; no `Exception`: no handler keeps it."""
