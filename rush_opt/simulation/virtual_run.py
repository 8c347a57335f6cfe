"""A run in virtual time: trials that start and end, and the archive of ended ones.

A run is a heap of events. Events at the same time happen in the order of their scheduling.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from rush_core import EndedTasks, Task, TaskTable
from rush_opt.arguments.warm_start import Known
from rush_opt.evaluation.objective import evaluate, takes_trial
from rush_opt.evaluation.plan import RunPlan
from rush_opt.evaluation.trial import Trial
from rush_opt.results.trials import WARM_START, FrozenTrial, only_value
from rush_opt.running.end_of_run import is_hopeless, raise_all_failed
from rush_opt.search.archive import Archive

__all__ = ["Proposed", "VirtualRun"]

Event = Callable[[float], object]


@dataclass(frozen=True)
class Proposed:
    """A configuration to evaluate, and how it was proposed."""

    key: str
    config: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)


class VirtualRun:
    """Trials that start and end in virtual time, and the archive of ended ones.

    Parameters
    ----------
    plan : RunPlan
        Its timeout is in virtual seconds from 0.
    duration : callable
        ``duration(config, number)``, virtual seconds.
    known : sequence of pairs of dict
        Configurations and results that are known at time 0.

    Attributes
    ----------
    trials : list of FrozenTrial
        The ended ones, in order of completion.
    n_started, n_running : int
    """

    def __init__(
        self,
        plan: RunPlan,
        duration: Callable[[dict[str, Any], int], float],
        known: Sequence[Known],
    ) -> None:
        problem = plan.problem
        self.plan = plan
        self.n_started = self.n_running = 0
        self._duration = duration
        self._takes_trial = takes_trial(plan.objective)
        self._events: list[tuple[float, int, Event]] = []
        self._order = count()
        self._now = 0.0
        self._n_failed = self._n_finished = 0
        self._archive = Archive(problem.space, problem.goals)
        self._new_finished: list[Task] = []
        self._new_failed: list[Task] = []
        configs, results = [config for config, _ in known], [result for _, result in known]
        self._archive.add(TaskTable.from_results(configs, results))
        self._watch = plan.watch()
        if self._watch is not None:
            for result in results:
                self._watch.add_known_value(result[problem.goals[0].name])
        self.trials = [self._known_trial(i, *pair) for i, pair in enumerate(known)]

    def learn(self) -> Archive:
        """Add the trials that ended since the last call to the archive, and return the archive.

        All workers share it. Adding many trials at once is cheaper than adding them one by one.
        """
        if self._new_finished or self._new_failed:
            ended = EndedTasks(TaskTable(self._new_finished), TaskTable(self._new_failed))
            self._archive.add_ended(ended)
            self._new_finished, self._new_failed = [], []
        return self._archive

    @property
    def n_left(self) -> float:
        """Number of trials that may still start; infinity without a budget."""
        n_trials = self.plan.n_trials
        return math.inf if n_trials is None else n_trials - self.n_started

    def may_start(self, now: float) -> bool:
        """Return whether a trial may start now."""
        deadline = self.plan.deadline
        if self._watch is not None:
            self._watch.advance(now)
            if self._watch.is_over:
                return False
        return self.n_left > 0 and (deadline is None or now < deadline)

    def at(self, when: float, event: Event) -> None:
        """Schedule an event: ``event(when)`` is called after all earlier events."""
        heapq.heappush(self._events, (when, next(self._order), event))

    def play(self) -> None:
        """Process all events in the order of their times.

        Raises
        ------
        AllTrialsFailedError
            If no trial finishes.
        """
        while self._events:
            self._now, _, event = heapq.heappop(self._events)
            event(self._now)
        if not self._n_finished and self._n_failed:
            raise_all_failed(self.trials, ended=True)

    def start(
        self, worker: int, now: float, proposed: Proposed, then: Callable[[int, float], None]
    ) -> None:
        """Start a trial; when it ends, ``then(worker, time)`` is called."""
        number, metrics = self.n_started, self.plan.problem.metrics
        self.n_started += 1
        self.n_running += 1
        config = proposed.config
        result, error = evaluate(self._call(proposed.key, worker), dict(config), metrics)
        try:
            (task,) = TaskTable.from_results([config], [result or {}])
        except (TypeError, ValueError) as unstorable:
            result, error = None, str(unstorable)
            (task,) = TaskTable.from_results([config], [{}])

        def end(ended_at: float) -> None:
            self.n_running -= 1
            trial = FrozenTrial(
                number=len(self.trials),
                key=proposed.key,
                state="failed" if result is None else "finished",
                params=config,
                value=only_value(result or {}, metrics),
                result=result or {},
                error=error or None,
                worker=worker,
                started_at=now,
                ended_at=ended_at,
                notes={"objective_s": ended_at - now, **proposed.notes},
            )
            self.trials.append(trial)
            (self._new_failed if result is None else self._new_finished).append(task)
            self._count(trial)
            then(worker, ended_at)

        self.at(now + self._duration(dict(config), number), end)

    def _count(self, trial: FrozenTrial) -> None:
        if trial.state == "finished":
            self._n_finished += 1
            if self._watch is not None:
                goal = self.plan.problem.goals[0]
                self._watch.add_trial(trial.result[goal.name], trial.ended_at)
            return
        self._n_failed += 1
        n_workers = self.plan.n_workers
        if not self._n_finished and is_hopeless(self._n_failed, n_workers, ended=False):
            raise_all_failed(self.trials, ended=False)

    def _call(self, key: str, worker: int) -> Callable[[dict[str, Any]], Any]:
        """Return the objective as a function of the configuration alone."""
        objective = self.plan.objective
        if not self._takes_trial:
            return objective
        trial = Trial(key, f"virtual-{worker}", worker, lambda value, step: False)
        return lambda config: objective(config, trial)

    def _known_trial(
        self, number: int, config: dict[str, Any], result: dict[str, Any]
    ) -> FrozenTrial:
        return FrozenTrial(
            number=number,
            key=f"known-{number}",
            state="finished",
            params=config,
            value=only_value(result, self.plan.problem.metrics),
            result=result,
            error=None,
            worker=None,
            started_at=0.0,
            ended_at=0.0,
            notes=dict(WARM_START),
        )

    @property
    def stop_reason(self) -> str:
        """Why the run ended."""
        if self._watch is not None and self._watch.reason is not None:
            return self._watch.reason
        if self.n_left <= 0:
            return "n_trials"
        deadline = self.plan.deadline
        return "exhausted" if deadline is None or self._now < deadline else "timeout"

    @property
    def ended_at(self) -> float:
        """When the last worker ended; a worker without work waits for the timeout."""
        deadline = self.plan.deadline
        waits = self.stop_reason == "timeout" and deadline is not None
        return max(self._now, deadline) if waits and deadline is not None else self._now
