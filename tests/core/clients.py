"""Who is connected to a server."""

from __future__ import annotations

from rush_core.connection.connection import Connection, pack
from tests.waiting import wait_until


def wait_until_alone(url: str) -> None:
    """Wait until nobody is connected but the one who asks; raise AssertionError if that stays."""
    connection = Connection(url)

    def is_alone() -> bool:
        clients: bytes = connection.execute(pack((b"CLIENT", b"LIST")))
        return clients.count(b"\n") == 1

    try:
        wait_until(is_alone)
    finally:
        connection.close()
