"""Where a worker's time goes: seconds by phase."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import get_args

from rush_opt.optimizers.base import Phase

__all__ = ["PhaseClock"]


class PhaseClock:
    """Accounts the time of one worker to phases.

    Parameters
    ----------
    further_cpu_s : callable, optional
        Returns CPU seconds of processes that belong to the worker and have not ended.
    """

    def __init__(self, further_cpu_s: Callable[[], float] = lambda: 0.0) -> None:
        self._further_cpu_s = further_cpu_s
        self._seconds: dict[Phase, float] = dict.fromkeys(get_args(Phase), 0.0)
        self._inner_s = 0.0
        self._cpu_s = self._cpu_seconds()

    @contextmanager
    def timing(self, phase: Phase) -> Iterator[None]:
        """Account the time spent inside to a phase, without the time of phases nested in it."""
        before, outer_s = time.perf_counter(), self._inner_s
        self._inner_s = 0.0
        try:
            yield
        finally:
            spent = time.perf_counter() - before
            self._seconds[phase] += spent - self._inner_s
            self._inner_s = outer_s + spent

    def collect(self) -> dict[str, float]:
        """Return the seconds by ``<phase>_s`` and the CPU seconds as ``cpu_s`` since the last call.

        The result of a trial is reported after this call: that time counts for the next trial.
        """
        times = {f"{phase}_s": seconds for phase, seconds in self._seconds.items()}
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        cpu_s = self._cpu_seconds()
        times["cpu_s"] = cpu_s - self._cpu_s
        self._cpu_s = cpu_s
        return times

    def _cpu_seconds(self) -> float:
        """Return the CPU seconds of this process and its children."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended_s = children.ru_utime + children.ru_stime
        return time.process_time() + ended_s + self._further_cpu_s()
