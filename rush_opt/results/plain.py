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
    """Undo `to_plain`, except that tuples stay lists."""
    if isinstance(plain, list):
        return [from_plain(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        ((mark, content),) = plain.items()
        if mark == "$float":
            return float(content)
        if mark == "$bytes":
            return base64.b64decode(content)
        if mark in ("$array", "$scalar"):
            array = np.load(io.BytesIO(base64.b64decode(content)), allow_pickle=False)
            return array[()] if mark == "$scalar" else array
        if mark == "$dict":
            return {_as_key(from_plain(name)): from_plain(item) for name, item in content}
    return {name: from_plain(item) for name, item in plain.items()}


def _as_key(key: Any) -> Any:
    """Turn lists into tuples: a list cannot be the key of a mapping."""
    return tuple(map(_as_key, key)) if isinstance(key, list) else key
