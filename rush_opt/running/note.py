"""What the manager of a run writes down in the network, for other programs."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from dataclasses import replace

from rush_core import Network, RushError, ServerUnreachableError, printable
from rush_opt.evaluation.plan import RunPlan
from rush_opt.evaluation.sources import code_digest
from rush_opt.results.run_note import RUN_NOTE, RunNote
from rush_opt.space.constraint import called

__all__ = ["NoteWriter"]

logger = logging.getLogger(__name__)


class NoteWriter:
    """Writes the note of one run: when it begins, and when it ends.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    began : float
        When the run began, seconds since 1970 by the server's clock.
    """

    def __init__(self, network: Network, plan: RunPlan, began: float) -> None:
        self._network = network
        try:
            space = plan.problem.space.to_json()
        except ValueError:  # it contains functions
            space = None
        self._note = RunNote(
            began=began,
            host=socket.gethostname(),
            pid=os.getpid(),
            n_workers=plan.n_workers,
            n_trials=plan.n_trials,
            deadline=plan.deadline,
            optimizer=repr(plan.optimizer),
            objective=called(plan.objective),
            seed=plan.problem.seed,
            code=code_digest(plan.objective),
            space=space,
        )

    def begin(self) -> None:
        """Write that the run has begun; two round trips.

        Warn if an earlier run in the network had another objective.
        """
        earlier = self._network.fetch_notes().get(RUN_NOTE, {})
        if None not in (codes := (earlier.get("code"), self._note.code)) and codes[0] != codes[1]:
            logger.warning(
                "network %r is continued with another objective: that of the earlier run, %s, had "
                "other code than %s has now, so old and new values may not compare",
                *(self._network.network_id, printable(str(earlier.get("objective")))),
                self._note.objective,
            )
        self._network.push_note(RUN_NOTE, self._note.to_plain())

    def end(self, reason: str, at: float) -> None:
        """Write when and why the run has ended; one round trip."""
        note = replace(self._note, ended=at, stop_reason=reason)
        self._network.push_note(RUN_NOTE, note.to_plain())

    def fail(self, error: BaseException) -> None:
        """Write that an error ended the run, if the server can be used; one round trip."""
        if not isinstance(error, ServerUnreachableError):
            with suppress(RushError):
                self.end(type(error).__name__, self._network.now())
