"""The problem: a search space, the goals, and the seed of all random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rush_opt.problem.goal import Goal
from rush_opt.space import Space

__all__ = ["Problem"]

# Children of the seed: the first belongs to the initial design, the second to the workers.
_DESIGN, _WORKERS = 0, 1


@dataclass(frozen=True)
class Problem:
    """The problem that a run solves: all that an optimizer needs before the first trial.

    Parameters
    ----------
    space : Space
    goals : tuple of Goal
        Usually one.
    seed : int
        Entropy of the run, from which all its random streams are spawned.
    """

    space: Space
    goals: tuple[Goal, ...]
    seed: int

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the objective values in a result."""
        return tuple(goal.name for goal in self.goals)

    def design_rng(self) -> np.random.Generator:
        """Return the random stream of the initial design."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(_DESIGN,)))

    def worker_rng(self, number: int) -> np.random.Generator:
        """Return the random stream of the worker with this number."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(_WORKERS, number))
        return np.random.default_rng(sequence)
