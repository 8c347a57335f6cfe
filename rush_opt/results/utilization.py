"""Where the time of a run's workers went."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rush_core import WorkerInfo, WorkerState
from rush_opt.results.trials import FrozenTrial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["utilization_table"]

_PHASES = ("objective", "surrogate", "acquisition", "coordination")

_COLUMNS = [
    *("worker", "n_trials", "wall", "startup", *_PHASES, "idle", "proposer", "cpu"),
    *("objective_share", "busy_share"),
]
_SPENT = ("n_trials", *_PHASES, "proposer", "cpu")


def utilization_table(
    workers: Sequence[WorkerInfo],
    trials: Sequence[FrozenTrial],
    started_at: float,
    until: float,
) -> pd.DataFrame:
    """Return a row per worker that took part; see `TuneResult.utilization`.

    Parameters
    ----------
    workers : sequence of WorkerInfo
        In the order in which they joined.
    trials : sequence of FrozenTrial
        Whose notes say what they took.
    started_at, until : float
        The wall clock, seconds since 1970.
    """
    import pandas as pd

    places = _places(workers, started_at, until)
    spent = _spent(trials, until)
    rows = [_worker_row(*place, spent[place[0].number]) for place in places]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _places(
    workers: Sequence[WorkerInfo], started_at: float, until: float
) -> list[tuple[WorkerInfo, float, float]]:
    """Tell from when to when a run had a place filled by each worker that took part in it.

    A lost worker hands its place over to the one that joined next.
    """
    mine = [w for w in workers if w.ended_at is None or w.ended_at > started_at]
    losses = [w.ended_at for w in mine if w.state is WorkerState.LOST and w.ended_at is not None]
    first_loss = min(losses, default=math.inf)
    places = []
    for worker in mine:
        since = worker.started_at if first_loss < worker.started_at else started_at
        lost_at = worker.ended_at if worker.state is WorkerState.LOST else None
        places.append((worker, since, until if lost_at is None else min(lost_at, until)))
    return places


def _spent(trials: Sequence[FrozenTrial], until: float) -> dict[int | None, dict[str, float]]:
    """Add up by worker what its trials took, in seconds, and how many there were."""
    spent: dict[int | None, dict[str, float]] = defaultdict(lambda: dict.fromkeys(_SPENT, 0.0))
    for trial in trials:
        mine, notes = spent[trial.worker], trial.notes
        in_time = 1.0
        if trial.started_at is not None and trial.ended_at > max(until, trial.started_at):
            in_time = max(until - trial.started_at, 0.0) / (trial.ended_at - trial.started_at)
        mine["n_trials"] += 1
        mine["objective"] += in_time * notes.get("objective_s", 0.0)
        mine["coordination"] += notes.get("coordination_s", 0.0)
        mine["cpu"] += notes.get("cpu_s", 0.0)
        surrogate, acquisition = notes.get("surrogate_s", 0.0), notes.get("acquisition_s", 0.0)
        if "proposer" in notes:
            mine["proposer"] += surrogate + acquisition
        else:
            mine["surrogate"] += surrogate
            mine["acquisition"] += acquisition
    return spent


def _worker_row(
    worker: WorkerInfo, since: float, until: float, spent: dict[str, float]
) -> dict[str, Any]:
    wall = max(until - since, 1e-9)
    startup = max(worker.started_at - since, 0.0)
    busy = spent["objective"] + spent["surrogate"] + spent["acquisition"] + spent["proposer"]
    own = sum(spent[phase] for phase in _PHASES)
    return {
        "worker": worker.number,
        "wall": wall,
        "startup": startup,
        **spent,
        "n_trials": int(spent["n_trials"]),
        "idle": max(wall - startup - own, 0.0),
        "objective_share": spent["objective"] / wall,
        "busy_share": busy / wall,
    }
