"""Pictures of a run: first a table, then a figure of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from rush_opt.result import TuneResult

__all__ = ["history_table", "plot_history"]


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
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError(
            "pictures need matplotlib, which is not installed: pip install 'rush-hpo[plots]'"
        ) from None
    table = history_table(result)
    ax = plt.figure(figsize=(7, 4), layout="constrained").subplots() if ax is None else ax
    ax.plot(table["seconds"], table["value"], ".", color="0.6", label="trial")
    ax.step(table["seconds"], table["best"], where="post", color="C0", label="best so far")
    ax.set_xlabel("wall clock, seconds")
    ax.set_ylabel(result.metric)
    ax.set_title(f"{len(table)} finished trials, {len(result.workers)} workers")
    ax.legend()
    return ax
