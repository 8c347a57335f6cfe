"""What a run found, as a stranger wants to read it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rush_core import Task, WorkerInfo, WorkerState

if TYPE_CHECKING:
    # Loading pandas takes a third of a second: workers, who import this package, never need it.
    import pandas as pd
    from matplotlib.axes import Axes

PHASES = ("objective", "surrogate", "acquisition", "coordination")

_UTILIZATION = [
    *("worker", "n_trials", "wall", "startup", *PHASES, "idle", "cpu"),
    *("objective_share", "busy_share"),
]


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
        All that ever joined the network, in this order.
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
        n_finished = sum(trial.value is not None for trial in self.frozen_trials)
        n_failed = len(self.frozen_trials) - n_finished
        failed = f", {n_failed} failed" if n_failed else ""
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
            advice = "see the errors in result.trials" if self.frozen_trials else "none was run"
            raise ValueError(f"no trial finished, so there is no best one; {advice}")
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

    def plot_history(self, ax: Axes | None = None) -> Axes:
        """Draw values and the best so far over wall clock; see `rush_opt.plots.plot_history`."""
        from rush_opt.plots import plot_history

        return plot_history(self, ax)

    @cached_property
    def utilization(self) -> pd.DataFrame:
        """A row per worker of this run: where its time went, seconds of the run's wall clock.

        A replaced worker and its replacement share the wall clock of one place.

        Columns ``objective``, ``surrogate``, ``acquisition`` and ``coordination`` are what the
        worker accounted for; ``startup`` is the time before it joined and ``idle`` the rest.
        ``cpu`` is measured, children included. ``objective_share`` and ``busy_share`` (objective,
        surrogate and acquisition) are shares of ``wall``.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                self._worker_row(worker)
                for worker in self.workers
                if worker.ended_at is None or worker.ended_at > self.started_at
            ],
            columns=_UTILIZATION,
        )

    @property
    def objective_share(self) -> float:
        """Time in the objective over wall clock times workers."""
        return self._share(["objective"])

    @property
    def busy_share(self) -> float:
        """Time in objective, surrogate and acquisition over wall clock times workers."""
        return self._share(["objective", "surrogate", "acquisition"])

    def _share(self, phases: list[str]) -> float:
        """Return the share of `phases` in the time of all workers; NaN if there was none."""
        table = self.utilization
        if not len(table):
            return math.nan
        return float(table[phases].to_numpy().sum() / table["wall"].sum())

    def _span(self, worker: WorkerInfo) -> tuple[float, float]:
        """Return from when to when the run had this worker's place filled by it.

        A lost worker hands its place over to the one that joined next.
        """
        losses = [
            other.ended_at
            for other in self.workers
            if other.state is WorkerState.LOST and (other.ended_at or 0.0) > self.started_at
        ]
        replaces = any(loss is not None and loss < worker.started_at for loss in losses)
        since = worker.started_at if replaces else self.started_at
        lost_at = worker.ended_at if worker.state is WorkerState.LOST else None
        return since, self.ended_at if lost_at is None else lost_at

    def _worker_row(self, worker: WorkerInfo) -> dict[str, Any]:
        trials = [trial for trial in self.frozen_trials if trial.worker == worker.number]
        spent = {
            phase: sum(trial.notes.get(f"{phase}_s", 0.0) for trial in trials) for phase in PHASES
        }
        since, until = self._span(worker)
        wall = max(until - since, 1e-9)
        startup = max(worker.started_at - since, 0.0)
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
