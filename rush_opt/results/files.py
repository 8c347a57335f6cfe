"""A run as a file: all of its record as JSON, or the table of its trials as Parquet.

JSON has no form for some values, such as NaN, bytes and arrays; `plain` defines how to write them.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rush_core import WorkerInfo
from rush_opt.problem.goal import Goal
from rush_opt.results.plain import from_plain, to_plain
from rush_opt.results.record import RunRecord
from rush_opt.results.trials import FrozenTrial
from rush_opt.space import Space

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["parse_record", "read_json", "write_json", "write_parquet"]

_FORMAT = {"format": "rush_opt.TuneResult", "version": 1}

# These fields of a record are written and read unchanged. All others are checked as they are made.
_TYPES: dict[str, Any] = {
    "seed": int,
    "stop_reason": str,
    "network_id": str,
    "started_at": Real,
    "ended_at": Real,
    "deadline": Real | None,
}
_NUMBERS = (Real, Real | None)
_AS_THEY_ARE = tuple(_TYPES)

_TRIAL_TYPES: dict[str, Any] = {
    "number": int,
    "key": str,
    "state": str,
    "params": dict,
    "value": Real | None,
    "result": dict,
    "error": str | None,
    "worker": int | None,
    "started_at": Real | None,
    "ended_at": Real,
    "notes": dict,
    "intermediate": dict,
}


def write_json(record: RunRecord, path: str | os.PathLike[str]) -> None:
    """Write a record to a file; see `TuneResult.to_json`.

    The file gets its name only after all is written. So an incomplete file never has this name.
    """
    content = {
        "frozen_trials": [
            # A mapping in JSON can only have texts as names. Steps are numbers, so write pairs.
            {**vars(trial), "intermediate": [*trial.intermediate.items()]}
            for trial in record.trials
        ],
        "space": _space_to_plain(record.space),
        "metrics": record.metrics,
        "directions": [goal.direction for goal in record.goals],
        "workers": [msgspec.to_builtins(worker) for worker in record.workers],
        **{name: getattr(record, name) for name in _AS_THEY_ARE},
    }
    text = json.dumps(_FORMAT | to_plain(content), allow_nan=False)
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def read_json(path: str | os.PathLike[str]) -> RunRecord:
    """Read a record that `write_json` wrote; see `TuneResult.from_json`."""
    return parse_record(Path(path).read_bytes(), os.fspath(path))


def parse_record(content: bytes, name: str) -> RunRecord:
    """Read the content of a file that `write_json` wrote.

    Parameters
    ----------
    content : bytes
    name : str
        The name of the file in errors.

    Raises
    ------
    ValueError
        If the content is something else.
    """
    plain = _parse_checked(content, name)
    try:
        return _record(from_plain(plain))
    except Exception as error:  # each part of the file can be damaged in its own way
        raise ValueError(
            f"{name!r} must hold a result that to_json wrote, but a part of it is damaged: "
            f"{type(error).__name__}: {error!s:.200}"
        ) from None


def _record(content: dict[str, Any]) -> RunRecord:
    """Make a record from the values in a file, which may be any values."""
    _check_types(content, {"frozen_trials": list})
    space = content["space"]
    goals = tuple(map(Goal, content["metrics"], content["directions"]))
    record = RunRecord(
        trials=[
            FrozenTrial(**trial | {"intermediate": dict(trial["intermediate"])})
            for trial in content["frozen_trials"]
        ],
        space=None if space is None else Space.from_json(json.dumps(space)),
        goals=goals,
        workers=msgspec.convert(content["workers"], list[WorkerInfo]),
        **{name: content[name] for name in _AS_THEY_ARE},
    )
    _check_types(vars(record), _TYPES)
    for trial in record.trials:
        _check_types(vars(trial), _TRIAL_TYPES)
        if trial.state == "finished":
            _check_types(trial.result, dict.fromkeys(record.metrics, Real))
    return record


def write_parquet(table: pd.DataFrame, path: str | os.PathLike[str] | io.BytesIO) -> None:
    """Write the table of a run's trials; see `TuneResult.to_parquet`."""
    try:
        import pyarrow as pa
    except ImportError:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed: pip install 'rush-hpo[parquet]'"
        ) from None
    table = table.copy()
    for name in list(table):
        try:
            # Arrow has a type for empty mappings, but Parquet has none. Only writing shows this.
            table[[name]].to_parquet(io.BytesIO(), engine="pyarrow", index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            table[name] = [_to_text(value) for value in table[name]]
    table.to_parquet(path, engine="pyarrow", index=False)


def _parse_checked(content: bytes, name: str) -> dict[str, Any]:
    """Read JSON, and check that it says that it is a record in the format of `write_json`."""
    try:
        plain = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name!r} must hold JSON, but {error}") from None
    found = {name: plain.get(name) for name in _FORMAT} if isinstance(plain, dict) else plain
    if found != _FORMAT:
        raise ValueError(
            f"{name!r} must hold a result with {_FORMAT}, found {found!r:.80}; write "
            "the file with result.to_json(path)"
        )
    return {name: value for name, value in plain.items() if name not in _FORMAT}


def _check_types(values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Raise `TypeError` unless the values of these names have these types."""
    for name, type_ in types.items():
        if not isinstance(values[name], type_) or isinstance(values[name], bool):
            raise TypeError(f"{name} must be {type_}, found {values[name]!r:.80}")
        if type_ in _NUMBERS and values[name] is not None:
            float(values[name])  # a whole number of JSON may be larger than any float


def _space_to_plain(space: Space | None) -> Any:
    try:
        return None if space is None else json.loads(space.to_json())
    except ValueError:  # it contains functions
        return None


def _to_text(value: Any) -> str | None:
    """Return a cell of a table as JSON; None for an empty cell."""
    is_missing = value is None or (isinstance(value, float | complex) and value != value)
    return None if is_missing else json.dumps(to_plain(value), allow_nan=False)
