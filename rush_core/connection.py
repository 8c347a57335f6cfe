"""One connection to the server: URL in, packed commands out, replies back.

redis-py understands the URL, TLS and authentication and makes the connection. Requests then go
over its socket directly, read by hiredis: a bare round trip takes less than half of redis-py's
(`experiments/core_overhead.py`), and one request never hides a second round trip.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn
from urllib.parse import SplitResult, quote, urlsplit

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from rush_core.errors import (
    CorruptRecordError,
    RushError,
    ServerRefusedError,
    ServerUnreachableError,
)

__all__ = [
    "OLDEST_SERVER",
    "Connection",
    "add_password",
    "check_server",
    "parse_info",
    "redact",
    "without_password",
]

logger = logging.getLogger(__name__)

# The oldest that the tests run against.
OLDEST_SERVER = (6, 2)

# A host that drops packets answers nothing at all: nobody wants to wait longer for a typing error.
CONNECT_TIMEOUT_S = 5.0

_CHUNK = 65536

ReplyError = hiredis.ReplyError

pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command


class Connection:
    """A lazily opened connection that sends requests and returns replies, one send at a time.

    Safe to share between threads. An interrupted or failed request closes the connection, because
    its reply may still be under way; the next request opens a new one. `generation` counts these
    closings, so that a caller can tell whether an earlier request can still be executed.

    Parameters
    ----------
    url : str
        ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads it.
    timeout_s : float
        Longest wait for the server to accept a connection or to answer, seconds.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self.generation = 0
        self._options = _connection_options(url, timeout_s)
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()
        self._redis_connection: Any = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Connection({redact(self.url)!r})"

    def __reduce__(self) -> Any:
        return _reconnect, (self.url, self.timeout_s)

    def execute(self, request: bytes) -> Any:
        """Send one packed command and return its reply; one round trip.

        Raises
        ------
        ServerUnreachableError
            If the connection cannot be made or breaks; the request may have been executed.
        ServerRefusedError
            If the server answers with an error.
        """
        with self._lock:
            try:
                sock = self._socket or self._open()
                sock.sendall(request)
                reader = self._reader
                reader.feed(sock.recv(_CHUNK) or _closed())
                reply = reader.gets()
                while reply is False:
                    reader.feed(sock.recv(_CHUNK) or _closed())
                    reply = reader.gets()
            except (OSError, hiredis.ProtocolError) as error:
                raise self._lost(error) from error
            except BaseException:  # an interrupt
                self._drop()
                raise
        if isinstance(reply, ReplyError):
            raise refusal(reply)
        return reply

    def execute_many(self, requests: Sequence[bytes], *, block_s: float = 0.0) -> list[Any]:
        """Send several packed commands at once and return their replies; one round trip.

        Parameters
        ----------
        requests : sequence of bytes
        block_s : float
            How long a blocking command among them may keep the server from answering, seconds.

        Returns
        -------
        list
            An error reply stands in the list as `hiredis.ReplyError`; it is not raised.
        """
        with self._lock:
            try:
                sock = self._socket or self._open()
                if block_s:
                    _set_timeout(sock, self.timeout_s + block_s)
                sock.sendall(b"".join(requests))
                reader = self._reader
                replies: list[Any] = []
                while len(replies) < len(requests):
                    reader.feed(sock.recv(_CHUNK) or _closed())
                    while (reply := reader.gets()) is not False:
                        replies.append(reply)
                if block_s:
                    _set_timeout(sock, self.timeout_s)
            except (OSError, hiredis.ProtocolError) as error:
                raise self._lost(error) from error
            except BaseException:  # an interrupt
                self._drop()
                raise
        return replies

    def close(self) -> None:
        """Close the connection; a later request opens a new one."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        """Close the connection, for who holds the lock."""
        if self._redis_connection is not None:
            self._redis_connection.disconnect()
            self._redis_connection = None
            self._socket = None
            self.generation += 1

    def _lost(self, error: Exception) -> ServerUnreachableError:
        """Close after a failed request, whose reply may still come; return the error to raise."""
        self._drop()
        if isinstance(error, ServerUnreachableError):
            return error
        timed_out = isinstance(error, BlockingIOError | TimeoutError | ssl.SSLWantReadError)
        reason = f"no answer within {self.timeout_s:g} s" if timed_out else str(error)
        return ServerUnreachableError(f"lost the connection to {redact(self.url)}: {reason}")

    def _open(self) -> socket.socket:
        try:
            connection = self._options["class"](**self._options["arguments"])
        except TypeError as error:
            raise ValueError(f"url {redact(self.url)!r} has an option too many: {error}") from None
        try:
            connection.connect()
        except redis.AuthenticationError as error:
            raise ServerUnreachableError(
                f"the server at {redact(self.url)} refuses the user name or password: {error}; "
                "check the credentials in the URL"
            ) from None
        except (redis.RedisError, OSError) as error:
            raise ServerUnreachableError(
                f"no server answers at {redact(self.url)}: {error}; start one, correct the URL, "
                "or give none to use an embedded server"
            ) from None
        # hiredis and the bare socket save redis-py's per-command work; its connection stays the
        # owner of the socket. There is no public name for the socket.
        self._redis_connection = connection
        self._socket = connection._sock
        self._reader = hiredis.Reader()
        _set_timeout(self._socket, self.timeout_s)
        return self._socket


def _closed() -> NoReturn:
    raise ConnectionResetError("the server closed the connection")


def refusal(reply: Exception) -> RushError:
    """Return the error to raise for an error reply, with advice for those a user can mend."""
    text = str(reply)
    if text.startswith("CORRUPT "):  # said by our own scripts, which name the key
        key, what = text.split(" ", 2)[1:]
        return CorruptRecordError(
            f"{key} {what}; another program wrote to it: use a network_id of your own, or reset "
            "this network",
            key=key,
        )
    if text.startswith("LOADING"):  # it was restarted: as good as away for some time
        return ServerUnreachableError("the server is still reading its data: try again shortly")
    advice = {
        "OOM": "the server is at its maxmemory: raise it or free memory; nothing was written",
        "NOAUTH": "give the user name and password in the URL: redis://user:password@host:port/db",
        "NOPERM": "grant this user the command and the keys 'rush:*'",
        "WRONGTYPE": "another program writes to this network's keys; use a network_id of your own",
        "READONLY": "this server is a replica: connect to its primary",
    }.get(text.split(" ", 1)[0], "")
    message = f"the server refused a request: {text}"
    return ServerRefusedError(f"{message}; {advice}" if advice else message, found=text)


def check_server(connection: Connection) -> None:
    """Raise unless the server is new enough; one round trip, and the first that tests the URL."""
    check_version(connection.execute(pack(("INFO", "server"))).decode(), connection.url)


def check_version(info: str, url: str) -> None:
    """Raise unless `info`, the server's answer to INFO, tells of a server that is new enough."""
    fields = parse_info(info)
    # Valkey reports the Redis version it is compatible with under the old name.
    version = fields.get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        needed = ".".join(map(str, OLDEST_SERVER))
        raise ServerRefusedError(
            f"need a Redis server >= {needed} or any Valkey, found {version} at "
            f"{redact(url)}; upgrade it, or give no URL to use an embedded server",
            expected=needed,
            found=version,
        )


def parse_info(info: str) -> dict[str, str]:
    """Parse a server's answer to INFO."""
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


def redact(url: str) -> str:
    """Return `url` with its password replaced by ``***``, fit for logs and messages."""
    before, at, host = url.rpartition("@")
    scheme, _, secret = before.partition("://")
    if at and scheme != "unix" and re.search("[/?#]", secret):
        return f"{scheme}://***@{host}"  # written without quoting, it ends in the wrong place
    return _replace_password(url, "***")


def without_password(url: str) -> str:
    """Return `url` without its password, fit for a printed command."""
    return _replace_password(url, None)


def add_password(url: str, password: str) -> str:
    """Return `url` with a password put in, unless it has one."""
    parts = urlsplit(url)
    if parts.password is not None or "password=" in parts.query:
        return url
    secret = quote(password, safe="")
    if parts.scheme == "unix":
        return f"{url}{'&' if parts.query else '?'}password={secret}"
    user, _, host = parts.netloc.rpartition("@")
    return _join(parts, f"{user}:{secret}@{host}", parts.query)


def _replace_password(url: str, password: str | None) -> str:
    """Replace the password of a URL that has one; None leaves it out."""
    parts = urlsplit(url)
    netloc, query = parts.netloc, parts.query
    if parts.password is not None:
        user, host = netloc.rsplit("@", 1)
        user = user.split(":", 1)[0]
        secret = "" if password is None else f":{password}"
        netloc = f"{user}{secret}@{host}" if user or secret else host
    if "password=" in query:
        pairs = [
            f"password={password}" if pair.startswith("password=") else pair
            for pair in query.split("&")
            if password is not None or not pair.startswith("password=")
        ]
        query = "&".join(pairs)
    return _join(parts, netloc, query)


def _join(parts: SplitResult, netloc: str, query: str) -> str:
    # urlunsplit would drop the empty host of a unix socket's URL.
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"


def _connection_options(url: str, timeout_s: float) -> dict[str, Any]:
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, got {type(url).__name__}")
    try:
        arguments: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
    except ValueError:  # its text may contain what should have been the password
        raise ValueError(
            "url must start with redis://, rediss:// or unix:// and have a number as its port, got "
            f"{redact(url)!r}; write special characters of a password as %2F and the like"
        ) from None
    connection_class = arguments.pop("connection_class", redis.Connection)
    arguments |= {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, CONNECT_TIMEOUT_S),
        "retry": Retry(NoBackoff(), 0),  # a blind retry could double an append
        "protocol": 2,
    }
    if connection_class is redis.UnixDomainSocketConnection:
        arguments.pop("host", None)
    return {"class": connection_class, "arguments": arguments}


def _set_timeout(sock: socket.socket, timeout_s: float) -> None:
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(timeout_s)
        return
    # A timeout kept by the kernel: Python's own costs a poll() before every send and receive.
    seconds, fraction = divmod(timeout_s, 1)
    interval = struct.pack("ll", int(seconds), int(fraction * 1e6))
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)


def _reconnect(url: str, timeout_s: float) -> Connection:
    return Connection(url, timeout_s=timeout_s)
