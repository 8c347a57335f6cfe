"""The arguments `executor`, `launch` and `callbacks`, and the default number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

__all__ = [
    "check_callbacks",
    "check_debug",
    "check_log_folder",
    "check_places",
    "check_start_method",
]


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


def check_log_folder(log_folder: object, **places: object) -> Path | None:
    """Return `log_folder` as an absolute path; `places` are the arguments that exclude it."""
    if log_folder is None:
        return None
    if not isinstance(log_folder, str | os.PathLike):
        raise TypeError(f"log_folder must be a path, got {log_folder!r:.80}")
    _check_processes_start_here("log_folder", places)
    path = Path(os.fspath(log_folder)).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


def check_start_method(start_method: object, **places: object) -> None:
    """Check `start_method`; `places` are the arguments that exclude it."""
    if start_method is None:
        return
    if start_method not in ("fork", "spawn"):
        raise ValueError(
            'start_method must be "fork", "spawn" or None (forked where that is safe), got '
            f"{start_method!r:.80}"
        )
    _check_processes_start_here("start_method", places)


def _check_processes_start_here(argument: str, places: Mapping[str, object]) -> None:
    """Check that `tune()` starts worker processes, so that `argument` has an effect."""
    for name, value in places.items():
        if value:
            raise ValueError(
                f"{argument} is for worker processes that tune() starts on this machine, and has "
                f"no effect with {name}={value!r:.80}: leave out one of them"
            )


def check_debug(debug: object, n_workers: object, **others: object) -> bool:
    """Return `debug`; `others` are the arguments that need worker processes."""
    if not isinstance(debug, bool):
        raise TypeError(f"debug must be True or False, got {debug!r:.80}")
    if not debug:
        return False
    if n_workers not in (None, 1):
        raise ValueError(
            f"debug=True evaluates all trials in this process, one after the other: n_workers must "
            f"be 1 or left out, got {n_workers!r:.80}"
        )
    for name, value in others.items():
        if value is not None:
            raise ValueError(
                f"debug=True evaluates all trials in this process, so {name} has no effect, got "
                f"{name}={value!r:.80}: leave out one of them"
            )
    return True
