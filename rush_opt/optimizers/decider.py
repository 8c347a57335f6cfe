"""The decider: what one deciding process knows, and how it asks its proposer.

It is the part of every driver that does no input or output: of the worker loops, of virtual time
and of ask-and-tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rush_opt.optimizers.base import Place, Proposal, ProposingOptimizer, Timing
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.pending import Pending
from rush_opt.stopping.curves import Curves

__all__ = ["Choice", "Decider"]


class Choice(NamedTuple):
    """A proposal, and what the server checks so that no other trial repeats it.

    Attributes
    ----------
    proposal : Proposal
    duplicate_key : bytes or None
        The same for all trials of one point, of which the server starts only one. None if repeats
        are allowed: the optimizer reads no results, or it has proposed a point that is known.
    """

    proposal: Proposal
    duplicate_key: bytes | None


class Decider:
    """What one deciding process knows, and how it asks its proposer.

    Parameters
    ----------
    optimizer : ProposingOptimizer
    problem : Problem
    place : Place
    archive : Archive, optional
        What is known; by default an empty one of its own.
    curves : Curves, optional
        For such an archive: what trials reported.

    Attributes
    ----------
    archive : Archive
    pending : Pending
        Points that should not be proposed again.
    """

    def __init__(
        self,
        optimizer: ProposingOptimizer,
        problem: Problem,
        place: Place,
        *,
        archive: Archive | None = None,
        curves: Curves | None = None,
    ) -> None:
        if archive is None:
            archive = Archive(problem.space, problem.goals, curves=curves)
        self.archive = archive
        self.pending = Pending(problem.space)
        self._proposer = optimizer.proposer(problem, place)
        self._placement = optimizer.placement

    def avoid(self, configs: Sequence[dict[str, Any]]) -> None:
        """Add points that others have started: each gets a name that no task has."""
        for config in configs:
            self.pending.add(f"avoided {len(self.pending)}", config)

    def choose(self, timing: Timing) -> Choice:
        """Choose the next configuration of this process; it raises what `propose` raises."""
        (proposal,) = self.propose(timing, 1)
        return Choice(proposal, self._duplicate_key(proposal.config))

    def propose(self, timing: Timing, n: int) -> Sequence[Proposal]:
        """Ask the proposer for at most `n` configurations; see `Proposer.propose`.

        Raises
        ------
        TypeError, ValueError
            If it returns something else, none, too many, or a configuration of another space.
        """
        proposals = self._proposer.propose(self.archive, self.pending, timing, n)
        if not (
            isinstance(proposals, Sequence)
            and all(isinstance(proposal, Proposal) for proposal in proposals)
        ):
            raise TypeError(
                "propose() must return a list of Proposal(config, notes), got "
                f"{proposals!r:.80} ({type(proposals).__name__})"
            )
        if not 1 <= len(proposals) <= n:
            raise ValueError(
                f"propose() must return at least one proposal and at most n={n}, got "
                f"{len(proposals)}"
            )
        for proposal in proposals:
            try:
                self.archive.space.validate(proposal.config)
            except ValueError as error:
                raise ValueError(
                    "propose() must return configurations of the space, got "
                    f"{proposal.config!r:.80}: {error}"
                ) from None
        return proposals

    def _duplicate_key(self, config: dict[str, Any]) -> bytes | None:
        if self._placement == "independent":
            return None
        row = self.archive.space.encode([config])[0]
        is_known = row in self.archive or row in self.pending
        return None if is_known else point_key(row)


def point_key(row: np.ndarray[Any, np.dtype[np.floating[Any]]]) -> bytes:
    """Return the bytes that all trials at a snapped row have in common."""
    return row.astype(np.float32).tobytes()
