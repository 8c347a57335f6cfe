"""Proposals from made-up results: they load and prepare what later proposals need."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from rush_core import TaskTable
from rush_opt.optimizers.base import Place, ProposingOptimizer
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.design import random_design
from rush_opt.search.pending import Pending

__all__ = ["made_up_results", "propose_from_made_up_results"]


def made_up_results(problem: Problem, n: int) -> TaskTable:
    """Return random configurations with random results; fewer than `n` if the space is small."""
    rng = np.random.default_rng(problem.seed)
    configs = problem.space.decode(random_design(problem.space, n, rng))
    values = rng.random((len(configs), len(problem.goals))).tolist()
    return TaskTable.from_results(
        configs, [dict(zip(problem.metrics, row, strict=True)) for row in values]
    )


def propose_from_made_up_results(
    optimizer: ProposingOptimizer, problem: Problem, place: Place, n: int
) -> None:
    """Let a new proposer make one proposal from `n` made-up results, and forget both."""
    archive = Archive(problem.space, problem.goals)
    archive.add(made_up_results(problem, n))
    proposer = optimizer.proposer(problem, place)
    proposer.propose(archive, Pending(problem.space), lambda phase: nullcontext(), 1)
