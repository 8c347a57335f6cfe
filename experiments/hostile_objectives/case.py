"""One hostile objective, and what its trial must come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["FEW", "FINE", "MANY", "Case", "Outcome", "doing", "ends", "fails", "trial_fails"]

# How many cases a run may have that change their process without ending it, or change nothing.
FEW, MANY = 4, 12


@dataclass(frozen=True)
class Outcome:
    """What a trial must come to.

    Parameters
    ----------
    state : "finished", "failed" or "lost"
    pattern : str
        A regular expression that is found in the trial's error.
    """

    state: Literal["finished", "failed", "lost"]
    pattern: str = ""


@dataclass(frozen=True)
class Case:
    """One hostile objective.

    Parameters
    ----------
    act : callable
        ``act(x, trial)`` is called in place of an objective.
    free, limited : Outcome
        What the trial must come to without limits, and with limits.
    n_together : int
        How many such cases one run may have: one if it ends its process, `MANY` if it changes
        nothing for those that come after it.
    timeout_s : float
        The limit of time in a run with limits, seconds.
    """

    act: Callable[[float, Any], Any]
    free: Outcome
    limited: Outcome
    n_together: int = MANY
    timeout_s: float = 30.0


Expected = tuple[Outcome, Outcome]

FINE: Expected = (Outcome("finished"), Outcome("finished"))


def fails(pattern: str) -> Expected:
    """Return that the trial fails, with limits and without."""
    return Outcome("failed", pattern), Outcome("failed", pattern)


def ends(pattern: str) -> Expected:
    """Return that the worker ends, or with limits the process of the objective."""
    return Outcome("lost", pattern), Outcome("failed", pattern)


def trial_fails(pattern: str) -> Expected:
    """Return that the trial fails with limits, and finishes without."""
    return Outcome("finished"), Outcome("failed", pattern)


def doing(
    procedure: Callable[[], object],
    expected: Expected,
    *,
    n_together: int | None = None,
    timeout_s: float = 30.0,
) -> Case:
    """Return a case that does something, and then returns a good value.

    By default it is alone in its run if its trial does not finish.
    """

    def act(x: float, trial: Any) -> float:
        procedure()
        return x

    if n_together is None:
        n_together = FEW if expected == FINE else 1
    return Case(act, *expected, n_together=n_together, timeout_s=timeout_s)
