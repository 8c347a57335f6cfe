"""Random search: every worker draws from its own stream and reads no results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from rush_opt.optimizers.base import Place, Placement, Proposal, Timing
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.design import random_design
from rush_opt.search.pending import Pending

__all__ = ["RandomSearch"]

# Many points drawn at once cost less per point.
_BATCH = 64


@dataclass(frozen=True)
class RandomSearch:
    """Independent uniform points.

    References
    ----------
    .. [Bergstra] J. Bergstra, Y. Bengio. Random search for hyper-parameter optimization. Journal of
       Machine Learning Research 13, 2012.
    """

    placement: ClassVar[Placement] = "independent"

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return 0: random search needs no initial design."""
        return 0

    def proposer(self, problem: Problem, place: Place) -> RandomProposer:
        """Return the proposer of one worker."""
        return RandomProposer(problem.worker_rng(place.number))


@dataclass
class RandomProposer:
    """Draws many points at once, and proposes them one by one.

    Parameters
    ----------
    rng : numpy.random.Generator
        The worker's own stream.
    """

    rng: np.random.Generator
    _drawn: list[Proposal] = field(default_factory=list, init=False)

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        """Choose one configuration; see `Proposer.propose`."""
        with timing("acquisition"):
            if not self._drawn:
                rows = random_design(archive.space, _BATCH, self.rng)
                self._drawn = list(map(Proposal, archive.space.decode(rows)))
            return [self._drawn.pop()]
