"""When a run ends because of what it found: rules on finished trials, combined by ``|`` and ``&``.

A rule is judged at each finished trial in turn, in the order of the finished log. All workers read
the same log, along with handing in their results, so all find the same trial to be the last that
was needed: nobody is asked, and nobody has to tell.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

from rush_opt.stopping.incumbent import NOTHING, STOPPED_AT, Standing

__all__ = ["History", "Rule", "Seconds", "Stagnation", "Target", "Trials", "Watch", "make_rule"]


class History:
    """The finished trials of a run as a rule sees them.

    Trials of earlier runs in the same network are among them. Those given by ``warm_start`` are
    not, but their best value is where improvement begins. A trial that was stopped early counts as
    in ``result.best_value``: it is one more, but no best one unless no trial went on to its end.

    Attributes
    ----------
    values : list of float
        The objective values, in order of completion; of trials stopped early their last reports.
    seconds : float
        Time since the run began, at the last of them or later.
    """

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._bests = [NOTHING]  # before any trial, then after each
        self.values: list[float] = []
        self.seconds = 0.0

    @property
    def n_finished(self) -> int:
        """How many trials finished."""
        return len(self.values)

    @property
    def best_value(self) -> float | None:
        """The best value known; None without any."""
        best = self._bests[-1]
        return None if best == NOTHING else self._sign * best.loss

    def reached(self, value: float) -> bool:
        """Tell whether the best value is as good as this one."""
        return self._bests[-1].loss <= self._sign * value

    def improvement(self, n_trials: int) -> float:
        """By how much the last `n_trials` trials bettered what was best before them, ``>= 0``.

        Infinite if there are not so many, or nothing was known before them that compares with what
        is best now.
        """
        if n_trials > self.n_finished:
            return math.inf
        before, now = self._bests[-1 - n_trials], self._bests[-1]
        return before.loss - now.loss if before.is_stopped == now.is_stopped else math.inf

    def know(self, value: float) -> None:
        """Take note of a value that is no trial's of the run."""
        self._bests[-1] = min(self._bests[-1], Standing(False, self._sign * value))

    def add(self, value: float, seconds: float, *, is_stopped: bool) -> None:
        """Append a finished trial, which may have been stopped early."""
        self.values.append(value)
        self._bests.append(min(self._bests[-1], Standing(is_stopped, self._sign * value)))
        self.seconds = seconds


class Rule(ABC):
    """What ends a run once it holds; ``a | b`` holds if either does, ``a & b`` if both do.

    Plain functions of a `History` that return a bool can be combined with rules.
    """

    @abstractmethod
    def holds(self, history: History) -> bool:
        """Tell whether a run with this history is to end."""

    def reason(self, history: History) -> str:
        """Say what holds, where something does."""
        return repr(self)

    def __or__(self, other: Rule | Callable[[History], bool]) -> Rule:
        return AnyOf((self, make_rule(other)))

    def __ror__(self, other: Callable[[History], bool]) -> Rule:
        return AnyOf((make_rule(other), self))

    def __and__(self, other: Rule | Callable[[History], bool]) -> Rule:
        return AllOf((self, make_rule(other)))

    def __rand__(self, other: Callable[[History], bool]) -> Rule:
        return AllOf((make_rule(other), self))


@dataclass(frozen=True)
class Target(Rule):
    """A value as good as this was found.

    Parameters
    ----------
    value : float
        Of the objective: at most this if it is minimized, at least this if maximized.
    """

    value: float

    def __post_init__(self) -> None:
        if not _is_number(self.value) or math.isnan(self.value):
            raise TypeError(f"Target needs an objective value, a number, got {self.value!r}")

    def holds(self, history: History) -> bool:  # noqa: D102
        return history.reached(self.value)


@dataclass(frozen=True)
class Stagnation(Rule):
    """The last trials bettered the best value too little.

    Parameters
    ----------
    n_trials : int
        How many finished trials are looked back, those stopped early among them; failed ones are
        not counted.
    min_improvement : float
        Objective units, ``>= 0``: the run goes on if they bettered it by more.

    References
    ----------
    .. [bbotk] M. Becker, J. Richter, M. Lang, B. Bischl, M. Binder. bbotk: Black-Box Optimization
       Toolkit, R package; its terminator ``stagnation``.
    """

    n_trials: int
    min_improvement: float = 0.0

    def __post_init__(self) -> None:
        _check_count("Stagnation", self.n_trials)
        if not _is_number(self.min_improvement) or not 0 <= self.min_improvement < math.inf:
            raise ValueError(
                "Stagnation needs a finite min_improvement >= 0, in units of the objective, got "
                f"{self.min_improvement!r}"
            )

    def holds(self, history: History) -> bool:  # noqa: D102
        return history.improvement(self.n_trials) <= self.min_improvement


@dataclass(frozen=True)
class Trials(Rule):
    """So many trials finished; failed ones are not counted.

    It is there for combinations, such as ``Stagnation(50) & Trials(200)``. A budget, of which
    failed trials take a part and which is never exceeded, is ``n_trials`` of `tune()`.

    Parameters
    ----------
    n_finished : int
    """

    n_finished: int

    def __post_init__(self) -> None:
        _check_count("Trials", self.n_finished)

    def holds(self, history: History) -> bool:  # noqa: D102
        return history.n_finished >= self.n_finished


@dataclass(frozen=True)
class Seconds(Rule):
    """So much time has passed since the run began.

    It is there for combinations, such as ``Target(0.1) & Seconds(60)``; a budget is ``timeout`` of
    `tune()`.

    Parameters
    ----------
    seconds : float
        By the server's clock; in `simulate()` virtual ones.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not _is_number(self.seconds) or not 0 < self.seconds < math.inf:
            raise ValueError(f"Seconds needs a positive, finite number, got {self.seconds!r}")

    def holds(self, history: History) -> bool:  # noqa: D102
        return history.seconds >= self.seconds


@dataclass(frozen=True)
class Custom(Rule):
    """A function of the `History` that returns a bool; workers call it, each for itself."""

    function: Callable[[History], bool]

    def holds(self, history: History) -> bool:
        holds = self.function(history)
        if not isinstance(holds, bool | np.bool_):
            raise TypeError(f"{self!r}, given as stop=, must return a bool, got {holds!r:.80}")
        return bool(holds)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", None) or repr(self.function)


@dataclass(frozen=True, repr=False)
class AnyOf(Rule):
    """One of several rules holds."""

    rules: tuple[Rule, ...]

    def holds(self, history: History) -> bool:
        return any(rule.holds(history) for rule in self.rules)

    def reason(self, history: History) -> str:
        """Name the first that holds."""
        return next(rule.reason(history) for rule in self.rules if rule.holds(history))

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.rules))


@dataclass(frozen=True, repr=False)
class AllOf(Rule):
    """All of several rules hold."""

    rules: tuple[Rule, ...]

    def holds(self, history: History) -> bool:
        return all(rule.holds(history) for rule in self.rules)

    def reason(self, history: History) -> str:
        """Name what holds of each."""
        return " & ".join(rule.reason(history) for rule in self.rules)

    def __repr__(self) -> str:
        return " & ".join(f"({r!r})" if isinstance(r, AnyOf) else repr(r) for r in self.rules)


def make_rule(stop: object) -> Rule:
    """Return a rule as it is, and a function as one.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(stop, Rule):
        return stop
    if isinstance(stop, type) or not callable(stop):
        hint = f"; write {stop.__name__}(...)" if isinstance(stop, type) else ""
        raise TypeError(
            "stop must be a rule such as Target(0.1) | Stagnation(50), a function of the history "
            f"that returns a bool, or None, got {stop!r:.80}{hint}"
        )
    return Custom(stop)


class FinishedTask(Protocol):
    """What a rule needs of a finished task."""

    @property
    def worker_id(self) -> str:
        """Who ran it; empty if nobody of this network did."""

    @property
    def ended_at(self) -> float | None:
        """When it ended, seconds."""

    @property
    def result(self) -> dict[str, Any] | None:
        """What the objective returned."""


class FinishedTasks(Iterable[FinishedTask], Protocol):
    """Finished tasks as a rule reads them; `rush_core.TaskTable` is such."""

    def result_notes(self, name: str) -> list[Any]:
        """Return what was given along with each task's result under a name; None if nothing."""


class Watch:
    """Follows the finished log, and keeps the moment at which a rule first holds.

    Parameters
    ----------
    rule : Rule
    metric : str
    sign : float
    began : float
        When the run did, seconds on the clock of the trials' ends. At earlier trials the rule is
        not judged: they did not end their own run.
    """

    def __init__(self, rule: Rule, metric: str, sign: float, began: float) -> None:
        self._rule = rule
        self._metric = metric
        self._began = began
        self._history = History(sign)
        self.reason: str | None = None

    def add(self, tasks: FinishedTasks) -> None:
        """Take in what is new of the finished log."""
        for task, step in zip(tasks, tasks.result_notes(STOPPED_AT), strict=True):
            if self.reason is None and task.result is not None and task.ended_at is not None:
                value = task.result[self._metric]
                if task.worker_id:
                    self.add_trial(value, task.ended_at, is_stopped=step is not None)
                else:  # evaluated elsewhere, before
                    self.know(value)

    def know(self, value: float) -> None:
        """Take in a value that no trial of the run has."""
        self._history.know(value)

    def add_trial(self, value: float, ended_at: float, *, is_stopped: bool = False) -> None:
        """Take in one finished trial, which may have been stopped early."""
        self._history.add(value, ended_at - self._began, is_stopped=is_stopped)
        if ended_at > self._began:
            self._judge()

    def is_over(self, now: float) -> bool:
        """Tell whether the rule holds, or did at some trial since the run began."""
        self._history.seconds = now - self._began
        self._judge()
        return self.reason is not None

    def _judge(self) -> None:
        if self.reason is None and self._rule.holds(self._history):
            self.reason = self._rule.reason(self._history)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_count(rule: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{rule} needs a number of trials, a whole one >= 1, got {value!r}")
