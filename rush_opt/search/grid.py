"""The grid: all combinations of evenly spaced values of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.space import INACTIVE, Space
from rush_opt.space.parameter import is_integer

__all__ = ["Grid", "grid_design"]

# The whole grid is held in memory.
_MAX_POINTS = 1_000_000


@dataclass(frozen=True)
class Grid:
    """An initial design of all combinations of evenly spaced values.

    Parameters
    ----------
    resolution : int or mapping of str to int
        Number of values of each parameter; see `grid_design`.
    """

    resolution: int | Mapping[str, int]

    def draw(self, space: Space, rng: np.random.Generator) -> FloatArray:
        """Return the grid in random order, so that its first points cover the whole space."""
        return rng.permutation(grid_design(space, self.resolution))


def grid_design(space: Space, resolution: int | Mapping[str, int]) -> FloatArray:
    """Return all combinations of evenly spaced values of the parameters.

    Parameters
    ----------
    space : Space
        The search space.
    resolution : int or mapping of str to int
        Number of values of each parameter, ``>= 1``: one number for all parameters, or a mapping
        of names to numbers. An ordered parameter with fewer values uses all of them. An unordered
        parameter always uses all of its values and needs no entry in the mapping.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows, no two equal. The values of a parameter are combined only with rows in which
        it is active. The last parameter varies fastest; a child varies faster than its parents.

    Raises
    ------
    TypeError
        If a resolution is missing or not a whole number.
    ValueError
        If a resolution is below 1, or of an unknown parameter; if there are more than a million
        points, or none that satisfies the constraints.
    """
    X = np.zeros((1, space.n_dims))
    for j, coordinates in _grid_columns(space, resolution):
        active = space.active(X, j)
        counts = np.where(active, len(coordinates), 1)
        if counts.sum() > _MAX_POINTS:
            raise ValueError(
                f"a grid needs at most {_MAX_POINTS:,} points, got {counts.sum():,} before "
                f"all {space.n_dims} parameters are combined; lower the resolution"
            )
        # A row is copied once per value. The index of a copy among them is the index of its value.
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        X = np.repeat(X, counts, axis=0)
        X[:, j] = np.where(np.repeat(active, counts), coordinates[place], INACTIVE)
    X = X[space.allowed(X)]
    if not len(X):
        raise ValueError(
            "no point of the grid satisfies the constraints; raise the resolution, or loosen the "
            "constraints"
        )
    return X


def _grid_columns(
    space: Space, resolution: int | Mapping[str, int]
) -> list[tuple[int, FloatArray]]:
    """Return the columns, parents before children, each with the coordinates of its values."""
    if isinstance(resolution, Mapping):
        unknown = sorted(set(resolution) - set(space.columns))
        if unknown:
            raise ValueError(
                f"resolution must name searched parameters, of {list(space.columns)}, got {unknown}"
            )
    return [(j, space.grid(j, _resolution_of(space, j, resolution))) for j in space.parents_first]


def _resolution_of(space: Space, j: int, resolution: object) -> int:
    """Return the resolution of a column; it has no effect on an unordered parameter."""
    name, given = space.columns[j], resolution
    if isinstance(resolution, Mapping):
        given = resolution.get(name, 1 if space.n_levels[j] and not space.is_ordered[j] else None)
    if not is_integer(given):
        raise TypeError(f"parameter {name!r} needs a whole number as resolution, got {given!r}")
    if given < 1:
        raise ValueError(f"parameter {name!r} needs a resolution of at least 1, got {given}")
    return int(given)
