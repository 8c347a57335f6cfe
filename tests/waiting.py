"""The one way in which tests wait for what no event announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.005


def wait_until(predicate: Callable[[], T], timeout_s: float = 20.0) -> T:
    """Return the first true value of `predicate`; raise AssertionError if none comes in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {timeout_s:g} s: {predicate}")
        time.sleep(_PAUSE_S)
    return value
