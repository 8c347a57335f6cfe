"""Exploration: the exploration weight of each proposal, and the value that its trial had."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rush_opt.results.plots.figure import STOPPED, axes_or_new, mark_failures
from rush_opt.results.record import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["exploration_table", "plot_exploration"]

_ONE_OBJECTIVE = "no single value per trial; see the columns notes_lambda and value_<metric>"


def exploration_table(record: RunRecord) -> pd.DataFrame:
    """Return the exploration weight with which each trial was proposed, and its value.

    Returns
    -------
    DataFrame
        Columns ``number``, ``worker``, ``lambda``, ``value`` (NaN if the trial failed),
        ``improved`` (whether the value was better than all values before) and ``stopped``. Trials
        that were stopped early do not improve. A row per trial that a model proposed, in order of
        completion.

    Raises
    ------
    ValueError
        If the run had several objectives.
    """
    import pandas as pd

    goal = record.only_goal(_ONE_OBJECTIVE)
    lowest, rows = math.inf, []
    for trial in record.trials:
        value = math.nan if trial.value is None else trial.value
        improved = trial.stopped_at is None and goal.loss(value) < lowest  # not if it is NaN
        if "lambda" in trial.notes:
            about = (trial.number, trial.worker, trial.notes["lambda"], value)
            rows.append((*about, improved, trial.stopped_at is not None))
        if improved:
            lowest = goal.loss(value)
    columns = ["number", "worker", "lambda", "value", "improved", "stopped"]
    return pd.DataFrame(rows, columns=columns).astype({"improved": bool, "stopped": bool})


def plot_exploration(record: RunRecord, ax: Axes | None = None) -> Axes:
    """Draw the value of each trial against its exploration weight; see `exploration_table`.

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
    table = exploration_table(record)
    ax = axes_or_new(ax)
    better, stopped = table[table["improved"]], table[table["stopped"]]
    others = table[~(table["improved"] | table["stopped"])]
    ax.plot(others["lambda"], others["value"], ".", color="0.6", label="trial")
    if len(stopped):
        ax.plot(stopped["lambda"], stopped["value"], label="stopped early", **STOPPED)
    ax.plot(better["lambda"], better["value"], "o", color="C0", label="new best")
    mark_failures(ax, table["lambda"][table["value"].isna()].tolist())
    ax.set_xlabel("exploration weight λ of the proposal")
    ax.set_ylabel(record.only_goal(_ONE_OBJECTIVE).name)
    ax.set_title(f"{len(table)} trials that a model proposed")
    ax.legend()
    return ax
