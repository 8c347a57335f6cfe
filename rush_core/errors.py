"""The errors of rush_core: each says what must hold, what was found and what to do.

A bad argument raises `ValueError` or `TypeError` at once. What goes wrong between processes raises
one of these errors.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CorruptRecordError",
    "DuplicateTaskError",
    "LoopError",
    "LoopFailedError",
    "NetworkNotFoundError",
    "RushError",
    "ServerFullError",
    "ServerNotFoundError",
    "ServerRefusedError",
    "ServerUnreachableError",
    "WorkerInterrupt",
    "WorkerLostError",
    "WorkersFailedError",
]


class RushError(Exception):
    """The base of all errors of rush_core. It can be pickled.

    Attributes
    ----------
    key : str or None
        The task, worker or Redis key that the error is about.
    expected, found : object
        What must hold and what was found, if this says more than the message.
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
    """No URL was given, and this machine has no server program that could be started."""


class NetworkNotFoundError(RushError):
    """No network has this name; the message has the nearest names that there are."""


class ServerUnreachableError(RushError, ConnectionError):
    """The server does not answer, refuses the password, or the connection broke."""


class ServerRefusedError(RushError):
    """The server answered with an error: it is too old, out of memory or does not permit it."""


class ServerFullError(ServerRefusedError, ServerUnreachableError):
    """The server's memory or disk was full until the client's patience ended; nothing was written.

    A client waits for room as long as it waits for a server that does not answer.
    """


class WorkerLostError(RushError):
    """The worker is not registered: it was declared lost, killed, or the network was reset."""


class WorkersFailedError(RushError):
    """Worker processes ended before they joined the network."""


class DuplicateTaskError(RushError):
    """A unique task is not started, because it was started before."""


class LoopError(RushError):
    """A shipped worker loop cannot be packed, is missing, or cannot be trusted."""


class LoopFailedError(RushError):
    """The worker loop of a worker raised an exception; the message has its traceback."""


class CorruptRecordError(RushError):
    """A Redis key of the network holds bytes that another program must have written."""


class WorkerInterrupt(BaseException):
    """Raised in a worker loop that must end at once.

    It is no `Exception`, so that a worker loop's own ``except Exception`` does not stop it.
    """
