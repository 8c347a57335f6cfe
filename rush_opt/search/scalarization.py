"""Several goals as one: random weights, and the loss that they make of a point.

=============  ==========  =======================================================================
symbol         shape       meaning
=============  ==========  =======================================================================
``Y``          ``(n, m)``  losses of ``n`` points in ``m`` goals
``weights``    ``(m,)``    how much each goal counts; not negative, their sum is 1
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


# As in [Knowles] and the ParEGO of SMAC and mlr3mbo. The sum is small beside the maximum: it
# decides between points whose largest weighted distance is the same.
RHO = 0.05


class Scalarized:
    """An archive of several goals as a proposer reads it: with one loss for each trial.

    Stopped trials are left out: a rule that stops trials needs a single goal.

    Parameters
    ----------
    archive : Archive
        It must not grow while this is used.
    weights : ndarray of shape (m,)
        How much each goal counts; see `scalarize`.
    """

    def __init__(self, archive: Archive, weights: FloatArray) -> None:
        self._archive = archive
        self.y = scalarize(archive.Y, weights)
        self.n_stopped = 0

    def __len__(self) -> int:
        """Count the trials."""
        return len(self._archive)

    def __contains__(self, row: npt.NDArray[np.floating[Any]]) -> bool:
        """Tell whether a snapped row was evaluated, to single precision."""
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
        """Return the indices of the `k` best trials, the best first, equals in order."""
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
    """Combine several goals by weights that are drawn anew; leave a single goal as it is.

    [Knowles] draws new weights for every proposal. So the whole Pareto front is searched, however
    few workers there are, and workers need no agreement about who searches where.

    Parameters
    ----------
    archive : Archive
    rng : numpy.random.Generator
        The proposer's own stream; nothing is drawn from it for a single goal.

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
    """Draw weights uniformly from all that are not negative and add up to 1.

    Parameters
    ----------
    m : int
        How many goals there are.
    rng : numpy.random.Generator
        The worker's own source of randomness.

    Returns
    -------
    ndarray of shape (m,)
    """
    return rng.dirichlet(np.ones(m))


def scalarize(Y: FloatArray, weights: FloatArray) -> FloatArray:
    """Make one loss of several: the augmented Tchebycheff function of their ranks' quantiles.

    Parameters
    ----------
    Y : ndarray of shape (n, m)
        Losses without NaN; infinities are allowed.
    weights : ndarray of shape (m,)

    Returns
    -------
    ndarray of shape (n,)
        Not negative: the largest weighted distance from the best plus `RHO` times the sum of all.
        If all weights are positive, a point that dominates another has a smaller value.

    Notes
    -----
    Distances are between normal quantiles of ranks, which the forest uses as its targets, too. So
    the result depends on the order of the losses only, and not on the goals' scales. For positive
    weights the best point is on the Pareto front.

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
