"""Trials that came to an end: made of ended tasks, and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rush_core import Task, WorkerInfo
from rush_opt.stopping.incumbent import STOPPED_AT

if TYPE_CHECKING:
    # Loading pandas takes a third of a second: workers, who import this package, never need it.
    import pandas as pd

__all__ = [
    "WARM_START",
    "FrozenTrial",
    "freeze_trials",
    "only_value",
    "trials_table",
    "value_columns",
]

# What says in a trial's notes that it was given to the run as known already.
WARM_START = {"warm_start": True}


@dataclass(frozen=True)
class FrozenTrial:
    """One trial that came to an end.

    Attributes
    ----------
    number : int
        Its place in order of completion, from 0.
    key : str
        Its identifier in the network.
    state : str
        ``finished`` or ``failed``.
    params : dict
        Parameter name to value.
    value : float or None
        The objective value; None if it failed, or if there are several, which `result` has.
    result : dict
        All that the objective returned.
    error : str or None
        The traceback or reason of a failed trial.
    worker : int or None
        The number of the worker; None for a trial that no worker ran.
    started_at, ended_at : float or None
        Seconds since 1970 by the server's clock.
    notes : dict
        How it was proposed and where its worker's time went, seconds.
    intermediate : dict of float to float
        What it reported while it was running: step to value.
    """

    number: int
    key: str
    state: str
    params: dict[str, Any]
    value: float | None
    result: dict[str, Any]
    error: str | None
    worker: int | None
    started_at: float | None
    ended_at: float
    notes: dict[str, Any]
    intermediate: dict[float, float] = field(default_factory=dict)

    @property
    def stopped_at(self) -> float | None:
        """The step at which it was stopped early; None if it went on to its end."""
        step: float | None = self.notes.get(STOPPED_AT)
        return step

    @property
    def lost(self) -> bool:
        """Whether its worker was killed or lost."""
        return "lost" in self.notes

    @property
    def warm(self) -> bool:
        """Whether it was given to the run as known already."""
        return "warm_start" in self.notes

    @property
    def counts(self) -> bool:
        """Whether it takes a place in the budget: a worker ran it to its end.

        What no worker ran was known before, or taken out of the queue.
        """
        return self.worker is not None and not self.lost


def freeze_trials(
    tasks: Sequence[Task],
    metrics: Sequence[str],
    workers: Sequence[WorkerInfo],
    first_number: int = 0,
    reported: Mapping[tuple[str, int], dict[float, float]] = MappingProxyType({}),
) -> list[FrozenTrial]:
    """Make trials of ended tasks, in order of completion.

    Parameters
    ----------
    tasks : sequence of Task
        Finished or failed ones.
    metrics : sequence of str
        The names of the objective values in a result.
    workers : sequence of WorkerInfo
        Whose numbers are looked up.
    first_number : int
        The number of the first trial.
    reported : mapping
        Key and attempt of a task to what was reported: step to value.
    """
    numbers = {worker.worker_id: worker.number for worker in workers}
    ended = sorted(tasks, key=lambda task: task.ended_at or 0.0)
    return [
        _freeze(
            *(task, metrics, number, numbers.get(task.worker_id)),
            reported.get((task.key, task.attempt), {}),
        )
        for number, task in enumerate(ended, start=first_number)
    ]


def only_value(result: dict[str, Any], metrics: Sequence[str]) -> float | None:
    """Return the objective value of a result; None if it has none, or there are several."""
    return result.get(metrics[0]) if len(metrics) == 1 else None


def _freeze(
    task: Task,
    metrics: Sequence[str],
    number: int,
    worker: int | None,
    intermediate: dict[float, float],
) -> FrozenTrial:
    result = task.result or {}
    assert task.ended_at is not None
    return FrozenTrial(
        number=number,
        key=task.key,
        state=task.state.value,
        params=task.config,
        value=only_value(result, metrics),
        result=result,
        error=task.error,
        worker=worker,
        started_at=task.started_at,
        ended_at=task.ended_at,
        # A proposer's notes on a trial stand against those of the worker, which proposed nothing.
        notes={**task.result_extra, **task.extra},
        intermediate=intermediate,
    )


def value_columns(metrics: Sequence[str]) -> dict[str, str]:
    """Return the metrics by the names of their columns."""
    if len(metrics) == 1:
        return {"value": metrics[0]}
    return {f"value_{metric}": metric for metric in metrics}


def trials_table(trials: Sequence[FrozenTrial], metrics: Sequence[str]) -> pd.DataFrame:
    """Return a row per trial; see `TuneResult.trials`."""
    import pandas as pd

    values = value_columns(metrics)
    columns = ("number", "state", *values, "worker", "started_at", "ended_at", "duration_s")
    rows = [_row(trial, values) for trial in trials]
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*columns, "error"])
    for name in ("started_at", "ended_at"):
        table[name] = pd.to_datetime(table[name], unit="s", utc=True)
    groups = ("params_", "result_", "notes_")
    grouped = [name for prefix in groups for name in table if name.startswith(prefix)]
    return table[[*columns, *grouped, "error"]]


def _row(trial: FrozenTrial, values: dict[str, str]) -> dict[str, Any]:
    started = trial.started_at if trial.started_at is not None else float("nan")
    row: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state,
        **{column: trial.result.get(name, float("nan")) for column, name in values.items()},
        "worker": trial.worker,
        "started_at": started,
        "ended_at": trial.ended_at,
        "duration_s": trial.ended_at - started,
        "error": trial.error,
    }
    row |= {f"params_{name}": value for name, value in trial.params.items()}
    row |= {f"result_{name}": v for name, v in trial.result.items() if name not in values.values()}
    row |= {f"notes_{name}": value for name, value in trial.notes.items()}
    return row
