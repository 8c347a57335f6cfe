"""An asynchronous run in virtual time, in which others' work can be looked at."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from experiments.proposal_study.problems import Instance
from rush_core import TaskTable
from rush_opt.problem.goal import Goal
from rush_opt.search.archive import Archive
from rush_opt.search.design import sobol_design
from rush_opt.search.pending import Pending
from rush_opt.space import FloatArray


class Proposer(Protocol):
    """How one worker decides."""

    def propose(self, archive: Archive, pending: Pending) -> FloatArray:
        """Choose a snapped row, given what has finished and what others are running."""


# ``make(rng)`` is called once per worker.
Make = Callable[[np.random.Generator], Proposer]


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    regrets : ndarray of shape (n_trials,)
        After each trial, the true value at the best observed point; the optimum is 0.
    n_repeats : int
        Trials of a point that was finished or running when it started.
    failures : ndarray of bool, shape (n_trials,)
    """

    regrets: FloatArray
    n_repeats: int
    failures: np.ndarray[Any, np.dtype[np.bool_]]


def simulate(
    problem: Instance,
    make: Make,
    *,
    n_workers: int,
    n_trials: int,
    seed: int,
    n_initial: int | None = None,
    knows_failed: bool = True,
) -> Outcome:
    """Run until enough trials have ended.

    Parameters
    ----------
    problem : Instance
    make : callable
    n_workers, n_trials, seed : int
    n_initial : int, optional
        Sobol points that are evaluated first; as many as dimensions and workers by default.
    knows_failed : bool
        Whether failed trials enter the archive.
    """
    seeds = np.random.SeedSequence(seed).spawn(3 + n_workers)
    design_rng, noise_rng, time_rng, *worker_rngs = map(np.random.default_rng, seeds)
    space = problem.space
    archive, pending = Archive(space, [Goal("value")]), Pending(space)
    proposers = [make(rng) for rng in worker_rngs]
    n_initial = space.n_dims + n_workers if n_initial is None else n_initial
    design = list(sobol_design(space, min(n_initial, n_trials), design_rng))[::-1]
    running: list[tuple[float, int, int, dict[str, Any]]] = []
    regrets, failures = np.full(n_trials, np.nan), np.zeros(n_trials, dtype=np.bool_)
    truths: list[float] = []
    n_repeats = n_started = 0

    def start(worker: int, now: float) -> None:
        nonlocal n_repeats, n_started
        row = design.pop() if design else proposers[worker].propose(archive, pending)
        n_repeats += row in archive or row in pending
        config = space.decode(row[np.newaxis])[0]
        pending.add(str(n_started), config)
        heapq.heappush(running, (now + time_rng.lognormal(0.0, 0.5), worker, n_started, config))
        n_started += 1

    for worker in range(min(n_workers, n_trials)):
        start(worker, 0.0)
    for i in range(n_trials):
        now, worker, number, config = heapq.heappop(running)
        pending.remove(str(number))
        failures[i] = problem.fails(config)
        if not failures[i]:
            value = {"value": problem.observe(config, noise_rng)}
            archive.add(TaskTable.from_results([config], [value]))
            truths.append(problem.truth(config))
        elif knows_failed:
            archive.add_failed(TaskTable.from_results([config], [{}]))
            truths.append(np.nan)
        best = archive.incumbent
        regrets[i] = np.nan if best is None else truths[best]
        if n_started < n_trials:
            start(worker, now)
    return Outcome(regrets, n_repeats, failures)
