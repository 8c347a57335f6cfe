"""The result of a run: what `tune()`, `simulate()` and an `Advisor` return."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rush_core import WorkerInfo
from rush_opt.results.best import best_estimated, best_trial, pareto_front
from rush_opt.results.estimate import Estimate
from rush_opt.results.files import read_json, write_json, write_parquet
from rush_opt.results.html import result_html
from rush_opt.results.known import known_at
from rush_opt.results.record import RunRecord
from rush_opt.results.stored import load_record
from rush_opt.results.summary import best_table, one_line, summary_text
from rush_opt.results.table import trials_table
from rush_opt.results.trials import FrozenTrial
from rush_opt.results.utilization import BUSY, OBJECTIVE, share, utilization_table
from rush_opt.space import Space

if TYPE_CHECKING:
    # pandas takes a third of a second to load. Workers import this package and do not need pandas.
    import optuna
    import pandas as pd
    from matplotlib.axes import Axes

    from rush_opt.results.plots.history import Over

__all__ = ["TuneResult"]


@dataclass(frozen=True, repr=False, init=False)
class TuneResult:
    """The result of a run.

    Parameters
    ----------
    record : RunRecord
        The data of the run. Everything else is computed from it.
    **changes
        Deprecated: fields of the record to replace, as ``dataclasses.replace(result, space=...)``
        passes them. Use `with_space`.

    Attributes
    ----------
    record : RunRecord
    frozen_trials : list of FrozenTrial
        All trials that ended, in order of completion. Lost trials are among the failed ones.
    space : Space or None
        The search space. None in a result that was read from a file, if the space contains
        functions of the user.
    metrics, directions : tuple of str
        The name of each objective, usually one, and its direction, ``minimize`` or ``maximize``.
    seed : int
        The run's seed. Give it to `tune()` to draw the same initial design and the same random
        numbers again.
    stop_reason : str
        Why the run ended:

        - ``n_trials`` or ``timeout``: that budget was used up.
        - ``exhausted``: a grid search evaluated the whole grid.
        - ``interrupted``: the user pressed Ctrl-C.
        - The rule of `stop` that held, such as ``Target(value=0.1)``.
        - The text with which a callback raised `StopRun`, or ``callback`` if it gave none.
        - ``workers failed``: workers were lost or failed again and again. A warning was logged.
        - ``callback failed``: a callback raised an exception, which was logged.
        - ``server lost``: the server was killed, or its memory or disk was full. Trials that ended
          shortly before may be missing.
        - ``stopped``: another process asked the workers of the network to stop.
        - ``not stopped``: the result is from an `Advisor`, whose trials continue; or it was loaded
          while the run went on, or after its program had ended early.
    network_id : str
        The name of the run's network.
    started_at, ended_at : float
        When the run began and ended, in seconds since 1970 by the server's clock.
    workers : list of WorkerInfo
        All workers that ever joined the network to evaluate trials, in the order in which they
        joined.
    deadline : float or None
        When the timeout expired, by the same clock. Trials that were running then still finished;
        trials with ``trial.ended_at <= result.deadline`` ended in time.
    """

    record: RunRecord

    def __init__(self, record: RunRecord, **changes: Any) -> None:
        if changes:
            warnings.warn(
                "dataclasses.replace(result, ...) will be removed; use result.with_space(space), "
                "or TuneResult(dataclasses.replace(result.record, ...))",
                DeprecationWarning,
                # The caller of `dataclasses.replace`. Since Python 3.13 it has one more frame.
                stacklevel=4 if sys.version_info >= (3, 13) else 3,
            )
            record = replace(record, **changes)
        object.__setattr__(self, "record", record)

    def __repr__(self) -> str:
        return one_line(self.record)

    def _repr_html_(self) -> str:
        return result_html(self.record)

    # -- the record --------------------------------------------------------------------------------

    @property
    def frozen_trials(self) -> list[FrozenTrial]:
        """All trials that ended, in order of completion."""
        return self.record.trials

    @property
    def space(self) -> Space | None:
        """The search space, if it is known."""
        return self.record.space

    @property
    def metrics(self) -> tuple[str, ...]:
        """The name of each objective."""
        return self.record.metrics

    @property
    def directions(self) -> tuple[str, ...]:
        """The direction of each objective, ``minimize`` or ``maximize``."""
        return tuple(goal.direction for goal in self.record.goals)

    @property
    def metric(self) -> str:
        """The name of the only objective; a ValueError if there are several."""
        return self.record.only_goal("no single metric; see result.metrics").name

    @property
    def direction(self) -> str:
        """The direction of the only objective; a ValueError if there are several."""
        return self.record.only_goal("no single direction; see result.directions").direction

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.record.seed

    @property
    def stop_reason(self) -> str:
        """Why the run ended."""
        return self.record.stop_reason

    @property
    def network_id(self) -> str:
        """The name of the run's network."""
        return self.record.network_id

    @property
    def started_at(self) -> float:
        """When the run began, in seconds since 1970."""
        return self.record.started_at

    @property
    def ended_at(self) -> float:
        """When the run ended, in seconds since 1970."""
        return self.record.ended_at

    @property
    def workers(self) -> list[WorkerInfo]:
        """All workers that ever joined."""
        return self.record.workers

    @property
    def deadline(self) -> float | None:
        """When the timeout expired, in seconds since 1970; None without a timeout."""
        return self.record.deadline

    def with_space(self, space: Space) -> TuneResult:
        """Return the same result with this search space.

        A result that was read from a file has no space if the space contains functions: a file
        cannot hold them. `best_estimated` and `to_optuna` need the space.

        Parameters
        ----------
        space : Space
            The space that the run searched.
        """
        return TuneResult(replace(self.record, space=space))

    # -- trials ------------------------------------------------------------------------------------

    @cached_property
    def best_trial(self) -> FrozenTrial:
        """The finished trial with the best value; of equal ones, the earliest.

        A trial that was stopped early has the value of an earlier step. It is the best trial only
        if all finished trials were stopped early.

        Raises
        ------
        ValueError
            If no trial finished, or there are several objectives.
        """
        return best_trial(self.record)

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
        """The finished trials that no other dominates, the best in the first objective first.

        A trial dominates another one if it is not worse in any objective and better in at least
        one. Trials with equal values are on the front together. With one objective, the front has
        the best trials.
        Trials that were stopped early are on it only if all finished trials were stopped early.

        Raises
        ------
        ValueError
            If no trial finished.
        """
        return pareto_front(self.record)

    @cached_property
    def best_estimated(self) -> Estimate:
        """The finished trial with the best *estimated* value, for an objective with noise.

        The best of many noisy values is best mostly by chance. Its configuration is worse than the
        value suggests, and often worse than another configuration. A forest that is fitted to all
        finished trials estimates each configuration from the values of its neighbours. Without
        noise, or with very little, `best_trial` is the better answer; see
        `rush_opt.results.estimate`. Trials that were stopped early count as in `best_trial`.

        Returns
        -------
        Estimate
            ``trial``, and the ``value`` and ``sd`` that are estimated for it.

        Raises
        ------
        ValueError
            If no trial finished, there are several objectives, or the space is not known.
        """
        return best_estimated(self.record)

    def best(self, n: int = 5) -> pd.DataFrame:
        """Return a table of the best trials: value, parameters and duration, the best one first.

        Trials that were stopped early come after all others.

        Parameters
        ----------
        n : int
            How many rows the table has at most.

        Returns
        -------
        DataFrame
            Its index is the number of the trial. The columns are ``value``, each parameter under
            its own name (``params_<name>`` if another column has that name), and ``duration_s``.

        Raises
        ------
        ValueError
            If there are several objectives; see `pareto_front`.
        """
        return best_table(self.record, n)

    def summary(self) -> str:
        """Return a few lines: the best trial, counts by state, the time, and why the run ended."""
        return summary_text(self.record)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row per trial, in order of completion.

        =====================  =================================================================
        column                 holds
        =====================  =================================================================
        ``number``             as in `FrozenTrial`
        ``value``              the objective value; ``value_<metric>`` if there are several
        ``params_<name>``      each parameter
        ``duration_s``         seconds from the start to the end
        ``state``              as in `FrozenTrial`
        ``result_<name>``      each other value that the objective returned
        ``worker``             the number of the worker
        ``started_at``,        times, in UTC
        ``ended_at``
        ``error``              the traceback or the reason of a failed trial
        ``notes_<name>``       how the trial was proposed, and how its worker spent the time
        =====================  =================================================================
        """
        return trials_table(self.record.trials, self.metrics)

    def known_at(self, trial: FrozenTrial) -> list[FrozenTrial]:
        """Return the trials that were known when a trial was proposed, in order of completion.

        An optimizer learns from trials that finished or failed, and from those that were known
        before the run. It does not learn from trials that were lost with their worker, or removed
        from the queue. The notes of a trial hold the numbers of trials that were known: ``n_known``
        trials that were not stopped early, and ``n_stopped`` trials that were. Without the second
        note, no stopped trial was known. Of the two kinds, this method returns `n_known` and
        `n_stopped` trials: those that the same worker had evaluated, and the first of the others.

        If trials ended at nearly the same time, the optimizer may have read them in another order
        than that of their ends.

        Parameters
        ----------
        trial : FrozenTrial
            One of this result.

        Raises
        ------
        ValueError
            If the trial was not proposed from results of other trials: it belongs to the initial
            design, was known before the run, or the optimizer does not use results.
        """
        return known_at(self.record.trials, trial)

    # -- the workers' time -------------------------------------------------------------------------

    @cached_property
    def utilization(self) -> pd.DataFrame:
        """A row per worker: how it spent the run's wall clock, in seconds.

        =====================  =================================================================
        column                 holds
        =====================  =================================================================
        ``worker``             the number of the worker
        ``n_trials``           how many trials it ran
        ``wall``               the wall clock
        ``startup``            the time before the worker joined
        ``objective``,         the time in the objective, in fitting the surrogate, in
        ``surrogate``,         maximizing the acquisition function, and in exchanging data with
        ``acquisition``,       the server
        ``coordination``
        ``idle``               the rest of the wall clock
        ``proposer``           the time that a proposer spent on surrogate and acquisition
                               function for this worker's trials; the proposer is another process
                               and has no row
        ``cpu``                CPU time, child processes included
        ``objective_share``    ``objective`` over ``wall``
        ``busy_share``         ``objective``, ``surrogate``, ``acquisition`` and ``proposer`` over
                               ``wall``
        =====================  =================================================================

        With a timeout, the wall clock ends at the `deadline`. Of a trial that ended later, only the
        time before the deadline counts. If a worker is lost, its wall clock ends at that time. The
        wall clock of its replacement begins when the replacement joins.
        """
        return utilization_table(self.record)

    @property
    def objective_share(self) -> float:
        """Time in the objective over wall clock times workers."""
        return share(self.utilization, OBJECTIVE)

    @property
    def busy_share(self) -> float:
        """Time in objective, surrogate and acquisition function over wall clock times workers.

        The time of a proposer counts, although the proposer is not a worker.
        """
        return share(self.utilization, BUSY)

    # -- pictures and files ------------------------------------------------------------------------

    def plot_history(
        self, ax: Axes | None = None, *, over: Over = "time", log: bool = False
    ) -> Axes:
        """Draw values and the best value so far; see `plots.plot_history`.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default the axes of a new figure.
        over : {"time", "trials"}
            What the horizontal axis shows.
        log : bool
            Whether values have a logarithmic axis.
        """
        from rush_opt.results.plots import plot_history

        return plot_history(self.record, ax, over=over, log=log)

    @staticmethod
    def plot_comparison(
        results: Mapping[str, TuneResult],
        ax: Axes | None = None,
        *,
        over: Over = "time",
        log: bool = False,
    ) -> Axes:
        """Draw the best value so far of several results; see `plots.plot_comparison`.

        Parameters
        ----------
        results : mapping of str to TuneResult
            The label of each result to it.
        ax, over, log
            As for `plot_history`.

        Examples
        --------
        >>> TuneResult.plot_comparison({"adbo": first, "random": second}, over="trials")
        """
        from rush_opt.results.plots import plot_comparison

        records = {label: result.record for label, result in results.items()}
        return plot_comparison(records, ax, over=over, log=log)

    def plot_pareto_front(self, ax: Axes | None = None) -> Axes:
        """Draw the trials in two objectives; see `plots.plot_pareto_front`."""
        from rush_opt.results.plots import plot_pareto_front

        return plot_pareto_front(self.record, ax)

    def plot_timeline(self, ax: Axes | None = None) -> Axes:
        """Draw what each worker did at what time; see `plots.plot_timeline`."""
        from rush_opt.results.plots import plot_timeline

        return plot_timeline(self.record, ax)

    def plot_shares(self, ax: Axes | None = None) -> Axes:
        """Draw how each worker spent its time; see `plots.plot_shares`."""
        from rush_opt.results.plots import plot_shares

        return plot_shares(self.record, ax)

    def plot_exploration(self, ax: Axes | None = None) -> Axes:
        """Draw values against exploration weights; see `plots.plot_exploration`."""
        from rush_opt.results.plots import plot_exploration

        return plot_exploration(self.record, ax)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the whole result to a file, for `from_json` or for programs in other languages.

        A space with constraints or transforms is left out: a file cannot hold their functions.

        Parameters
        ----------
        path : path-like
        """
        write_json(self.record, path)

    @staticmethod
    def from_json(path: str | os.PathLike[str]) -> TuneResult:
        """Read a result that `to_json` wrote.

        Raises
        ------
        ValueError
            If the file holds something else.
        OSError
            If the file cannot be read.
        """
        return TuneResult(read_json(path))

    @staticmethod
    def load(network_id: str, url: str | None = None) -> TuneResult:
        """Read the result of a run with a name from its network, also while the run goes on.

        Parameters
        ----------
        network_id : str
        url : str, optional
            The server; by default `RUSH_REDIS_URL`, `REDIS_URL`, or the embedded server of the
            network, which is started if it does not run, and ends after reading.

        Returns
        -------
        TuneResult
            `stop_reason` is ``not stopped`` if the run goes on, or its program ended early. The
            space is None if it contains functions of the user.

        Raises
        ------
        NetworkNotFoundError
            If there is no network of this name; the message has the nearest names.
        ValueError
            If the network was not used by `tune()` or an `Advisor`.
        RushError
            If the server cannot be used.

        Examples
        --------
        >>> TuneResult.load("my-run").best_params
        """
        return TuneResult(load_record(network_id, url))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table `trials` to a Parquet file.

        If Parquet has no type for a column (values of several types, empty mappings), the column
        holds JSON.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        ImportError
            If pyarrow is not installed: ``pip install 'rush-hpo[parquet]'``.
        """
        write_parquet(self.trials, path)

    def to_optuna(self) -> optuna.Study:
        """Make an Optuna study from the trials; see `rush_opt.results.to_optuna.to_study`."""
        from rush_opt.results.to_optuna import to_study

        return to_study(self.record)
