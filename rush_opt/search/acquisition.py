"""How promising a candidate is: pure functions of a surrogate's mean and standard deviation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rush_opt.arrays import FloatArray

# The settings of mlr3mbo's OptimizerADBO, after Egele et al. (2022): 1.96 standard deviations is
# where a 95 % interval ends.
LAMBDA_MEAN = 1.96
LAMBDA_RATE = 0.1
LAMBDA_PERIOD = 25


def lower_confidence_bound(mean: FloatArray, sd: FloatArray, lam: float) -> FloatArray:
    """Score candidates by an optimistic guess of their objective.

    Parameters
    ----------
    mean, sd : ndarray of shape (n_candidates,)
        The surrogate's mean and standard deviation, in the units of its targets; ``sd >= 0``.
    lam : float
        Exploration weight, dimensionless, ``>= 0``.

    Returns
    -------
    ndarray of shape (n_candidates,)
        Lower is more promising.

    Raises
    ------
    ValueError
        If ``lam`` is negative.
    """
    if lam < 0:
        raise ValueError(f"need lam >= 0, got {lam}; a negative weight would avoid the unknown")
    return mean - lam * sd


def draw_lambda(rng: np.random.Generator, mean: float = LAMBDA_MEAN) -> float:
    """Draw an exploration weight: where each worker draws its own, they differ without agreeing.

    Parameters
    ----------
    rng : numpy.random.Generator
        The worker's own source of randomness.
    mean : float
        Mean of the exponential distribution, dimensionless, ``> 0``.

    Returns
    -------
    float
        The weight lambda_0 at the worker's first proposal.

    References
    ----------
    .. [Egele] R. Egele, I. Guyon, V. Vishwanath, P. Balaprakash. Asynchronous Decentralized
       Bayesian Optimization for Large Scale Hyperparameter Optimization. arXiv 2207.00479, 2022.
    """
    return float(rng.exponential(mean))


def decayed_lambda(
    lambda_0: float, t: int, *, rate: float = LAMBDA_RATE, period: int = LAMBDA_PERIOD
) -> float:
    """Let a worker's exploration fade and return in cycles.

    Parameters
    ----------
    lambda_0 : float
        The weight that `draw_lambda` gave the worker.
    t : int
        How many proposals the worker has made before this one.
    rate : float
        Decay per proposal.
    period : int
        Proposals after which the weight is back at ``lambda_0``.

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
    """How strongly a worker explores, from proposal to proposal."""

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Yield a weight for each proposal of a worker, without end.

        Parameters
        ----------
        n_before : int
            How many of the workers that joined before it were taking part when it joined.
        rng : numpy.random.Generator
            The worker's own stream, from which it draws other things in between.

        Yields
        ------
        float
            Dimensionless, ``>= 0``.
        """


@dataclass(frozen=True)
class Decaying:
    """Workers differ, and each goes from exploring to exploiting again and again.

    But for one that comes first, whose weight is the mean at every proposal: what a worker that is
    alone, or nearly so, finds is not to depend on what it happens to draw. That is ours; in [Egele]
    all draw. With 1 and 2 workers it leaves less regret than if the first one drew as well, and
    with more it could not be told apart (`experiments/peers`, part C).

    Parameters
    ----------
    mean : float
        Mean of the first weights, which are exponentially distributed, ``>= 0``.
    rate : float
        Decay per proposal of those that draw, ``>= 0``.
    period : int
        Proposals after which their weight is back at the first one, ``>= 1``.
    """

    mean: float = LAMBDA_MEAN
    rate: float = LAMBDA_RATE
    period: int = LAMBDA_PERIOD

    def __post_init__(self) -> None:
        _check_weight(self, self.mean)
        if not (self.rate >= 0 and self.period >= 1):
            raise ValueError(f"need rate >= 0 and period >= 1, got {self!r}; change that one")

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Repeat the mean if nobody came before; else draw, decay, and start again."""
        if n_before == 0:
            yield from itertools.repeat(self.mean)
        lambda_0 = draw_lambda(rng, self.mean)
        for t in itertools.count():
            yield decayed_lambda(lambda_0, t, rate=self.rate, period=self.period)


@dataclass(frozen=True)
class Steady:
    """All workers explore alike, always.

    Parameters
    ----------
    weight : float
        ``>= 0``.
    """

    weight: float = LAMBDA_MEAN

    def __post_init__(self) -> None:
        _check_weight(self, self.weight)

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Repeat the weight; nothing is drawn."""
        return itertools.repeat(self.weight)


@dataclass(frozen=True)
class Uniform:
    """Workers differ, none of them very much, and stay as they are; as in [Becker]_.

    Parameters
    ----------
    mean : float
        Weights lie between 0 and twice as much, ``>= 0``.

    References
    ----------
    .. [Becker] M. Becker, B. Bischl. rush: Scalable asynchronous distributed computing via shared
       state in R. arXiv 2606.21430, 2026.
    """

    mean: float = LAMBDA_MEAN

    def __post_init__(self) -> None:
        _check_weight(self, self.mean)

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Draw from the uniform distribution, and stay."""
        return itertools.repeat(float(rng.uniform(0.0, 2.0 * self.mean)))


def _check_weight(exploration: Exploration, weight: float) -> None:
    if not (weight >= 0 and math.isfinite(weight)):
        raise ValueError(
            f"need a finite weight >= 0, got {exploration!r}; less than 0 would avoid the unknown"
        )
