"""How promising a candidate is: pure functions of a surrogate's mean and standard deviation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

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
    """Draw a worker's exploration weight, once: workers that differ need no agreement.

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
