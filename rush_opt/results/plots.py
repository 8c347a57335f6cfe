"""Pictures of a run: first a table, then a figure of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from rush_opt.results.result import TuneResult

__all__ = [
    "exploration_table",
    "front_table",
    "history_table",
    "plot_exploration",
    "plot_history",
    "plot_pareto_front",
    "plot_shares",
    "plot_timeline",
    "shares_table",
    "spans_table",
]

PHASE_COLOURS = {
    "startup": "#cccccc",
    "objective": "#0072b2",
    "proposing": "#d55e00",
    "surrogate": "#d55e00",
    "acquisition": "#e69f00",
    "coordination": "#009e73",
    "idle": "#f0f0f0",
}


def history_table(result: TuneResult) -> pd.DataFrame:
    """Return when each trial finished, and the best value known by then.

    Returns
    -------
    DataFrame
        Columns ``seconds`` since the run began, ``value`` and ``best``; a row per finished trial,
        in order of completion. Trials that were stopped early are no best ones.
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
    whole = pd.Series([trial.stopped_at is None for trial in finished], dtype=bool)
    values = table["value"].where(whole)
    better = values.cummin() if result.direction == "minimize" else values.cummax()
    return table.assign(best=better.ffill())


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
    ax = _axes(ax)
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
    ax = _axes(ax)
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


def spans_table(result: TuneResult) -> pd.DataFrame:
    """Return what each worker did when.

    Returns
    -------
    DataFrame
        Columns ``worker``, ``phase`` (``startup``, ``proposing`` or ``objective``), ``begin`` and
        ``end``, both in seconds since the run began; a row per span, in order of their beginning.
        What is in no span was spent on coordination or on waiting. A proposer has no lane: its
        trials show the objective only.

    Notes
    -----
    Starts and ends of trials were recorded; that a worker proposed at once before it started its
    trial is how workers work.
    """
    import pandas as pd

    spans: list[tuple[int, str, float, float]] = []
    for worker in result.workers:
        if worker.started_at > result.started_at:
            spans.append((worker.number, "startup", result.started_at, worker.started_at))
    for trial in result.frozen_trials:
        if trial.worker is None or trial.started_at is None or trial.ended_at < result.started_at:
            continue  # nobody ran it, or an earlier run did
        spans.append((trial.worker, "objective", trial.started_at, trial.ended_at))
        proposing_s = trial.notes.get("surrogate_s", 0.0) + trial.notes.get("acquisition_s", 0.0)
        if proposing_s > 0 and "proposer" not in trial.notes:
            begin = trial.started_at - proposing_s
            spans.append((trial.worker, "proposing", begin, trial.started_at))
    table = pd.DataFrame(spans, columns=["worker", "phase", "begin", "end"])
    table[["begin", "end"]] -= result.started_at
    return table.sort_values("begin", kind="stable", ignore_index=True)


def plot_timeline(result: TuneResult, ax: Axes | None = None) -> Axes:
    """Draw what each worker did when, a lane per worker; see `spans_table`.

    Parameters
    ----------
    result : TuneResult
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.
    """
    table = spans_table(result)
    workers = sorted(set(table["worker"]) | {worker.number for worker in result.workers})
    lanes = {worker: lane for lane, worker in enumerate(workers)}
    ax = _axes(ax, height=min(1.2 + 0.3 * len(lanes), 9.0))
    for phase, spans in table.groupby("phase", sort=False):
        ax.barh(
            [lanes[worker] for worker in spans["worker"]],
            spans["end"] - spans["begin"],
            left=spans["begin"],
            height=0.8,
            color=PHASE_COLOURS[str(phase)],
            edgecolor="white",
            linewidth=0.3,
            label=phase,
        )
    if result.deadline is not None:
        ax.axvline(result.deadline - result.started_at, color="black", ls=":", label="timeout")
    step = len(lanes) // 20 + 1  # no more labels than there is room for
    ax.set_yticks(range(0, len(lanes), step), [str(worker) for worker in workers[::step]])
    ax.invert_yaxis()
    ax.set_xlabel("wall clock, seconds")
    ax.set_ylabel("worker")
    ax.set_title(
        f"objective {result.objective_share:.0%}, busy {result.busy_share:.0%} of the time"
    )
    _place_legend(ax)
    return ax


def shares_table(result: TuneResult) -> pd.DataFrame:
    """Return the shares of each worker's wall clock.

    Returns
    -------
    DataFrame
        Index ``worker``; columns ``startup``, ``objective``, ``surrogate``, ``acquisition``,
        ``coordination`` and ``idle``, which add up to 1 unless a worker accounted for more than its
        wall clock.
    """
    table = result.utilization.set_index("worker")
    phases = ["startup", "objective", "surrogate", "acquisition", "coordination", "idle"]
    return table[phases].div(table["wall"], axis=0)


def plot_shares(result: TuneResult, ax: Axes | None = None) -> Axes:
    """Draw where each worker's time went, as shares of its wall clock; see `shares_table`.

    Parameters
    ----------
    result : TuneResult
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.
    """
    table = shares_table(result)
    ax = _axes(ax)
    bottom = [0.0] * len(table)
    for phase in table:
        ax.bar(
            [str(worker) for worker in table.index],
            table[phase],
            bottom=bottom,
            color=PHASE_COLOURS[str(phase)],
            label=phase,
        )
        bottom = [below + share for below, share in zip(bottom, table[phase], strict=True)]
    ax.set_ylim(0, max([1.0, *bottom]))
    ax.set_xlabel("worker")
    ax.set_ylabel("share of wall clock")
    ax.set_title(f"{len(table)} workers, {result.utilization['wall'].max():.3g} s")
    _place_legend(ax)
    return ax


def exploration_table(result: TuneResult) -> pd.DataFrame:
    """Return the exploration weight with which each trial was proposed, and what came of it.

    Returns
    -------
    DataFrame
        Columns ``number``, ``worker``, ``lambda``, ``value`` (NaN if it failed) and ``improved``:
        whether it was better than all that ended before it, those stopped early left out; a row per
        trial that a model proposed, in order of completion.
    """
    import pandas as pd

    sign = -1.0 if result.direction == "maximize" else 1.0
    best, rows = float("inf"), []
    for trial in result.frozen_trials:
        is_whole = trial.value is not None and trial.stopped_at is None
        improved = is_whole and sign * (trial.value or 0.0) < best
        if "lambda" in trial.notes:
            value = float("nan") if trial.value is None else trial.value
            rows.append((trial.number, trial.worker, trial.notes["lambda"], value, improved))
        if improved:
            best = sign * (trial.value or 0.0)
    table = pd.DataFrame(rows, columns=["number", "worker", "lambda", "value", "improved"])
    return table.astype({"improved": bool})


def plot_exploration(result: TuneResult, ax: Axes | None = None) -> Axes:
    """Draw the value of each trial against its exploration weight; see `exploration_table`.

    Parameters
    ----------
    result : TuneResult
    ax : matplotlib.axes.Axes, optional
        By default those of a new figure.
    """
    table = exploration_table(result)
    ax = _axes(ax)
    better, others = table[table["improved"]], table[~table["improved"]]
    ax.plot(others["lambda"], others["value"], ".", color="0.6", label="trial")
    ax.plot(better["lambda"], better["value"], "o", color="C0", label="new best")
    ax.set_xlabel("exploration weight λ of the proposal")
    ax.set_ylabel(result.metric)
    n_failed = int(table["value"].isna().sum())
    failed = f", {n_failed} failed ones not shown" if n_failed else ""
    ax.set_title(f"{len(table)} trials that a model proposed{failed}")
    ax.legend()
    return ax


def _axes(ax: Axes | None, *, height: float = 4.0) -> Axes:
    """Return the given axes, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError(
            "pictures need matplotlib, which is not installed: pip install 'rush-hpo[plots]'"
        ) from None
    return plt.figure(figsize=(7, height), layout="constrained").subplots()


def _place_legend(ax: Axes) -> None:
    """Put the legend beside bars, which leave no room inside."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
