"""How many workers a host runs is changed while it runs them: the request and its answer.

A request goes through a list of the server, on which the command waits that looks after the workers
of the host. The answer goes through the wake list of the client that asks. So a request reaches one
command, which answers it; and none is left behind if there is no command.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_all_on, pack_sleep, retry_unreachable
from rush_core.errors import RushError, WorkersFailedError
from rush_core.kernel.workers import fetch_workers
from rush_core.keys import NetworkKeys

__all__ = ["ScaleRequest", "ScaleRequests", "answer", "request_workers"]

# How long a client waits for the answer, and how long an unread list stays, seconds.
_PATIENCE_S = 10.0

# How long one wait in the server lasts, seconds: less than a connection waits for a reply. And the
# pause after an error of the server.
_WAIT_S, _ERROR_PAUSE_S = 20.0, 1.0


class ScaleRequest(NamedTuple):
    """A request to run so many workers.

    Attributes
    ----------
    client_id : str
        Who waits for the answer.
    n_workers : int
    """

    client_id: str
    n_workers: int


_decode = msgspec.msgpack.Decoder(ScaleRequest).decode


def request_workers(
    connection: Connection, keys: NetworkKeys, n_workers: int, host: str | None
) -> str:
    """Ask the command that looks after the workers of a host to run so many.

    Returns
    -------
    str
        The name of the host.

    Raises
    ------
    ValueError
        If `host` is None and workers are registered on no host or on several; or if the host has no
        room.
    WorkersFailedError
        If no command answers.
    """
    name = _only_host(connection, keys) if host is None else host
    request = ScaleRequest(f"scale-{secrets.token_hex(4)}", n_workers)
    requests, answers = keys.scale(name), keys.wake(request.client_id)
    data = msgspec.msgpack.encode(request)
    # Not repeated if the connection breaks: the request may have been taken.
    push = pack((b"RPUSH", requests, data))
    expire = pack((b"PEXPIRE", requests, int(1000 * _PATIENCE_S)))
    execute_all_on(connection, (requests,), (push, expire))
    answered = connection.execute(pack_sleep(answers, _PATIENCE_S))
    if answered is None:
        connection.execute(pack((b"DEL", requests)))
        raise WorkersFailedError(
            f"nobody answered on host {name!r} in {_PATIENCE_S:g} s: no command "
            f"`rush worker {keys.network_id} --workers N` runs there, or it is ending",
            key=name,
        )
    if answered[1]:
        raise ValueError(answered[1].decode())
    return name


def _only_host(connection: Connection, keys: NetworkKeys) -> str:
    workers = retry_unreachable(lambda: fetch_workers(connection, keys))
    hosts = sorted({worker.host for worker in workers if worker.ended_at is None})
    if len(hosts) != 1:
        found = f"there are workers on {', '.join(hosts)}" if hosts else "there are no workers"
        raise ValueError(f"the host must be given unless all workers run on one: {found}")
    return hosts[0]


class ScaleRequests:
    """Takes the requests to the command of this host in a thread.

    Parameters
    ----------
    url : str
    keys : NetworkKeys
    on_request : callable
        Called as ``on_request(request)`` in the thread; another one answers.
    """

    def __init__(
        self, url: str, keys: NetworkKeys, on_request: Callable[[ScaleRequest], object]
    ) -> None:
        self._connection = Connection(url)
        self._list = keys.scale(socket.gethostname())
        self._on_request = on_request
        self._closed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Take no further request."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                taken = self._connection.execute(pack_sleep(self._list, _WAIT_S))
            except RushError:
                self._closed.wait(_ERROR_PAUSE_S)
                continue
            if taken is not None:
                with suppress(msgspec.MsgspecError):  # another program wrote to the list
                    self._on_request(_decode(taken[1]))


def answer(
    connection: Connection, keys: NetworkKeys, request: ScaleRequest, refusal: str = ""
) -> None:
    """Answer a request: it was carried out, unless there is a `refusal`."""
    answers = keys.wake(request.client_id)
    with suppress(RushError):  # the client gives up after a while
        connection.execute_many(
            (
                pack((b"RPUSH", answers, refusal)),
                pack((b"PEXPIRE", answers, int(1000 * _PATIENCE_S))),
            )
        )
