"""Check which options of `Network.start_workers` fit the place where the workers run."""

from __future__ import annotations

import sys
from concurrent.futures import Executor

from rush_core.launching.local import StartMethod

__all__ = ["check_place", "check_start_method"]


def check_start_method(start_method: object, executor: object) -> StartMethod | None:
    """Return `start_method` if workers can be started so.

    Raises
    ------
    ValueError
        If not.
    """
    if start_method is None:
        return None
    if start_method not in ("fork", "spawn"):
        raise ValueError(
            'start_method must be "fork", "spawn" or None (forked where that is safe), got '
            f"{start_method!r:.80}"
        )
    if executor is not None:
        raise ValueError(
            f"start_method={start_method!r} is for processes on this machine; an executor decides "
            "how its processes start: leave it out"
        )
    if start_method == "fork" and sys.platform != "linux":
        raise ValueError(
            f'start_method="fork" needs Linux, and this is {sys.platform}: leave it out, and '
            "each worker is a fresh interpreter"
        )
    return "fork" if start_method == "fork" else "spawn"


def check_place(executor: object, log_folder: object) -> None:
    """Check that `executor` is an executor or None, and that `log_folder` has an effect.

    Raises
    ------
    TypeError, ValueError
        If not.
    """
    if executor is None:
        return
    if not isinstance(executor, Executor):
        raise TypeError(
            "executor must be a concurrent.futures.Executor, such as Dask's client.get_executor(), "
            f"got {executor!r:.80} ({type(executor).__name__}); for a batch system, submit the "
            "line of worker_command() instead"
        )
    if log_folder is not None:
        raise ValueError(
            f"log_folder={str(log_folder)!r} is for processes on this machine; an executor decides "
            "where its workers write: leave it out"
        )
