"""The interface of every optimizer: settings that make a proposer, which never meets a server.

An optimizer of one's own is one class with settings and one with the method `Proposer.propose`.
The same two run in `tune()`, in `simulate()` and in an `Advisor`.
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

# Where decisions are made:
# "each worker"  each worker has a proposer, which knows the results of all workers;
# "independent"  each worker has a proposer, which knows no results;
# "one process"  one more process has the only proposer, and workers take trials from its queue;
# "listed"       nobody proposes: all trials are in the queue before the run begins.
Placement = Literal["each worker", "independent", "one process", "listed"]

Phase = Literal["objective", "surrogate", "acquisition", "coordination"]
# Accounts the time inside a `with` to a phase: by the clock in a worker, CPU time in a simulation.
Timing = Callable[[Phase], AbstractContextManager[None]]


@dataclass(frozen=True)
class Place:
    """Where a proposer works.

    Parameters
    ----------
    number : int
        The number of its process in the network, in order of joining, from 0.
    n_before : int
        How many workers with a smaller number were in the network when it joined.
    n_workers : int
        How many workers the run has.
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
        How it was chosen. Kept with the trial, and shown in ``result.trials``.
    """

    config: dict[str, Any]
    notes: Mapping[str, float] = field(default_factory=dict)


class Proposer(Protocol):
    """What chooses the next configurations of one worker, or of the only proposing process."""

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        """Choose configurations from what is known and what is running.

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
            worker joined, and those that another worker was the first to start.
        timing : callable
            ``with timing("surrogate"):`` and ``with timing("acquisition"):`` account the time spent
            inside to fitting and to searching.
        n : int
            How many configurations are wanted at most, ``>= 1``.

        Returns
        -------
        sequence of Proposal
            At least one, at most `n`.
        """


class ProposingOptimizer(Protocol):
    """The settings of an algorithm that proposes: a frozen dataclass, which is sent to workers."""

    @property
    def placement(self) -> Placement:
        """Where decisions are made: "each worker", "independent" or "one process"."""

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        """Return how many points of the initial design are evaluated before the first proposal."""

    def proposer(self, problem: Problem, place: Place) -> Proposer:
        """Return the proposer of one process.

        It raises a ValueError if the algorithm cannot be used with this problem: a run makes a
        proposer before it starts workers.
        """


class CentralizedOptimizer(ProposingOptimizer, Protocol):
    """The settings of an algorithm whose placement is "one process"."""

    def n_next(self, n_open: int, n_workers: int) -> int:
        """Return how many to propose while `n_open` trials are queued or running; 0 to wait."""


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
