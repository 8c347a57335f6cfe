"""From rows to a table, from the table to a figure: pure functions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

# A server that does less than this share of what is asked falls behind more and more.
KEEPS_UP = 0.97

# The CPU clock ticks a hundred times a second: below this size its share is mostly rounding.
SMALLEST_FITTED = 448

# rush 1.2 in R, 2 workers with a loop of their own, free objective, on this kind of machine.
R_TASKS_PER_S = 1450

# What was estimated when the data layout was chosen, in µs of the server's CPU time.
ESTIMATED_TASK_US, ESTIMATED_RECORD_US = 28.0, (0.1, 0.2)

_CELL = ["clients", "reading", "n_workers"]
_SHARED = (
    *("wanted_per_s", "achieved_per_s", "reads_per_s", "records_per_s", "mb_per_s"),
    *("server_cpu", "server_wait", "replica_cpu", "generator_cpu"),
    *("lag_p99_ms", "server_peak_mb"),
)
_STYLES = {
    "never": ("C2", "o", "nobody reads"),
    "every step": ("C0", "s", "everybody reads all, every step"),
    "every 5th step": ("C1", "^", "everybody reads all, every 5th step"),
    "every step, at a replica": ("C3", "D", "reads go to a replica"),
}


class Costs(NamedTuple):
    """The server's CPU time as a sum of two products.

    Attributes
    ----------
    task_us, record_us : float
        Per task started and finished, and per record read, microseconds.
    worst : float
        The largest error of a fitted share, cores.
    n : int
        Cells that were fitted.
    """

    task_us: float
    record_us: float
    worst: float
    n: int

    def cores(self, tasks_per_s: Any, records_per_s: Any) -> Any:
        """Return the cores that a server needs."""
        return (self.task_us * tasks_per_s + self.record_us * records_per_s) / 1e6

    @property
    def largest_network(self) -> float:
        """How many workers with a task per second and full reading keep one core busy."""
        a, b = self.task_us, self.record_us
        return float((np.sqrt(a**2 + 4 * b * 1e6) - a) / (2 * b))


def last_whole_run(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of the last run that measured as many configurations as any.

    Runs of other code or on another day are results of their own, and not averaged.
    """
    n_cells = rows[["started", *_CELL]].drop_duplicates().groupby("started").size()
    return rows[rows["started"] == n_cells.index[n_cells == n_cells.max()].max()]


def summarize(rows: pd.DataFrame) -> pd.DataFrame:
    """Take medians over the repeats of each cell.

    Parameters
    ----------
    rows : DataFrame
        One row per operation, configuration and repeat.

    Returns
    -------
    DataFrame
        One row per configuration, in order of size: rates and shares, ``<operation>_p50_ms`` and
        ``<operation>_p99_ms``, ``n_steps`` in all repeats, ``repeats``, and ``keeps_up``.
    """
    rows = rows.assign(reads_per_s=rows["reads_per_s"].astype(float))
    whole = rows[rows["operation"].isin(["step", "task"])]
    cells = whole.groupby(_CELL)
    summary = cells[list(_SHARED)].median()
    summary["n_steps"], summary["repeats"] = cells["n"].sum(), cells["repeat"].nunique()
    for operation in ("finish", "start", "step"):
        part = rows[rows["operation"] == operation].groupby(_CELL)
        for column in ("p50_ms", "p99_ms"):
            summary[f"{operation}_{column}"] = part[column].median()
    summary = summary.reset_index().sort_values(_CELL, ignore_index=True)
    behind = summary["achieved_per_s"] < KEEPS_UP * summary["wanted_per_s"]
    summary["keeps_up"] = ~behind
    return summary


def fit_costs(summary: pd.DataFrame) -> Costs:
    """Fit the server's cost per task and per record read to the cells that keep up.

    Least squares, so that the larger cells count most: how small networks wake an idle server has
    no part in where it saturates. Reads at a replica cost the primary nothing and are left out.
    """
    cells = _simulated(summary)
    cells = cells[
        cells["keeps_up"]
        & (cells["n_workers"] >= SMALLEST_FITTED)
        & (cells["reading"].isin(["every step", "never"]))
    ]
    products = cells[["achieved_per_s", "records_per_s"]].to_numpy(float)
    cores = cells["server_cpu"].to_numpy(float)
    (a, b), *_ = np.linalg.lstsq(products, cores, rcond=None)
    worst = float(np.abs(products @ (a, b) - cores).max())
    return Costs(a * 1e6, b * 1e6, worst, len(cores))


def as_markdown(summary: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Make the table, and the sentences that follow from it."""
    source = rows.iloc[-1]
    parts = [
        "# At what size the server saturates",
        "",
        f"Medians over repeats (n = {summary['repeats'].max()}); {source['server']} on a unix "
        f"socket, {source['machine']}, Python {source['python']}, commit {source['commit']}, begun "
        f"{source['started']}. Rows: `results/raw/core_load.csv`, made by "
        "`python -m experiments.core_load.run`.",
        "",
        *_processes_part(summary),
        "",
        *_networks_part(summary),
        "",
        *_costs_part(summary),
        "",
        *_what_then_part(summary),
    ]
    return "\n".join(parts) + "\n"


def _processes_part(summary: pd.DataFrame) -> list[str]:
    cells = summary[summary["clients"] == "processes"]
    lines = [
        "## Worker processes, as fast as they can",
        "",
        "Free objective; start, then finish and read everything new. Server and clients share two "
        "cores, so more processes take turns, and each result is decoded once by each of them. "
        f"rush 1.2 in R does {R_TASKS_PER_S:,} tasks per second with 2 workers.",
        "",
        "| processes | tasks per second, all | server, cores | it waited for one "
        "| records read per second |",
        "|---:|---:|---:|---:|---:|",
    ]
    for cell in cells.itertuples():
        lines.append(
            f"| {cell.n_workers} | {cell.achieved_per_s:,.0f} | {cell.server_cpu:.2f} | "
            f"{cell.server_wait:.2f} | {cell.records_per_s:,.0f} |"
        )
    return lines


def _networks_part(summary: pd.DataFrame) -> list[str]:
    lines = [
        "## Simulated networks, one task per worker and second",
        "",
        "Server and load generator on a core each. Latencies count from when a step was due, and "
        "where the server does not keep up they grow as long as the load lasts. Lag is how late "
        "the generator was itself. A server that waited was ready to work while other programs had "
        "its core: a quiet machine shows none of that.",
        "",
        "| reading | workers | tasks per s | keeps up | server, cores | it waited | replica "
        "| generator | records read per s | MB/s | finish p50 / p99, ms | start p50 / p99, ms "
        "| step p50 / p99, ms | lag p99, ms | peak memory, MB |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in _simulated(summary).itertuples():
        replica = "" if np.isnan(cell.replica_cpu) else f"{cell.replica_cpu:.2f}"
        lag = "" if np.isnan(cell.lag_p99_ms) else f"{cell.lag_p99_ms:.1f}"  # nobody was free
        latencies = " | ".join(
            f"{getattr(cell, f'{operation}_p50_ms'):,.2f} / "
            f"{getattr(cell, f'{operation}_p99_ms'):,.1f}"
            for operation in ("finish", "start", "step")
        )
        lines.append(
            f"| {cell.reading} | {cell.n_workers:,} | {cell.achieved_per_s:,.0f} | "
            f"{'yes' if cell.keeps_up else 'no'} | {cell.server_cpu:.2f} | "
            f"{cell.server_wait:.2f} | {replica} | "
            f"{cell.generator_cpu:.2f} | {cell.records_per_s:,.0f} | {cell.mb_per_s:,.0f} | "
            f"{latencies} | {lag} | {cell.server_peak_mb:,.0f} |"
        )
    return lines


def _costs_part(summary: pd.DataFrame) -> list[str]:
    costs = fit_costs(summary)
    low, high = ESTIMATED_RECORD_US
    cells = _simulated(summary)
    unread = cells[(cells["reading"] == "never") & cells["keeps_up"]].set_index("n_workers")
    per_task = 1e6 * unread["server_cpu"] / unread["achieved_per_s"]
    return [
        "## What it costs the server",
        "",
        f"Cores = {costs.task_us:.1f} µs per task + {costs.record_us:.3f} µs per record read, each "
        f"times how many there are per second; fitted to the {costs.n} cells with at least "
        f"{SMALLEST_FITTED} workers that keep up (off by {costs.worst:.3f} cores at most). "
        f"The estimate beforehand was {ESTIMATED_TASK_US:.0f} µs and {low} to {high} µs. With a "
        "task per worker and second and everybody reading everything, a core is full at "
        f"{costs.largest_network:,.0f} workers.",
        "",
        "A task alone costs less where more come at once, because a busy server is woken less "
        "often; with nobody reading: "
        + ", ".join(f"{us:.0f} µs with {n:,} workers" for n, us in per_task.items())
        + ".",
    ]


def _what_then_part(summary: pd.DataFrame) -> list[str]:
    cells = _simulated(summary).set_index(["reading", "n_workers"])
    full = cells.loc["every step"]
    lines = ["## What then", ""]
    largest = full.index[full["keeps_up"]].max()
    lines.append(
        f"- The largest network here that one server keeps up with has {largest:,} workers, at "
        f"{full.loc[largest, 'server_cpu']:.2f} cores."
    )
    for n in full.index[~full["keeps_up"]]:
        cell = full.loc[n]
        lines.append(
            f"- {n:,} workers get {cell['achieved_per_s']:,.0f} tasks per second instead of "
            f"{cell['wanted_per_s']:,.0f}, half of them wait longer than "
            f"{cell['step_p50_ms'] / 1e3:.1f} s for their step, and replies that wait to be sent "
            f"fill up to {cell['server_peak_mb']:,.0f} MB."
        )
    for n in cells.loc["every step, at a replica"].index:
        there, here = cells.loc[("every step, at a replica", n)], full.loc[n]
        lines.append(
            f"- A replica that serves the reads of {n:,} workers takes the primary from "
            f"{_load(here)} to {_load(there)}, and needs {there['replica_cpu']:.2f} cores itself."
        )
    for n in cells.loc["every 5th step"].index:
        rare, here = cells.loc[("every 5th step", n)], full.loc[n]
        lines.append(
            f"- {n:,} workers that read in every 5th step in place of every one: {_load(rare)} in "
            f"place of {_load(here)}; step p99 {rare['step_p99_ms']:,.0f} ms in place of "
            f"{here['step_p99_ms']:,.0f} ms."
        )
    quarter, whole = full.loc[1024], 4096
    lines.append(
        f"- Four networks of 1,024 workers on four servers: {_load(quarter)} each, with "
        f"{quarter['records_per_s']:,.0f} records read per second; one of {whole:,} reads sixteen "
        "times as many."
    )
    return lines


def _load(cell: Any) -> str:
    return f"{cell['server_cpu']:.2f} cores at {cell['achieved_per_s']:,.0f} tasks per second"


def draw(summary: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Draw throughput, the server's share of a core, and the wait for a step."""
    figure = Figure(figsize=(13, 4.8), layout="constrained")
    speed, share, wait = figure.subplots(1, 3)
    processes = summary[summary["clients"] == "processes"]
    speed.plot(processes["n_workers"], processes["achieved_per_s"], "s-", color="C0", label="rush")
    speed.plot([2], [R_TASKS_PER_S], "x", color="0.3", label="rush 1.2 in R")
    speed.set(xscale="log", ylim=(0, None), xlabel="worker processes", ylabel="tasks per second")
    speed.set_xticks(processes["n_workers"], [str(n) for n in processes["n_workers"]])
    speed.set_title("As fast as they can, on two cores")
    speed.legend()
    costs, cells = fit_costs(summary), _simulated(summary)
    for reading, (color, marker, label) in _STYLES.items():
        part = cells[cells["reading"] == reading]
        for ax, column in ((share, "server_cpu"), (wait, "step_p99_ms")):
            ax.plot(part["n_workers"], part[column], marker + "-", color=color, label=label)
            behind = part[~part["keeps_up"]]
            ax.plot(behind["n_workers"], behind[column], marker, color=color, mfc="white")
    n = np.geomspace(64, 8192, 100)
    for n_records, color in ((n * 0, "C2"), (n**2, "C0")):
        cores = costs.cores(n, n_records)
        share.plot(n[cores <= 1], cores[cores <= 1], ":", color=color)
    share.axhline(1, color="0.7", lw=1)
    share.set(ylabel="server CPU, cores (primary's)", title="Server")
    wait.set(ylabel="p99 from due to done, ms", title="Step: finish, read, start")
    sizes = sorted(set(cells["n_workers"]) - {1536, 3072})
    for ax in (share, wait):
        ax.set(xscale="log", yscale="log", xlabel="workers, one task per second each")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
    share.legend(fontsize=8)
    counts = cells["n_steps"]
    figure.supxlabel(
        f"Medians over repeats (n = {summary['repeats'].max()}), {counts.min():,} to "
        f"{counts.max():,} steps per point; hollow: the server does not keep up. Dotted: "
        f"{costs.task_us:.0f} µs per task + {costs.record_us:.2f} µs per record read.\n"
        f"{rows.iloc[-1]['machine']}, server and generator on a core each (left: shared). "
        f"Other programs kept the server off its core for up to {cells['server_wait'].max():.0%} "
        "of the time.",
        fontsize=8,
    )
    return figure


def _simulated(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[summary["clients"] == "simulated"]
