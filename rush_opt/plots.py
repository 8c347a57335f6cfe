"""Pictures of a run: first a table, then a figure of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from rush_opt.result import TuneResult

__all__ = ["front_table", "history_table", "plot_history", "plot_pareto_front"]


def history_table(result: TuneResult) -> pd.DataFrame:
    """Return when each trial finished, and the best value known by then.

    Returns
    -------
    DataFrame
        Columns ``seconds`` since the run began, ``value`` and ``best``; a row per finished trial,
        in order of completion.
    """
    import pandas as pd

    finished = [trial for trial in result.frozen_trials if trial.value is not None]
    table = pd.DataFrame(
        {
            "seconds": [trial.ended_at - result.started_at for trial in finished],
            "value": [trial.value for trial in finished],
        },
        dtype=float,
    )
    better = table["value"].cummin() if result.direction == "minimize" else table["value"].cummax()
    return table.assign(best=better)


def plot_history(result: TuneResult, ax: Axes | None = None) -> Axes:
    """Draw the value of each finished trial, and the best so far, over wall clock.

    Parameters
    ----------
    result : TuneResult
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed: ``pip install 'rush-hpo[plots]'``.
    """
    table = history_table(result)
    ax = _new_axes() if ax is None else ax
    ax.plot(table["seconds"], table["value"], ".", color="0.6", label="trial")
    ax.step(table["seconds"], table["best"], where="post", color="C0", label="best so far")
    ax.set_xlabel("wall clock, seconds")
    ax.set_ylabel(result.metric)
    ax.set_title(f"{len(table)} finished trials, {len(result.workers)} workers")
    ax.legend()
    return ax


def front_table(result: TuneResult) -> pd.DataFrame:
    """Return the values of each finished trial, and whether it is on the Pareto front.

    Returns
    -------
    DataFrame
        Columns ``number``, a column ``value_<metric>`` per objective, and ``on_front``; a row per
        finished trial, in order of completion.
    """
    import pandas as pd

    finished = [trial for trial in result.frozen_trials if trial.state == "finished"]
    on_front = {trial.number for trial in result.pareto_front} if finished else set()
    return pd.DataFrame(
        {
            "number": [trial.number for trial in finished],
            **{
                f"value_{name}": [trial.result[name] for trial in finished]
                for name in result.metrics
            },
            "on_front": [trial.number in on_front for trial in finished],
        }
    )


def plot_pareto_front(result: TuneResult, ax: Axes | None = None) -> Axes:
    """Draw each finished trial in two objectives, and the Pareto front as a step.

    Parameters
    ----------
    result : TuneResult
        Of a run with two objectives.
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed: ``pip install 'rush-hpo[plots]'``.
    ValueError
        If the run had other than two objectives.
    """
    if len(result.metrics) != 2:
        raise ValueError(
            f"a front is drawn of two objectives, got {list(result.metrics)}; take two columns "
            "value_<metric> of result.trials"
        )
    table = front_table(result)
    ax = _new_axes() if ax is None else ax
    across, up = (f"value_{name}" for name in result.metrics)
    others = table[~table["on_front"].astype(bool)]
    front = table[table["on_front"].astype(bool)].sort_values(across)
    # The corner of a step is what both of its ends dominate: on the worse side of the first value.
    where: Literal["pre", "post"] = "post" if result.directions[0] == "minimize" else "pre"
    ax.plot(others[across], others[up], ".", color="0.6", label="trial")
    ax.step(front[across], front[up], ".-", where=where, color="C0", label="Pareto front")
    ax.set_xlabel(f"{result.metrics[0]} ({result.directions[0]})")
    ax.set_ylabel(f"{result.metrics[1]} ({result.directions[1]})")
    ax.set_title(f"{len(table)} finished trials, {len(front)} on the Pareto front")
    ax.legend()
    return ax


def _new_axes() -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError(
            "pictures need matplotlib, which is not installed: pip install 'rush-hpo[plots]'"
        ) from None
    return plt.figure(figsize=(7, 4), layout="constrained").subplots()
