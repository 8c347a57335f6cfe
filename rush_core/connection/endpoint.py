"""Find the server to connect to: one server, the primary of sentinels, or a node of a cluster.

*Cluster*: all keys of a network are in one slot, so one connection to the node with this slot is
enough. Any node names it in its first reply, and again after the slot has moved.

*Sentinels* are asked at each connect, so the new primary is found after a failover. Replication is
asynchronous: the new primary may lack the last writes that the old one acknowledged. Then a worker
learns that its task is not there, or that it is not registered any more.
"""

from __future__ import annotations

import re
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rush_core.connection.url import connection_arguments, redact, split_sentinel_url
from rush_core.errors import ServerUnreachableError

__all__ = ["Endpoint", "MovedError", "NotNowError", "check_reply", "is_not_now"]


class MovedError(OSError):
    """A node of a cluster replied that another one has the key; nothing was executed."""


class NotNowError(OSError):
    """The server replied that it cannot serve requests now; nothing was executed."""


# First words of error replies after which it helps to wait, or to find the server again. The server
# has executed nothing: it is executing another client's script (BUSY), loads its data (LOADING),
# has lost its primary (MASTERDOWN) or its replicas (NOREPLICAS), or moves keys (TRYAGAIN).
_NOT_NOW = {
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
}

# Servers before 7.0 put the error that a script met into another text.
_NOT_NOW_IN_SCRIPT = re.compile(r"-(NOREPLICAS|READONLY)\b")

_ADVICE = {
    "CERTIFICATE_VERIFY_FAILED": "if it has a certificate of your own authority, name that one's "
    "file in the URL: rediss://host:port/db?ssl_ca_certs=/path/ca.pem",
    "max number of clients": "the server is at its maxclients: raise it (each worker holds two "
    "or three connections) or end some clients",
}


def check_reply(text: str) -> None:
    """Raise if an error reply means: ask another server, or ask later.

    Raises
    ------
    MovedError, NotNowError
    """
    if text.startswith("MOVED "):
        raise MovedError(text)
    if is_not_now(text):
        raise NotNowError(text)


def is_not_now(text: str) -> bool:
    """Tell whether an error reply means that the server cannot serve requests now."""
    return text.split(" ", 1)[0] in _NOT_NOW or bool(_NOT_NOW_IN_SCRIPT.search(text))


class Endpoint:
    """Finds the server of a URL and makes connections to it.

    Parameters
    ----------
    url : str
        In one of the forms that `rush_core.connection.url` lists.
    timeout_s : float
        Longest wait for an answer, seconds.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._shown = redact(url) if isinstance(url, str) else ""
        split = split_sentinel_url(url)
        self._sentinels, self._service, server_url = split or ([], "", url)
        self._arguments = connection_arguments(server_url, timeout_s)
        self._class = self._arguments.pop("connection_class", redis.Connection)
        self._node: tuple[str, int] | None = None  # the node of a cluster with the network

    def connect(self) -> Any:
        """Return a connection of redis-py, open and authenticated.

        Raises
        ------
        ServerUnreachableError
            If no server answers, or it refuses the connection.
        ValueError
            If the URL has an option that redis-py does not know.
        """
        if self._sentinels:
            return self._connect_to_primary()
        # If the node does not answer, the next attempt asks the server of the URL.
        node, self._node = self._node, None
        connection = self._connect(node)
        self._node = node
        return connection

    def follow(self, moved: MovedError) -> None:
        """Connect next to the node that a reply names. A unix socket has no host: it stays."""
        if "path" in self._arguments:
            return
        host, port = str(moved).split(" ")[2].rsplit(":", 1)
        known = self._node or (self._arguments["host"], 0)
        # A node that does not know its own address leaves it out: keep the one in use.
        self._node = (host.strip("[]") if host not in ("", "?") else known[0], int(port))

    def _connect(self, node: tuple[str, int] | None = None, **other: Any) -> Any:
        arguments = {**self._arguments, **other}
        if node is not None:
            arguments |= {"host": node[0], "port": node[1]}
        shown = self._shown if node is None else f"{node[0]}:{node[1]} (from {self._shown})"
        # No retry: an append could be executed twice.
        arguments |= {"retry": Retry(NoBackoff(), 0), "protocol": 2}
        try:
            connection = self._class(**arguments)
        except TypeError as error:
            raise ValueError(f"url {self._shown!r} has an option too many: {error}") from None
        try:
            connection.connect()
        except redis.AuthenticationError as error:
            raise ServerUnreachableError(
                f"the server at {shown} refuses the user name or password: {error}; "
                "check the credentials in the URL"
            ) from None
        except redis.BusyLoadingError as error:
            raise ServerUnreachableError(
                f"{shown} cannot serve now: {error}", found="LOADING"
            ) from None
        except (redis.RedisError, OSError) as error:
            if is_not_now(str(error)):
                raise ServerUnreachableError(
                    f"{shown} cannot serve now: {error}", found=str(error)
                ) from None
            raise ServerUnreachableError(
                f"no server answers at {shown}: {error}; {_advice(error)}"
            ) from None
        return connection

    def _connect_to_primary(self) -> Any:
        answers = []
        for sentinel in self._sentinels:
            try:
                primary = self._ask(sentinel)
            except (ServerUnreachableError, redis.RedisError, OSError) as error:
                answers.append(str(error))
                continue
            if primary is None:
                answers.append(f"{sentinel[0]}:{sentinel[1]} does not know {self._service!r}")
                continue
            try:
                connection = self._connect(primary)
                role = _ask_at_once(connection, "ROLE")[0]
            except (ServerUnreachableError, redis.RedisError, OSError) as error:
                answers.append(str(error))
                continue
            if role == b"master":
                return connection
            connection.disconnect()
            answers.append(f"{primary[0]}:{primary[1]} is not a primary yet")
        raise ServerUnreachableError(
            f"no sentinel at {self._shown} leads to a primary: {'; '.join(answers)}; check the "
            "sentinels' addresses and the name of the service"
        )

    def _ask(self, sentinel: tuple[str, int]) -> tuple[str, int] | None:
        """Ask a sentinel for the address of the primary.

        The user name and password of the URL are those of the servers. A sentinel gets them only
        if it requires some.
        """
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        without = {"username": None, "password": None}
        try:
            answer = _ask_at_once(self._connect(sentinel, db=0, **without), *question, last=True)
        except redis.AuthenticationError:
            answer = _ask_at_once(self._connect(sentinel, db=0), *question, last=True)
        return None if answer is None else (answer[0].decode(), int(answer[1]))


def _ask_at_once(connection: Any, *command: str, last: bool = False) -> Any:
    """Send one command with redis-py; disconnect afterwards if it is the last, or if it fails."""
    try:
        connection.send_command(*command)
        answer = connection.read_response()
    except BaseException:
        connection.disconnect()
        raise
    if last:
        connection.disconnect()
    return answer


def _advice(error: Exception) -> str:
    for found, advice in _ADVICE.items():
        if re.search(found, str(error)):
            return advice
    return "start one, correct the URL, or give none to use an embedded server"
