"""What a run found, as a stranger wants to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rush_core import Task, TaskState, WorkerInfo

if TYPE_CHECKING:
    # Loading pandas takes a third of a second: workers, who import this package, never need it.
    import pandas as pd

PHASES = ("objective", "surrogate", "acquisition", "coordination")


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
        The objective value; None if it failed.
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

    @property
    def lost(self) -> bool:
        """Whether its worker was killed or lost: such a trial takes no place in the budget."""
        return "lost" in self.notes


def freeze_trials(
    tasks: Sequence[Task], metric: str, workers: Sequence[WorkerInfo], first_number: int = 0
) -> list[FrozenTrial]:
    """Make trials of ended tasks, in order of completion.

    Parameters
    ----------
    tasks : sequence of Task
        Finished or failed ones.
    metric : str
        The name of the objective value in a result.
    workers : sequence of WorkerInfo
        Whose numbers are looked up.
    first_number : int
        The number of the first trial.
    """
    numbers = {worker.worker_id: worker.number for worker in workers}
    ended = sorted(tasks, key=lambda task: task.ended_at or 0.0)
    return [
        _freeze(task, metric, number, numbers.get(task.worker_id))
        for number, task in enumerate(ended, start=first_number)
    ]


def _freeze(task: Task, metric: str, number: int, worker: int | None) -> FrozenTrial:
    result = task.result or {}
    assert task.ended_at is not None
    return FrozenTrial(
        number=number,
        key=task.key,
        state=task.state.value,
        params=task.config,
        value=result.get(metric),
        result=result,
        error=task.error,
        worker=worker,
        started_at=task.started_at,
        ended_at=task.ended_at,
        notes=task.result_extra,
    )


@dataclass(frozen=True)
class TuneResult:
    """The outcome of `tune()`.

    Attributes
    ----------
    frozen_trials : list of FrozenTrial
        All trials that ended, in order of completion; lost ones among the failed.
    metric, direction : str
    seed : int
        The run's entropy: give it to `tune()` to draw the same designs and streams again.
    stop_reason : str
        ``n_trials``, ``timeout`` or ``interrupted``.
    network_id : str
    started_at, ended_at : float
        The run's wall clock, seconds since 1970 by the server's clock.
    workers : list of WorkerInfo
    """

    frozen_trials: list[FrozenTrial]
    metric: str
    direction: str
    seed: int
    stop_reason: str
    network_id: str
    started_at: float
    ended_at: float
    workers: list[WorkerInfo]

    def __repr__(self) -> str:
        n_failed = sum(trial.state == TaskState.FAILED for trial in self.frozen_trials)
        failed = f", {n_failed} failed" if n_failed else ""
        n_finished = len(self.frozen_trials) - n_failed
        best = f", best value {self.best_value:g}" if n_finished else ""
        return f"<TuneResult: {n_finished} trials finished{failed}{best}>"

    @cached_property
    def best_trial(self) -> FrozenTrial:
        """The finished trial with the best value, the earliest of equals.

        Raises
        ------
        ValueError
            If no trial finished.
        """
        finished = [trial for trial in self.frozen_trials if trial.value is not None]
        if not finished:
            raise ValueError(
                "no trial finished, so there is no best one; see the errors in result.trials"
            )
        sign = -1.0 if self.direction == "maximize" else 1.0
        return min(finished, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of the best trial."""
        return dict(self.best_trial.params)

    @property
    def best_value(self) -> float:
        """The value of the best trial."""
        value = self.best_trial.value
        assert value is not None
        return value

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row per trial in order of completion.

        Parameters are in columns ``params_<name>``, what the objective returned besides its value
        in ``result_<name>``, and how a trial was proposed and accounted for in ``notes_<name>``.
        """
        columns = ("number", "state", "value", "worker", "started_at", "ended_at", "duration_s")
        import pandas as pd

        rows = [_row(trial, self.metric) for trial in self.frozen_trials]
        table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*columns, "error"])
        for name in ("started_at", "ended_at"):
            table[name] = pd.to_datetime(table[name], unit="s", utc=True)
        groups = ("params_", "result_", "notes_")
        grouped = [name for prefix in groups for name in table if name.startswith(prefix)]
        return table[[*columns, *grouped, "error"]]

    @cached_property
    def utilization(self) -> pd.DataFrame:
        """A row per worker: where its time went, seconds of the run's wall clock.

        Columns ``objective``, ``surrogate``, ``acquisition`` and ``coordination`` are what the
        worker accounted for; ``startup`` is the time before it joined and ``idle`` the rest.
        ``cpu`` is measured, children included. ``objective_share`` and ``busy_share`` (objective,
        surrogate and acquisition) are shares of ``wall``.
        """
        import pandas as pd

        return pd.DataFrame([self._worker_row(worker) for worker in self.workers])

    @property
    def objective_share(self) -> float:
        """Time in the objective over wall clock times workers."""
        return float(self.utilization["objective"].sum() / self.utilization["wall"].sum())

    @property
    def busy_share(self) -> float:
        """Time in objective, surrogate and acquisition over wall clock times workers."""
        busy = self.utilization[["objective", "surrogate", "acquisition"]].to_numpy().sum()
        return float(busy / self.utilization["wall"].sum())

    def _worker_row(self, worker: WorkerInfo) -> dict[str, Any]:
        trials = [trial for trial in self.frozen_trials if trial.worker == worker.number]
        spent = {
            phase: sum(trial.notes.get(f"{phase}_s", 0.0) for trial in trials) for phase in PHASES
        }
        wall = self.ended_at - self.started_at
        startup = max(worker.started_at - self.started_at, 0.0)
        busy = spent["objective"] + spent["surrogate"] + spent["acquisition"]
        return {
            "worker": worker.number,
            "n_trials": len(trials),
            "wall": wall,
            "startup": startup,
            **spent,
            "idle": max(wall - startup - sum(spent.values()), 0.0),
            "cpu": sum(trial.notes.get("cpu_s", 0.0) for trial in trials),
            "objective_share": spent["objective"] / wall,
            "busy_share": busy / wall,
        }


def _row(trial: FrozenTrial, metric: str) -> dict[str, Any]:
    started = trial.started_at if trial.started_at is not None else float("nan")
    row: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state,
        "value": float("nan") if trial.value is None else trial.value,
        "worker": trial.worker,
        "started_at": started,
        "ended_at": trial.ended_at,
        "duration_s": trial.ended_at - started,
        "error": trial.error,
    }
    row |= {f"params_{name}": value for name, value in trial.params.items()}
    row |= {f"result_{name}": v for name, v in trial.result.items() if name != metric}
    row |= {f"notes_{name}": value for name, value in trial.notes.items()}
    return row


__all__ = ["FrozenTrial", "TuneResult", "freeze_trials"]
