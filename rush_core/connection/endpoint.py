"""Where a connection goes: a server, the primary that sentinels name, or a node of a cluster.

All keys of a network are in one slot of a cluster, so one connection to the node that holds it is
enough. Any node says which one that is in its first reply, and again when the slot has moved.
Sentinels are asked at each connect, and so a failover is followed. Replication is asynchronous:
what the old primary acknowledged in its last moments may be missing on the new one; a worker then
learns that its task is not there, or that it takes no part any more.
"""

from __future__ import annotations

import re
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rush_core.connection.url import connection_arguments, redact, split_sentinel_url
from rush_core.errors import ServerUnreachableError

__all__ = ["Endpoint", "MovedError", "NotNowError", "check_reply"]


class MovedError(OSError):
    """A node of a cluster says that another one holds the key; nothing was executed."""


class NotNowError(OSError):
    """The server is for the moment not the one to ask; nothing was executed."""


# First words of error replies after which looking for the server again helps.
_NOT_NOW = {"ASK", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN", "UNBLOCKED"}

_ADVICE = {
    "CERTIFICATE_VERIFY_FAILED": "if it has a certificate of your own authority, name that one's "
    "file in the URL: rediss://host:port/db?ssl_ca_certs=/path/ca.pem",
    "max number of clients": "the server is at its maxclients: raise it (each worker holds two "
    "or three connections) or end some clients",
}


def check_reply(text: str) -> None:
    """Raise if an error reply says that another server, or a later time, is the right one.

    Raises
    ------
    MovedError, NotNowError
    """
    word = text.split(" ", 1)[0]
    if word == "MOVED":
        raise MovedError(text)
    # Servers before 7.0 wrap what a script met into a text of their own.
    if word in _NOT_NOW or "-READONLY" in text:
        raise NotNowError(text)


class Endpoint:
    """Finds the server of a URL and makes connections to it.

    Parameters
    ----------
    url : str
        In one of the forms that `rush_core.connection.url` names.
    timeout_s : float
        Longest wait for an answer, seconds.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._shown = redact(url) if isinstance(url, str) else ""
        split = split_sentinel_url(url)
        self._sentinels, self._service, server_url = split or ([], "", url)
        self._arguments = connection_arguments(server_url, timeout_s)
        self._class = self._arguments.pop("connection_class", redis.Connection)
        self._node: tuple[str, int] | None = None  # of a cluster: who holds the network

    def connect(self) -> Any:
        """Return redis-py's connection, open and authenticated.

        Raises
        ------
        ServerUnreachableError
            If no server answers, or not as it has to.
        ValueError
            If the URL has an option that redis-py does not know.
        """
        if self._sentinels:
            return self._connect_to_primary()
        node, self._node = self._node, None  # of one that does not answer the URL's server is asked
        connection = self._connect(node)
        self._node = node
        return connection

    def follow(self, moved: MovedError) -> None:
        """Connect next to the node that a reply named; nodes know no unix sockets."""
        if "path" in self._arguments:
            return
        host, port = str(moved).split(" ")[2].rsplit(":", 1)
        known = self._node or (self._arguments["host"], 0)
        # A node that does not know its own address leaves it out: it is the one we know.
        self._node = (host.strip("[]") if host not in ("", "?") else known[0], int(port))

    def _connect(self, node: tuple[str, int] | None = None, **other: Any) -> Any:
        arguments = {**self._arguments, **other}
        if node is not None:
            arguments |= {"host": node[0], "port": node[1]}
        shown = self._shown if node is None else f"{node[0]}:{node[1]} (from {self._shown})"
        # A blind retry could double an append.
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
        except (redis.RedisError, OSError) as error:
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
        """Ask a sentinel for the primary; with the URL's credentials only if it wants any."""
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        nobody = {"username": None, "password": None}
        try:
            answer = _ask_at_once(self._connect(sentinel, db=0, **nobody), *question, last=True)
        except redis.AuthenticationError:
            answer = _ask_at_once(self._connect(sentinel, db=0), *question, last=True)
        return None if answer is None else (answer[0].decode(), int(answer[1]))


def _ask_at_once(connection: Any, *command: str, last: bool = False) -> Any:
    """Send one command through redis-py itself; disconnect if it is the last or has failed."""
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
