"""The number of settings that a search tries: at most the points of its grid or discrete space."""

from __future__ import annotations

import math
import warnings
from numbers import Integral

from rush_opt.arguments.optimizer import choose_optimizer
from rush_opt.optimizers import GridSearch, Optimizer
from rush_opt.search.grid import grid_design
from rush_opt.space import Space

__all__ = ["capped_n_iter", "count_points"]

# The points of larger spaces are not counted: cross-validation of all of them would take too long.
_MOST_POINTS = 100_000

# Warnings point at the caller of `RushSearchCV.fit`. `fit` calls this module through a method.
_STACK_LEVEL = 4


def capped_n_iter(n_iter: int | None, space: Space, optimizer: str | Optimizer) -> int | None:
    """Return how many settings to try, with a warning if that is not what the user expects.

    Parameters
    ----------
    n_iter : int or None
        The number that the user gave. A value that is not a whole number is returned unchanged, and
        `tune()` refuses it.
    space : Space
    optimizer : str or Optimizer
    """
    chosen = choose_optimizer(optimizer)
    what, n_points = "space", count_points(space)
    if isinstance(chosen, GridSearch):
        what, n_points = "grid", len(grid_design(space, chosen.resolution))
    if n_points is None or not isinstance(n_iter, Integral):
        return n_iter
    if n_iter > n_points:
        warnings.warn(
            f"the {what} has {n_points} points, fewer than n_iter={n_iter}; all of them are tried",
            UserWarning,
            stacklevel=_STACK_LEVEL,
        )
    elif what == "grid" and n_iter < n_points:
        warnings.warn(
            f"the grid has {n_points} points, but only n_iter={n_iter} of them are tried; "
            "n_iter=None tries all",
            UserWarning,
            stacklevel=_STACK_LEVEL,
        )
    return min(n_iter, n_points)


def count_points(space: Space) -> int | None:
    """Return how many points a discrete space has.

    None for a space with a continuous parameter, or with more than 100,000 points.
    """
    most = math.prod(space.n_levels.tolist())  # a parameter without levels counts as 0
    return len(grid_design(space, most)) if 0 < most <= _MOST_POINTS else None
