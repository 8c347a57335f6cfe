"""Rules that end a run because of its results, combined by ``|`` and ``&``.

`rush_opt.stopping.watch` judges a rule at each finished trial, in the order of the finished log.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rush_opt.space.parameter import is_integer, is_number
from rush_opt.stopping.history import History

__all__ = ["Rule", "Seconds", "Stagnation", "Target", "Trials", "make_rule"]


class Rule(ABC):
    """A run ends when its rule holds. ``a | b`` holds if one of them does, ``a & b`` if both do.

    A plain function that takes a `History` and returns a bool can be combined with a rule.
    """

    @abstractmethod
    def holds(self, history: History) -> bool:
        """Return whether a run with this history should end."""

    def reason(self, history: History) -> str:
        """Return which rules hold, as text; the rule itself holds."""
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
    """The best value has reached a target.

    Parameters
    ----------
    value : float
        Objective units. The rule holds for a best value of at most this if the objective is
        minimized, and of at least this if it is maximized.
    """

    value: float

    def __post_init__(self) -> None:
        if not is_number(self.value) or math.isnan(self.value):
            raise TypeError(f"Target needs an objective value, a number, got {self.value!r}")

    def holds(self, history: History) -> bool:  # noqa: D102
        return history.reached(self.value)


@dataclass(frozen=True)
class Stagnation(Rule):
    """The last trials improved the best value too little.

    Parameters
    ----------
    n_trials : int
        Number of the last finished trials, those that were stopped early included. Failed trials
        are not counted.
    min_improvement : float
        Objective units, ``>= 0``. The run continues if these trials improved the best value by
        more.

    References
    ----------
    .. [bbotk] M. Becker, J. Richter, M. Lang, B. Bischl, M. Binder. bbotk: Black-Box Optimization
       Toolkit, R package; its terminator ``stagnation``.
    """

    n_trials: int
    min_improvement: float = 0.0

    def __post_init__(self) -> None:
        _check_count("Stagnation", self.n_trials)
        if not is_number(self.min_improvement) or not 0 <= self.min_improvement < math.inf:
            raise ValueError(
                "Stagnation needs a finite min_improvement >= 0, in units of the objective, got "
                f"{self.min_improvement!r}"
            )

    def holds(self, history: History) -> bool:  # noqa: D102
        return history.improvement(self.n_trials) <= self.min_improvement


@dataclass(frozen=True)
class Trials(Rule):
    """A number of trials has finished; failed trials are not counted.

    Use it in combinations, such as ``Stagnation(50) & Trials(200)``. To limit the number of trials,
    use ``n_trials`` of `tune()`: that limit counts failed trials and is never exceeded.

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
    """A time has passed since the run began.

    Use it in combinations, such as ``Target(0.1) & Seconds(60)``. To limit the time, use
    ``timeout`` of `tune()`.

    Parameters
    ----------
    seconds : float
        By the server's clock; in `simulate()`, virtual seconds.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not is_number(self.seconds) or not 0 < self.seconds < math.inf:
            raise ValueError(f"Seconds needs a positive, finite number, got {self.seconds!r}")

    def holds(self, history: History) -> bool:  # noqa: D102
        return history.seconds >= self.seconds


@dataclass(frozen=True)
class Custom(Rule):
    """A function that takes a `History` and returns a bool. Each worker calls its own copy."""

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
    """At least one of several rules holds."""

    rules: tuple[Rule, ...]

    def holds(self, history: History) -> bool:
        return any(rule.holds(history) for rule in self.rules)

    def reason(self, history: History) -> str:
        """Return the reason of the first rule that holds."""
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
        """Return the reasons of all rules."""
        return " & ".join(rule.reason(history) for rule in self.rules)

    def __repr__(self) -> str:
        return " & ".join(f"({r!r})" if isinstance(r, AnyOf) else repr(r) for r in self.rules)


def make_rule(stop: object) -> Rule:
    """Return a rule unchanged, and turn a function into a rule.

    Raises
    ------
    TypeError
        If the argument is neither a rule nor a function.
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


def _check_count(rule: str, value: object) -> None:
    if not is_integer(value) or value < 1:
        raise ValueError(f"{rule} needs a whole number of trials >= 1, got {value!r}")
