"""The history of a run: the value of each trial, and the best value so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from rush_opt.results.plots.figure import STOPPED, axes_or_new, mark_failures
from rush_opt.results.record import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Over", "history_table", "plot_comparison", "plot_history"]

Over = Literal["time", "trials"]

_ONE_OBJECTIVE = "no single history; take one of the columns value_<metric> of result.trials"
_AXIS = {"time": "wall clock, seconds", "trials": "trials that ended"}


def history_table(record: RunRecord) -> pd.DataFrame:
    """Return when each trial finished, and the best value at that time.

    Returns
    -------
    DataFrame
        Columns ``seconds`` since the run began, ``value``, ``best``, ``trials`` (how many had ended
        then, this one included) and ``stopped`` (whether it was stopped early); a row per finished
        trial, in order of completion. Values of trials that were stopped early are never the best.

    Raises
    ------
    ValueError
        If the run had several objectives.
    """
    import pandas as pd

    goal = record.only_goal(_ONE_OBJECTIVE)
    finished = [trial for trial in record.trials if trial.value is not None]
    table = pd.DataFrame(
        {
            "seconds": [trial.ended_at - record.started_at for trial in finished],
            "value": [trial.value for trial in finished],
        },
        dtype=float,
    )
    stopped = pd.Series([trial.stopped_at is not None for trial in finished], dtype=bool)
    losses = goal.sign * table["value"].where(~stopped)
    best = goal.sign * losses.cummin().ffill()
    trials = pd.Series([trial.number + 1 for trial in finished], dtype=int)
    return table.assign(best=best, trials=trials, stopped=stopped)


def plot_history(
    record: RunRecord, ax: Axes | None = None, *, over: Over = "time", log: bool = False
) -> Axes:
    """Draw the value of each finished trial, and the best value so far.

    Trials that were stopped early are rings. Failed trials are crosses at the upper border.

    Parameters
    ----------
    record : RunRecord
    ax : matplotlib.axes.Axes, optional
        By default the axes of a new figure.
    over : {"time", "trials"}
        What the horizontal axis shows: the wall clock, or the number of trials that ended.
    log : bool
        Whether values have a logarithmic axis.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed: ``pip install 'rush-hpo[plots]'``.
    ValueError
        If the run had several objectives, `over` is another word, or a value is not positive and
        `log` is True.
    """
    table = history_table(record)
    column = _column(over)
    _check_log({"the run": table}, log=log)
    ax = axes_or_new(ax)
    whole, stopped = table[~table["stopped"]], table[table["stopped"]]
    ax.plot(whole[column], whole["value"], ".", color="0.6", label="trial")
    if len(stopped):
        ax.plot(stopped[column], stopped["value"], label="stopped early", **STOPPED)
    ax.step(table[column], table["best"], where="post", color="C0", label="best so far")
    failed = [
        trial.number + 1 if over == "trials" else trial.ended_at - record.started_at
        for trial in record.trials
        if trial.state == "failed"
    ]
    mark_failures(ax, failed)
    _label(ax, record, over, log=log)
    workers = f"{len(record.workers)} worker{'s' if len(record.workers) != 1 else ''}"
    ax.set_title(f"{len(table)} finished trials, {workers}")
    ax.legend()
    return ax


def plot_comparison(
    records: Mapping[str, RunRecord],
    ax: Axes | None = None,
    *,
    over: Over = "time",
    log: bool = False,
) -> Axes:
    """Draw the best value so far of several runs, a line and a colour for each.

    Parameters
    ----------
    records : mapping of str to RunRecord
        The label of each run to its record; all with the same objective.
    ax, over, log
        As for `plot_history`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed: ``pip install 'rush-hpo[plots]'``.
    ValueError
        If there is no run, a run had several objectives, the runs have different objectives, or
        a value is not positive and `log` is True.
    """
    goals = {record.only_goal(_ONE_OBJECTIVE) for record in records.values()}
    if len(goals) != 1:
        found = sorted(f"{goal.direction} {goal.name}" for goal in goals)
        raise ValueError(f"a comparison needs runs with one and the same objective, got {found}")
    column = _column(over)
    tables = {label: history_table(record) for label, record in records.items()}
    _check_log(tables, log=log)
    ax = axes_or_new(ax)
    for i, (label, table) in enumerate(tables.items()):
        best = table["best"].iloc[-1] if len(table) else float("nan")
        ax.plot(table[column], table["value"], ".", color=f"C{i}", alpha=0.2, markersize=4)
        text = f"{label}: {best:.4g}"
        ax.step(table[column], table["best"], where="post", color=f"C{i}", label=text)
    _label(ax, next(iter(records.values())), over, log=log)
    ax.set_title("best value so far")
    ax.legend()
    return ax


def _column(over: str) -> str:
    """Return the column of the table for the horizontal axis."""
    if over not in get_args(Over):
        raise ValueError(f"over must be 'time' or 'trials', got {over!r}")
    return "seconds" if over == "time" else "trials"


def _check_log(tables: Mapping[str, pd.DataFrame], *, log: bool) -> None:
    """Raise if values shall have a logarithmic axis and are not positive."""
    for label, table in tables.items():
        if log and len(table) and table["value"].min() <= 0:
            raise ValueError(
                f"a logarithmic axis needs positive values, but {label} has "
                f"{table['value'].min():.6g}; leave out log"
            )


def _label(ax: Axes, record: RunRecord, over: Over, *, log: bool) -> None:
    """Name both axes, and set the scale of values."""
    ax.set_xlabel(_AXIS[over])
    ax.set_ylabel(record.only_goal(_ONE_OBJECTIVE).name)
    if log:
        ax.set_yscale("log")
