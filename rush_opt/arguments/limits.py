"""The arguments `trial_timeout` and `trial_memory`."""

from __future__ import annotations

import re
from numbers import Integral

from rush_opt.arguments.numbers import check_timeout
from rush_opt.evaluation.limits import Limits

__all__ = ["check_limits"]

_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kMGT]?)(i?)B")

# An interpreter that has imported nothing uses more than half of this.
_LEAST_MEMORY = 2**24


def check_limits(trial_timeout: object, trial_memory: object) -> Limits | None:
    """Return the limits of a trial; None if there are none."""
    timeout_s = check_timeout(trial_timeout, name="trial_timeout")
    if timeout_s is None and trial_memory is None:
        return None
    return Limits(timeout_s, None if trial_memory is None else _bytes(trial_memory))


def _bytes(memory: object) -> int:
    """Return a number of bytes, given as a number or as a text such as 2GB or 512 MiB."""
    written = _BYTES.fullmatch(memory.strip()) if isinstance(memory, str) else None
    if written is not None:
        number, prefix, binary = written.groups()
        memory = round(float(number) * (1024 if binary else 1000) ** " kMGT".index(prefix or " "))
    if isinstance(memory, bool) or not isinstance(memory, Integral):
        raise TypeError(
            "trial_memory must be a whole number of bytes, or a text such as '2GB' or '512MiB', "
            f"got {memory!r}"
        )
    if memory < _LEAST_MEMORY:
        raise ValueError(
            f"trial_memory must be at least {_LEAST_MEMORY:,} bytes, more than half of which an "
            f"interpreter uses by itself, got {memory!r}"
        )
    return int(memory)
