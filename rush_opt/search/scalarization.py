"""Several goals combined into one loss by random weights.

=============  ==========  =======================================================================
symbol         shape       meaning
=============  ==========  =======================================================================
``Y``          ``(n, m)``  losses of ``n`` points in ``m`` goals
``weights``    ``(m,)``    weight of each goal; not negative, their sum is 1
=============  ==========  =======================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import FloatArray, RowArray
from rush_opt.models.surrogate import Model, Surrogate
from rush_opt.models.targets import rank_quantiles
from rush_opt.search.archive import Archive, EvaluatedPoints
from rush_opt.space import Space

__all__ = ["Scalarized", "draw_weights", "scalarize", "scalarize_at_random"]


# As in [Knowles] and the ParEGO of SMAC and mlr3mbo. The factor is small: the sum mainly decides
# between points whose largest weighted distances are equal.
RHO = 0.05


class Scalarized:
    """An archive with several goals, read as one with a single loss for each trial.

    It has no stopped trials: a rule that stops trials needs a single goal.

    Parameters
    ----------
    archive : Archive
        No trials may be added to it while this object is used.
    weights : ndarray of shape (m,)
        Weight of each goal; see `scalarize`.
    """

    def __init__(self, archive: Archive, weights: FloatArray) -> None:
        self._archive = archive
        self.y = scalarize(archive.Y, weights)
        self.n_stopped = 0

    def __len__(self) -> int:
        """Count the trials."""
        return len(self._archive)

    def __contains__(self, row: npt.NDArray[np.floating[Any]]) -> bool:
        """Return whether a snapped row was evaluated; rows are compared in single precision."""
        return row in self._archive

    @property
    def space(self) -> Space:
        """The search space."""
        return self._archive.space

    @property
    def X(self) -> RowArray:  # noqa: N802  # the field's name for rows of features
        """Snapped rows of the unit cube, shape (n, n_dims): a read-only view."""
        return self._archive.X

    def best(self, k: int) -> npt.NDArray[np.intp]:
        """Return the indices of the `k` best trials, best first; of equals, the earlier first."""
        return np.argsort(self.y, kind="stable")[:k]

    def fit(
        self,
        surrogate: Surrogate,
        rng: np.random.Generator,
        *,
        assumed: tuple[RowArray, FloatArray] | None = None,
    ) -> Model:
        """Fit a model to all trials; see `Archive.fit`."""
        X, y = self.X, self.y
        if assumed is not None:
            X, y = np.concatenate([X, assumed[0]]), np.concatenate([y, assumed[1]])
        return surrogate.fit(X, y, rng)


def scalarize_at_random(
    archive: Archive, rng: np.random.Generator
) -> tuple[EvaluatedPoints, dict[str, float]]:
    """Combine several goals by newly drawn weights; return an archive with one goal unchanged.

    [Knowles] draws new weights for every proposal. So even a single worker searches the whole
    Pareto front, and several workers do not need to divide it among themselves.

    Parameters
    ----------
    archive : Archive
    rng : numpy.random.Generator
        The proposer's own stream; not used for a single goal.

    Returns
    -------
    points : EvaluatedPoints
        With one loss for each trial.
    notes : dict
        The weights, by ``weight_<metric>``; empty for a single goal.

    References
    ----------
    .. [Knowles] See `scalarize`.
    """
    if len(archive.goals) == 1:
        return archive, {}
    weights = draw_weights(len(archive.goals), rng)
    names = [f"weight_{goal.name}" for goal in archive.goals]
    return Scalarized(archive, weights), dict(zip(names, weights.tolist(), strict=True))


def draw_weights(m: int, rng: np.random.Generator) -> FloatArray:
    """Draw weights uniformly from all non-negative weights that add up to 1.

    Parameters
    ----------
    m : int
        Number of goals.
    rng : numpy.random.Generator
        The worker's own source of randomness.

    Returns
    -------
    ndarray of shape (m,)
    """
    return rng.dirichlet(np.ones(m))


def scalarize(Y: FloatArray, weights: FloatArray) -> FloatArray:
    """Combine several losses into one: augmented Tchebycheff function of quantiles of their ranks.

    Parameters
    ----------
    Y : ndarray of shape (n, m)
        Losses without NaN; infinities are allowed.
    weights : ndarray of shape (m,)

    Returns
    -------
    ndarray of shape (n,)
        Not negative: the largest weighted distance from the best value, plus `RHO` times the sum
        of all weighted distances. If all weights are positive, a point that dominates another one
        has a smaller value.

    Notes
    -----
    Distances are differences of normal quantiles of ranks. The forest has the same quantiles as
    targets. So the result depends only on the order of the losses, not on the scales of the goals.
    If all weights are positive, the best point is on the Pareto front.

    References
    ----------
    .. [Knowles] J. Knowles. ParEGO: a hybrid algorithm with on-line landscape approximation for
       expensive multiobjective optimization problems. IEEE Transactions on Evolutionary Computation
       10(1), 2006. Eq. (2).
    """
    if not len(Y):
        return np.zeros(0)
    quantiles = np.column_stack([rank_quantiles(y) for y in Y.T])
    weighted = weights * (quantiles - quantiles.min(axis=0))
    return np.asarray(weighted.max(axis=1) + RHO * weighted.sum(axis=1), dtype=np.float64)
