"""The arguments `executor`, `launch` and `callbacks`, and the default number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

__all__ = ["check_callbacks", "check_places", "usable_cpus"]


def check_callbacks(callbacks: object) -> None:
    """Check that callbacks are a sequence of functions."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(
            "callbacks must be a sequence of functions that are called as callback(trial), got "
            f"{callbacks!r:.80}"
        )


def check_places(
    executor: object, launch: object
) -> tuple[Executor | None, Callable[[str, int], object] | None]:
    """Return `executor` and `launch`; at most one of them may be given."""
    if executor is not None and launch is not None:
        raise ValueError("give either executor or launch, not both: one of them starts the workers")
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            "executor must be a concurrent.futures.Executor, such as Dask's client.get_executor(), "
            f"got {executor!r:.80} ({type(executor).__name__})"
        )
    if launch is not None and not callable(launch):
        raise TypeError(
            "launch must be callable as launch(command, n_workers), and run the shell line "
            f"`command` n_workers times, got {launch!r:.80}"
        )
    return executor, launch


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
