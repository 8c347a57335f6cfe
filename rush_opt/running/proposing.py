"""The loop of the proposing process: one process fills the queue from which workers take trials."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import cast

from rush_core import EndedTasks, Task, Worker
from rush_opt.evaluation.plan import RunPlan
from rush_opt.evaluation.runner import TrialRunner
from rush_opt.optimizers.base import CentralizedOptimizer, Proposal
from rush_opt.optimizers.decider import Decider
from rush_opt.running.loops import place_of

__all__ = ["propose_trials", "proposer_notes"]


def propose_trials(worker: Worker, plan: RunPlan) -> None:
    """Run the only proposer until all trials of the budget have been started.

    Between proposals the process waits in the server, which wakes it when a trial ends. It keeps
    nothing that another process could not read anew: a replacement can go on at any time.
    """
    filler = QueueFiller(worker, plan)
    while filler.goes_on():
        filler.read()
        if filler.all_started():
            return
        if not filler.push_proposals():
            filler.wait()


class QueueFiller:
    """Follows the trials of a network, and pushes proposals into its queue.

    Parameters
    ----------
    worker : Worker
        The proposing process.
    plan : RunPlan
    """

    def __init__(self, worker: Worker, plan: RunPlan) -> None:
        self._worker = worker
        self._trials = TrialRunner(worker, plan)
        self._n_workers = plan.n_workers
        self._optimizer = cast(CentralizedOptimizer, plan.optimizer)  # its placement says so
        place = place_of(worker, plan.n_workers)
        self._decider = Decider(self._optimizer, plan.problem, place, curves=self._trials.curves)
        self._follows_reports = plan.pruner is not None
        self._budget = sys.maxsize if plan.n_trials is None else plan.n_trials
        self._n_ended = 0
        self._open: list[Task] = []

    def goes_on(self) -> bool:
        """Tell whether the run goes on for the proposer."""
        return self._trials.may_start()

    def read(self) -> None:
        """Read which trials are open, and which have ended; two round trips."""
        with self._trials.clock.timing("coordination"):
            # Open tasks are read first. A task that ends in between is in both, and is not open.
            open_tasks = self._worker.fetch_tasks("queued", "running")
            ended_keys = self._add(self._trials.fetch_new())
            self._open = [task for task in open_tasks if task.key not in ended_keys]
            self._decider.pending.replace(self._open)

    def all_started(self) -> bool:
        """Tell whether all trials of the budget have been started."""
        n_running = sum(bool(task.worker_id) for task in self._open)
        return self._n_ended + n_running >= self._budget

    def push_proposals(self) -> bool:
        """Propose as many as the optimizer wants now, and push them; tell if there were any."""
        trials, n_open = self._trials, len(self._open)
        n_left = self._budget - self._n_ended - n_open
        n = min(self._optimizer.n_next(n_open, self._n_workers), n_left)
        if n <= 0:
            return False
        proposals = self._decider.propose(trials.clock.timing, n)
        if trials.may_start():  # proposing can take long
            notes = proposer_notes(self._worker.number, trials.clock.collect(), len(proposals))
            with trials.clock.timing("coordination"):
                self._push(proposals, notes)
        return True

    def wait(self) -> None:
        """Wait in the server until a trial ends."""
        self._add(self._trials.wait_and_fetch_new())

    def _add(self, ended: EndedTasks) -> set[str]:
        """Add ended tasks to what the proposer knows; return their keys."""
        if self._follows_reports:
            self._trials.fetch_reports()
        self._decider.archive.add_ended(ended)
        tasks = [*ended.finished, *ended.failed]
        # Tasks that no worker ran take no place in the budget: known before, or cleared.
        self._n_ended += sum(bool(task.worker_id) for task in tasks)
        return {task.key for task in tasks}

    def _push(self, proposals: Sequence[Proposal], notes: Mapping[str, float]) -> None:
        self._worker.push_tasks(
            [proposal.config for proposal in proposals],
            extras=[{**proposal.notes, **notes} for proposal in proposals],
        )


def proposer_notes(number: int, times: Mapping[str, float], n: int) -> dict[str, float]:
    """Return the notes of `n` trials that were proposed together: by which process, in which time.

    The names differ from those that the trial's worker notes, except of the times of surrogate and
    acquisition, which that worker does not spend.
    """
    return {
        "proposer": number,
        "surrogate_s": times["surrogate_s"] / n,
        "acquisition_s": times["acquisition_s"] / n,
        "proposer_coordination_s": times["coordination_s"] / n,
        "proposer_cpu_s": times["cpu_s"] / n,
    }
