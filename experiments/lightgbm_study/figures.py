"""Tables to figures; each is saved beside the table that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from experiments.lightgbm_study.paper import WORKERS, find_row
from experiments.style import BLUE, LIGHT, ORANGE, STRATEGY_COLOURS

_DPI = 150
_MOST_LANES = 16


def draw_incumbents(table: pd.DataFrame) -> Figure:
    """Draw the best error so far over wall clock, one panel per data set."""
    figure, panels = _panels(table["dataset"].unique())
    for dataset, axes in panels.items():
        here = table[table["dataset"] == dataset]
        for strategy, curve in here.groupby("strategy", sort=False):
            colour = STRATEGY_COLOURS[str(strategy)]
            axes.plot(curve["at_s"], curve["mean"], color=colour, label=strategy)
            axes.fill_between(
                curve["at_s"], curve["lowest"], curve["highest"], color=colour, alpha=0.15, lw=0
            )
        n = int(here["replications"].max())
        axes.set_title(f"{dataset} (n = {n}; band: lowest to highest)", fontsize=9)
        axes.set_xlabel("wall clock, s")
        axes.set_ylabel("best classification error")
        axes.legend(fontsize=8)
    return figure


def draw_shares_over_time(table: pd.DataFrame) -> Figure:
    """Draw objective, busy and CPU shares over wall clock, one panel per data set and strategy."""
    names = (table["dataset"] + ", " + table["strategy"]).unique()
    figure, panels = _panels(names, n_columns=4, height=2.2)
    for (dataset, strategy), curve in table.groupby(["dataset", "strategy"], sort=False):
        axes = panels[f"{dataset}, {strategy}"]
        colour = STRATEGY_COLOURS[str(strategy)]
        axes.fill_between(curve["at_s"], curve["busy"], color=LIGHT, lw=0, label="busy")
        axes.plot(curve["at_s"], curve["objective"], color=colour, label="objective")
        axes.plot(curve["at_s"], curve["cpu"], color="black", lw=0.8, ls=":", label="workers' CPU")
        axes.set_title(f"{dataset}, {strategy}", fontsize=9)
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("wall clock, s")
        axes.set_ylabel("share of workers' time")
        axes.legend(fontsize=7, loc="lower right")
    return figure


def draw_lanes(table: pd.DataFrame) -> Figure:
    """Draw what each worker did when, one panel per strategy; a proposer is the lowest lane."""
    figure, panels = _panels(table["strategy"].unique(), n_columns=1, height=1.6, width=9.0)
    colours = {"objective": BLUE, "proposing": ORANGE}
    for strategy, axes in panels.items():
        here = table[(table["strategy"] == strategy) & (table["worker"] < _MOST_LANES)]
        for phase, colour in colours.items():
            for worker, spans in here[here["phase"] == phase].groupby("worker"):
                lanes = [(s, e - s) for s, e in zip(spans["start_s"], spans["end_s"], strict=True)]
                axes.broken_barh(lanes, (float(worker) - 0.4, 0.8), facecolor=colour)
        lanes_there = sorted(here["worker"].unique())
        axes.set_xlim(0.0, table["end_s"].max())
        axes.set_yticks(lanes_there, ["proposer" if w < 0 else f"worker {w}" for w in lanes_there])
        axes.set_title(f"{strategy}: objective (blue), proposing (orange)", fontsize=9)
        axes.set_xlabel("wall clock, s")
    return figure


def draw_objective_shares(table: pd.DataFrame) -> Figure:
    """Draw the objective share of each strategy, a panel per data set and number of workers.

    A line is the paper's, where it published one: that of 448 workers, whatever ours are.
    """
    table = table.assign(
        panel=[
            f"{dataset}, {workers:.0f} workers"
            for dataset, workers in zip(table["dataset"], table["workers"], strict=True)
        ]
    )
    figure, panels = _panels(table["panel"].unique(), n_columns=4, height=2.6, width=11.0)
    for panel, axes in panels.items():
        here = table[table["panel"] == panel]
        title = panel
        for place, row in enumerate(here.itertuples()):
            axes.bar(place, row.objective_share, 0.6, color=STRATEGY_COLOURS[str(row.strategy)])
            published = find_row(str(row.dataset), str(row.strategy))
            if published is not None:
                axes.plot([place - 0.3, place + 0.3], [published.objective_share] * 2, "k-", lw=2)
                title = f"{panel}\n(line: paper, {WORKERS} workers)"
        axes.set_xticks(range(len(here)), here["strategy"])
        axes.set_ylim(0, 1.05)
        axes.set_ylabel("objective share")
        axes.set_title(title, fontsize=8)
    return figure


def draw_saturation(table: pd.DataFrame) -> Figure:
    """Draw objective shares by numbers of workers, a panel per data set, time and cost."""
    table = table.assign(
        panel=[
            f"{dataset}, {seconds:g} s, cost: {cost}"
            for dataset, seconds, cost in zip(
                table["dataset"], table["seconds"], table["cost"], strict=True
            )
        ]
    )
    figure, panels = _panels(table["panel"].unique())
    for (panel, strategy), curve in table.groupby(["panel", "strategy"], sort=False):
        axes = panels[str(panel)]
        ordered = curve.sort_values("workers")
        colour = STRATEGY_COLOURS[str(strategy)]
        axes.plot(
            ordered["workers"], ordered["objective_share"], "o-", color=colour, label=strategy
        )
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("workers")
        axes.set_ylabel("objective share")
        axes.set_title(str(panel), fontsize=9)
        axes.legend(fontsize=8)
    return figure


def save(figure: Figure, table: pd.DataFrame, path: Path) -> None:
    """Save a figure as PNG, and its table as CSV beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=_DPI, bbox_inches="tight")
    table.to_csv(path.with_suffix(".csv"), index=False, float_format="%.6g")


def _panels(
    names: Any, *, n_columns: int = 3, height: float = 3.0, width: float | None = None
) -> tuple[Figure, dict[str, Any]]:
    """Return a figure without a window, and its axes by name."""
    n_columns = min(n_columns, max(len(names), 1))
    n_rows = -(-len(names) // n_columns) or 1
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(width or 3.6 * n_columns, height * n_rows), layout="constrained")
        grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.remove()
    return figure, dict(zip(map(str, names), grid, strict=False))
