"""Virtual time: what happens when to workers that are only records, and who decides.

A run is a heap of events. Actions at one time happen in the order in which they were scheduled.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from rush_core import EndedTasks, Task, TaskTable
from rush_opt.arguments.warm_start import Known
from rush_opt.evaluation.runner import Phase, Problem, evaluate, takes_trial
from rush_opt.evaluation.trial import Trial
from rush_opt.optimizers import Centralized, Decentralized
from rush_opt.optimizers.central import Pending, mark_of, proposer_notes
from rush_opt.results.trials import WARM_START, FrozenTrial, only_value
from rush_opt.running.end_of_run import is_hopeless, raise_all_failed
from rush_opt.search.archive import Archive
from rush_opt.search.design import random_design

__all__ = ["Charges", "VirtualRun", "play_centralized", "play_decentralized", "play_list"]

# How many rows are taken in at once to measure what one costs, and how often.
_ROWS_MEASURED = 256
_REPEATS = 7

Action = Callable[[float], object]


@dataclass(frozen=True)
class Proposed:
    """A configuration that waits to be evaluated, and how it came about."""

    key: str
    config: dict[str, Any]
    notes: dict[str, Any]


class Charges:
    """What deciding costs, virtual seconds.

    Parameters
    ----------
    problem : Problem
    cost : callable or None
        What a proposal costs by the number of known trials; None to measure it.
    """

    def __init__(self, problem: Problem, cost: Callable[[int], tuple[float, float]] | None) -> None:
        self._cost = cost
        self._measured: dict[Phase, float] = {}
        self._call_s, self._row_s = (0.0, 0.0) if cost else _cost_of_taking_in(problem)
        self._is_measured = cost is None
        self._problem = problem

    @contextmanager
    def timing(self, phase: Phase) -> Iterator[None]:
        """Measure the CPU seconds of this thread inside."""
        before = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - before
            self._measured[phase] = self._measured.get(phase, 0.0) + spent

    def practise(self, propose: Callable[[Archive], object]) -> None:
        """Make a first proposal that nobody is charged for: it loads what is loaded only once."""
        if self._is_measured:
            archive = Archive(self._problem.space, *self._problem.metrics)
            archive.add(_random_rows(self._problem))
            propose(archive)
            self._measured = {}

    def of_proposal(self, notes: dict[str, float], n_seen: int) -> dict[str, float]:
        """Return the seconds by phase of the proposal that was just made.

        Parameters
        ----------
        notes : dict
            How it came about, with the number of trials known if it looked at any.
        n_seen : int
            How many of those whoever made it had taken in before.
        """
        measured, self._measured = self._measured, {}
        n_known = int(notes.get("n_known", 0))
        surrogate_s = measured.get("surrogate", 0.0)
        acquisition_s = measured.get("acquisition", 0.0)
        if self._cost is not None:
            surrogate_s, acquisition_s = self._cost(n_known)
        n_new = n_known - n_seen
        return {
            "surrogate_s": surrogate_s,
            "acquisition_s": acquisition_s,
            "coordination_s": self._call_s + self._row_s * n_new if n_new > 0 else 0.0,
        }


def _cost_of_taking_in(problem: Problem) -> tuple[float, float]:
    """Measure the CPU seconds of adding to an archive: for a call, and for each row."""
    rows = _random_rows(problem)
    few: list[float] = []
    many: list[float] = []
    for _ in range(_REPEATS):
        archive = Archive(problem.space, *problem.metrics)
        for table, into in ((rows[:1], few), (rows, many)):
            before = time.thread_time()
            archive.add(table)
            into.append(time.thread_time() - before)
    one_s, all_s = float(np.median(few)), float(np.median(many))
    row_s = max(all_s - one_s, 0.0) / (_ROWS_MEASURED - 1)
    return max(one_s - row_s, 0.0), row_s


def _random_rows(problem: Problem) -> TaskTable:
    rng = np.random.default_rng(problem.seed)
    configs = problem.space.decode(random_design(problem.space, _ROWS_MEASURED, rng))
    values = rng.random((len(configs), len(problem.metrics))).tolist()
    return TaskTable.from_results(
        configs, [dict(zip(problem.metrics, row, strict=True)) for row in values]
    )


class VirtualRun:
    """Trials that start and end in virtual time, and what is known of them.

    Parameters
    ----------
    problem : Problem
        Its deadline is in virtual seconds from 0.
    n_workers : int
    duration : callable
        ``duration(config, number)``, virtual seconds.
    known : sequence of pairs of dict
        Configurations and results that are known at time 0.

    Attributes
    ----------
    trials : list of FrozenTrial
        Those that ended, in this order.
    n_started, n_running : int
    """

    def __init__(
        self,
        problem: Problem,
        n_workers: int,
        duration: Callable[[dict[str, Any], int], float],
        known: Sequence[Known],
    ) -> None:
        self.problem = problem
        self.n_workers = n_workers
        self.n_started = self.n_running = 0
        self._duration = duration
        self._takes_trial = takes_trial(problem.objective)
        self._events: list[tuple[float, int, Action]] = []
        self._order = count()
        self._now = 0.0
        self._n_failed = self._n_finished = 0
        self._archive = Archive(problem.space, *problem.metrics, signs=problem.signs)
        self._finished: list[Task] = []
        self._failed: list[Task] = []
        configs, results = [config for config, _ in known], [result for _, result in known]
        metrics = problem.metrics
        self._archive.add(TaskTable.from_results(configs, results))
        self._watch = problem.watch()
        if self._watch is not None:
            for _, result in known:
                self._watch.add_known_value(result[metrics[0]])
        self.trials = [
            FrozenTrial(
                *(i, f"known-{i}", "finished", config, only_value(result, metrics), result),
                *(None, None),
                started_at=0.0,
                ended_at=0.0,
                notes=dict(WARM_START),
            )
            for i, (config, result) in enumerate(known)
        ]

    @property
    def archive(self) -> Archive:
        """What is known by now; all workers see the same."""
        if self._finished or self._failed:
            ended = EndedTasks(TaskTable(self._finished), TaskTable(self._failed))
            self._archive.add_ended(ended)
            self._finished, self._failed = [], []
        return self._archive

    @property
    def left(self) -> float:
        """How many trials may still be started, the time aside."""
        n_trials = self.problem.n_trials
        return math.inf if n_trials is None else n_trials - self.n_started

    def may_start(self, now: float) -> bool:
        """Tell whether a trial may be started."""
        deadline = self.problem.deadline
        if self._watch is not None:
            self._watch.advance(now)
            if self._watch.is_over:
                return False
        return self.left > 0 and (deadline is None or now < deadline)

    def at(self, when: float, action: Action) -> None:
        """Let something happen: ``action(when)`` is called when everything before has happened."""
        heapq.heappush(self._events, (when, next(self._order), action))

    def play(self) -> None:
        """Let everything happen; raise if no trial finishes."""
        while self._events:
            self._now, _, action = heapq.heappop(self._events)
            action(self._now)
        if not self._n_finished and self._n_failed:
            raise_all_failed(self.trials, ended=True)

    def start(
        self, worker: int, now: float, proposed: Proposed, then: Callable[[int, float], None]
    ) -> None:
        """Start a trial; when it ends, ``then(worker, time)`` is called."""
        number, problem = self.n_started, self.problem
        self.n_started += 1
        self.n_running += 1
        config = proposed.config
        result, error = evaluate(self._call(proposed.key, worker), dict(config), problem.metrics)
        try:
            (task,) = TaskTable.from_results([config], [result or {}])
        except (TypeError, ValueError) as unstorable:
            result, error = None, str(unstorable)
            (task,) = TaskTable.from_results([config], [{}])
        ends_at = now + self._duration(dict(config), number)

        def end(now: float) -> None:
            self.n_running -= 1
            trial = FrozenTrial(
                number=len(self.trials),
                key=proposed.key,
                state="failed" if result is None else "finished",
                params=config,
                value=only_value(result or {}, problem.metrics),
                result=result or {},
                error=error or None,
                worker=worker,
                started_at=started_at,
                ended_at=now,
                notes={"objective_s": now - started_at, **proposed.notes},
            )
            self.trials.append(trial)
            (self._failed if result is None else self._finished).append(task)
            self._count(trial)
            then(worker, now)

        started_at = now
        self.at(ends_at, end)

    def _count(self, trial: FrozenTrial) -> None:
        if trial.state == "finished":
            self._n_finished += 1
            if self._watch is not None:
                self._watch.add_trial(trial.result[self.problem.metrics[0]], trial.ended_at)
            return
        self._n_failed += 1
        if not self._n_finished and is_hopeless(self._n_failed, self.n_workers, ended=False):
            raise_all_failed(self.trials, ended=False)

    def _call(self, key: str, worker: int) -> Callable[[dict[str, Any]], Any]:
        objective = self.problem.objective
        if not self._takes_trial:
            return objective
        trial = Trial(key, f"virtual-{worker}", worker, lambda value, step: False)
        return lambda config: objective(config, trial)

    @property
    def stop_reason(self) -> str:
        """Why the run ended."""
        if self._watch is not None and self._watch.reason is not None:
            return self._watch.reason
        if self.left <= 0:
            return "n_trials"
        deadline = self.problem.deadline
        return "exhausted" if deadline is None or self._now < deadline else "timeout"

    @property
    def ended_at(self) -> float:
        """When the last one had nothing more to do; who waits for work waits for the timeout."""
        deadline = self.problem.deadline
        waits = self.stop_reason == "timeout" and deadline is not None
        return max(self._now, deadline) if waits and deadline is not None else self._now


def play_list(run: VirtualRun, points: Sequence[dict[str, Any]]) -> None:
    """Let every worker take from a list until nothing is left."""
    queue = deque(Proposed(str(key), config, {}) for key, config in enumerate(points))

    def be_free(worker: int, now: float) -> None:
        if queue and run.may_start(now):
            run.start(worker, now, queue.popleft(), be_free)

    for worker in range(run.n_workers):
        run.at(0.0, lambda now, worker=worker: be_free(worker, now))  # type: ignore[misc]
    run.play()


def play_decentralized(
    run: VirtualRun, optimizer: Decentralized, points: Sequence[dict[str, Any]], charges: Charges
) -> None:
    """Let every worker take from the initial design, and then decide for itself.

    What several workers of ADBO choose, the first one starts; each other pays for its proposal and
    for a new one. It also does so for a running point of the design: a real worker knows the design
    when it joins, but here the memory for that would grow with the square of the workers' number.
    """
    problem, keys = run.problem, count()
    queue = deque(Proposed(str(next(keys)), config, {}) for config in points)
    workers = range(run.n_workers)
    n_seen = [len(run.archive)] * run.n_workers
    states = [optimizer.state(problem, run.archive, w, n_before=w) for w in workers]
    charges.practise(
        lambda archive: optimizer.state(problem, archive, 0, n_before=0).propose(charges.timing)
    )
    marks = {mark_of(config, run.archive, ()) for config in points}  # of what no other may start

    def be_free(worker: int, now: float) -> None:
        if not run.may_start(now):
            return
        if queue:
            run.start(worker, now, queue.popleft(), be_free)
        else:
            propose(worker, now, {})

    def propose(worker: int, now: float, spent: dict[str, float]) -> None:
        state, n_known = states[worker], len(run.archive)
        config, notes = state.propose(charges.timing)
        seconds = charges.of_proposal(notes, n_seen[worker])
        n_seen[worker] = n_known
        # As a worker marks it: by what was known when it was proposed.
        mark = state.mark(config)
        spent = {phase: spent.get(phase, 0.0) + took for phase, took in seconds.items()}
        proposed = Proposed(str(next(keys)), config, notes | spent)

        def begin(now: float) -> None:
            if not run.may_start(now):  # proposing may have taken long
                return
            if mark is not None and mark in marks:
                state.avoid([config])
                propose(worker, now, spent)
                return
            marks.add(mark)
            run.start(worker, now, proposed, be_free)

        run.at(now + sum(seconds.values()), begin)

    for worker in workers:
        run.at(0.0, lambda now, worker=worker: be_free(worker, now))  # type: ignore[misc]
    run.play()


def play_centralized(
    run: VirtualRun, optimizer: Centralized, points: Sequence[dict[str, Any]], charges: Charges
) -> None:
    """Let one proposer fill a queue, and the workers take from it."""
    problem, keys = run.problem, count()
    queue: deque[Proposed] = deque()
    idle = deque(range(run.n_workers))
    pending = Pending(problem.space)
    state = optimizer.state(problem, run.archive, run.n_workers)
    n_seen = len(run.archive)
    proposer_is_busy = False
    charges.practise(
        lambda archive: optimizer.state(problem, archive, run.n_workers).propose(
            charges.timing, Pending(problem.space)
        )
    )

    def push(proposals: Sequence[Proposed], now: float) -> None:
        queue.extend(proposals)
        while queue and idle and run.may_start(now):
            run.start(idle.popleft(), now, queue.popleft(), be_free)

    def be_free(worker: int, now: float) -> None:
        pending.remove(run.trials[-1].key)  # what just ended
        idle.append(worker)
        push((), now)
        look(now)

    def look(now: float) -> None:
        nonlocal proposer_is_busy
        n_open = len(queue) + run.n_running
        n = int(min(optimizer.n_next(n_open, run.n_workers), run.left - len(queue)))
        if proposer_is_busy or n <= 0 or not run.may_start(now):
            return
        batch, seconds = propose(n)
        proposer_is_busy = True
        run.at(now + seconds, lambda then: hand_in(batch, then))

    def propose(n: int) -> tuple[list[Proposed], float]:
        nonlocal n_seen
        n_known = len(run.archive)
        batch, total_s = [], 0.0
        for _ in range(n):
            config, notes = state.propose(charges.timing, pending)
            seconds = charges.of_proposal(notes, n_seen)
            n_seen = n_known
            total_s += (spent_s := sum(seconds.values()))
            notes |= proposer_notes(run.n_workers, seconds | {"cpu_s": spent_s})
            batch.append(Proposed(str(next(keys)), config, notes))
            pending.add(batch[-1].key, config)
        return batch, total_s

    def hand_in(batch: Sequence[Proposed], now: float) -> None:
        nonlocal proposer_is_busy
        proposer_is_busy = False
        push(batch, now)
        look(now)

    def begin(now: float) -> None:
        design = [Proposed(str(next(keys)), config, {}) for config in points]
        for proposed in design:
            pending.add(proposed.key, proposed.config)
        push(design, now)
        look(now)

    run.at(0.0, begin)
    run.play()
