"""The description of a network's tasks: one mapping, which the first client stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_all_on, execute_on, retry_unreachable
from rush_core.errors import CorruptRecordError
from rush_core.kernel.codec import encode_record, mapping_decoder
from rush_core.kernel.format import pack_format
from rush_core.keys import NetworkKeys

__all__ = ["decode_description", "describe"]


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
    return decode_description(stored, keys.about)


_decode: Callable[[bytes], tuple[dict[str, Any]]] = mapping_decoder(tuple[dict[str, Any]])


def decode_description(stored: bytes, redis_key: bytes) -> dict[str, Any]:
    """Decode a description.

    Raises
    ------
    CorruptRecordError
        If the bytes are no description; the message names `redis_key`.
    """
    try:
        return _decode(stored)[0]
    except Exception as error:  # NumPy raises various errors for bytes of other programs
        raise CorruptRecordError(
            f"{redis_key.decode()} holds bytes that are not a description ({error}); another "
            "program wrote to it: use a network_id of your own, or delete the key",
            key=redis_key.decode(),
        ) from None
