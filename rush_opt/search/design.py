"""Configurations chosen before any model: rows of the unit cube, snapped to the space.

Inactive coordinates are set as the space's conditions say, and rows that break a constraint are
left out: random and spread designs draw others instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rush_opt.space import INACTIVE, MOST_DRAWS, Config, FloatArray, Space

# A grid is held in memory as a whole.
_MOST_GRID_POINTS = 1_000_000

# How many points are drawn at once where some may break constraints.
_LEAST_DRAWS = 16

# So many in a row break the constraints of a space that is just let in, where one point in
# `MOST_DRAWS` satisfies them, once in 5e8 points.
_MOST_VAIN_DRAWS = 20 * MOST_DRAWS


def random_design(space: Space, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw points independently and uniformly.

    Parameters
    ----------
    space : Space
        What is searched.
    n : int
        Number of points, ``>= 0``.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows; two may be equal where the space is discrete.

    Raises
    ------
    ValueError
        If 200,000 points in a row break the constraints.
    """
    return _fill(space, n, lambda size: rng.random((size, space.n_dims)))


def latin_hypercube_design(space: Space, n: int, rng: np.random.Generator) -> FloatArray:
    """Spread points over every single parameter: one in each of ``n`` slices of its range.

    Parameters
    ----------
    space : Space
        What is searched.
    n : int
        Number of points, ``>= 0``.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows. Where constraints leave some out, the rest comes from a further hypercube, and
        the slices are only roughly filled.

    Raises
    ------
    ValueError
        If 200,000 points in a row break the constraints.

    References
    ----------
    .. [McKay] M. D. McKay, R. J. Beckman, W. J. Conover. A comparison of three methods for
       selecting values of input variables in the analysis of output from a computer code.
       Technometrics 21(2), 1979.
    """

    def hypercube(size: int) -> FloatArray:
        slices = rng.permuted(np.tile(np.arange(size), (space.n_dims, 1)), axis=1).T
        return (slices + rng.random(slices.shape)) / size

    return _fill(space, n, hypercube)


def sobol_design(space: Space, n: int, rng: np.random.Generator) -> FloatArray:
    """Spread points evenly: the first ``n`` of a scrambled Sobol sequence.

    Parameters
    ----------
    space : Space
        What is searched.
    n : int
        Number of points, ``>= 0``; a power of two is spread best.
    rng : numpy.random.Generator
        Source of randomness for the scrambling.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows; two may be equal where the space is discrete. With constraints, the first
        ``n`` of the sequence that satisfy them.

    Raises
    ------
    ValueError
        If 200,000 points in a row break the constraints.

    References
    ----------
    .. [Owen] A. B. Owen. Scrambling Sobol' and Niederreiter-Xing points. Journal of Complexity
       14(4), 1998.
    """
    # Loading scipy.stats takes half a second of CPU, and only who starts a run needs these points.
    from scipy.stats import qmc

    if n == 0:
        return np.empty((0, space.n_dims))
    sequence = qmc.Sobol(space.n_dims, scramble=True, rng=rng)

    def following(size: int) -> FloatArray:
        # The length doubles at each call: scipy takes any but powers of two for a mistake.
        drawn = int(sequence.num_generated)
        length = drawn.bit_length() - 1 if drawn else (size - 1).bit_length()
        return np.asarray(sequence.random_base2(length))

    return _fill(space, n, following)


def grid_design(space: Space, resolution: int | Mapping[str, int]) -> FloatArray:
    """Combine evenly spaced values of every parameter with those of all others.

    Parameters
    ----------
    space : Space
        What is searched.
    resolution : int or mapping of str to int
        How many values of each parameter, ``>= 1``, for all alike or by name. Ordered parameters
        with fewer values, and unordered ones in any case, have all of theirs, and need no entry
        in the mapping.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows, no two equal: an inactive parameter multiplies nothing. The last parameters
        change fastest, as far as conditions let them.

    Raises
    ------
    TypeError
        If a resolution is no whole number.
    ValueError
        If a resolution is below 1, missing, or of an unknown parameter; if there are more than a
        million points, or none that satisfies the constraints.
    """
    X = np.zeros((1, space.n_dims))
    for j, coordinates in _grid_columns(space, resolution):
        active = space.active(X, j)
        counts = np.where(active, len(coordinates), 1)
        if counts.sum() > _MOST_GRID_POINTS:
            raise ValueError(
                f"a grid needs at most {_MOST_GRID_POINTS:,} points, got {counts.sum():,} before "
                f"all {space.n_dims} parameters are in; lower the resolution"
            )
        # How many copies of the row are before each: its place among the values of the parameter.
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        X = np.repeat(X, counts, axis=0)
        X[:, j] = np.where(np.repeat(active, counts), coordinates[place], INACTIVE)
    X = X[space.allowed(X)]
    if not len(X):
        raise ValueError(
            "no point of the grid satisfies the constraints; raise the resolution or loosen them"
        )
    return X


def given_design(space: Space, configs: Sequence[Config]) -> FloatArray:
    """Take configurations that somebody chose.

    Parameters
    ----------
    space : Space
        What is searched.
    configs : sequence of mappings
        Parameter name to value, all active parameters and no other.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows.

    Raises
    ------
    ValueError
        If a configuration is none of the space's, or breaks a constraint; the message says which.
    """
    for i, config in enumerate(configs):
        try:
            space.validate(config)
        except ValueError as error:
            raise ValueError(f"configuration {i}: {error}") from None
    return space.snap(space.encode(configs))


def new_rows(X: FloatArray, space: Space, known: Sequence[Config]) -> FloatArray:
    """Leave out rows that are known or occur before, to single precision as in the archive.

    Parameters
    ----------
    X : ndarray of shape (n, n_dims)
        Snapped rows.
    space : Space
    known : sequence of mappings
        Configurations of the space.

    Returns
    -------
    ndarray of float64, shape (at most n, n_dims)
        The others, in the same order.

    Raises
    ------
    ValueError
        If a configuration that is known is none of the space's.
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
    """So many points drawn independently and uniformly, to be given as an initial design.

    Parameters
    ----------
    n : int
        ``>= 0``.
    """

    n: int

    def __post_init__(self) -> None:
        _check_size(self)

    def draw(self, space: Space, rng: np.random.Generator) -> FloatArray:
        """Draw the points; see `random_design`."""
        return random_design(space, self.n, rng)


@dataclass(frozen=True)
class LatinHypercube:
    """So many points spread over every single parameter, to be given as an initial design.

    Parameters
    ----------
    n : int
        ``>= 0``.
    """

    n: int

    def __post_init__(self) -> None:
        _check_size(self)

    def draw(self, space: Space, rng: np.random.Generator) -> FloatArray:
        """Draw the points; see `latin_hypercube_design`."""
        return latin_hypercube_design(space, self.n, rng)


@dataclass(frozen=True)
class Grid:
    """All combinations of evenly spaced values, to be given as an initial design.

    Parameters
    ----------
    resolution : int or mapping of str to int
        How many values of each parameter; see `grid_design`.
    """

    resolution: int | Mapping[str, int]

    def draw(self, space: Space, rng: np.random.Generator) -> FloatArray:
        """Put the grid in random order, so that its beginning is an even part of it."""
        return rng.permutation(grid_design(space, self.resolution))


Design = RandomPoints | LatinHypercube | Grid


def _check_size(design: RandomPoints | LatinHypercube) -> None:
    name, n = type(design).__name__, design.n
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"{name} needs a whole number of points, got {n!r}")
    if n < 0:
        raise ValueError(f"{name} needs a number of points >= 0, got {n}")


def _fill(space: Space, n: int, draw: Callable[[int], FloatArray]) -> FloatArray:
    """Draw until there are n rows that satisfy the constraints."""
    if not space.constraints or n == 0:
        return space.snap(draw(n)[:n]) if n else np.empty((0, space.n_dims))
    kept: list[FloatArray] = []
    found = n_vain = 0
    while found < n:
        drawn = space.snap(draw(max(n, _LEAST_DRAWS)))
        X = drawn[space.allowed(drawn)]
        n_vain = 0 if len(X) else n_vain + len(drawn)
        if n_vain >= _MOST_VAIN_DRAWS:
            raise ValueError(
                f"the constraints need to allow more of the space: {n_vain:,} points in a row "
                "break them; loosen them, or choose parameters that cannot break them"
            )
        kept.append(X)
        found += len(X)
    return np.concatenate(kept)[:n]


def _grid_columns(
    space: Space, resolution: int | Mapping[str, int]
) -> list[tuple[int, FloatArray]]:
    """Return the columns, parents before children, each with its coordinates."""
    if isinstance(resolution, Mapping):
        unknown = sorted(set(resolution) - set(space.columns))
        if unknown:
            raise ValueError(
                f"resolution names {unknown}, which are not searched; there are "
                f"{list(space.columns)}"
            )
    return [(j, space.grid(j, _resolution_of(space, j, resolution))) for j in space.parents_first]


def _resolution_of(space: Space, j: int, resolution: object) -> int:
    name, given = space.columns[j], resolution
    if isinstance(resolution, Mapping):
        given = resolution.get(name, 1 if space.n_levels[j] and not space.is_ordered[j] else None)
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise TypeError(f"parameter {name!r} needs a whole number as resolution, got {given!r}")
    if given < 1:
        raise ValueError(f"parameter {name!r} needs a resolution of at least 1, got {given}")
    return int(given)
