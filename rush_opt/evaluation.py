"""One worker's trials: evaluate the objective, hand in the outcome, account for the time."""

from __future__ import annotations

import inspect
import math
import resource
import time
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Protocol

import numpy as np

from rush_opt.archive import FinishedTasks
from rush_opt.space import Space
from rush_opt.stopping import Rule, Watch

Objective = Callable[..., Any]
Phase = Literal["objective", "surrogate", "acquisition", "coordination"]
# Accounts the time inside a `with` to a phase: by the clock in a worker, CPU time in a simulation.
Timing = Callable[[Phase], AbstractContextManager[None]]

# Whoever sleeps in the server is woken by it: after this long it only looks that all is well.
_LONGEST_SLEEP_S = 60.0

# The first child of the seed belongs to the initial design, the second to the workers.
_DESIGN, _WORKERS = 0, 1


class TrialFailure(Exception):  # noqa: N818  # it is a trial's, no error of whoever catches it
    """What an objective raises whose trial failed elsewhere: the text is the trial's error."""


@dataclass(frozen=True)
class Problem:
    """What is to be optimized, and how long: all that a worker loop needs to know.

    Parameters
    ----------
    objective : callable
        ``objective(config)`` or ``objective(config, trial)``, returning a number or a mapping.
    space : Space
    metric : str
        The name of the objective value in a result.
    sign : float
        1 to minimize it, -1 to maximize it.
    n_trials : int or None
        How many trials are started in all.
    deadline : float or None
        When no further trial is started, seconds since 1970 by the server's clock.
    seed : int
        Entropy of the run.
    stop : Rule or None
        What ends the run besides.
    began : float
        When the run did, by the same clock.
    """

    objective: Objective
    space: Space
    metric: str
    sign: float
    n_trials: int | None
    deadline: float | None
    seed: int
    stop: Rule | None = None
    began: float = 0.0

    def watch(self) -> Watch | None:
        """Return what follows the finished log and tells when to stop; None if no rule does."""
        if self.stop is None:
            return None
        return Watch(self.stop, self.metric, self.sign, self.began)

    def design_rng(self) -> np.random.Generator:
        """Return the stream from which the initial design is drawn."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(_DESIGN,)))

    def worker_rng(self, number: int) -> np.random.Generator:
        """Return the stream of the worker with this number."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(_WORKERS, number))
        return np.random.default_rng(sequence)


@dataclass(frozen=True)
class Trial:
    """What an objective with two arguments is told about its trial.

    Attributes
    ----------
    key : str
        The trial's identifier, as in the result table.
    worker_id : str
    worker_number : int
        The worker's place in order of joining, from 0.
    """

    key: str
    worker_id: str
    worker_number: int


class TrialTable(FinishedTasks, Iterable[Any], Protocol):
    """Finished tasks as a worker fetches them: columns for the archive, rows for a rule."""


class TrialWorker(Protocol):
    """The part of a worker that running trials needs; `rush_core.Worker` has it."""

    worker_id: str
    number: int

    @property
    def is_lost(self) -> bool: ...  # noqa: D102
    def rejoin(self) -> bool: ...  # noqa: D102
    def now(self) -> float: ...  # noqa: D102
    def should_stop(self) -> bool: ...  # noqa: D102
    def claim_task(self, *, timeout_s: float, limit: int | None) -> Any: ...  # noqa: D102
    def start_task(self, config: dict[str, Any], *, limit: int | None) -> str | None: ...  # noqa: D102
    def fail_task(self, key: str, error: str, *, extra: dict[str, Any]) -> bool: ...  # noqa: D102
    def fetch_new_tasks(self, *, timeout_s: float = 0.0) -> TrialTable: ...  # noqa: D102
    def finish_and_fetch_new(  # noqa: D102
        self, key: str, result: dict[str, Any], *, extra: dict[str, Any]
    ) -> tuple[bool, TrialTable]: ...


class TrialRunner:
    """Runs the trials of one worker; what took how long goes with each trial's outcome.

    Parameters
    ----------
    worker : TrialWorker
    problem : Problem
    """

    def __init__(self, worker: TrialWorker, problem: Problem) -> None:
        self._worker = worker
        self._problem = problem
        self._watch = problem.watch()
        self._takes_trial = takes_trial(problem.objective)
        self._seconds: dict[Phase, float] = dict.fromkeys(
            ("objective", "surrogate", "acquisition", "coordination"), 0.0
        )
        self._cpu_s = self._cpu_seconds()

    @contextmanager
    def timing(self, phase: Phase) -> Iterator[None]:
        """Account the time spent inside to a phase."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] += time.perf_counter() - before

    def may_start(self) -> bool:
        """Tell whether the run goes on for this worker; come back if declared lost meanwhile."""
        worker = self._worker
        if worker.is_lost and not worker.rejoin():
            return False
        return not worker.should_stop() and not self._is_over()

    def claim(self) -> tuple[str, dict[str, Any]] | None:
        """Take a waiting trial: its key and configuration; None if there is none."""
        with self.timing("coordination"):
            return self._claim(0.0)

    def wait_and_claim(self) -> tuple[str, dict[str, Any]] | None:
        """Take a waiting trial, asleep in the server until there is one: that time is idle.

        Returns
        -------
        tuple of str and dict, or None
            Key and configuration; None if the time was up first, or stopping is asked for.
        """
        return self._claim(self.time_left())

    def _claim(self, timeout_s: float) -> tuple[str, dict[str, Any]] | None:
        task = self._worker.claim_task(timeout_s=timeout_s, limit=self._problem.n_trials)
        return None if task is None else (task.key, task.config)

    def time_left(self) -> float:
        """Return the seconds for which sleeping in the server makes sense."""
        deadline = self._problem.deadline
        left = _LONGEST_SLEEP_S if deadline is None else deadline - self._worker.now()
        return min(max(left, 0.0), _LONGEST_SLEEP_S)

    def start(self, config: dict[str, Any]) -> str | None:
        """Start a trial of our own; None if the budget is used up."""
        if self._is_over():  # proposing may have taken long
            return None
        with self.timing("coordination"):
            return self._worker.start_task(config, limit=self._problem.n_trials)

    def run(self, key: str, config: dict[str, Any], **notes: float) -> TrialTable:
        """Evaluate a trial and hand in what came out.

        Parameters
        ----------
        key : str
        config : dict
        **notes : float
            Kept with the trial: how it was proposed.

        Returns
        -------
        TrialTable
            Trials of all workers that finished since the last call, this one included unless it
            failed.
        """
        with self.timing("objective"):
            result, error = evaluate(self._call(key), config, self._problem.metric)
        extra = {**notes, **self.collect_times()}
        with self.timing("coordination"):
            if result is not None:
                try:
                    return self._seen(
                        self._worker.finish_and_fetch_new(key, result, extra=extra)[1]
                    )
                except (TypeError, ValueError) as unstorable:
                    error = str(unstorable)
            self._worker.fail_task(key, error, extra=extra)
            return self.fetch_new()

    def fetch_new(self, *, timeout_s: float = 0.0) -> TrialTable:
        """Fetch trials of all workers that finished since the last call of this or of `run`.

        One round trip. If there are none, the server keeps its reply back until a trial ends or
        `timeout_s` seconds are over.
        """
        return self._seen(self._worker.fetch_new_tasks(timeout_s=timeout_s))

    def _seen(self, tasks: TrialTable) -> TrialTable:
        if self._watch is not None:
            self._watch.add(tasks)
        return tasks

    def _is_over(self) -> bool:
        """Tell whether the time is up, or what was found is enough."""
        deadline = self._problem.deadline
        if deadline is not None and self._worker.now() >= deadline:
            return True
        return self._watch is not None and self._watch.is_over(self._worker.now())

    def _call(self, key: str) -> Callable[[dict[str, Any]], Any]:
        objective = self._problem.objective
        if not self._takes_trial:
            return objective
        trial = Trial(key, self._worker.worker_id, self._worker.number)
        return lambda config: objective(config, trial)

    def collect_times(self) -> dict[str, float]:
        """Return the seconds by phase since the last call; handing in belongs to the next trial."""
        times = {f"{phase}_s": seconds for phase, seconds in self._seconds.items()}
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        cpu_s = self._cpu_seconds()
        times["cpu_s"] = cpu_s - self._cpu_s
        self._cpu_s = cpu_s
        return times

    def _cpu_seconds(self) -> float:
        """Return the CPU time of this process and its children, ended or evaluating, seconds."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        elsewhere: float = getattr(self._problem.objective, "cpu_s", 0.0)
        return time.process_time() + children.ru_utime + children.ru_stime + elsewhere


def evaluate(
    objective: Callable[[dict[str, Any]], Any], config: dict[str, Any], metric: str
) -> tuple[dict[str, Any] | None, str]:
    """Call an objective and check what it returns.

    Returns
    -------
    result : dict or None
        A mapping with a finite number under `metric`; None if the trial failed.
    error : str
        Why it failed: a traceback, or what is wrong with the returned value.
    """
    try:
        returned = objective(config)
    except TrialFailure as failure:
        return None, str(failure)
    except (Exception, SystemExit, CancelledError) as error:
        # The first frame is this function's.
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        return None, "".join(traceback.format_exception(type(error), error, trace)).rstrip()
    result = dict(returned) if isinstance(returned, Mapping) else {metric: returned}
    if metric not in result:
        return None, (
            f"the objective's result has no {metric!r}; it has {sorted(map(str, result))}. Return "
            "that name, or tell tune() which one to optimize: metric=..."
        )
    value = result[metric]
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | np.ndarray):
        return None, (
            f"the objective returned {_shown(value)} ({type(value).__name__}) as {metric!r}; it "
            "must return a number, or a mapping with one"
        )
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        return (
            None,
            f"the objective returned {_shown(value)} as {metric!r}, which is no number ({error})",
        )
    if not math.isfinite(number):
        return None, (
            f"the objective returned {number} as {metric!r}; a trial needs a finite value to count "
            "as finished"
        )
    result[metric] = number
    return result, ""


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except Exception:  # the user's own __repr__ must not end the worker
        return object.__repr__(value)


def takes_trial(objective: Objective) -> bool:
    """Tell whether an objective is to be called with the trial as well."""
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):  # some built-in callables do not tell
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [p for p in parameters if p.kind in kinds]
    required = [p for p in positional if p.default is p.empty]
    return len(required) >= 2 or any(p.name == "trial" for p in positional)
