"""The incumbent: which finished trial is the best. Rules, display and result use the same order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

__all__ = ["NOTHING", "STOPPED_AT", "RankKey", "comparable"]

# The name under which the result of a trial that was stopped early notes the step of the stop.
STOPPED_AT = "stopped_at"


class RankKey(NamedTuple):
    """Sort key of a finished trial; the best trial has the smallest.

    The value of a trial that was stopped early belongs to an earlier step and does not compare with
    the values of complete trials. Such a trial is the best one only if no trial is complete.

    Attributes
    ----------
    is_stopped : bool
        Whether the trial was stopped early.
    loss : float
        The objective value, to be minimized.
    """

    is_stopped: bool
    loss: float


# The key before any trial has finished: no key of a trial is larger.
NOTHING = RankKey(is_stopped=True, loss=math.inf)


class Finished(Protocol):
    """A finished trial."""

    @property
    def stopped_at(self) -> float | None:
        """The step at which the trial was stopped early; None if it is complete."""


T = TypeVar("T", bound=Finished)


def comparable(finished: Sequence[T]) -> list[T]:
    """Return the trials whose values compare: the complete ones, or all if none is complete."""
    complete = [trial for trial in finished if trial.stopped_at is None]
    return complete or list(finished)
