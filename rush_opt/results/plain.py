"""Values of records as JSON. A value that JSON cannot hold becomes an object with one marked name.

============  =================================================================================
name          value
============  =================================================================================
``$float``    the text ``nan``, ``inf`` or ``-inf``
``$bytes``    the bytes, in base64
``$array``    a NumPy array, as the base64 of an ``.npy`` file
``$scalar``   a NumPy scalar or a complex number, in the same way
``$dict``     a list of pairs, for a mapping with a name that is no text or begins with ``$``
============  =================================================================================
"""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

__all__ = ["from_plain", "to_plain"]


def to_plain(value: Any) -> Any:
    """Turn a value of a record into values of JSON; tuples become lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(float(value))}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic | complex):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        text = base64.b64encode(file.getvalue()).decode()
        return {"$array" if isinstance(value, np.ndarray) else "$scalar": text}
    if isinstance(value, dict):
        if any(not isinstance(name, str) or name.startswith("$") for name in value):
            return {"$dict": [[to_plain(name), to_plain(item)] for name, item in value.items()]}
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(plain: Any) -> Any:
    """Undo `to_plain`, except that tuples stay lists.

    For values that `to_plain` did not write, it raises errors of any kind, but takes no more memory
    than a few times the size of the values.
    """
    if isinstance(plain, list):
        return [from_plain(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        ((mark, content),) = plain.items()
        if mark == "$float":
            return _FLOATS[content]
        if mark == "$bytes":
            return base64.b64decode(content)
        if mark in ("$array", "$scalar"):
            array = _read_array(base64.b64decode(content))
            return array[()] if mark == "$scalar" else array
        if mark == "$dict":
            return {_as_key(from_plain(name)): from_plain(item) for name, item in content}
    return {name: from_plain(item) for name, item in plain.items()}


_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _read_array(content: bytes) -> np.ndarray:
    """Read the content of an ``.npy`` file, if it is as long as its header says.

    NumPy alone would first allocate what the header says.
    """
    file = io.BytesIO(content)
    version = npy_format.read_magic(file)
    read_header = npy_format.read_array_header_1_0 if version == (1, 0) else _read_long_header
    shape, _, dtype = read_header(file)
    n_bytes = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or n_bytes != len(content) - file.tell():
        raise ValueError(f"an array of shape {shape} and type {dtype} cannot be read")
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


# Version 3 differs from version 2 only in the encoding of names.
_read_long_header = npy_format.read_array_header_2_0


def _as_key(key: Any) -> Any:
    """Turn lists into tuples: a list cannot be the key of a mapping."""
    return tuple(map(_as_key, key)) if isinstance(key, list) else key
