"""From rows of simulated hosts to a table: pure functions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.core_load.report import KEEPS_UP

# If other programs kept server or generator off their cores for more than this share of the time,
# the cell says more about them than about the server.
MOST_WAITED = 0.05

# A side that uses more of its core than this has none left.
FULL = 0.95

_CELL = ["n_workers", "read_pause_ms", "write_pause_ms", "period_s"]
_OPERATIONS = ("finish", "start", "step", "read")
_SHARED = (
    *("n_hosts", "connections", "wanted_per_s", "achieved_per_s"),
    *("reads_per_s", "records_per_s", "mb_per_s", "writes_per_send"),
    *("server_cpu", "server_wait", "generator_cpu", "generator_wait"),
    *("lag_p99_ms", "server_peak_mb", "load"),
)
_LIMIT = {"server": "server", "generator": "load generator", "": ""}


def undisturbed(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of the last day in which other programs hardly used the two cores."""
    last = last_day(rows)
    return last[(last["server_wait"] <= MOST_WAITED) & (last["generator_wait"] <= MOST_WAITED)]


def last_day(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of the last day on which something was measured."""
    days = rows["started"].str[:10]
    return rows[days == days.iloc[-1]]


def summarize(rows: pd.DataFrame) -> pd.DataFrame:
    """Take medians over the repeats of each cell.

    Parameters
    ----------
    rows : DataFrame
        One row per operation, cell and repeat.

    Returns
    -------
    DataFrame
        One row per cell: rates and shares, ``<operation>_p50_ms`` and ``<operation>_p99_ms``,
        ``repeats``, ``keeps_up``, and ``full``: which side has none of its core left, if any.
    """
    rows = rows.assign(**{name: rows[name].fillna(-1.0) for name in _CELL})
    steps = rows[rows["operation"] == "step"].groupby(_CELL)
    summary = steps[list(_SHARED)].median()
    summary["repeats"] = steps.size()
    for operation in _OPERATIONS:
        part = rows[rows["operation"] == operation].groupby(_CELL)
        for column in ("p50_ms", "p99_ms"):
            summary[f"{operation}_{column}"] = part[column].median()
    summary = summary.reset_index()
    summary["keeps_up"] = summary["achieved_per_s"] >= KEEPS_UP * summary["wanted_per_s"]
    summary["full"] = [_full_side(cell) for cell in summary.itertuples()]
    summary["way"] = [_way(cell) for cell in summary.itertuples()]
    order = ["each worker reads", "one reader", "one reader, writes together"]
    rank = summary["way"].map(order.index)
    return summary.assign(rank=rank).sort_values(["rank", *_CELL], ignore_index=True)


def _full_side(cell: Any) -> str:
    if cell.server_cpu + cell.server_wait >= FULL:
        return "server"
    return "generator" if cell.generator_cpu + cell.generator_wait >= FULL else ""


def _way(cell: Any) -> str:
    if cell.read_pause_ms < 0:
        return "each worker reads"
    return "one reader" if cell.write_pause_ms < 0 else "one reader, writes together"


def as_markdown(summary: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Make the table, and the sentences that follow from it."""
    source = rows.iloc[-1]
    last = last_day(rows[rows["operation"] == "step"])
    commits = ", ".join(last["commit"].unique())
    lines = [
        "# One reader per host",
        "",
        f"Simulated networks on hosts of 128 workers. Medians over {summary['repeats'].min()} to "
        f"{summary['repeats'].max()} repeats; {source['server']} on a unix socket, "
        f"{source['machine']}, Python {source['python']}, commits {commits}. The server "
        "and the load generator have one core each. Of "
        f"{len(last)} measurements, {len(last) - summary['repeats'].sum()} are left out, because "
        f"other programs kept server or generator waiting for more than {MOST_WAITED:.0%} of the "
        "time. Rows: `results/raw/core_load_hosts.csv`, made by "
        "`python -m experiments.core_load.run_hosts`.",
        "",
        "Latencies count from when a step was due. Where one side is full, they grow as long as "
        "the load lasts. A step is a finish and a start; where each worker reads, the finish has "
        "the read of all new records behind it.",
        "",
        "| way | workers | pause between reads, ms | pause between sends, ms | tasks per s | "
        "keeps up | full | server, cores | generator, cores | connections per host | "
        "writes per send | records read per s | MB/s | step p50 / p99, ms | read p99, ms | "
        "peak memory, MB | n |",
        "|---|---:|---:|---:|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [_line(cell) for cell in summary.itertuples()]
    return "\n".join(lines) + "\n"


def _line(cell: Any) -> str:
    read_pause, write_pause = (
        "" if number < 0 else f"{number:g}" for number in (cell.read_pause_ms, cell.write_pause_ms)
    )
    read = "" if pd.isna(cell.read_p99_ms) else f"{cell.read_p99_ms:,.1f}"
    slower = "" if cell.period_s == 1 else f" (one task in {cell.period_s:g} s each)"
    return (
        f"| {cell.way} | {cell.n_workers:,}{slower} | {read_pause} | {write_pause} | "
        f"{cell.achieved_per_s:,.0f} | {'yes' if cell.keeps_up else 'no'} | {_LIMIT[cell.full]} | "
        f"{cell.server_cpu:.2f} | {cell.generator_cpu:.2f} | "
        f"{cell.connections / cell.n_hosts:.0f} | {cell.writes_per_send:.1f} | "
        f"{cell.records_per_s:,.0f} | {cell.mb_per_s:,.0f} | "
        f"{cell.step_p50_ms:,.2f} / {cell.step_p99_ms:,.1f} | {read} | "
        f"{cell.server_peak_mb:,.0f} | {cell.repeats} |"
    )
