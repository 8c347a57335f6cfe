"""How the workers of a run spent its wall clock.

The wall clock ends at the deadline, if the run has one and its last trial ended later.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rush_core import WorkerInfo, WorkerState
from rush_opt.results.record import RunRecord
from rush_opt.results.trials import FrozenTrial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BUSY", "OBJECTIVE", "share", "utilization_table"]

# Columns of the table that `share` adds up: the objective share, and the busy share.
OBJECTIVE = ("objective",)
BUSY = ("objective", "surrogate", "acquisition", "proposer")

# Phases in which a worker itself is busy. A proposer is another process.
_PHASES = ("objective", "surrogate", "acquisition", "coordination")
_SPENT = ("n_trials", *_PHASES, "proposer", "cpu")
_COLUMNS = [
    *("worker", "n_trials", "wall", "startup", *_PHASES, "idle", "proposer", "cpu"),
    *("objective_share", "busy_share"),
]


# States of ended workers that the run may have replaced.
_REPLACED = (WorkerState.LOST, WorkerState.INTERRUPTED)


class _Presence(NamedTuple):
    """A worker, and when its part of the wall clock begins and ends."""

    worker: WorkerInfo
    since: float
    until: float


def utilization_table(record: RunRecord) -> pd.DataFrame:
    """Return a row per worker of the run; see `TuneResult.utilization`."""
    import pandas as pd

    until = record.ended_at
    if record.deadline is not None:
        until = min(until, record.deadline)
    spent = _spent(record.trials, until)
    rows = [
        _worker_row(presence, spent[presence.worker.number])
        for presence in _presences(record.workers, record.started_at, until)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def share(table: pd.DataFrame, phases: Sequence[str]) -> float:
    """Return the share of some phases in the wall clock of all workers; NaN without workers.

    Parameters
    ----------
    table : DataFrame
        What `utilization_table` returned.
    phases : sequence of str
        Columns of the table, such as `OBJECTIVE` or `BUSY`.
    """
    if not len(table):
        return math.nan
    return float(table[list(phases)].to_numpy().sum() / table["wall"].sum())


def _presences(workers: Sequence[WorkerInfo], started_at: float, until: float) -> list[_Presence]:
    """Return the workers of this run, each with its part of the wall clock.

    The part begins with the run: the time until the worker joined is its startup. The part of a
    lost or interrupted worker ends with the worker. A worker that joined later may replace one,
    so its part begins when it joined.
    """
    mine = [w for w in workers if w.ended_at is None or w.ended_at > started_at]
    losses = [w.ended_at for w in mine if w.state in _REPLACED and w.ended_at is not None]
    first_loss = min(losses, default=math.inf)
    presences = []
    for worker in mine:
        since = worker.started_at if first_loss < worker.started_at else started_at
        lost_at = worker.ended_at if worker.state in _REPLACED else None
        presences.append(
            _Presence(worker, since, until if lost_at is None else min(lost_at, until))
        )
    return presences


def _spent(trials: Sequence[FrozenTrial], until: float) -> dict[int | None, dict[str, float]]:
    """Add up, for each worker, the number of its trials and the seconds that they took."""
    spent: dict[int | None, dict[str, float]] = defaultdict(lambda: dict.fromkeys(_SPENT, 0.0))
    for trial in trials:
        mine, notes = spent[trial.worker], trial.notes
        mine["n_trials"] += 1
        mine["objective"] += _share_in_time(trial, until) * notes.get("objective_s", 0.0)
        mine["coordination"] += notes.get("coordination_s", 0.0)
        mine["cpu"] += notes.get("cpu_s", 0.0)
        surrogate, acquisition = notes.get("surrogate_s", 0.0), notes.get("acquisition_s", 0.0)
        if "proposer" in notes:
            mine["proposer"] += surrogate + acquisition
        else:
            mine["surrogate"] += surrogate
            mine["acquisition"] += acquisition
    return spent


def _share_in_time(trial: FrozenTrial, until: float) -> float:
    """Return the share of a trial's duration that lies before the end of the wall clock."""
    if trial.started_at is None or trial.ended_at <= max(until, trial.started_at):
        return 1.0
    return max(until - trial.started_at, 0.0) / (trial.ended_at - trial.started_at)


def _worker_row(presence: _Presence, spent: dict[str, float]) -> dict[str, Any]:
    worker, since, until = presence
    wall = max(until - since, 1e-9)  # no division by 0 if a worker was lost at once
    startup = max(worker.started_at - since, 0.0)
    own = sum(spent[phase] for phase in _PHASES)
    return {
        "worker": worker.number,
        "wall": wall,
        "startup": startup,
        **spent,
        "n_trials": int(spent["n_trials"]),
        "idle": max(wall - startup - own, 0.0),
        "objective_share": sum(spent[phase] for phase in OBJECTIVE) / wall,
        "busy_share": sum(spent[phase] for phase in BUSY) / wall,
    }
