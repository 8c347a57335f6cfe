"""What a run found, as a stranger wants to read it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rush_core import WorkerInfo
from rush_opt.results.estimate import Estimate, estimate_best
from rush_opt.results.pareto import non_dominated
from rush_opt.results.trials import FrozenTrial, trials_table
from rush_opt.results.utilization import utilization_table
from rush_opt.space import Space
from rush_opt.stopping.incumbent import comparable

if TYPE_CHECKING:
    # Loading pandas takes a third of a second: workers, who import this package, never need it.
    import optuna
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["TuneResult"]


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
        ``Target(value=0.1)``; what a callback said with `StopRun`, or ``callback``; ``stopped``, if
        somebody else asked the network's workers to stop. ``not stopped`` of an `Advisor`, whose
        trials go on.
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

        A trial that was stopped early has the value of an earlier step: it is the best only where
        all that finished were stopped.

        Raises
        ------
        ValueError
            If no trial finished, or there are several objectives.
        """
        self._check_one_objective("no best trial; take one of result.pareto_front")
        self._check_any_finished()
        (sign,) = self._signs
        return min(self._comparable, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

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
        values are all in it; with one objective these are the best trials. Stopped trials count as
        for `best_trial`.

        Raises
        ------
        ValueError
            If no trial finished.
        """
        self._check_any_finished()
        trials = self._comparable
        values = [[trial.result[name] for name in self.metrics] for trial in trials]
        Y = np.array(values, dtype=np.float64) * self._signs  # the field's name
        found = np.flatnonzero(non_dominated(Y))
        return [trials[i] for i in found[np.lexsort(Y[found].T[::-1])]]

    @cached_property
    def best_estimated(self) -> Estimate:
        """The finished trial with the best *estimated* value, for an objective with noise.

        Of many noisy values the best one was mostly lucky: its configuration is worse than it
        looks, and often worse than others. A forest fitted to all finished trials tells from its
        neighbours how good each really is. Without noise, or with hardly any, `best_trial` is the
        better answer; see `rush_opt.results.estimate`. Stopped trials count as for `best_trial`.

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
        (sign,) = self._signs
        trials = self._comparable
        i, value, sd = estimate_best(
            self.space.encode([trial.params for trial in trials]),
            sign * np.array([trial.value for trial in trials], dtype=np.float64),
            np.random.default_rng(self.seed),
        )
        return Estimate(trials[i], sign * value, sd)

    @property
    def _signs(self) -> list[float]:
        """The factors that turn the directions into minimizing."""
        return [-1.0 if direction == "maximize" else 1.0 for direction in self.directions]

    @cached_property
    def _finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.frozen_trials if trial.state == "finished"]

    @cached_property
    def _comparable(self) -> list[FrozenTrial]:
        return comparable(self._finished)

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
        return trials_table(self.frozen_trials, self.metrics)

    def plot_history(self, ax: Axes | None = None) -> Axes:
        """Draw values and the best so far over wall clock; see `plots.plot_history`."""
        from rush_opt.results.plots import plot_history

        return plot_history(self, ax)

    def plot_pareto_front(self, ax: Axes | None = None) -> Axes:
        """Draw the trials in two objectives; see `rush_opt.results.plots.plot_pareto_front`."""
        from rush_opt.results.plots import plot_pareto_front

        return plot_pareto_front(self, ax)

    def plot_timeline(self, ax: Axes | None = None) -> Axes:
        """Draw what each worker did when; see `plots.plot_timeline`."""
        from rush_opt.results.plots import plot_timeline

        return plot_timeline(self, ax)

    def plot_shares(self, ax: Axes | None = None) -> Axes:
        """Draw where each worker's time went; see `plots.plot_shares`."""
        from rush_opt.results.plots import plot_shares

        return plot_shares(self, ax)

    def plot_exploration(self, ax: Axes | None = None) -> Axes:
        """Draw values against exploration weights; see `plots.plot_exploration`."""
        from rush_opt.results.plots import plot_exploration

        return plot_exploration(self, ax)

    def known_at(self, trial: FrozenTrial) -> list[FrozenTrial]:
        """Return the trials that were known when a trial was proposed, in order of completion.

        Of the trials that came to an end by themselves, finished and failed, and those known before
        the run, these are the first ``trial.notes["n_known"]``: whoever proposed it had read so
        many ends. Of the trials that were stopped early they are the first
        ``trial.notes["n_stopped"]``, none without such a note. Those lost with their worker and
        those taken out of the queue are no part of them: no optimizer learns from them.

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
        left = {False: trial.notes["n_known"], True: trial.notes.get("n_stopped", 0)}
        known = []
        for other in self.frozen_trials:
            # What was taken out of the queue was never started.
            has_failed = other.state == "failed" and not other.lost and other.started_at is not None
            is_stopped = other.state == "finished" and other.stopped_at is not None
            if (other.state == "finished" or has_failed) and left[is_stopped] > 0:
                left[is_stopped] -= 1
                known.append(other)
        return known

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write all of the result to a file, for `from_json` or a reader in another language.

        A space with constraints or transforms is left out: it is made of code.

        Parameters
        ----------
        path : path-like
        """
        from rush_opt.results.files import write_json

        write_json(self, path)

    @staticmethod
    def from_json(path: str | os.PathLike[str]) -> TuneResult:
        """Read the result that `to_json` wrote.

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        from rush_opt.results.files import read_json

        return read_json(path)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table `trials` to a Parquet file.

        A column that Parquet has no type for (several types, empty mappings) is written as JSON.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        ImportError
            If pyarrow is not installed: ``pip install 'rush-hpo[parquet]'``.
        """
        from rush_opt.results.files import write_parquet

        write_parquet(self, path)

    def to_optuna(self) -> optuna.Study:
        """Make an Optuna study of the trials; see `rush_opt.results.to_optuna.to_study`."""
        from rush_opt.results.to_optuna import to_study

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
        return utilization_table(self.workers, self.frozen_trials, self.started_at, self._until)

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
