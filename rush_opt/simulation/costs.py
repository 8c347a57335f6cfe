"""The cost of a step in virtual time: measured CPU seconds, or given seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from rush_opt.optimizers.base import Phase, Place, Proposal, ProposingOptimizer
from rush_opt.optimizers.made_up import made_up_results, propose_from_made_up_results
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.simulation.coordination import Coordination, VirtualServer

__all__ = ["Costs"]

# To measure the cost of adding a row, this many rows are added at once, this many times.
_ROWS_MEASURED = 256
_REPEATS = 7


class Costs:
    """The cost of each proposal, and of the coordination around it, in virtual seconds.

    Parameters
    ----------
    problem : Problem
    given : callable or None
        ``given(n_known)`` returns the seconds of a proposal for the surrogate and for the
        acquisition search while this many trials are known. Adding results then costs nothing.
        None to measure all of it.
    coordination : Coordination or None
        None if the requests of a step cost nothing.
    n_followers : int
        How many workers follow the results of all.
    """

    def __init__(
        self,
        problem: Problem,
        given: Callable[[int], tuple[float, float]] | None,
        coordination: Coordination | None,
        n_followers: int,
    ) -> None:
        self._problem = problem
        self._given = given
        self._measured: dict[Phase, float] = {}
        self._coordination = coordination
        server_s = coordination.server_s(n_followers) if coordination is not None else 0.0
        self._server = VirtualServer(server_s)
        self._call_s, self._row_s = (0.0, 0.0) if given else _cost_of_adding(problem)

    @contextmanager
    def timing(self, phase: Phase) -> Iterator[None]:
        """Add the CPU seconds of this thread inside the `with` block to a phase."""
        before = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - before
            self._measured[phase] = self._measured.get(phase, 0.0) + spent

    def warm_up(self, optimizer: ProposingOptimizer, place: Place) -> None:
        """Make a first proposal that costs no virtual time: it loads modules once for all."""
        if self._given is None:
            propose_from_made_up_results(optimizer, self._problem, place, _ROWS_MEASURED)

    def of_step(self, now: float, n_new: int) -> float:
        """Return the seconds of a worker's requests that begin now, while it learns of new trials.

        The requests of other workers that the server has to handle before are a part of it.
        """
        if self._coordination is None:
            return 0.0
        own_s = self._coordination.step_s + self._coordination.record_s * n_new
        return own_s + self._server.handle(now)

    def of_proposals(self, proposals: Sequence[Proposal], n_seen: int) -> list[dict[str, float]]:
        """Return the seconds of each proposal of the latest call, by ``<phase>_s``.

        Parameters
        ----------
        proposals : sequence of Proposal
            Their notes have the number of known trials as ``n_known``, if there were any.
        n_seen : int
            Number of trials that the proposing process had learned of before.
        """
        measured, self._measured = self._measured, {}
        costs = []
        for proposal in proposals:
            n_known = int(proposal.notes.get("n_known", 0))
            surrogate_s = measured.get("surrogate", 0.0) / len(proposals)
            acquisition_s = measured.get("acquisition", 0.0) / len(proposals)
            if self._given is not None:
                surrogate_s, acquisition_s = self._given(n_known)
            n_new, n_seen = n_known - n_seen, n_known
            costs.append(
                {
                    "surrogate_s": surrogate_s,
                    "acquisition_s": acquisition_s,
                    "coordination_s": self._call_s + self._row_s * n_new if n_new > 0 else 0.0,
                }
            )
        return costs


def _cost_of_adding(problem: Problem) -> tuple[float, float]:
    """Measure the CPU seconds of adding to an archive: per call, and per row."""
    rows = made_up_results(problem, _ROWS_MEASURED)
    few: list[float] = []
    many: list[float] = []
    for _ in range(_REPEATS):
        archive = Archive(problem.space, problem.goals)
        for table, seconds in ((rows[:1], few), (rows, many)):
            before = time.thread_time()
            archive.add(table)
            seconds.append(time.thread_time() - before)
    one_s, all_s = float(np.median(few)), float(np.median(many))
    row_s = max(all_s - one_s, 0.0) / (_ROWS_MEASURED - 1)
    return max(one_s - row_s, 0.0), row_s
