"""The loop of a worker that is started without the digest of one: the one that was shipped last.

The server stores which loop is the last one. So a person who can write to the server chooses what
such a worker runs, unless loops are signed.
"""

from __future__ import annotations

import os
from pathlib import Path

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_on
from rush_core.connection.url import connection_arguments
from rush_core.errors import LoopError
from rush_core.keys import NetworkKeys
from rush_core.launching.shipping import CURRENT

__all__ = ["fetch_current_digest"]


def fetch_current_digest(url: str, network_id: str) -> str:
    """Return the digest of the loop that was shipped last as the current one; one round trip.

    Raises
    ------
    LoopError
        If there is none, or if others than this user could have put it into the server.
    """
    if not (os.environ.get("RUSH_SECRET") or _is_private_socket(url)):
        raise LoopError(
            "a worker without --loop runs what stands in the server: set the same RUSH_SECRET for "
            "managers and workers, so that only their loops are run, or give --loop as "
            "worker_command() prints it",
            key=network_id,
        )
    connection, keys = Connection(url), NetworkKeys(network_id)
    try:
        digest = execute_on(connection, keys.loops, pack((b"HGET", keys.loops, CURRENT)))
    finally:
        connection.close()
    if digest is None:
        raise LoopError(
            f"network {network_id!r} has no worker loop yet: start its manager first (tune(), "
            "Network.start_workers() or Network.worker_command()), or give --loop",
            key=network_id,
        )
    return str(digest, "ascii", "replace")


def _is_private_socket(url: str) -> bool:
    """Tell whether a server listens on a unix socket in a folder that only this user can enter."""
    if not url.startswith("unix:"):
        return False
    try:
        folder = Path(connection_arguments(url, 1.0)["path"]).parent.stat()
    except OSError:
        return False
    return folder.st_uid == os.geteuid() and folder.st_mode & 0o077 == 0
