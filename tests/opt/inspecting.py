"""What can be seen of a run from outside."""

from typing import Any

from rush_core.connection.connection import Connection, pack
from rush_opt import TuneResult


def configs_of(result: TuneResult) -> list[dict[str, Any]]:
    return [trial.params for trial in result.frozen_trials]


def stored_keys(url: str) -> set[bytes]:
    """All keys that a server holds."""
    connection = Connection(url)
    cursor, keys = b"0", set()
    while True:
        cursor, found = connection.execute(pack((b"SCAN", cursor, b"COUNT", 1000)))
        keys.update(found)
        if cursor == b"0":
            connection.close()
            return keys
