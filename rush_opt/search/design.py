"""Initial designs: configurations that are chosen before there is a model, as snapped rows.

A row that breaks a constraint is dropped, and another row is drawn instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.search.grid import Grid
from rush_opt.space import MOST_DRAWS, Config, Space
from rush_opt.space.parameter import is_integer

__all__ = [
    "Design",
    "LatinHypercube",
    "RandomPoints",
    "new_rows",
    "random_design",
    "sobol_design",
]

# Least number of points that are drawn at once in a space with constraints.
_MIN_DRAWS = 16

# Give up after this many rejections in a row. A space refuses constraints that fewer than about
# one point in `MOST_DRAWS` satisfies. At this limit, so many rejections happen by chance once in
# 5e8 points.
_MAX_REJECTIONS = 20 * MOST_DRAWS


def random_design(space: Space, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw points independently and uniformly.

    Parameters
    ----------
    space : Space
        The search space.
    n : int
        Number of points, ``>= 0``.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows; in a discrete space, rows may repeat.

    Raises
    ------
    ValueError
        If 200,000 points in a row break the constraints.
    """
    return _fill(space, n, lambda size: rng.random((size, space.n_dims)))


def sobol_design(space: Space, n: int, rng: np.random.Generator) -> FloatArray:
    """Return the first ``n`` points of a scrambled Sobol sequence; they are spread evenly.

    Parameters
    ----------
    space : Space
        The search space.
    n : int
        Number of points, ``>= 0``; a power of two is spread most evenly.
    rng : numpy.random.Generator
        Source of randomness for the scrambling.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows; in a discrete space, rows may repeat. With constraints, these are the first
        ``n`` points of the sequence that satisfy them.

    Raises
    ------
    ValueError
        If 200,000 points in a row break the constraints.

    References
    ----------
    .. [Owen] A. B. Owen. Scrambling Sobol' and Niederreiter-Xing points. Journal of Complexity
       14(4), 1998.
    """
    # Imported here because it takes half a second to load, and only the start of a run needs it.
    from scipy.stats import qmc

    if n == 0:
        return np.empty((0, space.n_dims))
    sequence = qmc.Sobol(space.n_dims, scramble=True, rng=rng)

    def following(size: int) -> FloatArray:
        # The number of points drawn so far doubles at each call: scipy warns if it is not a power
        # of two.
        drawn = int(sequence.num_generated)
        length = drawn.bit_length() - 1 if drawn else (size - 1).bit_length()
        return np.asarray(sequence.random_base2(length))

    return _fill(space, n, following)


def new_rows(X: FloatArray, space: Space, known: Sequence[Config]) -> FloatArray:
    """Return the rows that are neither known nor repeats of earlier rows.

    Rows are compared in single precision, as in the archive.

    Parameters
    ----------
    X : ndarray of shape (n, n_dims)
        Snapped rows.
    space : Space
    known : sequence of mappings
        Known configurations.

    Returns
    -------
    ndarray of float64, shape (at most n, n_dims)
        In the same order.

    Raises
    ------
    ValueError
        If a known configuration does not belong to the space.
    """
    seen = {row.tobytes() for row in space.encode(known).astype(np.float32)}
    new = []
    for i, row in enumerate(X.astype(np.float32)):
        if row.tobytes() not in seen:
            seen.add(row.tobytes())
            new.append(i)
    return X[new]


@dataclass(frozen=True)
class RandomPoints:
    """An initial design of points drawn independently and uniformly.

    Parameters
    ----------
    n : int
        Number of points, ``>= 0``.
    """

    n: int

    def __post_init__(self) -> None:
        _check_size(self)

    def draw(self, space: Space, rng: np.random.Generator) -> FloatArray:
        """Draw the points; see `random_design`."""
        return random_design(space, self.n, rng)


@dataclass(frozen=True)
class LatinHypercube:
    """An initial design with one point in each of ``n`` equal slices of every parameter.

    If constraints reject points, the missing ones are drawn from another hypercube. Then some
    slices have no point and others have two.

    Parameters
    ----------
    n : int
        Number of points, ``>= 0``.

    References
    ----------
    .. [McKay] M. D. McKay, R. J. Beckman, W. J. Conover. A comparison of three methods for
       selecting values of input variables in the analysis of output from a computer code.
       Technometrics 21(2), 1979.
    """

    n: int

    def __post_init__(self) -> None:
        _check_size(self)

    def draw(self, space: Space, rng: np.random.Generator) -> FloatArray:
        """Draw the points.

        Parameters
        ----------
        space : Space
            The search space.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        ndarray of float64, shape (n, n_dims)
            Snapped rows.

        Raises
        ------
        ValueError
            If 200,000 points in a row break the constraints.
        """
        from scipy.stats import qmc  # see `sobol_design`

        return _fill(space, self.n, qmc.LatinHypercube(space.n_dims, rng=rng).random)


Design = RandomPoints | LatinHypercube | Grid


def _check_size(design: RandomPoints | LatinHypercube) -> None:
    """Check that the number of points is a whole number, at least 0."""
    name, n = type(design).__name__, design.n
    if not is_integer(n):
        raise TypeError(f"{name} needs a whole number of points, got {n!r}")
    if n < 0:
        raise ValueError(f"{name} needs a number of points >= 0, got {n}")


def _fill(space: Space, n: int, draw: Callable[[int], FloatArray]) -> FloatArray:
    """Draw until there are n snapped rows that satisfy the constraints.

    ``draw(size)`` returns at least `size` rows of the unit cube.
    """
    if not space.constraints or n == 0:
        return space.snap(draw(n)[:n]) if n else np.empty((0, space.n_dims))
    kept: list[FloatArray] = []
    found = n_rejected = 0
    while found < n:
        drawn = space.snap(draw(max(n, _MIN_DRAWS)))
        X = drawn[space.allowed(drawn)]
        n_rejected = 0 if len(X) else n_rejected + len(drawn)
        if n_rejected >= _MAX_REJECTIONS:
            raise ValueError(
                f"the constraints need to allow more of the space: {n_rejected:,} points in a row "
                "break them; loosen them, or choose parameters that cannot break them"
            )
        kept.append(X)
        found += len(X)
    return np.concatenate(kept)[:n]
