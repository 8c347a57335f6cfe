"""Which finished trial is the best one: what rules, the display and the result all go by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

__all__ = ["NOTHING", "STOPPED_AT", "Standing", "comparable"]

# The note of a trial that was stopped early: the step at which it was.
STOPPED_AT = "stopped_at"


class Standing(NamedTuple):
    """How good a finished trial is: that of the best one is the least.

    A trial that was stopped early has the value of an earlier step, which does not compare with
    those of whole trials: it is the best one only where all that finished were stopped.

    Attributes
    ----------
    is_stopped : bool
        Whether it was stopped early.
    loss : float
        The objective value times its sign.
    """

    is_stopped: bool
    loss: float


# Where no trial has finished; any that does is better.
NOTHING = Standing(is_stopped=True, loss=math.inf)


class Finished(Protocol):
    """What is to be known of a finished trial."""

    @property
    def stopped_at(self) -> float | None:
        """The step at which it was stopped early; None if it went on to its end."""


T = TypeVar("T", bound=Finished)


def comparable(finished: Sequence[T]) -> list[T]:
    """Return those among which the best one is: all whole trials, or all if none is whole."""
    whole = [trial for trial in finished if trial.stopped_at is None]
    return whole or list(finished)
