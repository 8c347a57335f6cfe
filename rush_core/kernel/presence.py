"""Which networks a server holds."""

from __future__ import annotations

from functools import partial

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_all_on, retry_unreachable
from rush_core.errors import ServerRefusedError
from rush_core.keys import KEY_PATTERN, NetworkKeys, network_of

__all__ = ["fetch_network_ids", "is_there"]

# The keys of which a network that was used has at least one. Others can outlive a reset.
_SIGNS = ("format", "workers", "loops", "log", "queued", "running", "finished", "failed")


def is_there(connection: Connection, keys: NetworkKeys) -> bool:
    """Tell whether the server holds anything of a network; one round trip."""
    redis_keys = [keys.find(name, "") for name in _SIGNS]
    requests = [pack((b"EXISTS", redis_key)) for redis_key in redis_keys]
    return any(retry_unreachable(lambda: execute_all_on(connection, redis_keys, requests)))


def fetch_network_ids(connection: Connection) -> list[str]:
    """Return the names of all networks in the server, sorted.

    One round trip for each 1,000 keys of the server. Of a cluster, only one node is read.

    Raises
    ------
    ServerRefusedError
        If the user of the server must not run SCAN. No other part of rush needs that command.
    """
    found: set[str] = set()
    cursor = b"0"
    while True:
        request = pack((b"SCAN", cursor, b"MATCH", KEY_PATTERN, b"COUNT", b"1000"))
        try:
            cursor, redis_keys = retry_unreachable(partial(connection.execute, request))
        except ServerRefusedError as error:
            raise ServerRefusedError(
                f"the server did not list its networks: {error}; give its user the permission +scan"
                ", or name the network",
                found=error.found,
            ) from None
        signs = (
            key for key in redis_keys if key.rpartition(b":")[2].decode(errors="replace") in _SIGNS
        )
        found.update(name for name in map(network_of, signs) if name is not None)
        if cursor == b"0":
            return sorted(found)
