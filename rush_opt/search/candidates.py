"""From a fitted surrogate to the one point to evaluate next."""

from __future__ import annotations

import functools
import math
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from numbers import Integral

import numpy as np
import numpy.typing as npt

from rush_opt.models.surrogate import Model
from rush_opt.search.acquisition import lower_confidence_bound
from rush_opt.search.archive import EvaluatedPoints
from rush_opt.search.design import grid_design, random_design
from rush_opt.space import INACTIVE, FloatArray, Space

# Up to here a discrete space is searched for what is left of it.
_MOST_POINTS = 10_000


@dataclass(frozen=True)
class Candidates:
    """How candidates are made, in two stages.

    Parameters
    ----------
    n_random : int
        Uniform points, first stage, ``>= 1``.
    n_local : int
        Moves of the best finished points, first stage, ``>= 0``.
    n_refine : int
        Moves of the first stage's most promising points, second stage, ``>= 0``.
    n_parents : int
        From how many points the moves of a stage start, ``>= 1``.
    p_move : float
        Probability that a move changes a coordinate; at least one always changes.
    log10_step : tuple of float
        Bounds of the decimal logarithm of a move's size, in unit-cube lengths.
    p_choices : float
        Probability that a proposal has its choices (`Space.is_choice`) drawn at random, and is the
        best that there is with these. Where nothing else is searched, none are drawn.

    Raises
    ------
    ValueError
        If a setting is out of its range.
    """

    # Chosen in experiments/surrogate_study: 300 in all were worse, 3,000 no better; the shares of
    # the three kinds did not matter between 5 and 70 % of random points.
    n_random: int = 500
    n_local: int = 250
    n_refine: int = 250
    # 30 were worse early on, 5 equal.
    n_parents: int = 10
    # 0.15 and 0.2 were a little better than more. Smaller steps than 1 % were worse for trees, and
    # in experiments/peers, where a process models, as good.
    p_move: float = 0.25
    log10_step: tuple[float, float] = (-2.0, -0.5)
    # A model that is sure of one combination of choices goes on to its optimum, digit by digit, and
    # never sees that another would be better once its own numbers are set. In experiments/peers 0.4
    # was better still with 1 worker, and worse with 8 and 64.
    p_choices: float = 0.2

    def __post_init__(self) -> None:
        counts = (self.n_random, self.n_parents, self.n_local, self.n_refine)
        counts_hold = all(isinstance(n, Integral) for n in counts) and (
            min(self.n_random, self.n_parents) >= 1 and min(self.n_local, self.n_refine) >= 0
        )
        shares_hold = 0 <= self.p_move <= 1 and 0 <= self.p_choices <= 1
        if not (counts_hold and shares_hold and self.log10_step[0] <= self.log10_step[1]):
            raise ValueError(
                "need whole n_random >= 1, n_parents >= 1, n_local >= 0, n_refine >= 0, p_move and "
                f"p_choices from 0 to 1 and log10_step in order, got {self!r}; "
                "change what is out of range"
            )


def propose(
    archive: EvaluatedPoints,
    model: Model,
    lam: float,
    rng: np.random.Generator,
    *,
    candidates: Candidates = Candidates(),
    pending: Container[FloatArray] = (),
) -> FloatArray:
    """Choose the point with the lowest confidence bound that has not been evaluated.

    Now and then it is chosen among points whose choices are the same, drawn at random, if one of
    these is new and satisfies the constraints.

    Parameters
    ----------
    archive : EvaluatedPoints
        The finished tasks.
    model : Model
        Fitted to them.
    lam : float
        Exploration weight, ``>= 0``.
    rng : numpy.random.Generator
        Source of randomness.
    candidates : Candidates
        How many points are looked at, and where.
    pending : container of rows
        What is being evaluated: not proposed again either.

    Returns
    -------
    ndarray of float64, shape (n_dims,)
        A snapped row that satisfies the constraints. It repeats a finished or pending one only if
        every candidate does, and every point of the space if there are no more than 10,000.

    Raises
    ------
    ValueError
        If neither a candidate nor one of 200,000 random points satisfies the constraints.
    """
    space = archive.space
    choices = _draw_choices(space, candidates.p_choices, rng)
    if choices is not None:
        ranked = _best_first(archive, model, lam, rng, candidates, choices)
        new = _first_new(ranked, archive, pending)
        if new is not None:
            return new
        # All that was found with these choices is known, or they are forbidden.
    ranked = _best_first(archive, model, lam, rng, candidates)
    best = next(ranked)
    new = _first_new(chain([best], ranked), archive, pending)
    if new is None:
        new = _left_over(archive, pending, rng)
    return best if new is None else new


def _draw_choices(space: Space, p: float, rng: np.random.Generator) -> FloatArray | None:
    """Draw a row for its choices with probability `p`; None otherwise.

    None as well if there are no choices, or nothing else: such a proposal would be a random point.
    """
    if not space.is_choice.any() or space.is_choice.all() or rng.random() >= p:
        return None
    return np.asarray(space.snap(rng.random((1, space.n_dims)))[0])


def _best_first(
    archive: EvaluatedPoints,
    model: Model,
    lam: float,
    rng: np.random.Generator,
    candidates: Candidates,
    choices: FloatArray | None = None,
) -> Iterator[FloatArray]:
    """Yield candidates that satisfy the constraints, the lowest bound first; at least one.

    With `choices`, only those that have the same: none if the first stage finds none.
    """
    space = archive.space
    first = space.snap(rng.random((candidates.n_random, space.n_dims)))
    best = archive.best(candidates.n_parents)
    if len(best):
        parents = space.snap(archive.X[best])
        first = np.concatenate([first, moves(space, parents, candidates.n_local, candidates, rng)])
    first = _with_choices(space, first, choices, rng)
    score = lower_confidence_bound(*model.predict(first), lam)
    leaders = first[list(islice(_allowed(space, first, score), candidates.n_parents))]
    if not len(leaders):
        if choices is not None:
            return
        first = leaders = random_design(space, 1, rng)
        score = lower_confidence_bound(*model.predict(first), lam)
    second = moves(space, leaders, candidates.n_refine, candidates, rng)
    second = _with_choices(space, second, choices, rng)
    points = np.concatenate([first, second])
    score = np.concatenate([score, lower_confidence_bound(*model.predict(second), lam)])
    for i in _allowed(space, points, score):
        yield points[i]


def _with_choices(
    space: Space, X: FloatArray, choices: FloatArray | None, rng: np.random.Generator
) -> FloatArray:
    """Give snapped rows the choices of one; a parameter that becomes active starts anywhere."""
    if choices is None:
        return X
    return space.snap(np.where(space.is_choice, choices, space.fill_inactive(X, rng)))


def _allowed(space: Space, points: FloatArray, score: FloatArray) -> Iterator[int]:
    """Yield indices of points that satisfy the constraints, the lowest score first.

    Only as many are decoded as are asked for.
    """
    for i in np.argsort(score):
        if not space.constraints or space.allowed(points[i : i + 1])[0]:
            yield int(i)


def draw_new(
    archive: EvaluatedPoints,
    rng: np.random.Generator,
    *,
    pending: Container[FloatArray] = (),
    most_draws: int = 10,
) -> FloatArray:
    """Draw a point that was not evaluated and is not being; a repeat if there seems to be none.

    Returns
    -------
    ndarray of float64, shape (n_dims,)
        A snapped row.
    """
    for _ in range(most_draws):
        row: FloatArray = random_design(archive.space, 1, rng)[0]
        if row not in archive and row not in pending:
            return row
    left = _left_over(archive, pending, rng)
    return row if left is None else left


def _first_new(
    rows: Iterable[FloatArray], archive: EvaluatedPoints, pending: Container[FloatArray]
) -> FloatArray | None:
    """Return the first row that was not evaluated and is not being; None if there is none."""
    return next((row for row in rows if row not in archive and row not in pending), None)


def _left_over(
    archive: EvaluatedPoints, pending: Container[FloatArray], rng: np.random.Generator
) -> FloatArray | None:
    """Draw one of the points of a small discrete space that are new; None if there is none."""
    points = _all_points(archive.space)
    return _first_new((points[i] for i in rng.permutation(len(points))), archive, pending)


@functools.lru_cache(maxsize=1)
def _all_points(space: Space) -> FloatArray:
    """Return all points of a discrete space that has few of them; none of any other."""
    n_points = math.prod(space.n_levels.tolist())  # a parameter without levels counts as 0
    if not 0 < n_points <= _MOST_POINTS:
        return np.empty((0, space.n_dims))
    return grid_design(space, n_points)


def moves(
    space: Space, parents: FloatArray, n: int, candidates: Candidates, rng: np.random.Generator
) -> FloatArray:
    """Move points a little, each in some of their coordinates.

    Parameters
    ----------
    space : Space
        What is searched.
    parents : ndarray of shape (n_parents, n_dims)
        Snapped rows to start from, at least one; taken in turn.
    n : int
        How many moves to make.
    candidates : Candidates
        Their probability and sizes.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of float64, shape (n, n_dims)
        Snapped rows: numbers moved by normal steps whose scale is drawn per move, integers by at
        least one level, categories and booleans to another choice. A parameter that a move makes
        active starts anywhere in its range. Constraints are not looked at.
    """
    shape = (n, space.n_dims)
    start = parents[np.arange(n) % len(parents)]
    moved = rng.random(shape) < candidates.p_move
    moved[np.arange(n), _one_active(start, space, rng)] = True
    scale = 10.0 ** rng.uniform(*candidates.log10_step, size=(n, 1))
    steps = rng.standard_normal(shape) * scale * (moved & space.is_ordered)
    start = space.fill_inactive(start, rng)
    unordered = np.flatnonzero(~space.is_ordered & (space.n_levels > 1))
    if len(unordered):
        counts = space.n_levels[unordered]
        level = np.floor(start[:, unordered] * counts)
        other = (level + rng.integers(1, counts, size=(n, len(unordered)))) % counts
        start[:, unordered] = np.where(
            moved[:, unordered], (other + 0.5) / counts, start[:, unordered]
        )
    return space.shift(start, steps)


def _one_active(X: FloatArray, space: Space, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw an active coordinate of each row."""
    if not space.has_conditions:
        return rng.integers(space.n_dims, size=len(X))
    keys = np.where(X == INACTIVE, -1.0, rng.random(X.shape))
    return np.asarray(np.argmax(keys, axis=1), dtype=np.intp)
