"""Scripts that run on the server, and calls that are repeated while it is away."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, TypeVar

from rush_core.connection.connection import Connection, ReplyError, pack, refusal
from rush_core.errors import RushError, ServerRefusedError, ServerUnreachableError
from rush_core.keys import expected_type

__all__ = [
    "PATIENCE_S",
    "Script",
    "execute_all_on",
    "execute_on",
    "is_missing",
    "look",
    "name_culprit",
    "pack_sleep",
    "retry_unreachable",
]

T = TypeVar("T")

# How long a client tries to reach a server that was there before: longer than a restart takes.
PATIENCE_S = 20.0

# Redis 6.2 truncates a timeout to milliseconds: 0.001 s comes out as 0, which sleeps for ever.
_SHORTEST_SLEEP_S = 0.01


class Script:
    """A server-side script with its keys bound.

    Parameters
    ----------
    name : str
        File in ``rush_core/scripts`` without its suffix.
    keys : bytes
        Redis keys, in the order that the file's head comment names them.
    """

    def __init__(self, name: str, *keys: bytes) -> None:
        self._source = _source(name)
        self._keys = keys
        self.fix()

    def fix(self, *arguments: bytes) -> None:
        """Set the leading arguments of all calls from now on.

        What is the same in every call is packed once.
        """
        digest = hashlib.sha1(self._source, usedforsecurity=False).hexdigest().encode()
        n_keys = str(len(self._keys)).encode()
        parts = (b"EVALSHA", digest, n_keys, *self._keys, *arguments)
        self._n_fixed = len(parts)
        self._fixed = _bulk(parts)
        self._bare = b"*%d\r\n%b" % (self._n_fixed, self._fixed)
        # Nearly all other calls are of one task: its key and one more argument.
        self._before_pair = b"*%d\r\n%b" % (self._n_fixed + 2, self._fixed)

    def pack(self, *arguments: bytes) -> bytes:
        """Pack a call."""
        if not arguments:
            return self._bare
        if len(arguments) == 2:
            first, second = arguments
            pair = b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(first), first, len(second), second)
            return self._before_pair + pair
        n = self._n_fixed + len(arguments)
        return b"*%d\r\n%b%b" % (n, self._fixed, _bulk(arguments))

    def pack_source(self, *arguments: Any) -> bytes:
        """Pack a call that brings the script along, where a missing one could not be mended."""
        return pack((b"EVAL", self._source, len(self._keys), *self._keys, *arguments))

    def refused(self, connection: Connection, reply: Exception) -> RushError:
        """Return the error to raise for an error reply to a call."""
        return name_culprit(refusal(reply), connection, self._keys)

    def run(self, connection: Connection, *arguments: bytes) -> Any:
        """Call the script; one round trip, three when the server does not have it yet."""
        if len(arguments) == 2:  # spelled out, for a call less on the way of every task
            first, second = arguments
            pair = b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(first), first, len(second), second)
            request = self._before_pair + pair
        else:
            request = self.pack(*arguments)
        try:
            return connection.execute(request)
        except ServerRefusedError as error:
            if not is_missing(error.found):
                raise name_culprit(error, connection, self._keys) from None
        connection.execute(pack((b"SCRIPT", b"LOAD", self._source)))
        return self.run(connection, *arguments)


def name_culprit(
    error: RushError, connection: Connection, redis_keys: Sequence[bytes]
) -> RushError:
    """Return the error that names which of some keys has a type or content that none of ours has.

    One more round trip if `error` is about a type; else `error` itself.
    """
    text = str(error.found)
    wrong_type, no_number = "WRONGTYPE" in text, "not an integer" in text
    if not (wrong_type or no_number):
        return error
    types = connection.execute_many([pack((b"TYPE", key)) for key in redis_keys])
    for key, found in zip(redis_keys, types, strict=True):
        expected, name = expected_type(key), key.decode()
        holds_text = no_number and key.endswith(b":started")
        if found.decode() not in (expected, "none") or holds_text:
            what = "a number" if holds_text else f"a {expected}"
            return ServerRefusedError(
                f"{error}; the key {name} has to hold {what}", key=name, found=error.found
            )
    return error


def execute_on(connection: Connection, redis_key: bytes, request: bytes) -> Any:
    """Execute a packed command on one key and return its reply; one round trip.

    Raises
    ------
    ServerRefusedError
        If the server refuses it; a key of a wrong type is named.
    """
    try:
        return connection.execute(request)
    except ServerRefusedError as error:
        raise name_culprit(error, connection, (redis_key,)) from None


def pack_sleep(wake_list: bytes, timeout_s: float) -> bytes:
    """Pack a blocking pop of a client's wake list: it sleeps until it is woken, or in time."""
    return pack((b"BLPOP", wake_list, max(timeout_s, _SHORTEST_SLEEP_S)))


def execute_all_on(
    connection: Connection, redis_keys: Sequence[bytes], requests: Sequence[bytes]
) -> list[Any]:
    """Execute packed commands on some keys in one send; otherwise as `execute_on`."""
    replies = connection.execute_many(requests)
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise name_culprit(refusal(reply), connection, redis_keys)
    return replies


def look(connection: Connection, reads: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Execute reading commands at one moment and return their replies; one round trip.

    Raises
    ------
    ServerUnreachableError
        If the connection breaks, or the server is still reading its data.
    ServerRefusedError
        If one of them is refused; the message names its key.
    """
    requests = [(b"MULTI",), *reads, (b"EXEC",)]
    replies = connection.execute_many([pack(request) for request in requests])
    for reply in replies:
        if isinstance(reply, ReplyError):  # the first says why: EXEC only that there is one
            raise refusal(reply)
    results: list[Any] = replies[-1]
    for read, result in zip(reads, results, strict=True):
        if isinstance(result, ReplyError):
            raise name_culprit(refusal(result), connection, (read[1],))
    return results


def _bulk(parts: Sequence[bytes]) -> bytes:
    """Pack the parts of a command, without the count in front."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def _source(name: str) -> bytes:
    folder = resources.files("rush_core.scripts")
    source = folder.joinpath(f"{name}.lua").read_bytes()
    used = re.findall(rb"[a-z]+\.lua", b"".join(re.findall(rb"-- Uses: (.*)", source)))
    return b"".join(folder.joinpath(file.decode()).read_bytes() for file in used) + source


def is_missing(reply: object) -> bool:
    """Tell whether an error reply says that the server does not have a script (any more)."""
    return str(reply).startswith("NOSCRIPT")


def retry_unreachable(call: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Call again, with growing pauses, while the server cannot be reached.

    Only for what may be done twice.

    Raises
    ------
    ServerUnreachableError
        When `patience_s` seconds have passed.
    """
    try:
        return call()
    except ServerUnreachableError:
        deadline = time.monotonic() + patience_s
    pause_s = 0.01
    while True:
        time.sleep(pause_s)
        try:
            return call()
        except ServerUnreachableError:
            pause_s = min(2 * pause_s, 1.0)
            if time.monotonic() + pause_s > deadline:
                raise
