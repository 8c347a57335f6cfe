"""Candidates: points where the acquisition function is evaluated; the best one is proposed."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice
from numbers import Integral

import numpy as np

from rush_opt.arrays import FloatArray
from rush_opt.models.surrogate import Model
from rush_opt.search.acquisition import lower_confidence_bound
from rush_opt.search.archive import EvaluatedPoints
from rush_opt.search.design import random_design
from rush_opt.search.grid import grid_design
from rush_opt.search.moves import moves
from rush_opt.space import Space

__all__ = ["Candidates", "draw_new", "propose"]

# In a discrete space with at most this many points, every point is tried before one is repeated.
_MAX_POINTS = 10_000

# Random points that `draw_new` tries before it searches a small discrete space.
_MAX_DRAWS = 10


@dataclass(frozen=True)
class Candidates:
    """Number and kinds of candidates. They are made in two stages.

    Parameters
    ----------
    n_random : int
        First stage: number of uniform points, ``>= 1``.
    n_local : int
        First stage: number of moves from the best finished points, ``>= 0``.
    n_refine : int
        Second stage: number of moves from the most promising points of the first stage, ``>= 0``.
    n_parents : int
        Number of points from which the moves of a stage start, ``>= 1``.
    p_move : float
        Probability that a move changes a coordinate; at least one always changes.
    log10_step : tuple of float
        Bounds of the decimal logarithm of a move's size, in edges of the unit cube.
    p_choices : float
        Probability that the choices of a proposal (`Space.is_choice`) are drawn at random. The
        proposal is then the best candidate with these choices. It has no effect if the space has
        no choices, or nothing but choices.

    Raises
    ------
    ValueError
        If a setting is out of its range.
    """

    # Chosen in experiments/surrogate_study: 300 candidates in total were worse, 3,000 no better.
    # The share of random points did not matter between 5 and 70 %.
    n_random: int = 500
    n_local: int = 250
    n_refine: int = 250
    # 30 were worse at the beginning of runs; 5 were equal.
    n_parents: int = 10
    # 0.15 and 0.2 were a little better than larger values. Steps smaller than 1 % of the edge were
    # worse with trees, and equal with a Gaussian process (experiments/peers).
    p_move: float = 0.25
    log10_step: tuple[float, float] = (-2.0, -0.5)
    # If the model is certain about one combination of choices, the search only refines the numbers
    # of this combination. It does not find out that another combination is better with other
    # numbers. In experiments/peers, 0.4 was better with 1 worker and worse with 8 and 64.
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
                f"p_choices from 0 to 1 and log10_step as (lower, upper), got {self!r}; "
                "change the setting that is out of range"
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
    """Return the new candidate with the lowest confidence bound.

    A candidate is new if it has not been evaluated and is not pending. With probability
    `Candidates.p_choices`, only candidates with the same, randomly drawn choices are considered;
    if none of them is new and allowed, all candidates are.

    Parameters
    ----------
    archive : EvaluatedPoints
        The finished trials.
    model : Model
        A model that was fitted to the finished trials.
    lam : float
        Exploration weight, ``>= 0``.
    rng : numpy.random.Generator
        Source of randomness.
    candidates : Candidates
        Number and kinds of candidates.
    pending : container of rows
        Points that are being evaluated.

    Returns
    -------
    ndarray of float64, shape (n_dims,)
        A snapped row that satisfies the constraints. It repeats a point only if no candidate is
        new; in a discrete space of at most 10,000 points, only if no point of the space is new.

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
        # No candidate with these choices is new and allowed.
    ranked = _best_first(archive, model, lam, rng, candidates)
    best = next(ranked)
    new = _first_new(chain([best], ranked), archive, pending)
    if new is None:
        new = _left_over(archive, pending, rng)
    return best if new is None else new


def _draw_choices(space: Space, p: float, rng: np.random.Generator) -> FloatArray | None:
    """Return a random row with probability `p`, else None; the caller uses only its choices.

    Also return None if the space has no choices, or nothing but choices: in the second case the
    proposal would be a random point.
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
    """Yield candidates that satisfy the constraints, the lowest bound first.

    Without `choices`, at least one candidate is yielded. With `choices`, all candidates have these
    choices, and none is yielded if no candidate of the first stage satisfies the constraints.
    """
    space = archive.space
    near = partial(moves, p_move=candidates.p_move, log10_step=candidates.log10_step)
    # First stage: uniform points and moves of the best finished ones.
    first = space.snap(rng.random((candidates.n_random, space.n_dims)))
    best = archive.best(candidates.n_parents)
    if len(best):
        parents = space.snap(archive.X[best])
        first = np.concatenate([first, near(space, parents, candidates.n_local, rng)])
    first = _with_choices(space, first, choices, rng)
    score = lower_confidence_bound(*model.predict(first), lam)
    # Second stage: moves of the first stage's best points.
    leaders = first[list(islice(_allowed(space, first, score), candidates.n_parents))]
    if not len(leaders):
        if choices is not None:
            return
        first = leaders = random_design(space, 1, rng)
        score = lower_confidence_bound(*model.predict(first), lam)
    second = near(space, leaders, candidates.n_refine, rng)
    second = _with_choices(space, second, choices, rng)
    points = np.concatenate([first, second])
    score = np.concatenate([score, lower_confidence_bound(*model.predict(second), lam)])
    for i in _allowed(space, points, score):
        yield points[i]


def _with_choices(
    space: Space, X: FloatArray, choices: FloatArray | None, rng: np.random.Generator
) -> FloatArray:
    """Return rows with the given choices; parameters that become active are drawn uniformly."""
    if choices is None:
        return X
    return space.snap(np.where(space.is_choice, choices, space.fill_inactive(X, rng)))


def _allowed(space: Space, points: FloatArray, score: FloatArray) -> Iterator[int]:
    """Yield indices of points that satisfy the constraints, the lowest score first.

    A check is slow, so a point is checked only when the caller asks for the next index.
    """
    for i in np.argsort(score):
        if not space.constraints or space.allowed(points[i : i + 1])[0]:
            yield int(i)


def draw_new(
    archive: EvaluatedPoints,
    rng: np.random.Generator,
    *,
    pending: Container[FloatArray] = (),
) -> FloatArray:
    """Draw a random new point, or a known one if no new one is found.

    Parameters
    ----------
    archive : EvaluatedPoints
        The finished trials.
    rng : numpy.random.Generator
        Source of randomness.
    pending : container of rows
        Points that are being evaluated.

    Returns
    -------
    ndarray of float64, shape (n_dims,)
        A snapped row that satisfies the constraints.

    Raises
    ------
    ValueError
        If 200,000 random points in a row break the constraints.
    """
    for _ in range(_MAX_DRAWS):
        row: FloatArray = random_design(archive.space, 1, rng)[0]
        if row not in archive and row not in pending:
            return row
    left = _left_over(archive, pending, rng)
    return row if left is None else left


def _first_new(
    rows: Iterable[FloatArray], archive: EvaluatedPoints, pending: Container[FloatArray]
) -> FloatArray | None:
    """Return the first row that is neither evaluated nor pending; None if there is none."""
    return next((row for row in rows if row not in archive and row not in pending), None)


def _left_over(
    archive: EvaluatedPoints, pending: Container[FloatArray], rng: np.random.Generator
) -> FloatArray | None:
    """Draw a new point of a small discrete space; None if there is none or the space is larger."""
    points = _all_points(archive.space)
    return _first_new((points[i] for i in rng.permutation(len(points))), archive, pending)


@lru_cache(maxsize=1)
def _all_points(space: Space) -> FloatArray:
    """Return all points of a discrete space with at most 10,000; for any other space, no rows."""
    n_points = math.prod(space.n_levels.tolist())  # a parameter without levels counts as 0
    if not 0 < n_points <= _MAX_POINTS:
        return np.empty((0, space.n_dims))
    return grid_design(space, n_points)
