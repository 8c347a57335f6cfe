"""The traces that a client leaves in a network."""

from __future__ import annotations

from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys

__all__ = ["remove_client"]


def remove_client(connection: Connection, keys: NetworkKeys, client_id: str) -> None:
    """Remove what a network holds about a client that is no worker; one round trip."""
    connection.execute_many(
        (
            pack((b"HDEL", keys.clients, client_id)),
            pack((b"SREM", keys.waiting, client_id)),
            pack((b"DEL", keys.wake(client_id))),
        )
    )
