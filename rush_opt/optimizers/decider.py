"""The decider: the known trials of one proposing process, and the calls of its proposer.

The worker loops, virtual time and ask-and-tell all use it. It does no input or output.
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
    """A proposal, and the key by which the server refuses a second trial at its point.

    Attributes
    ----------
    proposal : Proposal
    duplicate_key : bytes or None
        Equal for all trials at one point; the server starts only one of them. None if repeats are
        allowed: the optimizer reads no results, or it has proposed a known point.
    """

    proposal: Proposal
    duplicate_key: bytes | None


class Decider:
    """Holds the known trials of one proposing process, and calls its proposer.

    Parameters
    ----------
    optimizer : ProposingOptimizer
    problem : Problem
    place : Place
    archive : Archive, optional
        The known trials; by default a new, empty archive.
    curves : Curves, optional
        For the new archive: what trials reported.

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
        """Add points that were started elsewhere to `pending`, under names that no task has."""
        for config in configs:
            self.pending.add(f"avoided {len(self.pending)}", config)

    def choose(self, timing: Timing) -> Choice:
        """Choose the next configuration of this process; errors are those of `propose`."""
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
    """Return the bytes that identify a snapped row, in single precision."""
    return row.astype(np.float32).tobytes()
