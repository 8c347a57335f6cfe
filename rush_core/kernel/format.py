"""The format of a network's records: which versions of this package can use the network."""

from __future__ import annotations

import re

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_on, retry_unreachable
from rush_core.errors import CorruptRecordError, ServerRefusedError
from rush_core.keys import NetworkKeys

__all__ = ["FORMAT", "check_format", "decode_format", "pack_format", "store_format"]

# Raise it by one when a record or a key changes so that earlier versions of this package would read
# it wrongly.
FORMAT = 1


def check_format(connection: Connection, keys: NetworkKeys) -> None:
    """Raise if the network's records have a newer format than this version knows; one round trip.

    A network without a number was made before there were numbers, or has no tasks yet: its format
    is the first.

    Raises
    ------
    ServerRefusedError
        If the format is newer.
    CorruptRecordError
        If the key holds something else.
    """
    found = execute_on(connection, keys.format, pack((b"GET", keys.format)))
    if found is None:
        return
    number = decode_format(found, keys.format)
    if number > FORMAT:
        raise ServerRefusedError(
            f"network {keys.network_id!r} has records of format {number}, and this version of "
            f"rush knows formats up to {FORMAT}: a newer version made the network. Upgrade rush "
            "here, or use another network_id",
            expected=FORMAT,
            found=number,
        )


def decode_format(stored: bytes, redis_key: bytes) -> int:
    """Decode the number of a format.

    Raises
    ------
    CorruptRecordError
        If the bytes are no such number; the message names `redis_key`.
    """
    if not re.fullmatch(rb"[0-9]{1,9}", stored):  # Python refuses to read very long numbers
        raise CorruptRecordError(
            f"{redis_key.decode()} holds {stored[:80]!r}, which is no number of a format; another "
            "program wrote to it: use a network_id of your own, or delete the key",
            key=redis_key.decode(),
        )
    return int(stored)


def pack_format(keys: NetworkKeys) -> bytes:
    """Pack the command that stores the number of the format unless the network has one."""
    return pack((b"SET", keys.format, b"%d" % FORMAT, b"NX"))


def store_format(connection: Connection, keys: NetworkKeys) -> None:
    """Store the number of the format unless the network has one; one round trip."""
    retry_unreachable(lambda: execute_on(connection, keys.format, pack_format(keys)))
