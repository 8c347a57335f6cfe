"""The watch: follows the finished trials of a run and notes when its rule holds for the first time.

Every worker and the manager have a watch of their own. All read the same finished log in the same
order, so all find the same deciding trial without asking each other.
"""

from __future__ import annotations

from rush_core import TaskTable
from rush_opt.problem.goal import Goal
from rush_opt.stopping.history import History
from rush_opt.stopping.incumbent import STOPPED_AT
from rush_opt.stopping.rules import Rule

__all__ = ["Watch"]


class Watch:
    """Judges a rule at each finished trial and as time passes.

    Parameters
    ----------
    rule : Rule
    goal : Goal
    began : float
        When the run began, in seconds, on the clock of the end times of trials. The rule is not
        judged at trials that ended before: they belong to an earlier run and cannot end this one.

    Attributes
    ----------
    reason : str or None
        Which rule ended the run; None as long as none has held.
    """

    def __init__(self, rule: Rule, goal: Goal, began: float) -> None:
        self._rule = rule
        self._goal = goal
        self._began = began
        self._history = History(goal)
        self.reason: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether the rule holds or has held since the run began."""
        return self.reason is not None

    def add(self, tasks: TaskTable) -> None:
        """Add finished tasks, in the order of the finished log."""
        for task, step in zip(tasks, tasks.result_notes(STOPPED_AT), strict=True):
            if not self.is_over and task.result is not None and task.ended_at is not None:
                value = task.result[self._goal.name]
                if task.worker_id:
                    self.add_trial(value, task.ended_at, is_stopped=step is not None)
                else:  # no worker of this network ran it: it was evaluated before the run
                    self.add_known_value(value)

    def add_known_value(self, value: float) -> None:
        """Add a value that was known before the run and is no trial of it."""
        self._history.add_known_value(value)

    def add_trial(self, value: float, ended_at: float, *, is_stopped: bool = False) -> None:
        """Add one finished trial, and judge the rule.

        Parameters
        ----------
        value : float
        ended_at : float
            Seconds, on the clock of `began`.
        is_stopped : bool
            Whether the trial was stopped early.
        """
        self._history.add(value, ended_at - self._began, is_stopped=is_stopped)
        if ended_at > self._began:
            self._judge()

    def advance(self, now: float) -> None:
        """Set the time, seconds on the clock of `began`, and judge the rule."""
        self._history.seconds = now - self._began
        self._judge()

    def _judge(self) -> None:
        if self.reason is None and self._rule.holds(self._history):
            self.reason = self._rule.reason(self._history)
