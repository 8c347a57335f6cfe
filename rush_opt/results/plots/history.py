"""The history of a run: the value of each trial, and the best value so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rush_opt.results.plots.figure import axes_or_new
from rush_opt.results.record import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["history_table", "plot_history"]

_ONE_OBJECTIVE = "no single history; take one of the columns value_<metric> of result.trials"


def history_table(record: RunRecord) -> pd.DataFrame:
    """Return when each trial finished, and the best value at that time.

    Returns
    -------
    DataFrame
        Columns ``seconds`` since the run began, ``value`` and ``best``; a row per finished trial,
        in order of completion. Values of trials that were stopped early are never the best.

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
    is_whole = pd.Series([trial.stopped_at is None for trial in finished], dtype=bool)
    losses = goal.sign * table["value"].where(is_whole)
    return table.assign(best=goal.sign * losses.cummin().ffill())


def plot_history(record: RunRecord, ax: Axes | None = None) -> Axes:
    """Draw the value of each finished trial, and the best value so far, over wall clock.

    Parameters
    ----------
    record : RunRecord
    ax : matplotlib.axes.Axes, optional
        By default the axes of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed: ``pip install 'rush-hpo[plots]'``.
    ValueError
        If the run had several objectives.
    """
    table = history_table(record)
    ax = axes_or_new(ax)
    ax.plot(table["seconds"], table["value"], ".", color="0.6", label="trial")
    ax.step(table["seconds"], table["best"], where="post", color="C0", label="best so far")
    ax.set_xlabel("wall clock, seconds")
    ax.set_ylabel(record.only_goal(_ONE_OBJECTIVE).name)
    ax.set_title(f"{len(table)} finished trials, {len(record.workers)} workers")
    ax.legend()
    return ax
