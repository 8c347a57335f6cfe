"""When and why a run ends: used up, wanted by a rule, a callback or the user, or hopeless."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

from rush_core import Network, RushError, WorkerInfo, WorkersFailedError, WorkerState
from rush_opt.evaluation.runner import Problem
from rush_opt.optimizers import GridSearch, Optimizer
from rush_opt.results.trials import FrozenTrial
from rush_opt.running.history import EndedTrials

__all__ = ["AllTrialsFailedError", "Ending", "StopRun", "is_hopeless", "raise_all_failed"]

logger = logging.getLogger(__name__)

# A run gives up when this many trials failed and none finished, or this many workers per worker
# were lost without any trial ending in between: by then the objective is what is wrong.
_HOPELESS_FAILURES = 5
_HOPELESS_LOSSES = 3


class AllTrialsFailedError(RushError):
    """No trial of a run finished; the message has the first one's traceback."""


class StopRun(Exception):  # noqa: N818  # a wish, like StopIteration; nothing is wrong
    """What a callback raises to end the run after the running trials.

    Its text, if it has one, becomes ``result.stop_reason``, which else is ``callback``.
    """


class Ending:
    """Tells whether a run is to end, and in the end why it did.

    Parameters
    ----------
    network : Network
    problem : Problem
    optimizer : Optimizer
    n_workers : int
    ended : EndedTrials

    Attributes
    ----------
    is_interrupted : bool
        Whether the user wants the run to end, which then is the reason, whatever else is.
    """

    def __init__(
        self,
        network: Network,
        problem: Problem,
        optimizer: Optimizer,
        n_workers: int,
        ended: EndedTrials,
    ) -> None:
        self._network = network
        self._problem = problem
        self._optimizer = optimizer
        self._n_workers = n_workers
        self._ended = ended
        self._wish: str | None = None
        self.is_interrupted = False
        self._n_lost: Counter[int] = Counter()  # workers, by how many trials had ended then

    def add_wish(self, wish: StopRun) -> None:
        """Take note that a callback wants the run to end; the first one counts."""
        self._wish = self._wish or str(wish) or "callback"

    def interrupt(self) -> None:
        """Take note that the user wants the run to end."""
        self.is_interrupted = True

    def is_wanted(self) -> bool:
        """Tell whether a rule, a callback or the user wants the run to end; once so, always."""
        if self.is_interrupted or self._wish is not None:
            return True
        watch = self._ended.watch
        if watch is None:
            return False
        watch.advance(self._network.now())
        return watch.is_over

    def has_enough_trials(self) -> bool:
        """Tell whether the budget of trials is used up."""
        n_trials = self._problem.n_trials
        return n_trials is not None and self._ended.n_ended >= n_trials

    def is_used_up(self) -> bool:
        """Tell whether the budget of trials or of time is used up."""
        return self.has_enough_trials() or self._is_out_of_time()

    def add_losses(self, n: int) -> None:
        """Take note of lost workers.

        Raises
        ------
        WorkersFailedError
            If too many were, and no trial ended in between.
        """
        n_ended = self._ended.n_ended
        self._n_lost[n_ended] += n
        if self._n_lost[n_ended] >= _HOPELESS_LOSSES * self._n_workers:
            raise WorkersFailedError(
                f"{self._n_lost[n_ended]} workers were lost and no trial ended in between; the "
                f"objective seems to end its process. The last one: {self._ended.last_error()}"
            )

    def raise_if_hopeless(self, *, ended: bool) -> None:
        """Raise if none of the trials finished and enough of them failed, unless interrupted.

        Those that no worker ran say nothing of the objective.

        Raises
        ------
        AllTrialsFailedError
        """
        trials = self._ended
        if self.is_interrupted or trials.n_failed < trials.n_ended:
            return
        if is_hopeless(trials.n_failed, self._n_workers, ended=ended):
            raise_all_failed(trials.trials, ended=ended)

    def reason(self, workers: Sequence[WorkerInfo]) -> str:
        """Say why a run ended whose workers were these; see `TuneResult`.

        At most one round trip.

        Raises
        ------
        WorkersFailedError
            If nothing but an error of the workers ended it, or the loss of the network.
        """
        errors = [w.reason for w in workers if w.state is WorkerState.STOPPED and w.reason]
        cause = self._cause(workers)
        if not (cause or workers):  # it had some, or it would not have ended
            errors = ["its network was reset, or the server lost its data"]
        if errors and not cause:
            raise WorkersFailedError(
                f"the run ended early, after {self._ended.n_ended} trials: {errors[0]}"
            )
        if errors:
            logger.warning("%d workers ended by an error; the first: %s", len(errors), errors[0])
        if cause:
            return cause
        # A grid search ends where nothing is left; whoever is asked to stop leaves something.
        is_listed = isinstance(self._optimizer, GridSearch)
        return "exhausted" if is_listed and not self._network.count_tasks().queued else "stopped"

    def _cause(self, workers: Sequence[WorkerInfo]) -> str | None:
        """Say what was wanted or used up; None if nothing was."""
        if self.is_interrupted:
            return "interrupted"
        watch = self._ended.watch
        if wanted := self._wish if watch is None else watch.reason or self._wish:
            return wanted
        if self.has_enough_trials():
            return "n_trials"
        # A clock is wrong by up to half the time that its answer took: workers that are ahead all
        # end before the deadline is seen here.
        ends = [w.ended_at or 0.0 for w in workers if w.state is WorkerState.STOPPED]
        timely = not (self._is_out_of_time() or self._is_late(max(ends, default=0.0)))
        return None if timely else "timeout"

    def _is_out_of_time(self) -> bool:
        return self._is_late(self._network.now())

    def _is_late(self, at: float) -> bool:
        deadline = self._problem.deadline
        return deadline is not None and at >= deadline


def is_hopeless(n_failed: int, n_workers: int, *, ended: bool) -> bool:
    """Tell whether so many failed trials, while none has finished, are reason to give up."""
    return n_failed >= (1 if ended else max(_HOPELESS_FAILURES, n_workers))


def raise_all_failed(trials: Sequence[FrozenTrial], *, ended: bool) -> NoReturn:
    """Raise the error that says that none of these trials finished."""
    failed = [trial for trial in trials if trial.state == "failed" and trial.counts]
    n = len(failed)
    what = f"no trial finished, {n} failed" if ended else f"the first {n} trials all failed"
    raise AllTrialsFailedError(
        f"{what}{'' if ended else ', so the run was stopped'}. The first one, with "
        f"{failed[0].params}:\n{failed[0].error}",
        key=failed[0].key,
    )
