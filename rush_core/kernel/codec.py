"""Values to MessagePack bytes and back.

What MessagePack has keeps its type: None, bool, int (64 bits), float, str, bytes, list, dict.
NumPy arrays of any dtype but object, unless masked, come back as read-only arrays of the same dtype
and shape, NumPy scalars as the Python number they hold or, where there is none, as the same NumPy
scalar.
Tuples and sets come back as lists, and dates, enumerations and dataclasses as msgspec writes them
(text, the value, a mapping). Anything else is refused by the name of its parameter. Nothing is ever
unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.lib import format as npy_format

__all__ = ["decode", "encode", "encode_record"]

_ARRAY = 1  # codes of our MessagePack extension types
_SCALAR = 2


def _encode_other(value: Any) -> Any:
    if isinstance(value, np.generic):
        kind, size = value.dtype.kind, value.dtype.itemsize
        if kind in "SU" or (kind in "biuf" and size <= 8):
            return value.item()
        return msgspec.msgpack.Ext(_SCALAR, _array_bytes(np.asarray(value)))
    if isinstance(value, np.ma.MaskedArray):  # its data without the mask are other values
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
    """Undo MessagePack's tuples to lists in the description of a structured dtype."""
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

encode = _encoder.encode
decode = _decoder.decode


def mapping_decoder(kind: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    """Return a function that decodes a value and refuses one that is not of this type."""
    return msgspec.msgpack.Decoder(kind, ext_hook=_decode_other).decode


def encode_record(
    values: tuple[Any, ...], labels: tuple[str, ...], mapping: Any, extra: Any, *more: Any
) -> bytes:
    """Encode the fields of a record, of which some are mappings that a user gave.

    Parameters
    ----------
    values : tuple
        All fields, in order.
    labels : tuple of str
        What to call each of the mappings in an error.
    mapping, extra, *more : dict
        The user's mappings among the fields; `extra` may be None.

    Returns
    -------
    bytes
        A MessagePack array.

    Raises
    ------
    TypeError, ValueError, OverflowError
        If something is no mapping, has a name that is no string or holds a value that cannot be
        stored; the message names it.
    """
    try:
        if not isinstance(mapping, dict):
            raise TypeError("not a dict")
        "".join(mapping)  # the quickest way to see that all names are strings
        if extra is not None:
            _check_names(extra)
        for other in more:
            _check_names(other)
        return _encoder.encode(values)
    except (TypeError, ValueError, OverflowError, RecursionError):
        for label, given in zip(
            labels, (mapping, {} if extra is None else extra, *more), strict=False
        ):
            _refuse(label, given)
        raise


def _check_names(mapping: Any) -> None:
    if not isinstance(mapping, dict):
        raise TypeError("not a dict")
    "".join(mapping)


def _refuse(what: str, mapping: Any) -> None:
    """Raise the error that names what is wrong with a mapping, if anything is."""
    if not isinstance(mapping, dict):
        found = f"{type(mapping).__name__}: {mapping!r:.80}"
        hint = "; pass dict(...) of it" if isinstance(mapping, Mapping) else ""
        raise TypeError(f"{what} must be a dict of names and values, got {found}{hint}")
    for name, value in mapping.items():
        if not isinstance(name, str):
            raise TypeError(f"names in {what} must be strings, got {name!r:.80}")
        try:
            _encoder.encode({name: value})
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"{what} {name!r} holds {value!r:.80}, which cannot be stored ({error}); use "
                "numbers, strings, bytes, booleans, None, NumPy arrays, or lists and dicts of these"
            ) from None
