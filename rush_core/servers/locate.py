"""Which server to use: a given URL, the one of the environment, or an embedded one.

The embedded server of a named network writes its URL into the network's data folder. Other
processes of this user read it there.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rush_core.arguments import nearest
from rush_core.connection.connection import Connection, pack
from rush_core.connection.url import add_password, without_password
from rush_core.errors import NetworkNotFoundError, RushError
from rush_core.keys import check_identifier
from rush_core.servers.data_folder import (
    data_folder_of,
    make_private,
    open_lock,
    stored_networks,
    take_lock,
)
from rush_core.servers.embedded import EmbeddedServer, serve

__all__ = [
    "StoredServer",
    "answers",
    "explicit_url",
    "owner_of",
    "resolve_running_url",
    "resolve_url",
    "stored_server",
    "variable_of",
]

# How long to wait for the end of a server that lost its owner, or until one that was killed answers
# again: it reads its data, one second for 100,000 tasks.
_END_TIMEOUT_S = 20.0

# The same for a command that reads what is stored: its user waits.
_READ_WITHIN_S = 5.0

logger = logging.getLogger(__name__)

_nameless_lock = threading.Lock()
_nameless_server: EmbeddedServer | None = None
_named_servers: dict[str, EmbeddedServer] = {}  # referenced here, they live as long as this process


def resolve_url(url: str | None, network_id: str | None = None) -> str:
    """Return the URL of the server to use; start an embedded server if no URL is given.

    The first of these that there is: `url`, the environment's `RUSH_REDIS_URL`, its `REDIS_URL`, an
    embedded server. If the URL has no password, `RUSH_REDIS_PASSWORD` is added.

    A named network has an embedded server of its own, which keeps its data and which other
    processes find. Networks without a name share one server per process, which keeps no data; if it
    was killed, another one is started.

    Raises
    ------
    ServerNotFoundError
        If an embedded server is needed and no server program is on this machine.
    RushError
        If the embedded server does not start, or cannot be reached from here.
    """
    found = explicit_url(url)
    if found is not None:
        return found
    if network_id is not None:
        return _find_or_start(network_id)
    global _nameless_server
    with _nameless_lock:
        if _nameless_server is not None and _nameless_server.has_ended():
            logger.warning(
                "the embedded server %s was killed, and its networks are lost: they had no name, "
                "so it kept no data; a new server is started",
                _nameless_server.url,
            )
            _nameless_server.close()
            _nameless_server = None
        if _nameless_server is None:
            _nameless_server = serve()
        return _nameless_server.url


def resolve_running_url(url: str | None, network_id: str | None = None) -> str:
    """Return the URL of the server to use as `resolve_url` does, but start none.

    Raises
    ------
    ValueError
        If no URL is given, and no embedded server of `network_id` runs.
    """
    if found := explicit_url(url):
        return found
    if network_id is None:
        raise ValueError("which server? Give --url, or set RUSH_REDIS_URL or REDIS_URL")
    check_identifier("network_id", network_id)  # it becomes part of a path
    if running := _running_url(data_folder_of(network_id)):
        return running
    raise ValueError(
        "which server? Give --url, or set RUSH_REDIS_URL or REDIS_URL: no embedded server of "
        f"network {network_id!r} runs (it ends with the program that started it)"
    )


class StoredServer(NamedTuple):
    """The embedded server of a named network, opened to read what is stored.

    Attributes
    ----------
    url : str
    is_new : bool
        Whether no program used the network: the server was started to read its data.
    """

    url: str
    is_new: bool


@contextmanager
def stored_server(network_id: str) -> Iterator[StoredServer]:
    """Use the embedded server of a named network whose data are on this machine.

    If no program serves the data, a server is started, and ended at the end of the block.

    Raises
    ------
    NetworkNotFoundError
        If there are no data of this name; the message has the nearest names.
    RushError
        If a server on another machine holds the data, or none can be started.
    """
    check_identifier("network_id", network_id)  # it becomes part of a path
    folder = data_folder_of(network_id)
    if running := _running_url(folder):
        yield StoredServer(running, is_new=False)
        return
    if network_id not in (names := stored_networks()):
        raise NetworkNotFoundError(
            f"no network {network_id!r} is stored on this machine.{nearest(network_id, names)} "
            "If a server holds it, give --url, or set RUSH_REDIS_URL or REDIS_URL",
            key=network_id,
        )
    url = _find_or_start(network_id, _READ_WITHIN_S)
    server = _named_servers.get(network_id)  # None: another process has started it meanwhile
    try:
        yield StoredServer(url, is_new=server is not None)
    finally:
        if server is not None:
            server.close()
            _named_servers.pop(network_id, None)


def explicit_url(url: str | None) -> str | None:
    """Return `url`, else the environment's, with the environment's password; None without both."""
    found = url or os.environ.get("RUSH_REDIS_URL") or os.environ.get("REDIS_URL")
    password = os.environ.get("RUSH_REDIS_PASSWORD")
    return add_password(found, password) if found and password else found


def variable_of(url: str) -> str | None:
    """Return which environment variable holds a URL, apart from its password; None if none does."""
    for name in ("RUSH_REDIS_URL", "REDIS_URL"):
        value = os.environ.get(name)
        if value and without_password(value) == without_password(url):
            return name
    return None


def answers(url: str, timeout_s: float = 5.0) -> bool:
    """Return whether a server answers at `url`; one round trip."""
    connection = Connection(url, timeout_s=timeout_s)
    try:
        return bool(connection.execute(pack((b"PING",))) == b"PONG")
    except RushError:
        return False
    finally:
        connection.close()


def owner_of(network_id: str) -> str:
    """Return which process started the last embedded server of a network, as a text."""
    _, *owner = _read_note(data_folder_of(network_id)) or [""]
    return " ".join(owner) or "an unknown process"


def _find_or_start(network_id: str, patience_s: float = _END_TIMEOUT_S) -> str:
    """Return the URL of the embedded server of a named network; start the server if need be.

    Parameters
    ----------
    network_id : str
    patience_s : float
        How long to wait for a server that holds the data and does not answer, seconds.
    """
    folder = data_folder_of(network_id)
    make_private(folder)
    with (folder / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)  # of several processes at a time, one starts it
        with open_lock(folder) as lock:
            deadline = time.monotonic() + patience_s
            while not take_lock(lock):  # the system's own wait for a lock has no time limit
                if running := _running_url(folder):
                    return running
                if time.monotonic() > deadline:
                    raise _unreachable(network_id, folder)
                time.sleep(0.02)
            if network_id in _named_servers:
                _named_servers.pop(
                    network_id
                ).close()  # it has ended, or the lock would not be free
            server = EmbeddedServer(folder, inherited=[lock])
        owner = f"process {os.getpid()} on {platform.node()}"
        (folder / "url").write_text(f"{server.url}\n{owner}\n")
        _named_servers[network_id] = server
        return server.url


def _unreachable(network_id: str, folder: Path) -> RushError:
    """Return the error to raise if a server holds the lock of a data folder and does not answer."""
    where = " of ".join(_read_note(folder)) or "an unknown place"
    return RushError(
        f"network {network_id!r} is served at {where}, which does not answer here: a unix socket "
        "is visible only on its machine and, in a batch job with a private /tmp, only in that job. "
        "End that server, or run one that all can reach (`rush serve`) and give its URL everywhere"
    )


def _running_url(folder: Path) -> str | None:
    """Return the URL of the embedded server in a data folder if it answers, else None."""
    url, *_ = _read_note(folder) or [""]
    return url if url and answers(url) else None


def _read_note(folder: Path) -> list[str]:
    """Return URL and owner of the last embedded server in a data folder; empty if none was."""
    note = folder / "url"
    return note.read_text().splitlines() if note.exists() else []
