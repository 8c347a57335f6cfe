"""Columns of a DataFrame, which are collected part by part and stay small meanwhile.

The values of a part are packed into an array if they have one type. So a million tasks never are a
million dicts at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns"]

_PACKED: dict[type, type[np.generic]] = {float: np.float64, int: np.int64, bool: np.bool_}

_NONE = type(None)

# An array of one type, a masked array of floats and None, or the values themselves.
_Part = npt.NDArray[Any] | list[Any]


class Columns:
    """The columns of a table, in the order in which their names first appear.

    Parameters
    ----------
    prefix : str
        Put before each name.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._columns: dict[str, _Column] = {}
        self._length = 0

    def append(self, columns: Mapping[str, Sequence[Any]], n_rows: int) -> None:
        """Append rows, given as columns; a column that is not given is None in these rows."""
        for name, values in columns.items():
            column = self._columns.setdefault(name, _Column())
            column.pad(self._length)
            column.append(values)
        self._length += n_rows

    def to_series(self) -> dict[str, pd.Series[Any]]:
        """Return the columns, which keep the types of their values."""
        series = {}
        for name in list(self._columns):
            column = self._columns.pop(name)  # its parts are freed before those of the next are
            column.pad(self._length)
            series[self._prefix + name] = column.to_series()
        return series


class _Column:
    """The values of one column, in parts."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._types: set[type] = set()
        self._length = 0

    def append(self, values: Sequence[Any]) -> None:
        """Append a part."""
        types = set(map(type, values))
        self._types |= types
        self._length += len(values)
        self._parts.append(_packed(values, types))

    def pad(self, length: int) -> None:
        """Append None up to this length."""
        if length > self._length:
            self.append([None] * (length - self._length))

    def to_series(self) -> pd.Series[Any]:
        """Return a series; it has a dtype if all values have one type.

        Missing floats become NaN.
        """
        import pandas as pd

        if self._types == {float, _NONE}:
            return pd.Series(np.concatenate([_as_floats(part) for part in self._parts]), copy=False)
        is_uniform = len(self._types) == 1 and self._types <= {bool, int, float, str}
        if is_uniform and all(isinstance(part, np.ndarray) for part in self._parts):
            return pd.Series(np.concatenate(self._parts), copy=False)
        values = [value for part in self._parts for value in _as_list(part)]
        return pd.Series(values, dtype=None if is_uniform else object)


def _packed(values: Sequence[Any], types: set[type]) -> _Part:
    """Pack values into an array if possible, else keep them as a list."""
    if types == {float, _NONE}:
        missing = [value is None for value in values]
        return np.ma.MaskedArray(np.array(values, np.float64), missing)
    dtype = _PACKED.get(next(iter(types))) if len(types) == 1 else None
    if dtype is not None:
        try:
            return np.array(values, dtype)
        except OverflowError:  # a whole number between 2**63 and 2**64
            pass
    if types == {str}:
        # Each was decoded as a new object; equal ones become one.
        seen: dict[str, str] = {}
        return [seen.setdefault(value, value) for value in values]
    return list(values)


def _as_floats(part: _Part) -> npt.NDArray[np.float64]:
    if isinstance(part, np.ma.MaskedArray):
        return part.filled(np.nan)
    return np.array(part, np.float64)  # None becomes NaN


def _as_list(part: _Part) -> list[Any]:
    values: list[Any] = part if isinstance(part, list) else part.tolist()
    return values
