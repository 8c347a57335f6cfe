"""Tune once with one tool: ``python -m experiments.start_up_cell TOOL WORKERS TRIALS SEED``.

The objective appends a record when it begins: so trials are timed alike, whichever package runs
them. Packages are imported inside of functions, because what a tool imports is a part of its start.

Prints one JSON object. To measure another version, copy this file and ``process_memory.py`` into a
clone of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from experiments.process_memory import memory_of

# Where the objective appends its records, and how long it sleeps, in the workers' environment.
RECORDS, SLEEP = "START_UP_RECORDS", "START_UP_SLEEP_S"
# When an evaluation began (seconds since 1970), in which thread of which process, and whether a
# model had chosen the point, as far as the objective can see.
RECORD = "dqq?"

# Optuna's TPE draws so many trials at random before it has a model.
_TPE_STARTUP = 10

_DIMS = tuple(f"x{i}" for i in range(8))


def evaluate(config: Mapping[str, float], is_modelled: bool = False) -> float:
    """Append a record, sleep if asked to, and return a value."""
    record = struct.pack(RECORD, time.time(), os.getpid(), threading.get_native_id(), is_modelled)
    file = os.open(os.environ[RECORDS], os.O_WRONLY | os.O_APPEND)
    os.write(file, record)
    os.close(file)
    if sleep_s := float(os.environ[SLEEP]):
        time.sleep(sleep_s)
    return sum((config[name] - 0.3) ** 2 for name in _DIMS)


def run_rush(optimizer: str, n_workers: int, n_trials: int, seed: int) -> dict[str, Any]:
    """Tune with rush; also read the memory of the workers when most trials have ended."""
    from rush_opt import Float, tune

    memory: dict[str, float] = {}

    def read_memory(trial: Any) -> None:
        if trial.number == n_trials * 9 // 10:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a worker has ended
                memory.update(memory_of_workers(n_workers))

    result = tune(
        evaluate,
        {name: Float(0.0, 1.0) for name in _DIMS},
        n_workers=n_workers,
        n_trials=n_trials,
        optimizer=optimizer,
        seed=seed,
        progress=False,
        callbacks=(read_memory,),
    )
    modelled = [
        trial.started_at
        for trial in result.frozen_trials
        if trial.notes.get("surrogate_s") and trial.started_at is not None
    ]
    return {"modelled_at": min(modelled, default=None), **memory}


def memory_of_workers(n_workers: int) -> dict[str, float]:
    """Return the memory of the workers, as `memory_of` does; nothing if some are missing."""
    data = Path(os.environ[RECORDS]).read_bytes()
    pids = {pid for _, pid, _, _ in struct.iter_unpack(RECORD, data)}
    return memory_of(pids) if len(pids) == n_workers else {}


def run_optuna_threads(sampler: str, n_workers: int, n_trials: int, seed: int) -> dict[str, Any]:
    """Optimize a study in memory with threads."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=_optuna_sampler(sampler, seed))
    study.optimize(partial(_optuna_objective, sampler), n_trials=n_trials, n_jobs=n_workers)
    return {}


def run_optuna_processes(sampler: str, n_workers: int, n_trials: int, seed: int) -> dict[str, Any]:
    """Optimize a study in a journal on a server with processes."""
    from multiprocessing import get_context

    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalRedisBackend
    from optuna.study import create_study

    from rush_core import serve

    with serve() as server:
        create_study(study_name="start", storage=JournalStorage(JournalRedisBackend(server.url)))
        arguments = [(server.url, sampler, n_trials, seed + i) for i in range(n_workers)]
        spawn = get_context("spawn").Process
        processes = [spawn(target=_optuna_worker, args=own) for own in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    return {}


def _optuna_worker(url: str, sampler: str, n_trials: int, seed: int) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalRedisBackend
    from optuna.study import MaxTrialsCallback

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name="start",
        storage=JournalStorage(JournalRedisBackend(url)),
        sampler=_optuna_sampler(sampler, seed),
    )
    study.optimize(
        partial(_optuna_objective, sampler), callbacks=[MaxTrialsCallback(n_trials, states=None)]
    )


def _optuna_sampler(name: str, seed: int) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    return RandomSampler(seed=seed) if name == "random" else TPESampler(seed=seed)


def _optuna_objective(sampler: str, trial: Any) -> float:
    config = {name: trial.suggest_float(name, 0.0, 1.0) for name in _DIMS}
    return evaluate(config, sampler == "TPE" and trial.number >= _TPE_STARTUP)


TOOLS: dict[str, Callable[[int, int, int], dict[str, Any]]] = {
    "rush random": partial(run_rush, "random"),
    "rush ADBO": partial(run_rush, "adbo"),
    "Optuna random, threads": partial(run_optuna_threads, "random"),
    "Optuna TPE, threads": partial(run_optuna_threads, "TPE"),
    "Optuna random, processes": partial(run_optuna_processes, "random"),
    "Optuna TPE, processes": partial(run_optuna_processes, "TPE"),
}


def main() -> None:
    """Run what the command line names."""
    tool, n_workers, n_trials, seed = sys.argv[1:]
    warnings.simplefilter("ignore")
    print(json.dumps(TOOLS[tool](int(n_workers), int(n_trials), int(seed))))


if __name__ == "__main__":
    main()
