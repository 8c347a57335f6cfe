"""Bins: a discrete parameter divides its edge of the unit cube into one bin for each value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rush_opt.arrays import FloatArray
from rush_opt.space.parameter import Parameter


class Bins:
    """The bins of all columns of a space.

    Parameters
    ----------
    searched : sequence of Parameter
        The searched parameters, in the order of the columns; continuous ones have no bins.
    """

    def __init__(self, searched: Sequence[Parameter]) -> None:
        n_levels = np.array([p.n_levels for p in searched], dtype=np.int64)
        # Columns with bins of equal width are processed together. The bins of a logarithmic
        # integer have different widths.
        self._uneven = [(j, p) for j, p in enumerate(searched) if not p.equal_bins]
        equal = n_levels > 0
        equal[[j for j, _ in self._uneven]] = False
        self._equal = np.flatnonzero(equal)
        self._counts = n_levels[self._equal].astype(np.float64)
        self._min_steps = np.zeros(len(searched))
        self._min_steps[self._equal] = 1.0 / self._counts

    def snap(self, X: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Return a new array of points inside the cube, each at the middle of its bins."""
        snapped = np.clip(np.asarray(X, dtype=np.float64), 0.0, 1.0)
        equal, counts = self._equal, self._counts
        levels = np.minimum(np.floor(snapped[:, equal] * counts), counts - 1.0)
        snapped[:, equal] = (levels + 0.5) / counts
        for j, parameter in self._uneven:
            snapped[:, j] = parameter.unit_of_level(parameter.level_of(snapped[:, j]))
        return snapped

    def shift(self, X: FloatArray, steps: FloatArray) -> FloatArray:
        """Move snapped points and snap the result; a discrete value moves by at least one level."""
        steps = np.copysign(np.maximum(np.abs(steps), self._min_steps * (steps != 0.0)), steps)
        moved = self.snap(X + steps)
        for j, parameter in self._uneven:
            before, after = parameter.level_of(X[:, j]), parameter.level_of(moved[:, j])
            one_level = np.clip(before + np.sign(steps[:, j]), 0, parameter.n_levels - 1)
            moved[:, j] = parameter.unit_of_level(np.where(after == before, one_level, after))
        return moved
