"""Exploration weights: how strongly each proposal prefers uncertain candidates.

The weight is ``lam`` of `rush_opt.search.acquisition.lower_confidence_bound`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = [
    "LAMBDA_MEAN",
    "LAMBDA_PERIOD",
    "LAMBDA_RATE",
    "Decaying",
    "Exploration",
    "Steady",
    "decayed_lambda",
    "draw_lambda",
]

# The settings of OptimizerADBO of the R package mlr3mbo, after [Egele]. A 95 % interval of a normal
# distribution ends 1.96 standard deviations from the mean.
LAMBDA_MEAN = 1.96
LAMBDA_RATE = 0.1
LAMBDA_PERIOD = 25


def draw_lambda(rng: np.random.Generator, mean: float = LAMBDA_MEAN) -> float:
    """Draw the first exploration weight of a worker, from an exponential distribution.

    Each worker draws its own weight, so that workers differ without communicating.

    Parameters
    ----------
    rng : numpy.random.Generator
        The worker's own source of randomness.
    mean : float
        Mean of the distribution, dimensionless, ``> 0``.

    Returns
    -------
    float
        The weight ``lambda_0`` of the worker's first proposal.

    References
    ----------
    .. [Egele] R. Egele, I. Guyon, V. Vishwanath, P. Balaprakash. Asynchronous Decentralized
       Bayesian Optimization for Large Scale Hyperparameter Optimization. arXiv 2207.00479, 2022.
    """
    return float(rng.exponential(mean))


def decayed_lambda(
    lambda_0: float, t: int, *, rate: float = LAMBDA_RATE, period: int = LAMBDA_PERIOD
) -> float:
    """Return the weight of a proposal: it decays, and has its first value again in each period.

    Parameters
    ----------
    lambda_0 : float
        The weight of the worker's first proposal.
    t : int
        Number of proposals that the worker has made before.
    rate : float
        Decay per proposal.
    period : int
        Number of proposals after which the weight is ``lambda_0`` again.

    Returns
    -------
    float
        ``lambda_0 * exp(-rate * (t mod period))``.

    References
    ----------
    .. [mlr3mbo] OptimizerADBO of the R package mlr3mbo, after [Egele] (see `draw_lambda`).
    """
    return lambda_0 * math.exp(-rate * (t % period))


class Exploration(Protocol):
    """The interface of exploration: the weights of a worker, one for each proposal."""

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Yield a weight for each proposal of a worker, without an end.

        Parameters
        ----------
        n_before : int
            Number of workers that had joined earlier and were still in the run when the worker
            joined.
        rng : numpy.random.Generator
            The worker's own source of randomness. The worker also draws from it between two
            weights.

        Yields
        ------
        float
            Dimensionless, ``>= 0``.
        """


@dataclass(frozen=True)
class Decaying:
    """Each worker has its own weight, which decays and has its first value again in each period.

    The first worker always uses the mean: the result of a lone worker should not depend on its
    draw. In [Egele]_ all workers draw. With 1 and 2 workers, the rule for the first worker had less
    regret; with more, no difference was found (`experiments/peers`, part C).

    Parameters
    ----------
    mean : float
        Mean of the exponential distribution of the first weights, ``>= 0``.
    rate : float
        Decay per proposal, ``>= 0``. The weight of the first worker does not decay.
    period : int
        Number of proposals after which a worker's weight has its first value again, ``>= 1``.

    References
    ----------
    .. [Egele] See `draw_lambda`.
    """

    mean: float = LAMBDA_MEAN
    rate: float = LAMBDA_RATE
    period: int = LAMBDA_PERIOD

    def __post_init__(self) -> None:
        _check_weight(self, self.mean)
        if not (self.rate >= 0 and self.period >= 1):
            raise ValueError(
                f"need rate >= 0 and period >= 1, got {self!r}; "
                "change the setting that is out of range"
            )

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Yield the mean for the first worker, and a drawn weight that decays for the others."""
        if n_before == 0:
            yield from itertools.repeat(self.mean)
        lambda_0 = draw_lambda(rng, self.mean)
        for t in itertools.count():
            yield decayed_lambda(lambda_0, t, rate=self.rate, period=self.period)


@dataclass(frozen=True)
class Steady:
    """The same weight for all workers and proposals.

    Parameters
    ----------
    weight : float
        ``>= 0``.
    """

    weight: float = LAMBDA_MEAN

    def __post_init__(self) -> None:
        _check_weight(self, self.weight)

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Yield the weight; nothing is drawn from `rng`."""
        return itertools.repeat(self.weight)


def _check_weight(exploration: Exploration, weight: float) -> None:
    if not (weight >= 0 and math.isfinite(weight)):
        raise ValueError(
            f"need a finite weight >= 0, got {exploration!r}; "
            "a negative weight would avoid uncertain candidates"
        )
