"""The interface of every optimizer: settings that make a proposer.

A proposer does no input or output. To add an optimizer, write one class with settings and one
class with the method `Proposer.propose`. `tune()`, `simulate()` and `Advisor` all use the same two
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.pending import Pending

__all__ = [
    "CentralizedOptimizer",
    "ListingOptimizer",
    "Optimizer",
    "Phase",
    "Place",
    "Placement",
    "Proposal",
    "Proposer",
    "ProposingOptimizer",
    "Timing",
]

# Where proposers run:
# "each worker"  each worker has a proposer that reads the results of all workers;
# "independent"  each worker has a proposer that reads no results;
# "one process"  one additional process has the only proposer; workers take trials from the queue;
# "listed"       there is no proposer: all trials are in the queue before the run begins.
Placement = Literal["each worker", "independent", "one process", "listed"]

Phase = Literal["objective", "surrogate", "acquisition", "coordination"]
# Adds the time inside a `with` block to a phase: wall clock in a worker, CPU time in a simulation.
Timing = Callable[[Phase], AbstractContextManager[None]]


@dataclass(frozen=True)
class Place:
    """The process in which a proposer runs.

    Parameters
    ----------
    number : int
        Number of the process in the network, in order of joining, from 0.
    n_before : int
        Number of workers with a smaller number that were in the network when the process joined.
    n_workers : int
        Number of workers of the run.
    """

    number: int
    n_before: int
    n_workers: int


@dataclass(frozen=True)
class Proposal:
    """A configuration to evaluate.

    Parameters
    ----------
    config : dict
        Parameter name to value.
    notes : mapping of str to float
        How the configuration was chosen. Stored with the trial, and shown in ``result.trials``.
    """

    config: dict[str, Any]
    notes: Mapping[str, float] = field(default_factory=dict)


class Proposer(Protocol):
    """Chooses the next configurations, for one worker or for all workers."""

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        """Choose configurations, given the ended trials and the running ones.

        Parameters
        ----------
        archive : Archive
            All ended trials that are known by now; empty for the placement "independent". Its rows
            ``X`` are snapped and in single precision; parameters that are not active in a row need
            `Space.fill_inactive`. Its losses ``y`` are infinite for failed trials; with several
            goals see `scalarize_at_random`. Rows are in the order in which they became known, so
            what is new since the last call comes last. If another worker was the first to start
            the proposed point, the proposer is asked again without new results.
        pending : Pending
            Points that should not be proposed again. For "one process" these are all trials that
            are queued or running. For "each worker" these are the trials that were open when the
            worker joined, and the points of this worker that another worker started first.
        timing : callable
            ``with timing("surrogate"):`` counts the time inside as fitting, and
            ``with timing("acquisition"):`` as searching.
        n : int
            Largest number of configurations to return, ``>= 1``.

        Returns
        -------
        sequence of Proposal
            At least one, at most `n`.
        """


class ProposingOptimizer(Protocol):
    """The settings of an algorithm that proposes: a frozen dataclass that is sent to workers.

    It may have a further attribute, ``reads_in_order = True``: then all workers get the finished
    trials in the same order. By default a worker may get its own trial before others that finished
    earlier.
    """

    @property
    def placement(self) -> Placement:
        """Where proposers run: "each worker", "independent" or "one process"."""

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return how many points of the initial design are evaluated before the first proposal."""

    def proposer(self, problem: Problem, place: Place) -> Proposer:
        """Return the proposer of one process.

        Raise a ValueError if the algorithm cannot be used with this problem. A run calls this
        method once before it starts workers, so the user gets the error at once.
        """


class CentralizedOptimizer(ProposingOptimizer, Protocol):
    """The settings of an algorithm whose placement is "one process"."""

    def n_next(self, n_open: int, n_workers: int) -> int:
        """Return the number of proposals to make while `n_open` trials are queued or running.

        0 means to wait.
        """


class ListingOptimizer(Protocol):
    """The settings of an algorithm that lists all its trials before the run begins."""

    @property
    def placement(self) -> Placement:
        """Always "listed"."""

    def points(
        self, problem: Problem, known: Sequence[Mapping[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        """Return all configurations in the order of their evaluation, without `known` ones."""


Optimizer = ProposingOptimizer | ListingOptimizer
