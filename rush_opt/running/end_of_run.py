"""When and why a run ends: budget, rule, callback, interrupt, or too many failures."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

from rush_core import Network, RushError, WorkerInfo, WorkersFailedError, WorkerState
from rush_opt.evaluation.plan import RunPlan
from rush_opt.results.trials import FrozenTrial
from rush_opt.running.history import TrialHistory
from rush_opt.running.joined import ended_by_error

__all__ = ["AllTrialsFailedError", "EndOfRun", "StopRun", "is_hopeless", "raise_all_failed"]

logger = logging.getLogger(__name__)

# A run gives up if this many trials failed and none finished, or if this many workers for each
# worker of the run were lost while no trial ended. Then the objective must be wrong.
_HOPELESS_FAILURES = 5
_HOPELESS_LOSSES = 3


class AllTrialsFailedError(RushError):
    """No trial of a run finished; the message has the first one's traceback."""


class StopRun(Exception):  # noqa: N818  # as StopIteration: it is no error
    """A callback raises this to end the run after the running trials.

    Its text becomes ``result.stop_reason``; without a text that is ``callback``.
    """


class EndOfRun:
    """Decides whether a run should end, and finally why it did.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    history : TrialHistory

    Attributes
    ----------
    is_interrupted : bool
        Whether the user interrupted the run. Then this is the reason for its end.
    """

    def __init__(self, network: Network, plan: RunPlan, history: TrialHistory) -> None:
        self._network = network
        self._plan = plan
        self._history = history
        self._callback_reason: str | None = None
        self.is_interrupted = False
        self._n_lost: Counter[int] = Counter()  # workers, by how many trials had ended then

    def add_stop(self, stop: StopRun) -> None:
        """Record that a callback raised `StopRun`; the first one counts."""
        self._callback_reason = self._callback_reason or str(stop) or "callback"

    def interrupt(self) -> None:
        """Record that the user interrupted the run."""
        self.is_interrupted = True

    def is_wanted(self) -> bool:
        """Tell whether a rule, a callback or the user ends the run; once true, always true."""
        if self.is_interrupted or self._callback_reason is not None:
            return True
        watch = self._history.watch
        if watch is None:
            return False
        watch.advance(self._network.now())
        return watch.is_over

    def has_enough_trials(self) -> bool:
        """Tell whether the budget of trials is used up."""
        n_trials = self._plan.n_trials
        return n_trials is not None and self._history.n_ended >= n_trials

    def is_used_up(self) -> bool:
        """Tell whether the budget of trials or of time is used up."""
        return self.has_enough_trials() or self._is_late(self._network.now())

    def add_losses(self, n: int, why: str) -> None:
        """Record workers that were lost or failed.

        Parameters
        ----------
        n : int
        why : str
            Why the last of them ended; may be empty.

        Raises
        ------
        WorkersFailedError
            If too many ended so since a trial ended.
        """
        n_ended = self._history.n_ended
        self._n_lost[n_ended] += n
        if self._n_lost[n_ended] >= _HOPELESS_LOSSES * self._plan.n_workers:
            raise WorkersFailedError(
                f"{self._n_lost[n_ended]} workers were lost or failed, and no trial ended in "
                "between; the objective or the optimizer seems to end its worker. The last one: "
                f"{why or self._history.last_error()}"
            )

    def raise_if_hopeless(self, *, ended: bool) -> None:
        """Raise if no trial finished and enough of them failed, unless the user interrupted.

        Trials that no worker ran are not counted.

        Raises
        ------
        AllTrialsFailedError
        """
        history = self._history
        if self.is_interrupted or history.n_failed < history.n_ended:
            return
        if is_hopeless(history.n_failed, self._plan.n_workers, ended=ended):
            raise_all_failed(history.trials, ended=ended)

    def reason(self, workers: Sequence[WorkerInfo]) -> str:
        """Return why the run ended, given its workers; see `TuneResult`. At most one round trip.

        Raises
        ------
        WorkersFailedError
            If it ended only because its workers failed, or because the network was lost.
        """
        errors = [w.reason for w in workers if ended_by_error(w)]
        if errors:
            logger.warning("%d workers ended by an error; the first: %s", len(errors), errors[0])
        if cause := self._cause(workers):
            return cause
        if not workers:  # it had some, or it would not have ended
            errors = ["its network was reset, or the server lost its data"]
        # Workers that failed were replaced, if this process could do it.
        if len(errors) >= sum(w.state is WorkerState.STOPPED for w in workers) and errors:
            raise WorkersFailedError(
                f"the run ended early, after {self._history.n_ended} trials: {errors[0]}"
            )
        n_signals = sum(w.state is WorkerState.INTERRUPTED for w in workers)
        logger.warning(
            "the run ended early, after %d trials: its workers were stopped from outside (%d of %d "
            "by a signal)",
            *(self._history.n_ended, n_signals, len(workers)),
        )
        return "stopped"

    def _cause(self, workers: Sequence[WorkerInfo]) -> str | None:
        """Return what ended the run; None if nothing here did. At most one round trip."""
        if self.is_interrupted:
            return "interrupted"
        watch = self._history.watch
        rule = None if watch is None else watch.reason
        if reason := rule or self._callback_reason:
            return reason
        if self.has_enough_trials():
            return "n_trials"
        # A clock is wrong by up to half the round trip that set it. Workers whose clock is ahead
        # may all end before the deadline is over here.
        ends = [w.ended_at or 0.0 for w in workers if w.state is WorkerState.STOPPED]
        if self._is_late(self._network.now()) or self._is_late(max(ends, default=0.0)):
            return "timeout"
        # A list of trials ends when the queue is empty. A worker that was asked to stop leaves
        # some of them there.
        is_listed = self._plan.optimizer.placement == "listed"
        if is_listed and workers and not self._network.count_tasks().queued:
            return "exhausted"
        return None

    def _is_late(self, at: float) -> bool:
        deadline = self._plan.deadline
        return deadline is not None and at >= deadline


def is_hopeless(n_failed: int, n_workers: int, *, ended: bool) -> bool:
    """Tell whether a run gives up after so many failed trials, if none has finished."""
    return n_failed >= (1 if ended else max(_HOPELESS_FAILURES, n_workers))


def raise_all_failed(trials: Sequence[FrozenTrial], *, ended: bool) -> NoReturn:
    """Raise an error: none of these trials finished."""
    failed = [trial for trial in trials if trial.state == "failed" and trial.counts]
    n = len(failed)
    what = f"no trial finished, {n} failed" if ended else f"the first {n} trials all failed"
    raise AllTrialsFailedError(
        f"{what}{'' if ended else ', so the run was stopped'}. The first one, with "
        f"{failed[0].params}:\n{failed[0].error}",
        key=failed[0].key,
    )
