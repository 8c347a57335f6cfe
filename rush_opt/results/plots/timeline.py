"""The timeline of a run: what each worker did at what time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rush_opt.results.plots.figure import (
    PHASE_COLOURS,
    axes_or_new,
    every_nth,
    place_legend_beside,
)
from rush_opt.results.record import RunRecord
from rush_opt.results.trials import FrozenTrial
from rush_opt.results.utilization import BUSY, OBJECTIVE, share, utilization_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_LABELS = 20  # for which an axis has room

__all__ = ["plot_timeline", "spans_table"]


def spans_table(record: RunRecord) -> pd.DataFrame:
    """Return the spans of time that each worker spent on a phase.

    Returns
    -------
    DataFrame
        Columns ``worker``, ``phase`` (``startup``, ``proposing`` or ``objective``), ``begin`` and
        ``end``, both in seconds since the run began, and ``outcome`` of a trial (``finished``,
        ``stopped early`` or ``failed``; empty for other phases); a row per span, sorted by
        ``begin``. The time outside all spans went into coordination and waiting. The proposer of a
        centralized optimizer is not a worker, so its trials have only the span of the objective.

    Notes
    -----
    Start and end of each trial were recorded. Of a proposal, only the duration was recorded. Its
    span ends where the trial starts, because a worker starts a trial as soon as it has proposed it.
    """
    import pandas as pd

    spans: list[tuple[int, str, float, float, str]] = []
    for worker in record.workers:
        if worker.started_at > record.started_at:
            spans.append((worker.number, "startup", record.started_at, worker.started_at, ""))
    for trial in record.trials:
        if trial.worker is None or trial.started_at is None or trial.ended_at < record.started_at:
            continue  # no worker ran the trial, or it belongs to an earlier run
        spans.append((trial.worker, "objective", trial.started_at, trial.ended_at, _outcome(trial)))
        proposing_s = trial.notes.get("surrogate_s", 0.0) + trial.notes.get("acquisition_s", 0.0)
        if proposing_s > 0 and "proposer" not in trial.notes:
            begin = trial.started_at - proposing_s
            spans.append((trial.worker, "proposing", begin, trial.started_at, ""))
    table = pd.DataFrame(spans, columns=["worker", "phase", "begin", "end", "outcome"])
    table[["begin", "end"]] -= record.started_at
    return table.sort_values("begin", kind="stable", ignore_index=True)


def _outcome(trial: FrozenTrial) -> str:
    return "stopped early" if trial.stopped_at is not None else trial.state


def plot_timeline(record: RunRecord, ax: Axes | None = None) -> Axes:
    """Draw what each worker did at what time, a row of bars per worker; see `spans_table`.

    Trials that failed or were stopped early have colours of their own.

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
    table = spans_table(record)
    workers = sorted(set(table["worker"]) | {worker.number for worker in record.workers})
    rows = {worker: row for row, worker in enumerate(workers)}
    ax = axes_or_new(ax, height=min(1.2 + 0.3 * len(rows), 9.0))
    is_special = table["outcome"].isin(["stopped early", "failed"])
    shown = table["outcome"].where(is_special, table["phase"])
    for phase in (phase for phase in PHASE_COLOURS if (shown == phase).any()):
        spans = table[shown == phase]
        ax.barh(
            [rows[worker] for worker in spans["worker"]],
            spans["end"] - spans["begin"],
            left=spans["begin"],
            height=0.8,
            color=PHASE_COLOURS[phase],
            edgecolor="white",
            linewidth=0.3 if len(rows) <= _MOST_LABELS else 0.0,
            label=phase,
        )
    if record.deadline is not None:
        ax.axvline(record.deadline - record.started_at, color="black", ls=":", label="timeout")
    ax.set_yticks(*every_nth(workers, _MOST_LABELS))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel("wall clock, seconds")
    ax.set_ylabel("worker")
    spent = utilization_table(record)
    objective, busy = share(spent, OBJECTIVE), share(spent, BUSY)
    ax.set_title(f"objective {objective:.0%}, busy {busy:.0%} of the workers' time")
    place_legend_beside(ax)
    return ax
