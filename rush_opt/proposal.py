"""From a fitted surrogate to the one point to evaluate next."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from rush_opt.acquisition import lower_confidence_bound
from rush_opt.archive import Archive
from rush_opt.design import random_design
from rush_opt.space import FloatArray, Space
from rush_opt.surrogate import Forest


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
    # 0.15 and 0.2 were a little better than more. Smaller steps than 1 % were worse.
    p_move: float = 0.25
    log10_step: tuple[float, float] = (-2.0, -0.5)

    def __post_init__(self) -> None:
        counts_hold = (
            min(self.n_random, self.n_parents) >= 1 and min(self.n_local, self.n_refine) >= 0
        )
        if not (counts_hold and 0 <= self.p_move <= 1 and self.log10_step[0] <= self.log10_step[1]):
            raise ValueError(
                "need n_random >= 1, n_parents >= 1, n_local >= 0, n_refine >= 0, "
                f"0 <= p_move <= 1 and log10_step in order, got {self!r}; "
                "change what is out of range"
            )


def propose(
    archive: Archive,
    forest: Forest,
    lam: float,
    rng: np.random.Generator,
    *,
    candidates: Candidates = Candidates(),
    pending: Container[FloatArray] = (),
) -> FloatArray:
    """Choose the point with the lowest confidence bound that has not been evaluated.

    Parameters
    ----------
    archive : Archive
        The finished tasks.
    forest : Forest
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
        A snapped row. It repeats a finished one only if every candidate does, as happens when a
        small discrete space has been tried out.
    """
    space = archive.space
    first = space.snap(rng.random((candidates.n_random, space.n_dims)))
    best = archive.best(candidates.n_parents)
    if len(best):
        parents = space.snap(archive.X[best])
        first = np.concatenate([first, moves(space, parents, candidates.n_local, candidates, rng)])
    score = lower_confidence_bound(*forest.predict(first), lam)
    leaders = first[np.argsort(score)[: candidates.n_parents]]
    second = moves(space, leaders, candidates.n_refine, candidates, rng)
    points = np.concatenate([first, second])
    score = np.concatenate([score, lower_confidence_bound(*forest.predict(second), lam)])
    order = np.argsort(score)
    for i in order:
        if points[i] not in archive and points[i] not in pending:
            return np.asarray(points[i])
    return np.asarray(points[order[0]])


def draw_new(
    archive: Archive,
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
            break
    return row


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
        least one level, categories and booleans to another choice.
    """
    shape = (n, space.n_dims)
    start = parents[np.arange(n) % len(parents)]
    moved = rng.random(shape) < candidates.p_move
    moved[np.arange(n), rng.integers(space.n_dims, size=n)] = True
    scale = 10.0 ** rng.uniform(*candidates.log10_step, size=(n, 1))
    end = space.shift(start, rng.standard_normal(shape) * scale * (moved & space.is_ordered))
    unordered = np.flatnonzero(~space.is_ordered & (space.n_levels > 1))
    if len(unordered):
        counts = space.n_levels[unordered]
        level = np.floor(start[:, unordered] * counts)
        other = (level + rng.integers(1, counts, size=(n, len(unordered)))) % counts
        end[:, unordered] = np.where(moved[:, unordered], (other + 0.5) / counts, end[:, unordered])
    return end
