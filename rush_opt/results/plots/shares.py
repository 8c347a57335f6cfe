"""The shares of a worker's time: objective, proposing, coordination, and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rush_opt.results.plots.figure import (
    PHASE_COLOURS,
    axes_or_new,
    every_nth,
    place_legend_beside,
)
from rush_opt.results.record import RunRecord
from rush_opt.results.utilization import utilization_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_LABELS = 32  # for which an axis has room

__all__ = ["plot_shares", "shares_table"]

_PHASES = ["startup", "objective", "surrogate", "acquisition", "coordination", "idle"]


def shares_table(record: RunRecord) -> pd.DataFrame:
    """Return the share of each phase in a worker's wall clock.

    Returns
    -------
    DataFrame
        Index ``worker``; columns ``startup``, ``objective``, ``surrogate``, ``acquisition``,
        ``coordination`` and ``idle``. They add up to 1, or to more if a worker measured more than
        its wall clock.
    """
    table = utilization_table(record).set_index("worker")
    return table[_PHASES].div(table["wall"], axis=0)


def plot_shares(record: RunRecord, ax: Axes | None = None) -> Axes:
    """Draw how each worker spent its wall clock, a bar per worker; see `shares_table`.

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
    """
    table = shares_table(record)
    positions = range(len(table))
    ax = axes_or_new(ax, width=min(7.0 + 0.08 * max(len(table) - 16, 0), 14.0))
    bottom = [0.0] * len(table)
    for phase in table:
        ax.bar(
            positions,
            table[phase],
            bottom=bottom,
            color=PHASE_COLOURS[str(phase)],
            label=phase,
            width=0.8 if len(table) <= _MOST_LABELS else 1.0,
        )
        bottom = [below + share for below, share in zip(bottom, table[phase], strict=True)]
    ax.set_xticks(*every_nth(list(table.index), _MOST_LABELS))
    ax.set_xlim(-0.6, len(table) - 0.4)
    ax.set_ylim(0, max([1.0, *bottom]))
    ax.set_xlabel("worker")
    ax.set_ylabel("share of wall clock")
    ax.set_title(f"{len(table)} workers, {utilization_table(record)['wall'].max():.3g} s")
    place_legend_beside(ax)
    return ax
