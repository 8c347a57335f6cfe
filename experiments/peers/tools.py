"""The packages by name: each runs a number of trials in its own way.

The objective says of itself that it ran: every evaluation appends a record to a file, so trials are
counted and timed alike whoever ran them. There are two local workers, or one where it is said that
a package is serial.
"""

from __future__ import annotations

import logging
import os
import struct
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.peers.spaces import suggest, to_configspace, to_hyperopt
from experiments.spaces import LIGHTGBM
from rush_core import serve
from rush_opt import Space, tune

N_WORKERS = 2
SPACE = Space(LIGHTGBM)

# Where the objective appends its records, and how long it sleeps, in the workers' environment.
RECORDS, SLEEP = "PEERS_RECORDS", "PEERS_SLEEP_S"
# When an evaluation ended (seconds since 1970), in which process, and its peak memory in KiB.
_RECORD = struct.Struct("dqq")


@dataclass(frozen=True)
class Task:
    """How many trials are asked for, and after how long to stop asking.

    Parameters
    ----------
    n_trials : int
    cap_s : float
        Handed to the package as its own time limit.
    seed : int
    """

    n_trials: int
    cap_s: float
    seed: int


@dataclass(frozen=True)
class Records:
    """What the evaluations said of themselves, in order of time.

    Parameters
    ----------
    ended_at : ndarray of float, shape (n,)
    pid, peak_kib : ndarray of int, shape (n,)
    """

    ended_at: npt.NDArray[np.float64]
    pid: npt.NDArray[np.int64]
    peak_kib: npt.NDArray[np.int64]


def evaluate(config: Mapping[str, Any]) -> float:
    """Evaluate nothing worth naming, sleep if told to, and append a record."""
    value = float(config["learning_rate"]) + 0.01 * float(config["num_leaves"])
    if sleep_s := float(os.environ[SLEEP]):
        time.sleep(sleep_s)
    pid, now = os.getpid(), time.time()
    file = os.open(os.environ[RECORDS], os.O_WRONLY | os.O_APPEND)
    os.write(file, _RECORD.pack(now, pid, _peak_kib(pid, int(10 * now))))
    os.close(file)
    return value


@lru_cache(maxsize=1)
def _peak_kib(pid: int, tenth_s: int) -> int:
    """Read a process's peak memory, once in a tenth of a second.

    Reading takes 20 us, appending a record 4. `ru_maxrss` would not do: it keeps the peak of
    whoever started the interpreter.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def read_records(path: Path) -> Records:
    """Read all records of a file."""
    found = np.array(list(_RECORD.iter_unpack(path.read_bytes()))).reshape(-1, 3)
    found = found[np.argsort(found[:, 0])]
    pid, peak_kib = found[:, 1].astype(np.int64), found[:, 2].astype(np.int64)
    return Records(found[:, 0], pid, peak_kib)


def _rush(task: Task, optimizer: str) -> None:
    tune(
        evaluate,
        SPACE,
        n_workers=N_WORKERS,
        n_trials=task.n_trials,
        timeout=task.cap_s,
        optimizer=optimizer,
        seed=task.seed,
        progress=False,
    )


def _optuna_sampler(name: str, seed: int) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    return RandomSampler(seed=seed) if name == "random" else TPESampler(seed=seed)


def _optuna_memory(task: Task, sampler: str, n_threads: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=_optuna_sampler(sampler, task.seed))
    study.optimize(
        lambda trial: evaluate(suggest(trial, SPACE)),
        n_trials=task.n_trials,
        timeout=task.cap_s,
        n_jobs=n_threads,
    )


def _optuna_redis(task: Task, sampler: str) -> None:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalRedisBackend
    from optuna.study import create_study

    with serve() as server:
        create_study(study_name="speed", storage=JournalStorage(JournalRedisBackend(server.url)))
        processes = [
            get_context("spawn").Process(
                target=_optuna_worker, args=(server.url, task, sampler, number)
            )
            for number in range(N_WORKERS)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()


def _optuna_worker(url: str, task: Task, sampler: str, number: int) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalRedisBackend
    from optuna.study import MaxTrialsCallback

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name="speed",
        storage=JournalStorage(JournalRedisBackend(url)),
        sampler=_optuna_sampler(sampler, task.seed + number),
    )
    study.optimize(
        lambda trial: evaluate(suggest(trial, SPACE)),
        timeout=task.cap_s,
        callbacks=[MaxTrialsCallback(task.n_trials)],
    )


def _deephyper_objective(job: Any) -> float:
    return -evaluate(job.parameters)


def _deephyper(task: Task, search: str) -> None:
    from deephyper.evaluator import Evaluator
    from deephyper.hpo import CBO, HpProblem, RandomSearch

    problem = HpProblem()
    problem.add_hyperparameters(list(to_configspace(SPACE, task.seed).values()))
    evaluator = Evaluator.create(
        _deephyper_objective, method="process", method_kwargs={"num_workers": N_WORKERS}
    )
    with tempfile.TemporaryDirectory() as folder:
        common = {"random_state": task.seed, "log_dir": folder}
        if search == "random":
            chosen = RandomSearch(problem, **common)
        else:
            fast = {"surrogate_model": "RF", "acq_optimizer": "sampling"}
            chosen = CBO(problem, **common, **fast)
        chosen.search(evaluator, max_evals=task.n_trials, timeout=int(task.cap_s))


def _smac_objective(config: Any, seed: int = 0) -> float:
    return evaluate(dict(config))


def _smac(task: Task, facade: str) -> None:
    import smac
    from distributed import Client

    # With a client of its own SMAC3 leaves the workers running, and the interpreter does not end.
    with (
        tempfile.TemporaryDirectory() as folder,
        Client(n_workers=N_WORKERS, threads_per_worker=1, local_directory=folder) as client,
    ):
        scenario = smac.Scenario(
            to_configspace(SPACE, task.seed),
            deterministic=True,
            n_trials=task.n_trials,
            walltime_limit=task.cap_s,
            n_workers=N_WORKERS,
            seed=task.seed,
            output_directory=folder,
        )
        kind = smac.RandomFacade if facade == "random" else smac.HyperparameterOptimizationFacade
        kind(
            scenario,
            _smac_objective,
            overwrite=True,
            logging_level=logging.ERROR,
            dask_client=client,
        ).optimize()


def _hyperopt(task: Task, algorithm: str) -> None:
    from hyperopt import fmin, rand, tpe

    fmin(
        evaluate,
        to_hyperopt(SPACE),
        algo=(rand if algorithm == "random" else tpe).suggest,
        max_evals=task.n_trials,
        timeout=task.cap_s,
        rstate=np.random.default_rng(task.seed),
        show_progressbar=False,
        verbose=False,
    )


@dataclass(frozen=True)
class Tool:
    """A package with a way to share results and a sampler.

    Parameters
    ----------
    sampler : str
        ``"random"`` or what models.
    sharing : str
        How its workers know of each other.
    run : callable
        ``run(task)`` returns when the package has stopped.
    """

    sampler: str
    sharing: str
    run: Callable[[Task], None]


TOOLS: dict[str, Tool] = {
    "rush random": Tool("random", "processes, Redis", lambda task: _rush(task, "random")),
    "rush ADBO": Tool("ADBO", "processes, Redis", lambda task: _rush(task, "adbo")),
    "Optuna random, Redis": Tool(
        "random", "processes, Redis journal", lambda task: _optuna_redis(task, "random")
    ),
    "Optuna TPE, Redis": Tool(
        "TPE", "processes, Redis journal", lambda task: _optuna_redis(task, "TPE")
    ),
    "Optuna random, threads": Tool(
        "random", "threads, memory", lambda task: _optuna_memory(task, "random", N_WORKERS)
    ),
    "Optuna TPE, threads": Tool(
        "TPE", "threads, memory", lambda task: _optuna_memory(task, "TPE", N_WORKERS)
    ),
    "Optuna random, serial, memory": Tool(
        "random", "serial, memory", lambda task: _optuna_memory(task, "random", 1)
    ),
    "Optuna TPE, serial, memory": Tool(
        "TPE", "serial, memory", lambda task: _optuna_memory(task, "TPE", 1)
    ),
    "DeepHyper random": Tool(
        "random", "process evaluator", lambda task: _deephyper(task, "random")
    ),
    "DeepHyper CBO": Tool("CBO", "process evaluator", lambda task: _deephyper(task, "CBO")),
    "SMAC3 random": Tool("random", "Dask", lambda task: _smac(task, "random")),
    "SMAC3": Tool("forest", "Dask", lambda task: _smac(task, "HPO")),
    "Hyperopt random": Tool("random", "serial", lambda task: _hyperopt(task, "random")),
    "Hyperopt TPE": Tool("TPE", "serial", lambda task: _hyperopt(task, "TPE")),
}
