"""One worker's trials: start or claim, evaluate, report the outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from rush_core import EndedTasks, Worker
from rush_opt.evaluation.objective import TrialFailure, evaluate, takes_trial
from rush_opt.evaluation.phases import PhaseClock
from rush_opt.evaluation.plan import RunPlan
from rush_opt.evaluation.sources import readable_traceback
from rush_opt.evaluation.trial import Trial
from rush_opt.stopping.curves import Curves
from rush_opt.stopping.incumbent import STOPPED_AT

__all__ = ["TrialRunner"]

T = TypeVar("T")

# A worker that waits is woken by the server. After this time it only checks that all is well.
_LONGEST_WAIT_S = 60.0

# A worker that proposes its own trials looks for trials that a user has queued once per second.
# More often, the round trip would slow down the search with short trials. Many workers look less
# often: all of them together so many times per second.
_CLAIM_EVERY_S = 1.0
_MOST_CLAIMS_PER_S = 64


class TrialRunner:
    """Runs the trials of one worker; the outcome of a trial notes the seconds by phase.

    Parameters
    ----------
    worker : Worker
    plan : RunPlan

    Attributes
    ----------
    clock : PhaseClock
    curves : Curves
        What the trials of all workers reported, known up to this worker's latest report, or to
        `fetch_reports`.
    """

    def __init__(self, worker: Worker, plan: RunPlan) -> None:
        self._worker = worker
        self._plan = plan
        self._watch = plan.watch()
        self._takes_trial = takes_trial(plan.objective)
        self._reads_in_order = getattr(plan.optimizer, "reads_in_order", False)
        self._claim_every_s = max(_CLAIM_EVERY_S, plan.n_workers / _MOST_CLAIMS_PER_S)
        self._next_claim_at = time.monotonic() + self._claim_every_s
        self.curves = Curves(plan.problem.goals[0].sign)
        self.clock = PhaseClock(lambda: getattr(plan.objective, "cpu_s", 0.0))

    def may_start(self) -> bool:
        """Tell whether the run goes on for this worker; rejoin if it was declared lost."""
        worker = self._worker
        if worker.is_lost and not worker.rejoin():
            return False
        return not worker.should_stop() and not self._is_over()

    def claim(self) -> tuple[str, dict[str, Any]] | None:
        """Take a queued trial: its key and configuration; None if there is none."""
        with self.clock.timing("coordination"):
            return self._claim(0.0)

    def claim_added(self) -> tuple[str, dict[str, Any]] | None:
        """Take a trial that was queued while the run goes on; at most one round trip per second.

        Before that time is over, return None without a round trip.
        """
        now = time.monotonic()
        if now < self._next_claim_at:
            return None
        self._next_claim_at = now + self._claim_every_s
        return self.claim()

    def wait_and_claim(self) -> tuple[str, dict[str, Any]] | None:
        """Take a queued trial; wait in the server until there is one. Waiting counts as idle time.

        Returns
        -------
        tuple of str and dict, or None
            Key and configuration; None if the time was up first, or the worker was asked to stop.
        """
        return self._claim(self._longest_wait_s())

    def _claim(self, timeout_s: float) -> tuple[str, dict[str, Any]] | None:
        limit, deadline = self._plan.n_trials, self._plan.deadline
        task = self._worker.claim_task(timeout_s=timeout_s, limit=limit, deadline=deadline)
        return None if task is None else (task.key, task.config)

    def _longest_wait_s(self) -> float:
        deadline = self._plan.deadline
        left = _LONGEST_WAIT_S if deadline is None else deadline - self._worker.now()
        return min(max(left, 0.0), _LONGEST_WAIT_S)

    def start(self, config: dict[str, Any], duplicate_key: bytes | None = None) -> str | None:
        """Start a trial of this worker's own; None if the budget or the time is used up.

        Raises
        ------
        DuplicateTaskError
            If a trial with the same `duplicate_key` was started before.
        """
        if self._is_over():  # proposing can take long
            return None
        with self.clock.timing("coordination"):
            return self._worker.start_task(
                config,
                limit=self._plan.n_trials,
                deadline=self._plan.deadline,
                unique=duplicate_key,
            )

    def run(
        self, key: str, config: dict[str, Any], notes: Mapping[str, float] = {}
    ) -> None:  # read only
        """Evaluate a trial and report the outcome; one round trip.

        Results of others are not read, unless a rule on them can end the run.

        Parameters
        ----------
        key : str
        config : dict
        notes : mapping of str to float
            Kept with the trial: how it was proposed.
        """
        if self._watch is not None:
            self.run_and_fetch_new(key, config, notes)
        else:
            self._run(key, config, notes, self._worker.finish_task, self._worker.fail_task)

    def run_and_fetch_new(
        self,
        key: str,
        config: dict[str, Any],
        notes: Mapping[str, float] = {},
    ) -> EndedTasks:
        """Evaluate a trial, report the outcome and fetch new results; one round trip for both.

        Parameters
        ----------
        key, config, notes
            As for `run`.

        Returns
        -------
        EndedTasks
            Trials of all workers, this one included, as `fetch_new` returns them.
        """
        worker, in_order = self._worker, self._reads_in_order
        finish = partial(worker.finish_and_fetch_ended, in_order=in_order)
        fail = partial(worker.fail_and_fetch_ended, in_order=in_order)
        _, ended = self._run(key, config, notes, finish, fail)
        return self._watched(ended)

    def _run(
        self,
        key: str,
        config: dict[str, Any],
        notes: Mapping[str, float],
        finish: Callable[..., T],
        fail: Callable[..., T],
    ) -> T:
        """Evaluate a trial, and report the outcome by one of two methods of the worker."""
        worker = self._worker
        trial = Trial(key, worker.worker_id, worker.number, partial(self._report, key))
        with self.clock.timing("objective"):
            metrics = self._plan.problem.metrics
            result, error = evaluate(self._call(trial), config, metrics)
        extra = {**notes, **self.clock.collect()}
        if trial.stopped_at is not None:
            extra[STOPPED_AT] = trial.stopped_at
        with self.clock.timing("coordination"):
            if result is not None:
                try:
                    return finish(key, result, extra=extra)
                except (TypeError, ValueError) as unstorable:
                    error = str(unstorable)
            return fail(key, readable_traceback(error, self._plan.sources), extra=extra)

    def fetch_new(self) -> EndedTasks:
        """Fetch trials of all workers that ended since the last fetch; one round trip."""
        return self._watched(self._worker.fetch_new_ended_tasks(timeout_s=0.0))

    def wait_and_fetch_new(self) -> EndedTasks:
        """Wait in the server until a trial ends, at most until the deadline; then `fetch_new`."""
        waited = self._worker.fetch_new_ended_tasks(timeout_s=self._longest_wait_s())
        return self._watched(waited)

    def fetch_reports(self) -> None:
        """Add what trials have reported by now to `curves`; one round trip."""
        self.curves.add(self._worker.fetch_new_reports())

    def _watched(self, ended: EndedTasks) -> EndedTasks:
        if self._watch is not None:
            with self.clock.timing("coordination"):
                self._watch.add(ended.finished)
        return ended

    def _is_over(self) -> bool:
        """Tell whether the time is up, or a rule on the results holds."""
        deadline = self._plan.deadline
        if deadline is not None and self._worker.now() >= deadline:
            return True
        if self._watch is None:
            return False
        self._watch.advance(self._worker.now())
        return self._watch.is_over

    def _call(self, trial: Trial) -> Callable[[dict[str, Any]], Any]:
        """Return the objective as a function of the configuration alone."""
        objective = self._plan.objective
        if not self._takes_trial:
            return objective
        # A trial reports its only objective: no rule stops trials of several goals early.
        metric = self._plan.problem.goals[0].name

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
        """Send a report; tell whether the trial should stop."""
        values, pruner = {"step": step, "value": value}, self._plan.pruner
        with self.clock.timing("coordination"):
            if pruner is None:
                return not self._worker.report_task(key, values)
            won, new = self._worker.report_and_fetch_new(key, values)
            self.curves.add(new)
            return not won or pruner.should_stop(self.curves[key], self.curves.others(key))
