"""One connection to the server: URL in, packed commands out, replies back.

redis-py understands the URL, TLS and authentication and makes the connection. Requests then go
over its socket directly, read by hiredis: a bare round trip takes less than half of redis-py's
(`experiments/core_overhead.py`), and one request never hides a second round trip.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import hiredis

from rush_core.connection.endpoint import Endpoint, MovedError, NotNowError, check_reply
from rush_core.connection.fork import renew_in_child
from rush_core.connection.url import redact
from rush_core.errors import (
    CorruptRecordError,
    RushError,
    ServerRefusedError,
    ServerUnreachableError,
)

__all__ = ["OLDEST_SERVER", "Connection", "check_server", "parse_info"]

logger = logging.getLogger(__name__)

# The oldest that the tests run against.
OLDEST_SERVER = (6, 2)

_CHUNK = 65536

ReplyError = hiredis.ReplyError

pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command


class Connection:
    """A lazily opened connection that sends requests and returns replies, one send at a time.

    Safe to share between threads, and with a forked child, which opens a connection of its own. An
    interrupted or failed request closes the connection, because its reply may still be under way;
    the next request opens a new one. `generation` counts these closings, so that a caller can tell
    whether an earlier request can still be executed.

    Attributes
    ----------
    together : threading.RLock
        To be held over several requests that no other thread's may come between, and over what is
        remembered of their replies; never over a wait.

    Parameters
    ----------
    url : str
        In one of the forms that `rush_core.connection.url` names.
    timeout_s : float
        Longest wait for the server to accept a connection or to answer, seconds.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self.generation = 0
        self._endpoint = Endpoint(url, timeout_s)
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader(replyError=_error_reply)
        self._redis_connection: Any = None
        self._lock = threading.Lock()
        self.together = threading.RLock()
        renew_in_child(self, Connection._leave_to_parent)

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
            except MovedError as error:  # it was not executed, and can be repeated elsewhere
                self._lost(error)
                reply = error
            except (OSError, hiredis.ProtocolError) as error:
                raise self._lost(error) from error
            except BaseException:  # an interrupt
                self._drop()
                raise
        if isinstance(reply, Exception):
            return self._after_error(request, reply)
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
                for _ in requests:
                    while (reply := reader.gets()) is False:
                        reader.feed(sock.recv(_CHUNK) or _closed())
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

    def _after_error(self, request: bytes, error: Exception) -> Any:
        """Repeat a request at the node that a reply named, or raise for any other error reply."""
        reply: Any = self.execute_many((request,))[0] if isinstance(error, MovedError) else error
        if isinstance(reply, ReplyError):
            raise refusal(reply)
        return reply

    def _leave_to_parent(self) -> None:
        """Forget, in a forked child, the connection that its parent goes on using."""
        # A thread that held one of them is not here to release it.
        self._lock, self.together = threading.Lock(), threading.RLock()
        self._drop()  # redis-py shuts no socket down that another process opened

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
        if isinstance(error, MovedError):
            self._endpoint.follow(error)
        if isinstance(error, MovedError | NotNowError):
            return ServerUnreachableError(f"{redact(self.url)}: {refusal(error)}")
        timed_out = isinstance(error, BlockingIOError | TimeoutError | ssl.SSLWantReadError)
        reason = f"no answer within {self.timeout_s:g} s" if timed_out else str(error)
        return ServerUnreachableError(f"lost the connection to {redact(self.url)}: {reason}")

    def _open(self) -> socket.socket:
        # hiredis and the bare socket save redis-py's per-command work; its connection stays the
        # owner of the socket. There is no public name for the socket.
        self._redis_connection = self._endpoint.connect()
        sock: socket.socket = self._redis_connection._sock
        self._socket = sock
        self._reader = hiredis.Reader(replyError=_error_reply)
        _set_timeout(sock, self.timeout_s)
        return sock


def _error_reply(text: str) -> Exception:
    """Make what stands for an error reply; those that lead elsewhere end the request instead."""
    check_reply(text)
    return ReplyError(text)


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
    advices = {
        "EXECABORT": "it may be at its maxmemory, or this user not permitted: see `rush doctor`",
        "OOM": "the server is at its maxmemory: raise it or free memory; nothing was written",
        "NOAUTH": "give the user name and password in the URL: redis://user:password@host:port/db",
        "NOPERM": "grant this user the command and the keys 'rush:*'; `rush doctor` says how",
        "can't run this command": "grant this user the command; `rush doctor` says how",
        "WRONGTYPE": "another program writes to this network's keys; use a network_id of your own",
        "READONLY": "this server is a replica: connect to its primary",
        "MOVED": "connect to a cluster by redis://host:port of any of its nodes",
    }
    # Servers before 7.0 wrap what a script met into a text of their own.
    advice = next((told for word, told in advices.items() if word in text), "")
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
