"""A result as a file: everything as JSON, or the table of its trials as Parquet.

JSON has no NaN, bytes or arrays. They are written as objects with one name that begins with ``$``:

============  ===================================================================
name          holds
============  ===================================================================
``$float``    ``nan``, ``inf`` or ``-inf``
``$bytes``    base64
``$array``    base64 of a NumPy array as an ``.npy`` file
``$scalar``   the same of a NumPy scalar that is no number of Python's
``$dict``     a mapping with a key that is no text or begins with ``$``, as pairs
============  ===================================================================
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rush_core import WorkerInfo
from rush_opt.results.result import TuneResult
from rush_opt.results.trials import FrozenTrial
from rush_opt.space import Space

__all__ = ["read_json", "write_json", "write_parquet"]

_FORMAT = {"format": "rush_opt.TuneResult", "version": 1}


def write_json(result: TuneResult, path: str | os.PathLike[str]) -> None:
    """Write all of a result to a file, or nothing; see `TuneResult.to_json`."""
    content: dict[str, Any] = {field.name: getattr(result, field.name) for field in fields(result)}
    content["workers"] = [msgspec.to_builtins(worker) for worker in result.workers]
    content["frozen_trials"] = [
        # JSON has no numbers as names.
        {**vars(trial), "intermediate": [*trial.intermediate.items()]}
        for trial in result.frozen_trials
    ]
    content["space"] = _space_as_plain(result.space)
    text = json.dumps(_FORMAT | to_plain(content), allow_nan=False)
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def read_json(path: str | os.PathLike[str]) -> TuneResult:
    """Read what `write_json` wrote; see `TuneResult.from_json`."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r} must hold JSON, but {error}") from None
    found = {name: content.get(name) for name in _FORMAT} if isinstance(content, dict) else content
    if found != _FORMAT:
        raise ValueError(
            f"{os.fspath(path)!r} must hold a result with {_FORMAT}, found {found!r:.80}; write "
            "it with result.to_json(path)"
        )
    content = from_plain({name: v for name, v in content.items() if name not in _FORMAT})
    content["workers"] = msgspec.convert(content["workers"], list[WorkerInfo])
    content["frozen_trials"] = [
        FrozenTrial(**trial | {"intermediate": dict(trial["intermediate"])})
        for trial in content["frozen_trials"]
    ]
    for name in ("metrics", "directions"):
        content[name] = tuple(content[name])
    if content["space"] is not None:
        content["space"] = Space.from_json(json.dumps(content["space"]))
    return TuneResult(**content)


def write_parquet(result: TuneResult, path: str | os.PathLike[str]) -> None:
    """Write the table of a result's trials; see `TuneResult.to_parquet`."""
    try:
        import pyarrow as pa
    except ImportError:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed: pip install 'rush-hpo[parquet]'"
        ) from None
    table = result.trials.copy()
    for name in list(table):
        try:
            # An empty mapping has a type of Arrow's, but none of Parquet's: only writing tells.
            table[[name]].to_parquet(io.BytesIO(), engine="pyarrow", index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            table[name] = [_as_text(value) for value in table[name]]
    table.to_parquet(path, engine="pyarrow", index=False)


def _as_text(value: Any) -> str | None:
    is_missing = value is None or (isinstance(value, float | complex) and value != value)
    return None if is_missing else json.dumps(to_plain(value), allow_nan=False)


def _space_as_plain(space: Space | None) -> Any:
    try:
        return None if space is None else json.loads(space.to_json())
    except ValueError:  # it is made of code
        return None


def to_plain(value: Any) -> Any:
    """Turn a value that a record can hold into what JSON has."""
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
    """Undo `to_plain`; tuples stay lists."""
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
    """Make tuples of lists, which cannot be keys."""
    return tuple(map(_as_key, key)) if isinstance(key, list) else key
