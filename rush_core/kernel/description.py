"""The description of a network's tasks: one mapping, which the first client stores."""

from __future__ import annotations

from typing import Any

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_all_on, execute_on, retry_unreachable
from rush_core.errors import CorruptRecordError
from rush_core.kernel.codec import decode, encode_record
from rush_core.kernel.format import pack_format
from rush_core.keys import NetworkKeys

__all__ = ["describe"]


def describe(
    connection: Connection, keys: NetworkKeys, description: dict[str, Any]
) -> dict[str, Any]:
    """Store the description unless there is one; return the stored one; two round trips.

    Not atomic, but of several clients at a time, the first one stores and all return the same. The
    number of the format of records is stored with it (`rush_core.kernel.format`).

    Raises
    ------
    TypeError, ValueError
        If a value cannot be stored; nothing was written.
    CorruptRecordError
        If the key holds something else.
    """
    record = encode_record((description,), ("about",), description, None)
    store = (pack((b"SET", keys.about, record, b"NX")), pack_format(keys))
    retry_unreachable(lambda: execute_all_on(connection, (keys.about, keys.format), store))
    read = pack((b"GET", keys.about))
    stored = retry_unreachable(lambda: execute_on(connection, keys.about, read))
    try:
        (found,) = decode(stored)
    except (ValueError, TypeError) as error:
        raise CorruptRecordError(
            f"{keys.about.decode()} holds bytes that are not a description ({error})",
            key=keys.about.decode(),
        ) from None
    return dict(found)
