"""Numbers among the arguments: counts and seconds."""

from __future__ import annotations

import math
from numbers import Integral, Real

__all__ = ["check_count", "check_timeout"]


def check_count(name: str, value: object) -> int:
    """Return `value` if it is a whole number of at least 1, else raise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number >= 1, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return int(value)


def check_timeout(timeout: object, name: str = "timeout") -> float | None:
    """Return a timeout as a float; None stays None."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"{name} must be a number of seconds or None, got {timeout!r}")
    if not 0 < float(timeout) < math.inf:
        raise ValueError(f"{name} must be a positive, finite number of seconds, got {timeout!r}")
    return float(timeout)
