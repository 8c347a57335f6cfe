"""Encode values as MessagePack bytes, and decode them. Nothing is ever unpickled.

====================================================  ==============================================
value                                                 what it is after encoding and decoding
====================================================  ==============================================
None, bool, int (64 bits), float, str, bytes          the same
list, dict                                            the same
tuple, set                                            a list
NumPy array                                           a read-only array, same dtype and shape
NumPy scalar that a Python number or text can hold    this Python value
other NumPy scalar                                    the same
date, enumeration, dataclass                          text, its value, a dict (as msgspec has it)
====================================================  ==============================================

Everything else is refused, and the error names the parameter: masked arrays, arrays of Python
objects, instances of other classes, and values that are nested more than 100 levels deep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.lib import format as npy_format

from rush_core.errors import CorruptRecordError, WorkerInterrupt

__all__ = [
    "DEEPEST",
    "array_header",
    "decode",
    "encode",
    "encode_record",
    "mapping_decoder",
    "too_deep",
]

# How deep lists and dicts of a value may be nested. To decode each takes a level of Python's stack,
# which has about 1,000. The program that reads may have taken most of them already.
DEEPEST = 100

# The codes of our MessagePack extension types.
_ARRAY = 1
_SCALAR = 2


def array_header(n_fields: int) -> int:
    """Return the first byte of a MessagePack array of fewer than 16 fields.

    Scripts know these bytes by the names in ``scripts/record.lua``.
    """
    return 0x90 | n_fields


def _encode_other(value: Any) -> Any:
    if isinstance(value, np.generic):
        kind, size = value.dtype.kind, value.dtype.itemsize
        if kind in "SU" or (kind in "biuf" and size <= 8):
            return value.item()
        return msgspec.msgpack.Ext(_SCALAR, _array_bytes(np.asarray(value)))
    if isinstance(value, np.ma.MaskedArray):  # its data alone would be other values
        raise TypeError("a masked array cannot be stored; fill it, or store its mask beside it")
    if isinstance(value, np.ndarray):
        return msgspec.msgpack.Ext(_ARRAY, _array_bytes(value))
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _array_bytes(array: np.ndarray) -> bytes:
    if array.dtype.hasobject or array.dtype.itemsize == 0:
        raise TypeError("an array of Python objects or of empty items cannot be stored")
    description = npy_format.dtype_to_descr(array.dtype)
    return _encoder.encode((description, array.shape, array.tobytes()))


def _decode_other(code: int, data: memoryview) -> Any:
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"unknown extension type {code}")
    description, shape, content = _decoder.decode(data)
    dtype = npy_format.descr_to_dtype(_as_description(description))
    array = np.frombuffer(content, dtype=dtype).reshape(shape)
    return array[()] if code == _SCALAR else array


def _as_description(description: Any) -> Any:
    """Turn lists back into tuples: MessagePack has only lists, NumPy wants tuples."""
    if isinstance(description, str):
        return description
    if description and isinstance(description[0], list):
        return [tuple(_as_field(part) for part in field) for field in description]
    return tuple(_as_field(part) for part in description)


def _as_field(part: Any) -> Any:
    if not isinstance(part, list):
        return part
    return tuple(part) if all(isinstance(size, int) for size in part) else _as_description(part)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_decoder = msgspec.msgpack.Decoder(ext_hook=_decode_other)
_plain_decoder = msgspec.msgpack.Decoder()  # leaves extension types as they are

# The first bytes of lists and dicts. Other values can contain the same bytes.
_CONTAINER_BYTES = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))

encode = _encoder.encode
decode = _decoder.decode


def mapping_decoder(kind: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    """Return a function that decodes a value of this type and raises for any other value."""
    return msgspec.msgpack.Decoder(kind, ext_hook=_decode_other).decode


def encode_record(
    values: tuple[Any, ...], labels: tuple[str, ...], mapping: Any, extra: Any, *more: Any
) -> bytes:
    """Encode the fields of a record, some of which are mappings that a user gave.

    Parameters
    ----------
    values : tuple
        All fields, in order.
    labels : tuple of str
        The names of the mappings in an error.
    mapping, extra, *more : dict
        The user's mappings among the fields; `extra` may be None.

    Returns
    -------
    bytes
        A MessagePack array.

    Raises
    ------
    TypeError, ValueError
        If a mapping is no dict, has a name that is no string, or holds a value that cannot be
        stored or is nested too deep; the message names it.
    """
    try:
        if not isinstance(mapping, dict):
            raise TypeError("not a dict")
        "".join(mapping)  # the fastest check that all names are strings
        if extra is not None:
            _check_names(extra)
        for other in more:
            _check_names(other)
        record = _encoder.encode(values)
        # A shorter record has too few bytes to be deep: most records pay for no call.
        if len(record) > DEEPEST and _may_be_deep(record) and _is_deep(record):
            raise ValueError("nested too deep")
    except Exception as error:  # methods of a value may raise anything
        given = (mapping, {} if extra is None else extra, *more)
        for label, one in zip(labels, given, strict=False):
            _refuse(label, one)
        raise ValueError(f"a {' or '.join(labels)} cannot be stored ({error!r})") from error
    return record


def _check_names(mapping: Any) -> None:
    if not isinstance(mapping, dict):
        raise TypeError("not a dict")
    "".join(mapping)


def _refuse(what: str, mapping: Any) -> None:
    """Raise the error that names the fault of a mapping; return if it has none."""
    if not isinstance(mapping, dict):
        found = f"{type(mapping).__name__}: {_shown(mapping)}"
        hint = "; pass dict(...) of it" if isinstance(mapping, Mapping) else ""
        raise TypeError(f"{what} must be a dict of names and values, got {found}{hint}")
    for name, value in mapping.items():
        if not isinstance(name, str):
            raise TypeError(f"names in {what} must be strings, got {_shown(name)}")
        try:
            is_deep = _is_deep(_encoder.encode(({name: value},)))
        except RecursionError:
            is_deep = True
        except Exception as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"{what} {name!r} holds {_shown(value)}, which cannot be stored ({error}); use "
                "numbers, strings, bytes, booleans, None, NumPy arrays, or lists and dicts of these"
            ) from None
        if is_deep:
            raise ValueError(
                f"{what} {name!r} must be nested at most {DEEPEST} levels deep, but its lists "
                "and dicts are nested deeper, or contain themselves; store a flat list or a text"
            )


def _shown(value: object) -> str:
    """Return the beginning of a value's text, also if its class cannot make one."""
    if isinstance(value, str | bytes | bytearray):
        value = value[:80]
    try:
        return f"{value!r:.80}"
    except (WorkerInterrupt, KeyboardInterrupt):
        raise
    except BaseException:
        return object.__repr__(value)


def _may_be_deep(record: bytes) -> bool:
    """Return False if a record has too few bytes that can begin a list or dict to be deep."""
    return len(record) - len(record.translate(None, _CONTAINER_BYTES)) > DEEPEST


def _is_deep(record: bytes) -> bool:
    """Tell whether lists and dicts in the mappings of a record are nested too deep."""
    try:
        level = [_plain_decoder.decode(record)]
    except RecursionError:
        return True
    except ValueError:  # a dict with keys that are no plain values: reading it raises the error
        return False
    for _ in range(DEEPEST + 2):  # the record and the mapping are two levels themselves
        items = chain.from_iterable(
            chain(value, value.values()) if type(value) is dict else value for value in level
        )
        level = [item for item in items if type(item) in (list, dict, tuple)]
        if not level:
            return False
    return True


def _is_too_deep_for(decode: Callable[[bytes], object], record: bytes) -> bool:
    try:
        decode(record)
    except RecursionError:
        return True
    return False


def too_deep(
    decode: Callable[[bytes], object], records: Collection[bytes], redis_key: bytes
) -> CorruptRecordError:
    """Return the error for records of tasks or reports, one of which is too deep to be decoded."""
    i, record = next(
        (i, record) for i, record in enumerate(records) if _is_too_deep_for(decode, record)
    )
    # The key follows the worker's id, a text of less than 256 bytes, and the attempt, one byte.
    size, first = (record[2], 3) if record[1] == 0xD9 else (record[1] - 0xA0, 2)
    at = first + size + 1
    key = record[at + 1 : at + 1 + record[at] - 0xA0].decode(errors="replace")
    return CorruptRecordError(
        f"{redis_key.decode()} has a value in record {i}, of task {key!r}, that is nested too deep "
        f"to be read, while at most {DEEPEST} levels may be written; another program wrote it, or "
        "an earlier version: read it with a higher sys.setrecursionlimit, or reset this network",
        key=key,
    )
