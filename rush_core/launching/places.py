"""Check which options of `Network.start_workers` fit the place where the workers run."""

from __future__ import annotations

from concurrent.futures import Executor

__all__ = ["check_place"]


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
