"""CPU time and memory of a worker, sampled each second, on their way with its results.

A sample is ``[age_s, interval_s, cpu_s, rss_bytes]``: how long before it was handed over it was
taken, the time since the sample before it, the CPU time used in that interval and the resident
memory at its end, the process's children included. Ages instead of clock times make clocks of
several machines comparable: a trial's end is known by the server's clock.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

PERIOD_S = 1.0
# Samples wait for the trial that takes them along; a day of them is enough for the longest.
_KEEP = 86_400


@dataclass(frozen=True)
class Sampled:
    """An objective whose results bring along the samples of their worker's process.

    Parameters
    ----------
    objective : callable
        ``objective(config)`` returning a mapping.

    Notes
    -----
    The sampling thread is one per process and starts with its first trial, so that it works
    wherever workers run: as child processes, in a batch job, in an executor. Workers should not
    share a process, for the samples are the process's. What is sampled after the last trial stays.
    """

    objective: Callable[[dict[str, Any]], dict[str, Any]]

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        """Evaluate, and add ``samples`` to the result."""
        sampler = _sampler()
        result = self.objective(config)
        return {**result, "samples": sampler.take()}


class Sampler:
    """Samples this process in a thread of its own.

    Parameters
    ----------
    period_s : float
        Time between two samples.
    """

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._taken: deque[tuple[float, float, float, int]] = deque(maxlen=_KEEP)
        threading.Thread(target=self._run, daemon=True).start()

    def take(self) -> list[list[float]]:
        """Return the samples since the last call."""
        now = time.monotonic()
        samples = []
        while self._taken:
            at, *values = self._taken.popleft()
            samples.append([round(now - at, 3), *values])
        return samples

    def _run(self) -> None:
        process = psutil.Process()
        before, cpu_before = time.monotonic(), _cpu_s([process])
        while True:
            time.sleep(self._period_s)
            family = [process, *process.children(recursive=True)]
            now, cpu = time.monotonic(), _cpu_s(family)
            # A child that ended between two looks moves to its parent's sum, where it is waited
            # for; one that was not takes its time with it, which must not become negative.
            used = max(cpu - cpu_before, 0.0)
            self._taken.append((now, round(now - before, 3), round(used, 2), _rss(family)))
            before, cpu_before = now, cpu


@functools.cache
def _sampler() -> Sampler:
    return Sampler()


def _cpu_s(family: list[psutil.Process]) -> float:
    own = family[0].cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in family[1:]:
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return float(total)


def _rss(family: list[psutil.Process]) -> int:
    total = 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
