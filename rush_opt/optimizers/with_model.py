"""The proposer that ADBO, ACBO and CLBO share: fit a model, search its lower confidence bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rush_opt.models.surrogate import Model, Surrogate
from rush_opt.optimizers.base import Proposal, Timing
from rush_opt.search.archive import Archive, EvaluatedPoints
from rush_opt.search.candidates import Candidates, draw_new, propose
from rush_opt.search.pending import Pending
from rush_opt.search.scalarization import scalarize_at_random

__all__ = ["Fit", "ModelProposer", "fit_to_ended"]


class Fit(Protocol):
    """How a model uses pending points."""

    def __call__(
        self,
        points: EvaluatedPoints,
        pending: Pending,
        surrogate: Surrogate,
        rng: np.random.Generator,
    ) -> Model:
        """Fit a model."""


def fit_to_ended(
    points: EvaluatedPoints, pending: Pending, surrogate: Surrogate, rng: np.random.Generator
) -> Model:
    """Fit to ended trials, and ignore pending points."""
    return points.fit(surrogate, rng)


@dataclass
class ModelProposer:
    """Proposes random points until there are as many results as dimensions, then uses a model.

    Stopped trials count as results as soon as at least one trial has completed or failed.

    Parameters
    ----------
    surrogate : Surrogate
    candidates : Candidates
    rng : numpy.random.Generator
        The proposing process's own stream.
    weights : iterator of float
        The exploration weight lambda of each proposal.
    fit : callable
        How the model uses pending points.
    """

    surrogate: Surrogate
    candidates: Candidates
    rng: np.random.Generator
    weights: Iterator[float]
    fit: Fit = fit_to_ended

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        """Choose `n` configurations; for each one, the chosen ones before it count as pending.

        The notes of a proposal are ``lambda``, the exploration weight; ``n_known``, the number of
        results that the model was fitted to; and ``n_stopped``, the number of stopped trials that
        it also learned from, if there were any. See `Proposer.propose`.
        """
        if n > 1:
            pending = pending.copy()
        proposals: list[Proposal] = []
        for i in range(n):
            if i:
                pending.add(f"proposal {i}", proposals[-1].config)
            proposals.append(self._propose_one(archive, pending, timing))
        return proposals

    def _propose_one(self, archive: Archive, pending: Pending, timing: Timing) -> Proposal:
        rng = self.rng
        points, objective_weights = scalarize_at_random(archive, rng)
        lam = next(self.weights)
        notes = {"lambda": lam, "n_known": len(points), **objective_weights}
        if points.n_stopped:
            notes["n_stopped"] = points.n_stopped
        if not len(points) or len(points) + points.n_stopped < points.space.n_dims:
            with timing("acquisition"):
                row = draw_new(points, rng, pending=pending)
                return Proposal(points.space.decode(row[np.newaxis])[0], notes)
        with timing("surrogate"):
            model = self.fit(points, pending, self.surrogate, rng)
        with timing("acquisition"):
            row = propose(points, model, lam, rng, candidates=self.candidates, pending=pending)
            return Proposal(points.space.decode(row[np.newaxis])[0], notes)
