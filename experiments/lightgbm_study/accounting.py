"""From the rows of runs to tables: who did what when, and what came out. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.lightgbm_study.runs import Run
from rush_opt.space import FloatArray

_KEYS = ["dataset", "strategy"]


def aggregate(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row per run: the columns of the paper's table, and ours.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    DataFrame
        ``learners_s``, ``surrogate_s``, ``acquisition_s`` summed over workers, ``mean_learner_s``,
        ``evaluations`` and ``error`` of what ended in time, the best of the design included;
        ``utilization`` as the paper means it, which is our busy share; ``objective_share``,
        ``coordination_share``, ``idle_share``, ``startup_share``; ``cpu_share``, measured CPU time
        over wall clock times workers, and ``cpu_per_busy``, what part of the accounted time it is;
        ``memory_mb``, the largest resident memory of a worker.
    """
    return pd.DataFrame([_aggregate_one(run) for run in runs])


def _aggregate_one(run: Run) -> dict[str, object]:
    trials, summary, spent = run.trials, run.summary, run.utilization
    deadline_s = summary["deadline_s"]
    in_time = trials[(trials["state"] == "finished") & (trials["ended_s"] <= deadline_s)]
    wall = float(spent["wall"].sum())
    busy = float(spent[["objective", "surrogate", "acquisition", "proposer"]].sum().sum())
    samples = run.samples[run.samples["at_s"] <= deadline_s]
    # The proposer is no worker: its CPU time is in the notes of its trials.
    cpu_s = float(samples["cpu_s"].sum()) + float(trials["proposer_cpu_s"].fillna(0.0).sum())
    return {
        "dataset": run.configuration.dataset,
        "strategy": run.configuration.strategy,
        "replication": run.configuration.replication,
        "learners_s": float(spent["objective"].sum()),
        "surrogate_s": float(trials["surrogate_s"].sum()),
        "acquisition_s": float(trials["acquisition_s"].sum()),
        "mean_learner_s": float(trials["objective_s"].mean()),
        "evaluations": len(in_time),
        "error": min([summary["design_best"], *in_time["error"]]),
        "utilization": busy / wall,
        "objective_share": float(spent["objective"].sum()) / wall,
        **{
            f"{phase}_share": float(spent[phase].sum()) / wall
            for phase in ("startup", "coordination", "idle")
        },
        "cpu_share": cpu_s / wall,
        "cpu_per_busy": cpu_s / busy if busy else np.nan,
        "memory_mb": float(run.samples["rss_bytes"].max()) / 1e6 if len(run.samples) else np.nan,
        "design_error": summary["design_best"],
        "failed": summary["n_failed"],
        "lost": summary["n_lost"],
        "workers": run.configuration.workers,
        "seconds": run.configuration.seconds,
    }


def average(aggregated: pd.DataFrame) -> pd.DataFrame:
    """Return means over replications, a row per data set and strategy."""
    numbers = aggregated.drop(columns="replication").groupby(_KEYS, sort=False)
    means = numbers.mean(numeric_only=True).reset_index()
    means.insert(2, "replications", numbers.size().to_numpy())
    return means


def intervals(run: Run) -> pd.DataFrame:
    """Return what each worker did from when to when.

    Returns
    -------
    DataFrame
        ``worker``, ``phase`` (objective, or proposing: surrogate and acquisition), ``start_s``,
        ``end_s``, cut at the deadline. A proposer is worker -1. Of its proposals is known how long
        they took, not when: each is shown as ending where its trial starts, so those of a batch
        cover each other, and one that waited in the queue is late.
    """
    rows: list[tuple[int, str, float, float]] = []
    for trial in run.trials[run.trials["started_s"].notna()].itertuples():
        rows.append((int(trial.worker), "objective", trial.started_s, trial.ended_s))
        proposing_s = np.nan_to_num(trial.surrogate_s) + np.nan_to_num(trial.acquisition_s)
        if proposing_s > 0:
            who = int(trial.worker) if np.isnan(_number(trial.proposer)) else -1
            rows.append((who, "proposing", trial.started_s - proposing_s, trial.started_s))
    table = pd.DataFrame(rows, columns=["worker", "phase", "start_s", "end_s"])
    deadline_s = run.summary["deadline_s"]
    table[["start_s", "end_s"]] = table[["start_s", "end_s"]].clip(0.0, deadline_s)
    return table[table["end_s"] > table["start_s"]].reset_index(drop=True)


def shares_over_time(runs: Sequence[Run], n_bins: int = 30) -> pd.DataFrame:
    """Return the shares of all workers' time in equal parts of the run, means over replications.

    Returns
    -------
    DataFrame
        ``at_s``, the middle of a part; ``objective`` and ``busy``, the proposer's work included, as
        accounted; ``cpu`` as measured in the workers, without the proposer.
    """
    tables = []
    for (dataset, strategy), group in _grouped(runs):
        edges = np.linspace(0.0, min(run.summary["deadline_s"] for run in group), n_bins + 1)
        mean = sum(_shares(run, edges) for run in group) / len(group)
        table = pd.DataFrame(mean, columns=["objective", "busy", "cpu"])
        table.insert(0, "at_s", (edges[:-1] + edges[1:]) / 2)
        tables.append(table.assign(dataset=dataset, strategy=strategy))
    return pd.concat(tables, ignore_index=True)


def _shares(run: Run, edges: FloatArray) -> FloatArray:
    """Return objective, busy and CPU shares, shape (n_bins, 3)."""
    capacity = run.configuration.workers * np.diff(edges)
    spans = intervals(run)
    objective = spans[spans["phase"] == "objective"]
    samples = run.samples
    starts = (samples["at_s"] - samples["interval_s"]).to_numpy(dtype=float)
    rate = (samples["cpu_s"] / samples["interval_s"]).to_numpy(dtype=float)
    spent = [
        _overlap(*_ends(objective), edges),
        _overlap(*_ends(spans), edges),
        _overlap(starts, samples["at_s"].to_numpy(dtype=float), edges, rate),
    ]
    return np.column_stack(spent) / capacity[:, np.newaxis]


def worker_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row per run and worker: its shares as accounted, and its CPU time as measured."""
    rows = []
    for run in runs:
        used = run.samples[run.samples["at_s"] <= run.summary["deadline_s"]]
        cpu_s = used.groupby("worker")["cpu_s"].sum()
        for worker in run.utilization.itertuples():
            own = worker.objective + worker.surrogate + worker.acquisition
            rows.append(
                {
                    "dataset": run.configuration.dataset,
                    "strategy": run.configuration.strategy,
                    "replication": run.configuration.replication,
                    "worker": worker.worker,
                    "trials": worker.n_trials,
                    "startup_share": worker.startup / worker.wall,
                    "objective_share": worker.objective / worker.wall,
                    "busy_share": own / worker.wall,
                    "coordination_share": worker.coordination / worker.wall,
                    "idle_share": worker.idle / worker.wall,
                    "cpu_share": float(cpu_s.get(worker.worker, 0.0)) / worker.wall,
                }
            )
    return pd.DataFrame(rows)


def incumbents(runs: Sequence[Run], n_points: int = 200) -> pd.DataFrame:
    """Return the best error so far over wall clock: mean, lowest and highest over replications."""
    rows = []
    for keys, group in _grouped(runs):
        until = min(run.summary["deadline_s"] for run in group)
        at = np.linspace(0.0, until, n_points)
        curves = np.array([_incumbent(run, at) for run in group])
        for i, second in enumerate(at):
            rows.append((*keys, second, *_spread(curves[:, i]), len(group)))
    columns = [*_KEYS, "at_s", "mean", "lowest", "highest", "replications"]
    return pd.DataFrame(rows, columns=columns)


def _incumbent(run: Run, at: FloatArray) -> FloatArray:
    done = run.trials[run.trials["state"] == "finished"].sort_values("ended_s")
    ends = done["ended_s"].to_numpy(dtype=float)
    errors = np.concatenate([[run.summary["design_best"]], done["error"].to_numpy(dtype=float)])
    best = np.minimum.accumulate(errors)
    return np.asarray(best[np.searchsorted(ends, at, side="right")])


def _spread(values: FloatArray) -> tuple[float, float, float]:
    return float(values.mean()), float(values.min()), float(values.max())


def _grouped(runs: Sequence[Run]) -> list[tuple[tuple[str, str], list[Run]]]:
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        key = (run.configuration.dataset, run.configuration.strategy)
        groups.setdefault(key, []).append(run)
    return list(groups.items())


def _ends(spans: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    return spans["start_s"].to_numpy(dtype=float), spans["end_s"].to_numpy(dtype=float)


def _overlap(
    starts: FloatArray,
    ends: FloatArray,
    edges: FloatArray,
    rate: npt.NDArray[np.floating] | float = 1.0,
) -> FloatArray:
    """Add up what spans have in common with each part between two edges, times their rates."""
    low, high = edges[:-1, np.newaxis], edges[1:, np.newaxis]
    common = np.minimum(ends, high) - np.maximum(starts, low)
    return np.asarray((np.maximum(common, 0.0) * rate).sum(axis=1))


def _number(value: object) -> float:
    return np.nan if value is None else float(value)  # type: ignore[arg-type]
