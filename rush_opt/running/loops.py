"""The worker loops: one for each placement of decisions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

from rush_core import DuplicateTaskError, Worker
from rush_opt.evaluation.limits import LimitedObjective
from rush_opt.evaluation.plan import RunPlan
from rush_opt.evaluation.runner import TrialRunner
from rush_opt.optimizers.base import Place, Placement, ProposingOptimizer
from rush_opt.optimizers.decider import Decider

__all__ = ["evaluate_trials", "place_of"]


def evaluate_trials(worker: Worker, plan: RunPlan) -> None:
    """Run one worker until the run ends for it: the loop that the manager ships to its workers."""
    with ExitStack() as until_the_end:
        if plan.limits is not None:
            limited = LimitedObjective(plan.objective, plan.limits)
            plan = replace(plan, objective=until_the_end.enter_context(limited))
        _LOOPS[plan.optimizer.placement](worker, plan)


def decide_from_results(worker: Worker, plan: RunPlan) -> None:
    """Evaluate what is queued; then propose, start and evaluate trials from all results."""
    trials = TrialRunner(worker, plan)
    decider = _decider(worker, plan, trials)
    # The initial design has no duplicate keys in the server: any worker may claim its trials.
    decider.avoid([task.config for task in worker.fetch_tasks("queued", "running")])
    decider.archive.add_ended(trials.fetch_new())
    while trials.may_start() and (queued := trials.claim()):
        decider.archive.add_ended(trials.run_and_fetch_new(*queued))
    while trials.may_start():
        if queued := trials.claim_added():
            decider.avoid([queued[1]])
            decider.archive.add_ended(trials.run_and_fetch_new(*queued))
            continue
        proposal, duplicate_key = decider.choose(trials.clock.timing)
        try:
            key = trials.start(proposal.config, duplicate_key)
        except DuplicateTaskError:
            decider.avoid([proposal.config])
            continue
        if key is None:
            return
        ended = trials.run_and_fetch_new(key, proposal.config, proposal.notes)
        with trials.clock.timing("coordination"):
            decider.archive.add_ended(ended)


def decide_independently(worker: Worker, plan: RunPlan) -> None:
    """Evaluate what is queued; then propose, start and evaluate trials, and read no results."""
    trials = TrialRunner(worker, plan)
    decider = _decider(worker, plan, trials)
    evaluate_list(worker, plan, trials)
    while trials.may_start():
        if queued := trials.claim_added():
            trials.run(*queued)
            continue
        proposal, duplicate_key = decider.choose(trials.clock.timing)
        key = trials.start(proposal.config, duplicate_key)
        if key is None:
            return
        trials.run(key, proposal.config, proposal.notes)


def evaluate_list(worker: Worker, plan: RunPlan, trials: TrialRunner | None = None) -> None:
    """Evaluate what is queued until nothing is left."""
    trials = trials or TrialRunner(worker, plan)
    while trials.may_start() and (queued := trials.claim()):
        trials.run(*queued)


def evaluate_queue(worker: Worker, plan: RunPlan) -> None:
    """Evaluate what is queued until asked to stop; wait while the queue is empty."""
    trials = TrialRunner(worker, plan)
    while trials.may_start():
        if queued := trials.wait_and_claim():
            trials.run(*queued)


_LOOPS: dict[Placement, Callable[[Worker, RunPlan], None]] = {
    "each worker": decide_from_results,
    "independent": decide_independently,
    "listed": evaluate_list,
    "one process": evaluate_queue,
}


def _decider(worker: Worker, plan: RunPlan, trials: TrialRunner) -> Decider:
    optimizer = cast(ProposingOptimizer, plan.optimizer)  # its placement is not "listed"
    return Decider(optimizer, plan.problem, place_of(worker, plan.n_workers), curves=trials.curves)


def place_of(worker: Worker, n_workers: int) -> Place:
    """Return where a worker's proposer works; one round trip."""
    others = worker.fetch_workers()
    n_before = sum(other.number < worker.number and other.ended_at is None for other in others)
    return Place(worker.number, n_before, n_workers)
