"""The record of a run as it is stored in its network, also while the run goes on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rush_opt.problem.goal import Goal
from rush_opt.results.record import RunRecord
from rush_opt.results.run_note import RUN_NOTE, RunNote
from rush_opt.results.trials import FrozenTrial, freeze_trials
from rush_opt.space import Space
from rush_opt.stopping.curves import step_and_value

if TYPE_CHECKING:
    from rush_core import Network, TaskCounts, WorkerInfo

__all__ = ["RunReader", "StoredRun", "has_search", "load_record"]

_NO_REASON = "not stopped"


@dataclass(frozen=True)
class StoredRun:
    """A run as a network stores it at one moment.

    Attributes
    ----------
    record : RunRecord
        The trials that ended by then. Until the run ends, `ended_at` is the time of reading.
    counts : TaskCounts
        How many trials are in each state.
    note : RunNote or None
        None if no run was started in the network, but an `Advisor` or another program.
    now : float
        The time of reading, seconds since 1970 by the server's clock.
    """

    record: RunRecord
    counts: TaskCounts
    note: RunNote | None
    now: float


class RunReader:
    """Reads a run from its network, again and again; each time only what is new is transferred.

    Parameters
    ----------
    network : Network
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._trials: list[FrozenTrial] = []
        self._n_failed_seen = 0
        self._reported: dict[tuple[str, int], dict[float, float]] = defaultdict(dict)
        self._goals: tuple[Goal, ...] = ()

    def fetch(self) -> StoredRun:
        """Fetch the run as it is now; six round trips, and one more if trials failed.

        Raises
        ------
        ValueError
            If the network does not say which values of its results are the objectives: it was made
            with `rush_core` alone.
        """
        network = self._network
        goals = self._goals = self._goals or _goals_of(network)
        counts, workers = network.count_tasks(), network.fetch_workers()
        self._add_trials(counts.failed, [goal.name for goal in goals], workers)
        plain = network.fetch_notes().get(RUN_NOTE)
        note = None if plain is None else RunNote.from_plain(plain)
        proposers = {trial.notes.get("proposer") for trial in self._trials}
        now = network.now()
        ended = None if note is None else note.ended
        return StoredRun(
            record=RunRecord(
                trials=list(self._trials),
                space=Space.from_json(note.space) if note is not None and note.space else None,
                goals=goals,
                seed=0 if note is None else note.seed,
                stop_reason=(note.stop_reason if note is not None else None) or _NO_REASON,
                network_id=network.network_id,
                started_at=_start(note, workers, self._trials, now),
                ended_at=now if ended is None else ended,
                workers=[worker for worker in workers if worker.number not in proposers],
                deadline=None if note is None else note.deadline,
            ),
            counts=counts,
            note=note,
            now=now,
        )

    def _add_trials(self, n_failed: int, metrics: list[str], workers: list[WorkerInfo]) -> None:
        """Fetch the trials that ended since the last call, with what they reported."""
        network = self._network
        tasks = list(network.fetch_new_tasks())
        if n_failed > self._n_failed_seen:
            failed = list(network.fetch_tasks("failed"))
            tasks += failed[self._n_failed_seen :]
            self._n_failed_seen = len(failed)
        for report in network.fetch_new_reports():
            step, value = step_and_value(report)
            self._reported[report.key, report.attempt][step] = value
        n_before = len(self._trials)
        self._trials += freeze_trials(tasks, metrics, workers, n_before, self._reported)


def load_record(network_id: str, url: str | None) -> RunRecord:
    """Read the record of a run from its network; see `TuneResult.load`."""
    from rush_core import open_existing

    with open_existing(network_id, url) as found:
        return RunReader(found.network).fetch().record


def has_search(network: Network) -> bool:
    """Tell whether `tune()` or an `Advisor` was used with a network; one round trip."""
    return bool(_goals_in(network.fetch_description()))


def _goals_of(network: Network) -> tuple[Goal, ...]:
    """Return the goals of the run in a network, from its description; one round trip."""
    if goals := _goals_in(network.fetch_description()):
        return goals
    raise ValueError(
        f"network {network.network_id!r} has no search: no tune() and no Advisor was used with "
        "it; read it with rush_core.Network"
    )


def _goals_in(about: dict[str, Any] | None) -> tuple[Goal, ...]:
    """Return the goals in the description of a network; none if it describes no search."""
    metrics, directions = (about or {}).get("metric"), (about or {}).get("direction")
    if not (isinstance(metrics, list) and isinstance(directions, list)):
        return ()
    return tuple(map(Goal, metrics, directions))


def _start(
    note: RunNote | None, workers: list[WorkerInfo], trials: list[FrozenTrial], now: float
) -> float:
    """Return when a run began: as its note says, or when something first happened in it."""
    if note is not None:
        return note.began
    starts = [worker.started_at for worker in workers]
    starts += [trial.started_at for trial in trials if trial.started_at is not None]
    return min(starts, default=now)
