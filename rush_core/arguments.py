"""Checks of the arguments that callers give: each returns a usable value or raises."""

from __future__ import annotations

import difflib
import math
import traceback
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["check_count", "check_deadline", "check_timeout", "error_text", "line_up", "nearest"]


def check_timeout(timeout_s: float, what: str = "timeout_s") -> float:
    """Return a time in seconds as a float; raise `ValueError` unless it is between 0 and 1e9."""
    if not isinstance(timeout_s, Real) or not 0 <= timeout_s < 1e9:
        raise ValueError(f"{what} must be between 0 and 1e9 seconds, got {timeout_s!r}")
    return float(timeout_s)


def check_deadline(deadline: float) -> float:
    """Return a point in time as a float; raise `ValueError` unless it is a finite number."""
    is_time = isinstance(deadline, Real) and not isinstance(deadline, bool)
    if not (is_time and math.isfinite(deadline)):
        raise ValueError(f"deadline must be a time, seconds since 1970, or None, got {deadline!r}")
    return float(deadline)


def check_count(what: str, count: int, *, least: int) -> int:
    """Return a whole number of any type as an int; raise `ValueError` if it is below `least`."""
    is_count = isinstance(count, Integral) and not isinstance(count, bool)
    if not is_count or count < least:
        raise ValueError(f"{what} must be a count >= {least}, got {count!r}")
    return int(count)


def error_text(error: str | BaseException) -> str:
    """Return an error as a text that can be stored; of an exception, its traceback."""
    if isinstance(error, BaseException):
        error = "".join(traceback.format_exception(error)).rstrip()
    if not isinstance(error, str):
        raise TypeError(f"error must be a text or an exception, got {type(error).__name__}")
    # A file name in a message may not be UTF-8; the error must not get lost because of it.
    return error.encode(errors="backslashreplace").decode()


def line_up(**columns: Sequence[Any] | None) -> list[tuple[Any, ...]]:
    """Return columns as rows; a column that is None fills its place in each row with None.

    The first column must not be None.

    Raises
    ------
    ValueError
        If the columns have different lengths.
    """
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"need as many {' as '.join(lengths)}, got {lengths}")
    n = next(iter(lengths.values()))
    nothing = [None] * n
    filled = (nothing if column is None else column for column in columns.values())
    return list(zip(*filled, strict=True))


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the end of an error about a name that does not exist: the nearest names, if any.

    Examples
    --------
    >>> f"no network 'my-rum'.{nearest('my-rum', ['my-run', 'other'])}"
    "no network 'my-rum'. Did you mean 'my-run'?"
    """
    found = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""
