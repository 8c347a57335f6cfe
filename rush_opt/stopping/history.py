"""The finished trials of a run, as input of a stop rule."""

from __future__ import annotations

import math

from rush_opt.problem.goal import Goal
from rush_opt.stopping.incumbent import NOTHING, RankKey

__all__ = ["History"]


class History:
    """The finished trials of a run, in order of completion.

    Trials of earlier runs in the same network belong to the history. Trials given by ``warm_start``
    do not, but improvement is counted from their best value.

    A trial that was stopped early counts as a trial. It is the best one only if no trial is
    complete, as in ``result.best_value``.

    Parameters
    ----------
    goal : Goal

    Attributes
    ----------
    values : list of float
        The objective values. The value of a trial that was stopped early is its last report.
    seconds : float
        Time from the beginning of the run to now.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._bests = [NOTHING]  # the best key before any trial, then after each trial
        self.values: list[float] = []
        self.seconds = 0.0

    @property
    def n_finished(self) -> int:
        """Number of finished trials."""
        return len(self.values)

    @property
    def best_value(self) -> float | None:
        """The best known value; None if there is none."""
        best = self._bests[-1]
        return None if best == NOTHING else self._goal.value(best.loss)

    def reached(self, value: float) -> bool:
        """Return whether the best known value is at least as good as this one."""
        return self._bests[-1].loss <= self._goal.loss(value)

    def improvement(self, n_trials: int) -> float:
        """Return by how much the last `n_trials` trials improved the best value, ``>= 0``.

        Infinite if there are fewer trials, or if no value known before them can be compared with
        the best value now.
        """
        if n_trials > self.n_finished:
            return math.inf
        before, now = self._bests[-1 - n_trials], self._bests[-1]
        return before.loss - now.loss if before.is_stopped == now.is_stopped else math.inf

    def add_known_value(self, value: float) -> None:
        """Add a value that was known before the run and is no trial of it."""
        self._bests[-1] = min(self._bests[-1], RankKey(False, self._goal.loss(value)))

    def add(self, value: float, seconds: float, *, is_stopped: bool) -> None:
        """Append a finished trial.

        Parameters
        ----------
        value : float
        seconds : float
            Time from the beginning of the run to the end of the trial.
        is_stopped : bool
            Whether the trial was stopped early.
        """
        self.values.append(value)
        self._bests.append(min(self._bests[-1], RankKey(is_stopped, self._goal.loss(value))))
        self.seconds = seconds
