"""What callers of `Network` and `Worker` give: made usable, or refused with what must hold."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["check_count", "check_timeout", "error_text", "line_up"]


def check_timeout(timeout_s: float) -> float:
    """Return a time, of whatever type; refuse what is no finite number of seconds."""
    if not isinstance(timeout_s, Real) or not 0 <= timeout_s < 1e9:
        raise ValueError(f"timeout_s must be between 0 and 1e9 seconds, got {timeout_s!r}")
    return float(timeout_s)


def check_count(what: str, count: int, *, least: int) -> int:
    """Return a count, of whatever type of whole numbers; refuse what is none, or too small."""
    is_count = isinstance(count, Integral) and not isinstance(count, bool)
    if not is_count or count < least:
        raise ValueError(f"{what} must be a count >= {least}, got {count!r}")
    return int(count)


def error_text(error: str | BaseException) -> str:
    """Return an error as text that can be stored: of an exception, its traceback."""
    if isinstance(error, BaseException):
        error = "".join(traceback.format_exception(error)).rstrip()
    if not isinstance(error, str):
        raise TypeError(f"error must be a text or an exception, got {type(error).__name__}")
    # File names that are no UTF-8 get into messages; an error must not be lost over one.
    return error.encode(errors="backslashreplace").decode()


def line_up(**columns: Sequence[Any] | None) -> list[tuple[Any, ...]]:
    """Return columns as rows, with None from an absent column; refuse different lengths.

    The first column is there in any case.
    """
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"need as many {' as '.join(lengths)}, got {lengths}")
    n = next(iter(lengths.values()))
    nothing = [None] * n
    filled = (nothing if column is None else column for column in columns.values())
    return list(zip(*filled, strict=True))
