"""Rules that stop a trial early because other trials reported better values.

Every worker knows the curves of all trials and decides about its own trial. A rule does no input or
output, and works with every optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Protocol

import numpy as np

from rush_opt.space.parameter import is_integer, is_number
from rush_opt.stopping.curves import Curve

__all__ = ["MedianRule", "Pruner", "SuccessiveHalving"]


class Pruner(Protocol):
    """The interface of a rule that stops trials early."""

    def should_stop(self, curve: Curve, others: Iterable[Curve]) -> bool:
        """Return whether to stop a trial after its latest report.

        Parameters
        ----------
        curve : Curve
            The curve of the trial, with at least one report.
        others : iterable of Curve
            The curves of all other trials, running ones included.
        """


@dataclass(frozen=True)
class SuccessiveHalving:
    """Asynchronous successive halving: at each rung, only the best trials continue.

    Rungs are the steps ``min_resource * reduction_factor**k`` for k = 0, 1, 2 and so on. A trial
    that reaches a rung continues if it is among the best ``1 / reduction_factor`` of all trials
    that have reached it so far, itself included. The best one always continues. A trial never waits
    for others. A stopped trial is not continued later; in the original algorithm, it can be.

    Parameters
    ----------
    min_resource : float
        The step of the first rung, ``> 0``.
    reduction_factor : float
        One of this many trials at a rung continues, ``> 1``.

    Notes
    -----
    In `experiments/early_stopping.py`, random search reached its target more often with this rule
    on all three families of learning curves. ADBO needed half to two thirds of the steps on the
    two simulated families, and reached its target less often on the real one.

    References
    ----------
    .. [Li] L. Li, K. Jamieson, A. Rostamizadeh, E. Gonina, J. Ben-tzur, M. Hardt, B. Recht,
       A. Talwalkar. A system for massively parallel hyperparameter tuning. Proceedings of Machine
       Learning and Systems 2, 2020. Algorithm 2; its experiments have a reduction factor of 4.
    """

    min_resource: float = 1
    reduction_factor: float = 4

    def __post_init__(self) -> None:
        if not (is_number(self.min_resource) and 0 < self.min_resource < math.inf):
            raise ValueError(
                f"min_resource, the step of the first rung, must be a number > 0, got "
                f"{self.min_resource!r}"
            )
        if not (is_number(self.reduction_factor) and 1 < self.reduction_factor < math.inf):
            raise ValueError(
                "reduction_factor must be a number > 1, because one of so many trials continues; "
                f"got {self.reduction_factor!r}"
            )

    def should_stop(self, curve: Curve, others: Iterable[Curve]) -> bool:
        """Return whether to stop a trial after its latest report; see `Pruner`."""
        reached = self._rungs_reached(curve)
        if not reached:
            return False
        # One report can reach several rungs. The trial must pass each of them.
        known = list(others)
        return any(not self._goes_on(curve, known, rung) for rung in reached)

    def _rungs_reached(self, curve: Curve) -> list[float]:
        """Return the rungs that this trial reached with its latest report."""
        before, step = curve.steps[-2] if len(curve.steps) > 1 else -math.inf, curve.steps[-1]
        rungs = (self.min_resource * self.reduction_factor**k for k in count())
        return [rung for rung in takewhile(lambda rung: rung <= step, rungs) if rung > before]

    def _goes_on(self, curve: Curve, others: list[Curve], rung: float) -> bool:
        value = curve.values[-1]
        at_rung = [other.value_at(rung) for other in others]
        n_better = sum(v is not None and v < value for v in at_rung)
        n = 1 + sum(v is not None for v in at_rung)
        return n_better < max(math.floor(n / self.reduction_factor), 1)


@dataclass(frozen=True)
class MedianRule:
    """The median rule: stop a trial whose best value is worse than the average of other trials.

    For each other trial that has reached the step, compute the mean of its values up to that step.
    A trial is stopped if its best value is worse than the median of these means.

    Parameters
    ----------
    n_warmup_steps : float
        No trial is stopped up to this step, ``>= 0``.
    n_min_trials : int
        No trial is stopped if fewer others have reached its step, ``>= 1``.

    References
    ----------
    .. [Golovin] D. Golovin, B. Solnik, S. Moitra, G. Kochanski, J. Karro, D. Sculley. Google
       Vizier: A service for black-box optimization. KDD 2017, section 3.2.2. The paper compares
       with completed trials only.

    Notes
    -----
    If values fall steeply at first, the means stay far above the later values and few trials are
    stopped. In `experiments/early_stopping.py` the rule saved nothing.
    """

    n_warmup_steps: float = 0
    n_min_trials: int = 5

    def __post_init__(self) -> None:
        if not (is_number(self.n_warmup_steps) and 0 <= self.n_warmup_steps < math.inf):
            raise ValueError(f"n_warmup_steps must be a step >= 0, got {self.n_warmup_steps!r}")
        n = self.n_min_trials
        if not is_integer(n) or n < 1:
            raise ValueError(f"n_min_trials must be a count >= 1, got {n!r}")

    def should_stop(self, curve: Curve, others: Iterable[Curve]) -> bool:
        """Return whether to stop a trial after its latest report; see `Pruner`."""
        step = curve.steps[-1]
        if step <= self.n_warmup_steps:
            return False
        means = [m for m in (other.mean_until(step) for other in others) if m is not None]
        return len(means) >= self.n_min_trials and curve.best > float(np.median(means))
