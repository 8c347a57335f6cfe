"""What programs write down about a network: its description, and notes.

The description is one mapping, which the first client stores and which stays. Notes are mappings
with names; a note replaces an earlier one of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_all_on, execute_on, retry_unreachable
from rush_core.errors import CorruptRecordError
from rush_core.kernel.codec import encode_record, mapping_decoder
from rush_core.kernel.format import pack_format
from rush_core.keys import NetworkKeys

__all__ = ["decode_description", "describe", "fetch_description", "fetch_notes", "store_note"]


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
    found = fetch_description(connection, keys)
    if found is None:  # the network was reset between the two round trips
        return description
    return found


def fetch_description(connection: Connection, keys: NetworkKeys) -> dict[str, Any] | None:
    """Return the stored description; None if there is none; one round trip.

    Raises
    ------
    CorruptRecordError
        If the key holds something else.
    """
    read = pack((b"GET", keys.about))
    stored = retry_unreachable(lambda: execute_on(connection, keys.about, read))
    return None if stored is None else decode_description(stored, keys.about)


def store_note(connection: Connection, keys: NetworkKeys, name: str, note: dict[str, Any]) -> None:
    """Store a note, in place of an earlier one of the same name; one round trip.

    Raises
    ------
    TypeError, ValueError
        If a value cannot be stored; nothing was written.
    """
    record = encode_record((note,), ("note",), note, None)
    store = (pack((b"HSET", keys.notes, name, record)), pack_format(keys))
    retry_unreachable(lambda: execute_all_on(connection, (keys.notes, keys.format), store))


def fetch_notes(connection: Connection, keys: NetworkKeys) -> dict[str, dict[str, Any]]:
    """Return all notes by name; one round trip.

    Raises
    ------
    CorruptRecordError
        If the key holds something else.
    """
    read = pack((b"HGETALL", keys.notes))
    stored = retry_unreachable(lambda: execute_on(connection, keys.notes, read))
    return {
        name.decode(errors="backslashreplace"): decode_description(record, keys.notes)
        for name, record in zip(stored[::2], stored[1::2], strict=True)
    }


_decode_mapping: Callable[[bytes], tuple[dict[str, Any]]] = mapping_decoder(tuple[dict[str, Any]])


def decode_description(stored: bytes, redis_key: bytes) -> dict[str, Any]:
    """Decode a description or a note.

    Raises
    ------
    CorruptRecordError
        If the bytes are no description; the message names `redis_key`.
    """
    try:
        return _decode_mapping(stored)[0]
    except Exception as error:  # NumPy raises various errors for bytes of other programs
        raise CorruptRecordError(
            f"{redis_key.decode()} holds bytes that are not a description ({error}); another "
            "program wrote to it: use a network_id of your own, or delete the key",
            key=redis_key.decode(),
        ) from None
