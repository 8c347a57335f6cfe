"""The acquisition function: how promising a candidate is."""

from __future__ import annotations

from rush_opt.arrays import FloatArray

__all__ = ["lower_confidence_bound"]


def lower_confidence_bound(mean: FloatArray, sd: FloatArray, lam: float) -> FloatArray:
    """Score candidates by an optimistic guess of their objective, ``mean - lam * sd``.

    Parameters
    ----------
    mean, sd : ndarray of shape (n_candidates,)
        Mean and standard deviation that the model predicts, in the unit of its targets;
        ``sd >= 0``.
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

    References
    ----------
    .. [Srinivas] N. Srinivas, A. Krause, S. M. Kakade, M. Seeger. Gaussian process optimization in
       the bandit setting: no regret and experimental design. ICML 2010. The paper maximizes, so
       it uses an upper bound.
    """
    if lam < 0:
        raise ValueError(f"need lam >= 0, got {lam}; a negative weight would avoid the unknown")
    return mean - lam * sd
