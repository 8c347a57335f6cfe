"""Calls of scripts and commands: packed, executed, repeated while the server is away."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

from rush_core.connection.connection import Connection, ReplyError, pack, refusal
from rush_core.errors import RushError, ServerRefusedError, ServerUnreachableError
from rush_core.keys import NetworkKeys, expected_type
from rush_core.scripts.table import TABLE

__all__ = [
    "PATIENCE_S",
    "Script",
    "execute_all_on",
    "execute_on",
    "is_missing",
    "name_culprit",
    "pack_sleep",
    "read_atomically",
    "retry_not_now",
    "retry_unreachable",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How long a client tries to reach a server that answered before, seconds. A restart of the server
# takes less.
PATIENCE_S = 20.0

# After so many seconds of an outage, the log says that a client waits.
_SILENT_S = 1.0

# Redis 6.2 truncates a timeout to milliseconds: 0.001 s becomes 0, which means no timeout at all.
_SHORTEST_SLEEP_S = 0.01


class Script:
    """A script of the server, with the keys and the prefix that `rush_core.scripts.table` declares.

    Parameters
    ----------
    name : str
        A row of the table.
    keys : NetworkKeys
    client_id : str
        The client whose wake list or heartbeat is among the keys.
    prefix : mapping of str to bytes, optional
        Values for the prefix, by their names in the table. Names that the script does not use are
        ignored. ``wakes`` and ``alives`` are known from `keys`.

    Raises
    ------
    KeyError
        If the prefix needs a value that is not given: a script cannot be called without it.
    """

    def __init__(
        self,
        name: str,
        keys: NetworkKeys,
        client_id: str = "",
        prefix: Mapping[str, bytes] | None = None,
    ) -> None:
        declared = TABLE[name]
        self._source, self._digest = _load(declared.file)
        self._keys = tuple(keys.find(key, client_id) for key in declared.keys)
        self._prefix_names = declared.prefix
        self._known = {"wakes": keys.wake(""), "alives": keys.alive("")}
        self.set_prefix(prefix or {})

    def set_prefix(self, values: Mapping[str, bytes]) -> None:
        """Use these values in all calls from now on; what calls have in common is packed once."""
        given = {**self._known, **values}
        self._prefix = tuple(given[name] for name in self._prefix_names)
        n_keys = b"%d" % len(self._keys)
        parts = (b"EVALSHA", self._digest, n_keys, *self._keys, *self._prefix)
        self._n_fixed = len(parts)
        self._fixed = _bulk(parts)
        # Most calls are about one task and have two more arguments: its key and a part of its
        # record. Their beginning is packed here, too.
        self._before_pair = b"*%d\r\n%b" % (self._n_fixed + 2, self._fixed)

    def pack(self, *arguments: bytes) -> bytes:
        """Pack a call."""
        if len(arguments) == 2:
            first, second = arguments
            pair = b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(first), first, len(second), second)
            return self._before_pair + pair
        n = self._n_fixed + len(arguments)
        return b"*%d\r\n%b%b" % (n, self._fixed, _bulk(arguments))

    def pack_source(self, *arguments: Any) -> bytes:
        """Pack a call that contains the source of the script.

        For a call that is sent together with others: if the server did not have the script, it
        could not be loaded between them.
        """
        return pack(
            (b"EVAL", self._source, len(self._keys), *self._keys, *self._prefix, *arguments)
        )

    def refused(self, connection: Connection, reply: Exception) -> RushError:
        """Return the error to raise for an error reply to a call."""
        return name_culprit(refusal(reply), connection, self._keys)

    def run(self, connection: Connection, *arguments: bytes) -> Any:
        """Call the script; one round trip, three if the server does not have it yet.

        Raises
        ------
        ServerUnreachableError
            If the connection breaks; the script may have been executed.
        ServerRefusedError, CorruptRecordError
            If the server answers with an error.
        """
        try:
            return connection.execute(self.pack(*arguments))
        except ServerRefusedError as error:
            if not is_missing(error.found):
                raise name_culprit(error, connection, self._keys) from None
        connection.execute(pack((b"SCRIPT", b"LOAD", self._source)))
        return self.run(connection, *arguments)


def name_culprit(
    error: RushError, connection: Connection, redis_keys: Sequence[bytes]
) -> RushError:
    """Return an error that names the key which another program has written to.

    If `error` is about the type of a key, this costs one round trip that finds the key. Any other
    error is returned unchanged.
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
    ServerUnreachableError
        If the connection breaks; the command may have been executed.
    ServerRefusedError
        If the server answers with an error. A key of the wrong type is named.
    """
    try:
        return connection.execute(request)
    except ServerRefusedError as error:
        raise name_culprit(error, connection, (redis_key,)) from None


def execute_all_on(
    connection: Connection, redis_keys: Sequence[bytes], requests: Sequence[bytes]
) -> list[Any]:
    """Execute packed commands on some keys, not atomically; one round trip, like `execute_on`."""
    replies = connection.execute_many(requests)
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise name_culprit(refusal(reply), connection, redis_keys)
    return replies


def read_atomically(connection: Connection, reads: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Execute reading commands in one transaction and return their replies; one round trip.

    Raises
    ------
    ServerUnreachableError
        If the connection breaks, or the server is still loading its data.
    ServerRefusedError
        If a command is refused; the message names its key.
    """
    requests = [(b"MULTI",), *reads, (b"EXEC",)]
    replies = connection.execute_many([pack(request) for request in requests])
    for reply in replies:
        if isinstance(
            reply, ReplyError
        ):  # the first error has the reason, EXEC only repeats that there is one
            raise refusal(reply)
    results: list[Any] = replies[-1]
    for read, result in zip(reads, results, strict=True):
        if isinstance(result, ReplyError):
            raise name_culprit(refusal(result), connection, (read[1],))
    return results


def pack_sleep(wake_list: bytes, timeout_s: float) -> bytes:
    """Pack a blocking pop of a wake list: it returns when the client is woken, or in time."""
    return pack((b"BLPOP", wake_list, max(timeout_s, _SHORTEST_SLEEP_S)))


def is_missing(reply: object) -> bool:
    """Tell whether an error reply says that the server does not have the script."""
    return str(reply).startswith("NOSCRIPT")


def retry_unreachable(call: Callable[[], T], patience_s: float | None = None) -> T:
    """Repeat a call, with growing pauses, while the server cannot be reached or cannot serve.

    Use it only for calls that may be executed twice. An outage of more than a second is logged.

    Parameters
    ----------
    call : callable
    patience_s : float, optional
        For how long, seconds; by default `PATIENCE_S`.

    Raises
    ------
    ServerUnreachableError
        If the server cannot be reached for so long.
    ServerFullError
        If it has no room for so long.
    """
    return _retry(call, patience_s)


def retry_not_now(call: Callable[[], T], patience_s: float | None = None) -> T:
    """Repeat a call while the server answers that it cannot serve now, like `retry_unreachable`.

    If no server answers, raise at once: the URL may be wrong.
    """
    return _retry(call, patience_s, lambda error: error.found is not None)


def _retry(
    call: Callable[[], T],
    patience_s: float | None,
    may_pass: Callable[[ServerUnreachableError], bool] = lambda _: True,
) -> T:
    began: float | None = None
    pause_s, is_logged = 0.01, False
    while True:
        try:
            return call()
        except ServerUnreachableError as error:
            patience_s = PATIENCE_S if patience_s is None else patience_s
            now = time.monotonic()
            began = now if began is None else began
            if not may_pass(error) or now + pause_s > began + patience_s:
                raise
            if now - began >= _SILENT_S and not is_logged:
                is_logged = True
                logger.warning("%s; trying again for up to %g s", error, patience_s)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 1.0)


def _bulk(parts: Sequence[bytes]) -> bytes:
    """Pack the parts of a command, without their number, which the protocol puts in front."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


@functools.cache
def _load(file: str) -> tuple[bytes, bytes]:
    """Return the source of a script, the parts that it uses in front, and its digest."""
    folder = resources.files("rush_core.scripts")
    source = folder.joinpath(f"{file}.lua").read_bytes()
    used = re.findall(rb"([a-z]+)\.lua", b"".join(re.findall(rb"-- Uses: (.*)", source)))
    parts = [folder.joinpath(f"{part.decode()}.lua").read_bytes() for part in used]
    source = b"".join((*parts, source))
    return source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
