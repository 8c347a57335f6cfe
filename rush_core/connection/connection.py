"""One connection to the server: it sends packed commands and returns the replies.

redis-py makes the connection: it reads the URL and does TLS and authentication. After that, this
module uses the socket itself, and hiredis parses the replies. A round trip then takes less than
half the time of redis-py's (`experiments/core_overhead.py`), and no request causes a second one.
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
    ServerFullError,
    ServerRefusedError,
    ServerUnreachableError,
)

__all__ = [
    "OLDEST_SERVER",
    "Connection",
    "ReplyError",
    "pack",
    "parse_info",
    "refusal",
]

logger = logging.getLogger(__name__)

# The oldest version of Redis that the tests run with.
OLDEST_SERVER = (6, 2)

# The longest request, bytes. Redis takes no longer value (its setting proto-max-bulk-len). It would
# close the connection without an answer.
_LARGEST_REQUEST = 512 * 1024**2

_CHUNK = 65536  # bytes per read of the socket

ReplyError = hiredis.ReplyError

pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command


class Connection:
    """A connection that sends one request at a time; the first request opens it.

    Threads may share it. So may a forked child, in which it opens again. If a request fails or is
    interrupted, the connection is closed, because the reply may still arrive; the next request
    opens it again.

    Parameters
    ----------
    url : str
        In one of the forms that `rush_core.connection.url` lists.
    timeout_s : float
        Longest wait for the server to accept a connection or to answer, seconds.

    Attributes
    ----------
    generation : int
        How often the connection was closed. Requests of an earlier generation whose replies were
        lost may be executed later.
    exclusive : threading.RLock
        Hold it during several requests that must not be mixed with those of other threads, and
        while their replies are stored. Do not hold it during a wait.
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
        self.exclusive = threading.RLock()
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
        ServerFullError
            If the server has no room; nothing was written.
        ValueError
            If the request is too long for a server; it was not sent.
        """
        if len(request) > _LARGEST_REQUEST:
            raise _too_long(request)
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
            except MovedError as error:  # not executed, so it can be repeated at the other server
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
            How long a blocking command among them may delay the replies, seconds.

        Returns
        -------
        list
            An error reply is an item of the list, a `hiredis.ReplyError`; it is not raised.

        Raises
        ------
        ServerUnreachableError
            If the connection cannot be made or breaks; the requests may have been executed.
        ValueError
            If the requests are too long for a server; they were not sent.
        """
        request = b"".join(requests)
        if len(request) > _LARGEST_REQUEST:
            raise _too_long(request)
        with self._lock:
            try:
                sock = self._socket or self._open()
                if block_s:
                    _set_timeout(sock, self.timeout_s + block_s)
                sock.sendall(request)
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
        """Repeat a request at the node that the reply names; raise for any other error reply."""
        reply: Any = self.execute_many((request,))[0] if isinstance(error, MovedError) else error
        if isinstance(reply, ReplyError):
            raise refusal(reply)
        return reply

    def _leave_to_parent(self) -> None:
        """Drop the connection in a forked child: the parent still uses it."""
        # A thread that held a lock does not exist in the child, so it cannot release it.
        self._lock, self.exclusive = threading.Lock(), threading.RLock()
        self._drop()  # redis-py does not shut down the socket of another process

    def _drop(self) -> None:
        """Close the connection; the caller holds the lock."""
        if self._redis_connection is not None:
            self._redis_connection.disconnect()
            self._redis_connection = None
            self._socket = None
            self.generation += 1

    def _lost(self, error: Exception) -> ServerUnreachableError:
        """Close after a failed request, whose reply may still arrive; return the error to raise."""
        self._drop()
        if isinstance(error, ServerUnreachableError):
            return error
        if isinstance(error, MovedError):
            self._endpoint.follow(error)
        if isinstance(error, MovedError | NotNowError):
            return ServerUnreachableError(f"{redact(self.url)}: {refusal(error)}", found=str(error))
        timed_out = isinstance(error, BlockingIOError | TimeoutError | ssl.SSLWantReadError)
        reason = f"no answer within {self.timeout_s:g} s" if timed_out else str(error)
        return ServerUnreachableError(f"lost the connection to {redact(self.url)}: {reason}")

    def _open(self) -> socket.socket:
        # redis-py's connection remains the owner of the socket. It has no public name for it:
        # if the private one changes, tests/core/test_connection.py explains what to do.
        self._redis_connection = self._endpoint.connect()
        sock: socket.socket = self._redis_connection._sock
        self._socket = sock
        self._reader = hiredis.Reader(replyError=_error_reply)
        _set_timeout(sock, self.timeout_s)
        return sock


# Words of error replies to writes for which there is no room.
_NO_ROOM = {
    "OOM command": "the server is at its maxmemory: raise it or free memory; an embedded "
    "server sets it while the disk of its data is nearly full: make room there",
    "MISCONF": "the server cannot write to its disk: make room there",
}


def _error_reply(text: str) -> Exception:
    """Return the object for an error reply; raise if another server, or a later time, is right."""
    check_reply(text)
    return ReplyError(text)


def _too_long(request: bytes) -> ValueError:
    return ValueError(
        f"at most {_LARGEST_REQUEST:,} bytes can be sent to a server at once, got "
        f"{len(request):,}; keep large data in a file and store its path, or push fewer tasks at a "
        "time"
    )


def _closed() -> NoReturn:
    raise ConnectionResetError("the server closed the connection")


def refusal(reply: Exception) -> RushError:
    """Return the error to raise for an error reply, with advice if the user can repair it."""
    text = str(reply)
    if text.startswith("CORRUPT "):  # a reply of our own scripts, which name the key
        key, what = text.split(" ", 2)[1:]
        return CorruptRecordError(
            f"{key} {what}; another program wrote to it: use a network_id of your own, or reset "
            "this network",
            key=key,
        )
    message = f"the server refused a request: {text}"
    # Servers before 7.0 put the error that a script met into another text.
    for word, advice in _NO_ROOM.items():
        if word in text:
            return ServerFullError(f"{message}; {advice}; nothing was written", found=text)
    advices = {
        "EXECABORT": "it may be at its maxmemory, or this user not permitted: see `rush doctor`",
        "NOAUTH": "give the user name and password in the URL: redis://user:password@host:port/db",
        "NOPERM": "grant this user the command and the keys 'rush:*'; `rush doctor` says how",
        "can't run this command": "grant this user the command; `rush doctor` says how",
        "WRONGTYPE": "another program writes to this network's keys; use a network_id of your own",
        "READONLY": "this server is a replica: connect to its primary",
        "BUSY": "a script of another client runs for long: wait for its end, or send SCRIPT KILL",
        "NOREPLICAS": "too few replicas are connected to the server: see min-replicas-to-write",
        "MOVED": "connect to a cluster by redis://host:port of any of its nodes",
    }
    advice = next((advice for word, advice in advices.items() if word in text), "")
    return ServerRefusedError(f"{message}; {advice}" if advice else message, found=text)


def parse_info(info: str) -> dict[str, str]:
    """Parse a server's answer to INFO."""
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


def _set_timeout(sock: socket.socket, timeout_s: float) -> None:
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(timeout_s)
        return
    # The operating system keeps this timeout. Python's own would poll before each send and receive.
    seconds, fraction = divmod(timeout_s, 1)
    interval = struct.pack("ll", int(seconds), int(fraction * 1e6))
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)


def _reconnect(url: str, timeout_s: float) -> Connection:
    return Connection(url, timeout_s=timeout_s)
