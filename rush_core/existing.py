"""Networks that exist: list them, open one by its name, and remove one.

A network is in the server of a URL, or its data are on the disk of this machine. Then its embedded
server is used. If that does not run, it is started on the data, and ends afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rush_core.arguments import nearest
from rush_core.connection.connection import Connection
from rush_core.connection.url import redact
from rush_core.errors import NetworkNotFoundError, RushError
from rush_core.kernel.presence import fetch_network_ids
from rush_core.network import Network
from rush_core.servers.data_folder import (
    data_folder_of,
    open_lock,
    stored_networks,
    take_lock,
)
from rush_core.servers.locate import explicit_url, owner_of, stored_server

__all__ = ["ExistingNetwork", "list_networks", "open_existing", "remove_network"]


@dataclass(frozen=True)
class ExistingNetwork:
    """A network that was opened by its name.

    Attributes
    ----------
    network : Network
    is_stored : bool
        Whether no program uses the network: its server was started to read its data. So workers
        that are registered do not run any more.
    """

    network: Network
    is_stored: bool


@contextmanager
def open_existing(network_id: str, url: str | None = None) -> Iterator[ExistingNetwork]:
    """Open a network that exists, whether the program that made it runs or not.

    Parameters
    ----------
    network_id : str
    url : str, optional
        The server; by default `RUSH_REDIS_URL`, `REDIS_URL` or the embedded server of the network.

    Raises
    ------
    NetworkNotFoundError
        If there is none of this name; the message has the nearest names.
    RushError
        If the server cannot be used.

    Examples
    --------
    >>> with open_existing("my-run") as found:
    ...     print(found.network.count_tasks())
    """
    if server_url := explicit_url(url):
        with Network(network_id, server_url) as network:
            if not network.exists():
                raise _not_at(server_url, network_id)
            yield ExistingNetwork(network, is_stored=False)
        return
    with stored_server(network_id) as server, Network(network_id, server.url) as network:
        yield ExistingNetwork(network, is_stored=server.is_new)


def list_networks(url: str | None = None) -> list[str]:
    """Return the names of all networks of a server or, without a URL, on this machine; sorted.

    Of a cluster, only one node is read.

    Raises
    ------
    ServerRefusedError
        If the user of the server must not run SCAN. No other function needs that command.
    """
    server_url = explicit_url(url)
    if server_url is None:
        return stored_networks()
    connection = Connection(server_url)
    try:
        return fetch_network_ids(connection)
    finally:
        connection.close()


def remove_network(network_id: str, url: str | None = None) -> None:
    """Delete a network for good: its tasks, workers and log, and its data on this machine.

    Raises
    ------
    NetworkNotFoundError
        If there is none of this name.
    RushError
        If a program uses the embedded server of the network; nothing was deleted.
    """
    with open_existing(network_id, url) as found:
        if explicit_url(url) is None and not found.is_stored:
            raise RushError(
                f"network {network_id!r} is in use by {owner_of(network_id)}: end that program, "
                "then remove the network; `rush reset` deletes what is in it now",
                key=network_id,
            )
        found.network.reset()
    if explicit_url(url) is None:
        folder = data_folder_of(network_id)
        with open_lock(folder) as lock:
            if take_lock(lock):  # else another program has just begun to use it
                shutil.rmtree(folder)


def _not_at(url: str, network_id: str) -> NetworkNotFoundError:
    """Return the error to raise if a server holds no network of this name."""
    names: list[str] = []
    with suppress(RushError):  # the user of the server may lack the permission to list them
        names = list_networks(url)
    here = ""
    with suppress(RushError):
        if network_id in stored_networks():
            here = (
                " One of this name is stored on this machine: to use it, unset RUSH_REDIS_URL and "
                "REDIS_URL"
            )
    return NetworkNotFoundError(
        f"no network {network_id!r} at {redact(url)}.{nearest(network_id, names)}{here}",
        key=network_id,
    )
