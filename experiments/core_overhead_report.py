"""The table and the figure of `experiments/core_overhead.py`: rows in, text or picture out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.provenance import ROOT, TABLES
from experiments.style import BLUE, GREEN, GREY, ORANGE

FLOOR = "floor: PING, raw socket"
BOUND_CELL = (10, 1, 100_000)

CREATE, FETCH_ONE = "create one running task", "fetch one new"
TO_RECORDS, TO_MATRIX = "fetch all uncached, to records", "fetch all uncached, to a float matrix"

# Operation, the column that is bounded, its bound. All in `BOUND_CELL`.
BOUNDS = (
    (CREATE, "floors", 1.5),
    ("finish", "floors", 2.0),
    ("fail", "floors", 2.0),
    ("claim of a waiting task", "floors", 2.0),
    ("whole step: finish and fetch new, then start", "floors", 3.3),
    (FETCH_ONE, "floors", 1.3),
    (TO_RECORDS, "median", 250_000),
    (TO_MATRIX, "median", 300_000),
    ("server memory per task, MEMORY USAGE of the log", "floors", 1.1),
    ("server memory per task, growth of the data set", "floors", 1.1),
)

Medians = dict[tuple[str, int], dict[int, float]]

# Medians of R's rush 1.2 with one number per parameter, milliseconds: operation, parameters, then
# by number of tasks, or 0 where it does not matter. From the paper: Becker & Bischl, arXiv
# 2606.21430 (2026).
R_PAPER: Medians = {
    (CREATE, 1): {0: 0.33},
    (CREATE, 10): {0: 0.33},
    (CREATE, 100): {0: 0.34},
    ("finish", 1): {0: 0.25},
    ("finish", 10): {0: 0.26},
    ("finish", 100): {0: 0.26},
    (TO_RECORDS, 1): {1_000: 34, 10_000: 346, 100_000: 3_502},
    (TO_RECORDS, 10): {1_000: 40, 10_000: 386, 100_000: 5_137},
    (TO_RECORDS, 100): {1_000: 88, 10_000: 1_408, 100_000: 17_687},
    (FETCH_ONE, 1): {1_000: 1.3, 10_000: 1.7, 100_000: 6.1},
    (FETCH_ONE, 10): {1_000: 1.6, 10_000: 4.0, 100_000: 48},
    (FETCH_ONE, 100): {1_000: 3.8, 10_000: 27, 100_000: 297},
}
# The same of rush 1.2.0 on two cores of such a machine, client and server pinned to one.
R_HERE: Medians = {
    (CREATE, 1): {0: 0.34},
    (CREATE, 10): {0: 0.35},
    (CREATE, 100): {0: 0.38},
    ("finish", 1): {0: 0.27},
    ("finish", 10): {0: 0.28},
    ("finish", 100): {0: 0.35},
    ("claim of a waiting task", 10): {0: 0.185},
    (TO_RECORDS, 10): {1_000: 35, 10_000: 483, 100_000: 5_285},
    (FETCH_ONE, 10): {1_000: 1.1, 10_000: 4.7, 100_000: 43},
}


def write(rows: Sequence[dict[str, Any]]) -> None:
    """Write the table and the figure of one run."""
    table = as_markdown(rows)
    TABLES.mkdir(parents=True, exist_ok=True)
    (TABLES / "core_overhead.md").write_text(table)
    figures = ROOT / "results" / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    draw(frame(rows)).savefig(figures / "core_overhead.svg", metadata={"Date": None})


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the cells that were measured, numbers as numbers."""
    table = pd.DataFrame(rows)
    numbers = ["n_params", "n_numbers", "n_finished", "median", "p10", "p90", "floors"]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    return table[table["median"].notna()].reset_index(drop=True)


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Make the table: bounds, the grid, and what was left out."""
    measured, first = frame(rows), rows[0]
    sizes = sorted(measured["n_finished"].unique())
    lines = [
        "# Cost of coordination",
        "",
        f"Medians; client and server ({first['server']}) on one core of a {first['machine']}, "
        f"Python {first['python']}, commit {first['commit']}. One floor is a PING on a raw socket, "
        "timed among the operations of the same cell; of memory, the bytes of the record. Up to "
        "9,999 tasks the log is cut back after each block; within a block it grows by up to 20. "
        "Rows: `results/raw/core_overhead_grid.csv`, made by `experiments/core_overhead.py`.",
        "",
        "## Bounds",
        "",
        f"{BOUND_CELL[0]} parameters of one number, {BOUND_CELL[2]:,} finished tasks.",
        "",
        "| operation | bound | measured | 10 to 90 % | kept |",
        "|---|---:|---:|---:|---|",
        *bound_lines(measured),
        "",
        "## Grid",
        "",
        "Medians, µs (memory: bytes per task) by number of finished tasks; fetching all is CPU "
        "time, all else wall clock. The growth of the data set holds a few hundred kB of the "
        "server's own needs: it tells from 10,000 tasks on.",
        "",
        "| operation | parameters | numbers in each |" + "".join(f" {n:,} |" for n in sizes),
        "|---|---:|---:|" + "---:|" * len(sizes),
        *grid_lines(measured, sizes),
        "",
        "## Beside R rush",
        "",
        "Medians, µs, of one number per parameter. R's: in the paper (Becker & Bischl 2026) and, "
        "for version 1.2.0, pinned to one core of a machine like this one; all of them wall clock.",
        "",
        "| operation | parameters | finished tasks | here | R rush, paper | R rush 1.2.0 |",
        "|---|---:|---:|---:|---:|---:|",
        *beside_r(measured),
        "",
        "## Left out",
        "",
        *left_out(rows),
    ]
    return "\n".join(lines) + "\n"


def bound_lines(measured: pd.DataFrame) -> list[str]:
    """Compare what was measured with each bound."""
    lines = []
    for operation, column, bound in BOUNDS:
        for cell in select(measured, operation, BOUND_CELL).to_dict("records"):
            value, scale, unit = cell[column], 1.0, "floors"
            if column == "median":
                scale, unit = 1e-3, "CPU ms"
            elif "memory" in operation:
                unit = "record bytes"
            spread = cell["floors"] / cell["median"] if column == "floors" else 1.0
            low, high = cell["p10"] * spread * scale, cell["p90"] * spread * scale
            kept = "yes" if value <= bound else "no"
            lines.append(
                f"| {operation} | {bound * scale:g} {unit} | {value * scale:.2f} | "
                f"{low:.2f} to {high:.2f} | {kept} |"
            )
    return lines


def select(measured: pd.DataFrame, operation: str, cell: tuple[int, int, int]) -> pd.DataFrame:
    """Return the rows of an operation in a cell."""
    here = measured[["n_params", "n_numbers", "n_finished"]] == list(cell)
    return measured[here.all(axis=1) & (measured["operation"] == operation)]


def grid_lines(measured: pd.DataFrame, sizes: Sequence[int]) -> list[str]:
    """Describe each operation with each configuration: a line with a column per network size."""
    kinds = ["operation", "n_params", "n_numbers"]
    lines = []
    for (operation, n_params, n_numbers), part in measured.groupby(kinds, sort=False):
        medians = dict(zip(part["n_finished"], part["median"], strict=True))
        shown = [f" {medians[n]:,.1f} |" if n in medians else " |" for n in sizes]
        lines.append(f"| {operation} | {n_params} | {n_numbers:,} |" + "".join(shown))
    return lines


def beside_r(measured: pd.DataFrame) -> list[str]:
    """Compare the cells for which R rush's medians are known."""
    lines = []
    for row in measured[measured["n_numbers"] == 1].to_dict("records"):
        theirs = [anchor(medians, row) for medians in (R_PAPER, R_HERE)]
        if any(theirs):
            lines.append(
                f"| {row['operation']} | {row['n_params']} | {row['n_finished']:,} | "
                f"{row['median']:,.1f} | {' | '.join(theirs)} |"
            )
    return lines


def anchor(medians: Medians, row: dict[str, Any]) -> str:
    """Return R rush's median of the same cell, microseconds, if there is one."""
    by_tasks = medians.get((row["operation"], row["n_params"]), {}) if row["n_numbers"] == 1 else {}
    milliseconds = by_tasks.get(row["n_finished"], by_tasks.get(0))
    return "" if milliseconds is None else f"{milliseconds * 1e3:,.0f}"


def left_out(rows: Sequence[dict[str, Any]]) -> list[str]:
    """List the cells without a value, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["reason"]:
            n_numbers, n_finished = int(row["n_numbers"]), int(row["n_finished"])
            cell = f"{row['n_params']} of {n_numbers:,}, {n_finished:,} tasks"
            reasons.setdefault((row["operation"], row["reason"]), []).append(cell)
    return [
        f"- {operation} ({reason}): parameters of numbers {'; '.join(cells)}."
        for (operation, reason), cells in reasons.items()
    ]


def draw(measured: pd.DataFrame) -> Figure:
    """Draw three operations over what they could depend on, beside R rush."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    single = measured[measured["n_numbers"] == 1]
    for ax, operation in ((left, FETCH_ONE), (middle, TO_RECORDS)):
        for n_params, colour in ((1, GREEN), (10, BLUE), (100, ORANGE)):
            ours = single[(single["operation"] == operation) & (single["n_params"] == n_params)]
            ax.plot(ours["n_finished"], ours["median"] / 1e3, "o-", color=colour, label=n_params)
            ax.fill_between(
                ours["n_finished"], ours["p10"] / 1e3, ours["p90"] / 1e3, color=colour, alpha=0.2
            )
            theirs = R_PAPER[operation, n_params]
            ax.plot(list(theirs), list(theirs.values()), "s--", color=colour, mfc="white")
        ax.set(xlabel="finished tasks", xscale="log", yscale="log")
    floor = single[single["operation"] == FLOOR].groupby("n_finished")["median"].median() / 1e3
    left.plot(floor.index, floor, ":", color=GREY, label="PING")
    left.set(title="Fetch one new, the others cached", ylabel="ms")
    middle.set(title="Fetch all uncached", ylabel="ms (of CPU; R rush: of wall clock)")
    left.legend(title="parameters", fontsize="small")
    for operation, colour in ((CREATE, BLUE), ("finish", ORANGE), (FLOOR, GREY)):
        chosen = measured[measured["operation"] == operation]
        sizes = chosen.assign(numbers=chosen["n_params"] * chosen["n_numbers"])
        medians = sizes.groupby("numbers")["median"].median() / 1e3
        right.plot(medians.index, medians, "o-", color=colour, label=operation)
    right.set(title="One task", xlabel="numbers in its configuration", ylabel="ms")
    right.set(xscale="log", yscale="log")
    right.legend(fontsize="small")
    figure.suptitle(
        "Cost of coordination on one core: medians, bands 10 to 90 %; dashed: R rush as published",
        fontsize="medium",
    )
    return figure
