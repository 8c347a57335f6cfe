"""What a run found, as a stranger wants to read it."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from rush_core import Task, WorkerInfo, WorkerState
from rush_opt.estimate import Estimate, estimate_best
from rush_opt.pareto import non_dominated
from rush_opt.space import Space
from rush_opt.trial import STOPPED_AT

if TYPE_CHECKING:
    # Loading pandas takes a third of a second: workers, who import this package, never need it.
    import optuna
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
        """Whether its worker was killed or lost: such a trial takes no place in the budget."""
        return "lost" in self.notes

    @property
    def warm(self) -> bool:
        """Whether it was known before the run: such a trial takes no place in the budget either."""
        return "warm_start" in self.notes


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


@dataclass(frozen=True)
class TuneResult:
    """The outcome of `tune()`.

    Attributes
    ----------
    frozen_trials : list of FrozenTrial
        All trials that ended, in order of completion; lost ones among the failed.
    space : Space or None
        What was searched; None in a result read from a file, if the space is made of code.
    metrics, directions : tuple of str
        The names of the objective values in a result, usually one, and where each is to go.
    seed : int
        The run's entropy: give it to `tune()` to draw the same designs and streams again.
    stop_reason : str
        ``n_trials``, ``timeout``, ``exhausted`` (of a grid search, when the whole grid is done) or
        ``interrupted``; the rule that held of those given as `stop`, such as
        ``Target(value=0.1)``; what a callback said with `StopRun`, or ``callback``.
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
    space: Space | None
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    seed: int
    stop_reason: str
    network_id: str
    started_at: float
    ended_at: float
    workers: list[WorkerInfo]
    deadline: float | None = None

    def __repr__(self) -> str:
        n_finished = len(self._finished)
        n_failed = len(self.frozen_trials) - n_finished
        failed = f", {n_failed} failed" if n_failed else ""
        best = ""
        if n_finished and len(self.metrics) == 1:
            best = f", best value {self.best_value:g}"
        elif n_finished:
            best = f", {len(self.pareto_front)} on the Pareto front"
        return f"<TuneResult: {n_finished} trials finished{failed}{best}>"

    @property
    def metric(self) -> str:
        """The name of the only objective value; a ValueError if there are several."""
        self._check_one_objective("no single metric; see result.metrics")
        return self.metrics[0]

    @property
    def direction(self) -> str:
        """Where the only objective is to go; a ValueError if there are several."""
        self._check_one_objective("no single direction; see result.directions")
        return self.directions[0]

    @cached_property
    def best_trial(self) -> FrozenTrial:
        """The finished trial with the best value, the earliest of equals.

        Raises
        ------
        ValueError
            If no trial finished, or there are several objectives.
        """
        self._check_one_objective("no best trial; take one of result.pareto_front")
        self._check_any_finished()
        sign = -1.0 if self.direction == "maximize" else 1.0
        return min(self._finished, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

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
    def pareto_front(self) -> list[FrozenTrial]:
        """The finished trials that no other dominates, from the best in the first objective on.

        A trial dominates another if it is nowhere worse and somewhere better. Trials with equal
        values are all in it; with one objective these are the best trials.

        Raises
        ------
        ValueError
            If no trial finished.
        """
        self._check_any_finished()
        signs = [-1.0 if direction == "maximize" else 1.0 for direction in self.directions]
        values = [[trial.result[name] for name in self.metrics] for trial in self._finished]
        Y = np.array(values, dtype=np.float64) * signs  # the field's name
        found = np.flatnonzero(non_dominated(Y))
        return [self._finished[i] for i in found[np.lexsort(Y[found].T[::-1])]]

    @cached_property
    def best_estimated(self) -> Estimate:
        """The finished trial with the best *estimated* value, for an objective with noise.

        Of many noisy values the best one was mostly lucky: its configuration is worse than it
        looks, and often worse than others. A forest fitted to all finished trials tells from its
        neighbours how good each really is. Without noise, or with hardly any, `best_trial` is the
        better answer; see `rush_opt.estimate`.

        Returns
        -------
        Estimate
            With ``trial``, and the ``value`` and ``sd`` estimated for it.

        Raises
        ------
        ValueError
            If no trial finished, there are several objectives, or the space is not known.
        """
        self._check_one_objective("no best estimate; take one of result.pareto_front")
        self._check_any_finished()
        if self.space is None:
            raise ValueError(
                "an estimate needs the space of the run, which this result does not know: it was "
                "read from a file, and its space is made of code; add it: "
                "dataclasses.replace(result, space=...)"
            )
        sign = -1.0 if self.direction == "maximize" else 1.0
        i, value, sd = estimate_best(
            self.space.encode([trial.params for trial in self._finished]),
            sign * np.array([trial.value for trial in self._finished], dtype=np.float64),
            np.random.default_rng(self.seed),
        )
        return Estimate(self._finished[i], sign * value, sd)

    @cached_property
    def _finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.frozen_trials if trial.state == "finished"]

    def _check_one_objective(self, consequence: str) -> None:
        if len(self.metrics) > 1:
            raise ValueError(
                f"the run had objectives {list(self.metrics)}, so it has {consequence}"
            )

    def _check_any_finished(self) -> None:
        if not self._finished:
            advice = "see the errors in result.trials" if self.frozen_trials else "none was run"
            raise ValueError(f"no trial finished, so there is no best one; {advice}")

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row per trial in order of completion.

        The value is in the column ``value``, or several in ``value_<metric>``. Parameters are in
        columns ``params_<name>``, what else the objective returned in ``result_<name>``, and how a
        trial was proposed and accounted for in ``notes_<name>``.
        """
        import pandas as pd

        values = value_columns(self.metrics)
        columns = ("number", "state", *values, "worker", "started_at", "ended_at", "duration_s")
        rows = [_row(trial, values) for trial in self.frozen_trials]
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

    def plot_pareto_front(self, ax: Axes | None = None) -> Axes:
        """Draw the trials in two objectives; see `rush_opt.plots.plot_pareto_front`."""
        from rush_opt.plots import plot_pareto_front

        return plot_pareto_front(self, ax)

    def plot_timeline(self, ax: Axes | None = None) -> Axes:
        """Draw what each worker did when; see `rush_opt.plots.plot_timeline`."""
        from rush_opt.plots import plot_timeline

        return plot_timeline(self, ax)

    def plot_shares(self, ax: Axes | None = None) -> Axes:
        """Draw where each worker's time went; see `rush_opt.plots.plot_shares`."""
        from rush_opt.plots import plot_shares

        return plot_shares(self, ax)

    def plot_exploration(self, ax: Axes | None = None) -> Axes:
        """Draw values against exploration weights; see `rush_opt.plots.plot_exploration`."""
        from rush_opt.plots import plot_exploration

        return plot_exploration(self, ax)

    def known_at(self, trial: FrozenTrial) -> list[FrozenTrial]:
        """Return the trials that were known when a trial was proposed, in order of completion.

        Of the trials that came to an end by themselves, finished and failed, and those known before
        the run, these are the first ``trial.notes["n_known"]``: whoever proposed it had read so
        many ends. Trials lost with their worker are no part of them, for no optimizer learns from
        those.

        Where trials ended within the time of a message of each other, the order in which the
        proposer learned of them may be another than that of their ends.

        Parameters
        ----------
        trial : FrozenTrial
            One of this result.

        Raises
        ------
        ValueError
            If it was not proposed on grounds of others: it is of a design, was known before the
            run, or the optimizer looks at no result.
        """
        if "n_known" not in trial.notes:
            raise ValueError(
                f"trial {trial.number} was not proposed by looking at others: its notes have no "
                "'n_known'; it is of a design, or its optimizer needs no results"
            )
        count = [other for other in self.frozen_trials if not other.lost]
        return count[: int(trial.notes["n_known"])]

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write all of the result to a file, for `from_json` or a reader in another language.

        A space with constraints or transforms is left out: it is made of code.

        Parameters
        ----------
        path : path-like
        """
        from rush_opt.result_file import write_json

        write_json(self, path)

    @staticmethod
    def from_json(path: str | os.PathLike[str]) -> TuneResult:
        """Read the result that `to_json` wrote.

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        from rush_opt.result_file import read_json

        return read_json(path)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table `trials` to a Parquet file.

        A column that Parquet has no type for (values of several types) is written as JSON.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        ImportError
            If pyarrow is not installed: ``pip install 'rush-hpo[parquet]'``.
        """
        from rush_opt.result_file import write_parquet

        write_parquet(self, path)

    def to_optuna(self) -> optuna.Study:
        """Make an Optuna study of the trials; see `rush_opt.optuna.to_study`."""
        from rush_opt.optuna import to_study

        return to_study(self)

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


def value_columns(metrics: Sequence[str]) -> dict[str, str]:
    """Return the metrics by the names of their columns."""
    if len(metrics) == 1:
        return {"value": metrics[0]}
    return {f"value_{metric}": metric for metric in metrics}


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


__all__ = ["FrozenTrial", "TuneResult", "freeze_trials", "only_value", "value_columns"]
