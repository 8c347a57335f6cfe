"""One worker's trials: evaluate the objective, hand in the outcome, account for the time."""

from __future__ import annotations

import inspect
import math
import resource
import time
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from rush_core import TaskTable
from rush_opt.evaluation.trial import Trial, is_objective_value
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import FinishedTasks
from rush_opt.space import Space
from rush_opt.stopping.curves import Curves, TaskReport
from rush_opt.stopping.incumbent import STOPPED_AT
from rush_opt.stopping.rules import Rule
from rush_opt.stopping.trial_rules import Pruner
from rush_opt.stopping.watch import Watch

T = TypeVar("T")

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
    metrics : tuple of str
        The names of the objective values in a result, usually one.
    signs : tuple of float
        For each of them 1 to minimize it, -1 to maximize it.
    n_trials : int or None
        How many trials are started in all.
    deadline : float or None
        When no further trial is started, seconds since 1970 by the server's clock.
    seed : int
        Entropy of the run.
    pruner : Pruner or None
        Stops trials early.
    stop : Rule or None
        What ends the run besides.
    began : float
        When the run did, by the same clock.
    """

    objective: Objective
    space: Space
    metrics: tuple[str, ...]
    signs: tuple[float, ...]
    n_trials: int | None
    deadline: float | None
    seed: int
    pruner: Pruner | None = None
    stop: Rule | None = None
    began: float = 0.0

    def watch(self) -> Watch | None:
        """Return what follows the finished log and tells when to stop; None if no rule does."""
        if self.stop is None:
            return None
        goal = Goal(self.metrics[0], "minimize" if self.signs[0] > 0 else "maximize")
        return Watch(self.stop, goal, self.began)

    def design_rng(self) -> np.random.Generator:
        """Return the stream from which the initial design is drawn."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(_DESIGN,)))

    def worker_rng(self, number: int) -> np.random.Generator:
        """Return the stream of the worker with this number."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(_WORKERS, number))
        return np.random.default_rng(sequence)


class TrialTable(FinishedTasks, Iterable[Any], Protocol):
    """Finished tasks as a worker fetches them: columns for the archive, rows for a rule."""


class EndedTrials(Protocol):
    """Tasks that ended, either way. `rush_core.EndedTasks` has both tables."""

    @property
    def finished(self) -> TaskTable: ...  # noqa: D102
    @property
    def failed(self) -> TrialTable: ...  # noqa: D102


class TrialWorker(Protocol):
    """The part of a worker that running trials needs; `rush_core.Worker` has it."""

    worker_id: str
    number: int

    @property
    def is_lost(self) -> bool: ...  # noqa: D102
    def rejoin(self) -> bool: ...  # noqa: D102
    def now(self) -> float: ...  # noqa: D102
    def should_stop(self) -> bool: ...  # noqa: D102
    def claim_task(  # noqa: D102
        self, *, timeout_s: float, limit: int | None, deadline: float | None
    ) -> Any: ...
    def start_task(  # noqa: D102
        self,
        config: dict[str, Any],
        *,
        limit: int | None,
        deadline: float | None,
        unique: bytes | None,
    ) -> str | None: ...
    def report_task(self, key: str, values: dict[str, Any]) -> bool: ...  # noqa: D102
    def report_and_fetch_new(  # noqa: D102
        self, key: str, values: dict[str, Any]
    ) -> tuple[bool, Sequence[TaskReport]]: ...
    def finish_task(  # noqa: D102
        self, key: str, result: dict[str, Any], *, extra: dict[str, Any]
    ) -> bool: ...
    def fail_task(self, key: str, error: str, *, extra: dict[str, Any]) -> bool: ...  # noqa: D102
    def fetch_new_ended_tasks(self, *, timeout_s: float) -> EndedTrials: ...  # noqa: D102
    def finish_and_fetch_ended(  # noqa: D102
        self, key: str, result: dict[str, Any], *, extra: dict[str, Any]
    ) -> tuple[bool, EndedTrials]: ...
    def fail_and_fetch_ended(  # noqa: D102
        self, key: str, error: str, *, extra: dict[str, Any]
    ) -> tuple[bool, EndedTrials]: ...


class TrialRunner:
    """Runs the trials of one worker; what took how long goes with each trial's outcome.

    Parameters
    ----------
    worker : TrialWorker
    problem : Problem

    Attributes
    ----------
    curves : Curves
        What the trials of all workers reported, if a rule stops trials: as of this one's latest
        report.
    """

    def __init__(self, worker: TrialWorker, problem: Problem) -> None:
        self._worker = worker
        self._problem = problem
        self._watch = problem.watch()
        self._takes_trial = takes_trial(problem.objective)
        self.curves = Curves(problem.signs[0])
        self._seconds: dict[Phase, float] = dict.fromkeys(
            ("objective", "surrogate", "acquisition", "coordination"), 0.0
        )
        self._inner_s = 0.0
        self._cpu_s = self._cpu_seconds()

    @contextmanager
    def timing(self, phase: Phase) -> Iterator[None]:
        """Account the time spent inside to a phase; what another phase in it takes is its own."""
        before, outer_s = time.perf_counter(), self._inner_s
        self._inner_s = 0.0
        try:
            yield
        finally:
            spent = time.perf_counter() - before
            self._seconds[phase] += spent - self._inner_s
            self._inner_s = outer_s + spent

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
        limit, deadline = self._problem.n_trials, self._problem.deadline
        task = self._worker.claim_task(timeout_s=timeout_s, limit=limit, deadline=deadline)
        return None if task is None else (task.key, task.config)

    def time_left(self) -> float:
        """Return the seconds for which sleeping in the server makes sense."""
        deadline = self._problem.deadline
        left = _LONGEST_SLEEP_S if deadline is None else deadline - self._worker.now()
        return min(max(left, 0.0), _LONGEST_SLEEP_S)

    def start(self, config: dict[str, Any], unique: bytes | None = None) -> str | None:
        """Start a trial of our own; None if the budget or the time is used up.

        Raises
        ------
        LikeTaskError
            If another worker has started a trial with the same bytes `unique`.
        """
        if self._is_over():  # proposing may have taken long
            return None
        with self.timing("coordination"):
            limit, deadline = self._problem.n_trials, self._problem.deadline
            return self._worker.start_task(config, limit=limit, deadline=deadline, unique=unique)

    def run(self, key: str, config: dict[str, Any], **notes: float) -> None:
        """Evaluate a trial and hand in what came out; one round trip.

        What others found is not looked at, unless a rule may end the run for it.

        Parameters
        ----------
        key : str
        config : dict
        **notes : float
            Kept with the trial: how it was proposed.
        """
        if self._watch is not None:
            self.run_and_fetch_new(key, config, **notes)
        else:
            self._run(key, config, notes, self._worker.finish_task, self._worker.fail_task)

    def run_and_fetch_new(self, key: str, config: dict[str, Any], **notes: float) -> EndedTrials:
        """Evaluate a trial, hand in what came out and fetch what is new; one round trip for both.

        Parameters
        ----------
        key, config, **notes
            As in `run`.

        Returns
        -------
        EndedTrials
            Trials of all workers, this one included, as `fetch_new` returns them.
        """
        finish, fail = self._worker.finish_and_fetch_ended, self._worker.fail_and_fetch_ended
        _, ended = self._run(key, config, notes, finish, fail)
        return self._seen(ended)

    def _run(
        self,
        key: str,
        config: dict[str, Any],
        notes: dict[str, float],
        finish: Callable[..., T],
        fail: Callable[..., T],
    ) -> T:
        """Evaluate a trial, and hand in what came out by one of two ways."""
        worker = self._worker
        trial = Trial(key, worker.worker_id, worker.number, partial(self._report, key))
        with self.timing("objective"):
            result, error = evaluate(self._call(trial), config, self._problem.metrics)
        extra = {**notes, **self.collect_times()}
        if trial.stopped_at is not None:
            extra[STOPPED_AT] = trial.stopped_at
        with self.timing("coordination"):
            if result is not None:
                try:
                    return finish(key, result, extra=extra)
                except (TypeError, ValueError) as unstorable:
                    error = str(unstorable)
            return fail(key, error, extra=extra)

    def fetch_new(self, *, timeout_s: float = 0.0) -> EndedTrials:
        """Fetch trials of all workers that ended since something new was last fetched.

        One round trip. If there are none, the server keeps its reply back until a trial ends or
        `timeout_s` seconds are over.
        """
        return self._seen(self._worker.fetch_new_ended_tasks(timeout_s=timeout_s))

    def _seen(self, ended: EndedTrials) -> EndedTrials:
        if self._watch is not None:
            with self.timing("coordination"):
                self._watch.add(ended.finished)
        return ended

    def _is_over(self) -> bool:
        """Tell whether the time is up, or what was found is enough."""
        deadline = self._problem.deadline
        if deadline is not None and self._worker.now() >= deadline:
            return True
        if self._watch is None:
            return False
        self._watch.advance(self._worker.now())
        return self._watch.is_over

    def _call(self, trial: Trial) -> Callable[[dict[str, Any]], Any]:
        objective = self._problem.objective
        if not self._takes_trial:
            return objective
        # Reports are of the one objective: with several, nothing stops trials early.
        metric = self._problem.metrics[0]

        def call(config: dict[str, Any]) -> Any:
            returned = objective(config, trial)
            if trial.stopped_at is not None and not math.isfinite(trial.last_value):
                raise TrialFailure(
                    "the trial was stopped early and counts with its last report, which was "
                    f"{trial.last_value}; a trial needs a finite value to count as finished"
                )
            return trial.outcome(returned, metric)

        return call

    def _report(self, key: str, value: float, step: float) -> bool:
        """Hand in a report; tell whether the trial is to stop."""
        said, pruner = {"step": step, "value": value}, self._problem.pruner
        with self.timing("coordination"):
            if pruner is None:
                return not self._worker.report_task(key, said)
            won, new = self._worker.report_and_fetch_new(key, said)
            self.curves.add(new)
            return not won or pruner.should_stop(self.curves[key], self.curves.others(key))

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
    objective: Callable[[dict[str, Any]], Any], config: dict[str, Any], metrics: Sequence[str]
) -> tuple[dict[str, Any] | None, str]:
    """Call an objective and check what it returns.

    Returns
    -------
    result : dict or None
        A mapping with a finite number under each of `metrics`; None if the trial failed.
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
    result = name_values(returned, metrics)
    if result is None:
        return None, (
            f"the objective returned {_shown(returned)} ({type(returned).__name__}); it must "
            f"return a mapping with the names {list(metrics)}, or as many numbers in that order"
        )
    for metric in metrics:
        if metric not in result:
            return None, (
                f"the objective's result has no {metric!r}; it has {sorted(map(str, result))}. "
                "Return that name, or tell tune() which one to optimize: metric=..."
            )
        number = _finite(result[metric], metric)
        if isinstance(number, str):
            return None, number
        result[metric] = number
    return result, ""


def name_values(returned: Any, metrics: Sequence[str]) -> dict[str, Any] | None:
    """Return what an objective returned as a mapping; None if it is none and fits no names.

    A single objective may return the bare value, several a sequence of their values in order.
    """
    if isinstance(returned, Mapping):
        return dict(returned)
    if len(metrics) == 1:
        return {metrics[0]: returned}
    values = returned.tolist() if isinstance(returned, np.ndarray) else returned
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        return None
    return dict(zip(metrics, values, strict=True)) if len(values) == len(metrics) else None


def _finite(value: Any, metric: str) -> float | str:
    """Return a value as a finite number, or say why it is none."""
    if not is_objective_value(value):
        return (
            f"the objective returned {_shown(value)} ({type(value).__name__}) as {metric!r}; it "
            "must return a number, or a mapping with one"
        )
    try:
        number = float(value)
    except Exception as error:  # each library has its own
        return f"the objective returned {_shown(value)} as {metric!r}, which is no number ({error})"
    if not math.isfinite(number):
        return (
            f"the objective returned {number} as {metric!r}; a trial needs a finite value to count "
            "as finished"
        )
    return number


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
