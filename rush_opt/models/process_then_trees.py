"""The default surrogate: a Gaussian process for few results, trees for many."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rush_opt.arrays import FloatArray, RowArray
from rush_opt.models.forest import ExtraTrees
from rush_opt.models.gaussian_process import GaussianProcess
from rush_opt.models.surrogate import Model

__all__ = ["ProcessThenTrees"]


@dataclass(frozen=True)
class ProcessThenTrees:
    """A Gaussian process up to a number of results, extremely randomized trees beyond it.

    Parameters
    ----------
    until : int
        Largest number of results to which the Gaussian process is fitted, ``>= 1``.
    process : GaussianProcess
    trees : ExtraTrees
    """

    until: int = 100
    process: GaussianProcess = field(default_factory=GaussianProcess)
    trees: ExtraTrees = field(default_factory=ExtraTrees)

    def fit(self, X: RowArray, y: FloatArray, rng: np.random.Generator) -> Model:
        """Fit the process or the trees; see `GaussianProcess.fit` and `ExtraTrees.fit`."""
        return (self.process if len(y) <= self.until else self.trees).fit(X, y, rng)
