"""What a run found, as a stranger wants to read it."""

from __future__ import annotations

import math
from collections import defaultdict
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

# What says in a trial's notes that it was given to the run as known already.
WARM_START = {"warm_start": True}

_UTILIZATION = [
    *("worker", "n_trials", "wall", "startup", *PHASES, "idle", "proposer", "cpu"),
    *("objective_share", "busy_share"),
]
_SPENT = ("n_trials", *PHASES, "proposer", "cpu")


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

    @property
    def warm(self) -> bool:
        """Whether it was known before the run: such a trial takes no place in the budget either."""
        return "warm_start" in self.notes


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
        # A proposer's notes on a trial stand against those of the worker, which proposed nothing.
        notes={**task.result_extra, **task.extra},
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
        ``n_trials``, ``timeout`` or ``interrupted``; the rule that held of those given as `stop`,
        such as ``Target(value=0.1)``; what a callback said with `StopRun`, or ``callback``.
    network_id : str
    started_at, ended_at : float
        The run's wall clock, seconds since 1970 by the server's clock.
    workers : list of WorkerInfo
        All that ever joined the network to evaluate trials, in this order.
    deadline : float or None
        When the timeout was over, by the same clock. A trial that was running then was finished;
        ``trial.ended_at <= result.deadline`` tells those that ended in time.
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
    deadline: float | None = None

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

        The wall clock ends at the `deadline`, if there is one: of a trial that outlasted it, only
        the part before counts. A replaced worker and its replacement share the wall clock of one
        place.

        Columns ``objective``, ``surrogate``, ``acquisition`` and ``coordination`` are what the
        worker accounted for; ``startup`` is the time before it joined and ``idle`` the rest.
        ``proposer`` is what a proposer, which has no row, spent on the surrogate and the
        acquisition function for this worker's trials. ``cpu`` is measured, children included.
        ``objective_share`` and ``busy_share`` (objective, surrogate, acquisition and proposer) are
        shares of ``wall``.
        """
        import pandas as pd

        places = _places(self.workers, self.started_at, self._until)
        spent = _spent(self.frozen_trials, self._until)
        rows = [_worker_row(*place, spent[place[0].number]) for place in places]
        return pd.DataFrame(rows, columns=_UTILIZATION)

    @property
    def objective_share(self) -> float:
        """Time in the objective over wall clock times workers."""
        return self._share(["objective"])

    @property
    def busy_share(self) -> float:
        """Time in objective, surrogate and acquisition over wall clock times workers.

        A proposer's time counts, although it is none of the workers.
        """
        return self._share(["objective", "surrogate", "acquisition", "proposer"])

    def _share(self, phases: list[str]) -> float:
        """Return the share of `phases` in the time of all workers; NaN if there was none."""
        table = self.utilization
        if not len(table):
            return math.nan
        return float(table[phases].to_numpy().sum() / table["wall"].sum())

    @property
    def _until(self) -> float:
        """When the run was over, or its timeout if some trial outlasted that."""
        return self.ended_at if self.deadline is None else min(self.ended_at, self.deadline)


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
    own = sum(spent[phase] for phase in PHASES)
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
