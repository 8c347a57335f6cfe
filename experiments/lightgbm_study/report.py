"""From a results folder to tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.lightgbm_study import figures, simulation
from experiments.lightgbm_study.accounting import (
    aggregate,
    average,
    incumbents,
    intervals,
    shares_over_time,
    worker_table,
)
from experiments.lightgbm_study.design import ConfigurationError
from experiments.lightgbm_study.paper import find_row
from experiments.lightgbm_study.runs import STRATEGIES, Run, read_run, run_files

# Why the two accounts of the same time differ.
_WHY = (
    "The busy share counts wall clock spent in objective, surrogate and acquisition, the proposer "
    "included; the CPU share is what the operating system gave the workers and the proposer. "
    "CPU per busy second below 1 means that a worker waited in the middle of its work: for a core, "
    "when workers, proposer, server and manager are more than the cores they share, or for input. "
    "What a worker does before it joins is in the start-up share and in neither of the two; "
    "reading and binning its data is part of its first trial."
)


def write_report(out: Path, tables: Path, pictures: Path) -> list[Path]:
    """Write all tables and figures that the folder's rows allow.

    Parameters
    ----------
    out : Path
        The results folder.
    tables, pictures : Path
        Where markdown tables and figures go.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    ConfigurationError
        If the folder has neither runs nor simulated ones.
    """
    runs = sort_runs([read_run(path) for path in run_files(out)])
    simulated = out / "simulated.csv"
    if not runs and not simulated.exists():
        raise ConfigurationError(f"{out} has no complete run; use the `run` or `simulate` command")
    tables.mkdir(parents=True, exist_ok=True)
    written = _report_runs(runs, out, tables, pictures) if runs else []
    if simulated.exists():
        written += _report_simulated(pd.read_csv(simulated), tables, pictures)
    return written


def sort_runs(runs: list[Run]) -> list[Run]:
    """Order runs by data set, strategy and replication."""
    return sorted(
        runs,
        key=lambda run: (
            run.configuration.dataset,
            STRATEGIES.index(run.configuration.strategy),
            run.configuration.replication,
        ),
    )


def _report_runs(runs: list[Run], out: Path, tables: Path, pictures: Path) -> list[Path]:
    rows = aggregate(runs)
    means, workers = average(rows), worker_table(runs)
    written = [tables / "lightgbm_bench.md"]
    for table, name in ((rows, "aggregated"), (means, "aggregated_mean"), (workers, "workers")):
        written.append(out / f"{name}.csv")
        table.to_csv(written[-1], index=False, float_format="%.6g")
    (tables / "lightgbm_bench.md").write_text(as_markdown(means, workers, runs))
    over_time = shares_over_time(runs)
    curves = incumbents(runs)
    figures.save(figures.draw_incumbents(curves), curves, pictures / "lightgbm_incumbent")
    figures.save(
        figures.draw_shares_over_time(over_time), over_time, pictures / "lightgbm_utilization"
    )
    shares = means[["dataset", "workers", "strategy", "objective_share"]]
    figures.save(
        figures.draw_objective_shares(shares), shares, pictures / "lightgbm_objective_share"
    )
    names = ["incumbent", "utilization", "objective_share"]
    for dataset in means["dataset"].unique():
        first = [run for run in runs if run.configuration.dataset == dataset]
        lowest = min(run.configuration.replication for run in first)
        shown = [run for run in first if run.configuration.replication == lowest]
        lanes = pd.concat([_labelled(intervals(run), run) for run in shown])
        names.append(f"workers_{dataset}")
        figures.save(figures.draw_lanes(lanes), lanes, pictures / f"lightgbm_{names[-1]}")
    return written + [pictures / f"lightgbm_{name}.png" for name in names]


def _report_simulated(rows: pd.DataFrame, tables: Path, pictures: Path) -> list[Path]:
    means = simulation.table(rows)
    path = tables / "lightgbm_simulated.md"
    path.write_text(simulated_as_markdown(means, rows))
    written = [path]
    by_setting = means.groupby(["dataset", "seconds", "cost"], sort=False)
    grown = by_setting.filter(lambda group: group["workers"].nunique() > 1)
    if not grown.empty:
        written.append(pictures / "lightgbm_saturation.png")
        figures.save(figures.draw_saturation(grown), grown, written[-1])
    published = means[[simulation.is_published_setting(row) for row in means.itertuples()]]
    for cost, shares in published.groupby("cost"):
        written.append(pictures / f"lightgbm_objective_share_simulated_{cost}.png")
        figures.save(figures.draw_objective_shares(shares), shares, written[-1])
    return written


def _said(runs: Sequence[Run], what: str) -> str:
    """Say with which commit, or on which machine, runs were made."""
    return f"{what} " + ", ".join(sorted({run.provenance.get(what, "unknown") for run in runs}))


def _labelled(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    return table.assign(dataset=run.configuration.dataset, strategy=run.configuration.strategy)


def as_markdown(means: pd.DataFrame, workers: pd.DataFrame, runs: Sequence[Run]) -> str:
    """Make the markdown table of real runs: the paper's columns, then ours."""
    made = runs[0].configuration
    lines = [
        "# LightGBM tuned by several strategies",
        "",
        f"{made.workers} workers ({made.launcher}), {made.seconds:g} s of wall clock per run, "
        f"surrogate: {made.surrogate}, means over replications (n). Evaluations and error are of "
        "trials that ended in time; the error includes the design's best; the mean learner s is of "
        "all trials, at full length. Made by `experiments/lightgbm_bench.py` from the files in "
        f"`runs`, {_said(runs, 'commit')}, {_said(runs, 'machine')}.",
        "",
        "| data set | strategy | n | s in learners | s in surrogate | s in acquisition | mean "
        "learner s | evaluations | error | busy share | objective share | CPU share | CPU per busy "
        "s | start-up share | coordination share | idle share | lost workers | memory, MB |",
        "|---|---|" + "---:|" * 16,
    ]
    for row in means.itertuples():
        lines.append(
            f"| {row.dataset} | {row.strategy} | {row.replications} | {row.learners_s:.0f} | "
            f"{row.surrogate_s:.2f} | {row.acquisition_s:.2f} | {row.mean_learner_s:.2f} | "
            f"{row.evaluations:.0f} | {row.error:.4f} | {row.utilization:.1%} | "
            f"{row.objective_share:.1%} | {row.cpu_share:.1%} | {row.cpu_per_busy:.2f} | "
            f"{row.startup_share:.1%} | {row.coordination_share:.1%} | {row.idle_share:.1%} | "
            f"{row.lost:g} | {row.memory_mb:.0f} |"
        )
    spread = workers.groupby(["dataset", "strategy"], sort=False)["objective_share"]
    lines += [
        "",
        _WHY,
        "",
        "| data set | strategy | lowest and highest objective share of a worker |",
    ]
    lines += ["|---|---|---|"]
    for (dataset, strategy), shares in spread:
        lines.append(f"| {dataset} | {strategy} | {shares.min():.1%} .. {shares.max():.1%} |")
    return "\n".join(lines) + "\n"


def simulated_as_markdown(means: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Make the markdown table of simulated runs beside the published figures."""
    fits = rows.groupby("dataset", sort=False)[
        ["n", "error_r2", "error_rank", "log_seconds_r2", "seconds_rank"]
    ].first()
    lines = [
        "# LightGBM with many workers in virtual time",
        "",
        "Errors and durations come from a regression on published evaluations, so errors are "
        "without the noise that a real evaluation has, and the paper's beside them are with it and "
        "of one replication. Cost: what a proposal is charged, our measured "
        "CPU time or what the paper's forest cost; the decisions are ours in both cases. Rows: "
        "`simulated.csv`, made by `experiments/lightgbm_bench.py simulate`.",
        "",
        "| data set | workers | s | cost | strategy | n | s in learners | s in surrogate | s in "
        "acquisition | mean learner s | evaluations | error | busy share | objective share | "
        "paper: evaluations | error | busy share | objective share |",
        "|---|---:|---:|---|---|" + "---:|" * 13,
    ]
    for row in means.itertuples():
        is_beside = simulation.is_published_setting(row)
        published = find_row(str(row.dataset), str(row.strategy)) if is_beside else None
        paper = (
            f"{published.evaluations} | {published.error:g} | {published.busy_share:.1%} | "
            f"{published.objective_share:.1%}"
            if published
            else "| | |"
        )
        lines.append(
            f"| {row.dataset} | {row.workers} | {row.seconds:g} | {row.cost} | {row.strategy} | "
            f"{row.replications} | {row.learners_s:.0f} | {row.surrogate_s:.0f} | "
            f"{row.acquisition_s:.0f} | {row.mean_learner_s:.2f} | {row.evaluations:.0f} | "
            f"{row.error:.4f} | {row.busy_share:.1%} | {row.objective_share:.1%} | {paper} |"
        )
    lines += ["", "How well the regression predicts what it was not fitted to:", ""]
    lines += ["| data set | evaluations | R2 of the error | its rank correlation | R2 of the log "]
    lines[-1] += "duration | its rank correlation |"
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for dataset, fit in fits.iterrows():
        numbers = " | ".join(f"{fit[name]:.2f}" for name in fits.columns[1:])
        lines.append(f"| {dataset} | {fit['n']:.0f} | {numbers} |")
    return "\n".join(lines) + "\n"
