"""Measures the CPU time and the memory of the workers of a node; reads Linux's ``/proc``."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Collection

from rush_core.kernel.hosts import Usage
from rush_core.kernel.shared_log import SharedLogs

__all__ = ["UsageMeter"]

# The system needs up to some milliseconds to add up the memory of a large process. So the memory of
# one worker is measured at a time, and this takes at most this share of one core.
_SHARE = 0.01


class UsageMeter:
    """Measures what the workers of a node have used since the last measurement.

    Parameters
    ----------
    shared : SharedLogs
        Whose last read is stated.
    """

    def __init__(self, shared: SharedLogs) -> None:
        self._shared = shared
        self._measured_at = time.monotonic()
        self._cpu_s: dict[int, float] = {}
        self._memory: dict[int, int] = {}  # the one that was measured first comes first
        self._next_memory_at = self._measured_at

    def measure(self, pids: Collection[int]) -> Usage:
        """Measure the workers with these process numbers; those that have ended are left out."""
        now = time.monotonic()
        cpu_s = {pid: used for pid in pids if (used := _cpu_s(pid)) is not None}
        used = sum(max(total - self._cpu_s.get(pid, 0.0), 0.0) for pid, total in cpu_s.items())
        elapsed = max(now - self._measured_at, 1e-3)
        self._cpu_s, self._measured_at = cpu_s, now
        return Usage(
            cores=used / elapsed,
            memory=self._estimate_memory(cpu_s),
            read_age_s=self._shared.read_age_s(),
        )

    def _estimate_memory(self, pids: Collection[int]) -> int | None:
        """Measure one worker if it is time; return the mean of those measured, times all."""
        self._memory = {pid: size for pid, size in self._memory.items() if pid in pids}
        began = time.monotonic()
        if pids and began >= self._next_memory_at:
            new = [pid for pid in pids if pid not in self._memory]
            pid = (new or list(self._memory))[0]
            self._memory.pop(pid, None)
            if (size := _memory(pid)) is not None:
                self._memory[pid] = size
            now = time.monotonic()
            self._next_memory_at = now + (now - began) / _SHARE
        if not self._memory:
            return None
        return round(sum(self._memory.values()) / len(self._memory) * len(pids))


def _cpu_s(pid: int) -> float | None:
    """Return the CPU time of a process, seconds; None if it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        # The name of the program, in brackets, may have spaces and brackets in it.
        fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def _memory(pid: int) -> int | None:
    """Return the proportional set size of a process in bytes; None if it is not known."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        found = re.search(rb"^Pss: *(\d+) kB", file.read(), re.MULTILINE)
        return None if found is None else int(found[1]) * 1024
    return None
