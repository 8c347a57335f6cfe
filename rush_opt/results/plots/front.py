"""The Pareto front of a run with two objectives, among its finished trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rush_opt.results.best import pareto_front
from rush_opt.results.plots.figure import STOPPED, axes_or_new
from rush_opt.results.record import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["front_table", "plot_pareto_front"]


def front_table(record: RunRecord) -> pd.DataFrame:
    """Return the values of each finished trial, and whether it is on the Pareto front.

    Returns
    -------
    DataFrame
        Columns ``number``, a column ``value_<metric>`` per objective, ``on_front`` and ``stopped``
        (early); a row per finished trial, in order of completion.
    """
    import pandas as pd

    finished = record.finished
    on_front = {trial.number for trial in pareto_front(record)} if finished else set()
    return pd.DataFrame(
        {
            "number": [trial.number for trial in finished],
            **{
                f"value_{name}": [trial.result[name] for trial in finished]
                for name in record.metrics
            },
            "on_front": pd.Series([trial.number in on_front for trial in finished], dtype=bool),
            "stopped": pd.Series([t.stopped_at is not None for t in finished], dtype=bool),
        }
    )


def plot_pareto_front(record: RunRecord, ax: Axes | None = None) -> Axes:
    """Draw each finished trial in two objectives, and the Pareto front as a step.

    Parameters
    ----------
    record : RunRecord
        A run with two objectives.
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
        If the run did not have two objectives.
    """
    if len(record.goals) != 2:
        raise ValueError(
            f"the picture of a front needs two objectives, got {list(record.metrics)}; draw two "
            "columns value_<metric> of result.trials"
        )
    table = front_table(record)
    ax = axes_or_new(ax)
    across, up = (f"value_{name}" for name in record.metrics)
    front = table[table["on_front"]].sort_values(across)
    stopped = table[table["stopped"] & ~table["on_front"]]
    others = table[~(table["stopped"] | table["on_front"])]
    # Between two trials of the front, the step has its corner at the worse of each value: both
    # trials dominate that point.
    where: Literal["pre", "post"] = "post" if record.goals[0].direction == "minimize" else "pre"
    ax.plot(others[across], others[up], ".", color="0.6", label="trial")
    if len(stopped):
        ax.plot(stopped[across], stopped[up], label="stopped early", **STOPPED)
    ax.step(front[across], front[up], ".-", where=where, color="C0", label="Pareto front")
    ax.set_xlabel(f"{record.goals[0].name} ({record.goals[0].direction})")
    ax.set_ylabel(f"{record.goals[1].name} ({record.goals[1].direction})")
    ax.set_title(f"{len(table)} finished trials, {len(front)} on the Pareto front")
    ax.legend()
    return ax
