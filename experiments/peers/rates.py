"""From rows of `speed` to a table and a figure: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.style import PEER_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What the others' samplers are compared with: ours that draws, and ours that models.
OURS = {True: "rush random", False: "rush ADBO"}
# Trials per second that ours is to reach at 10,000 trials.
TARGETS = {"rush random": 3_000.0, "rush ADBO": 80.0}

_CELL = ["tool", "sampler", "sharing", "sleep_s", "n_trials"]
_MEASURED = ["n_ran", "startup_s", "per_second", "per_second_last_tenth"]
_MEASURED += ["worker_peak_mib", "n_processes"]


def describe(
    ended_at: npt.NDArray[np.float64], started_at: float, n_trials: int
) -> dict[str, float | str]:
    """Turn the times at which evaluations ended into a start-up time and rates.

    Parameters
    ----------
    ended_at : ndarray of float, shape (n,)
        In order, seconds since 1970.
    started_at : float
        When the interpreter was started.
    n_trials : int
        How many were asked for.

    Returns
    -------
    dict
        ``startup_s`` to the first trial's end; ``per_second`` between the first and the last;
        ``per_second_last_tenth`` over as many of the last as are a tenth of those asked for, empty
        if fewer than that ran before them. Numbers that are not known are empty.
    """
    tenth = max(n_trials // 10, 1)
    return {
        "startup_s": round(float(ended_at[0]) - started_at, 3) if len(ended_at) else "",
        "per_second": _rate(ended_at),
        "per_second_last_tenth": _rate(ended_at[-tenth - 1 :]) if len(ended_at) > tenth else "",
    }


def _rate(ended_at: npt.NDArray[np.float64]) -> float | str:
    if len(ended_at) < 2 or ended_at[-1] <= ended_at[0]:
        return ""
    return round((len(ended_at) - 1) / float(ended_at[-1] - ended_at[0]), 3)


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarize repeats.

    Returns
    -------
    DataFrame
        A row per cell: medians of what was measured, ``n`` repeats, how many trials ran at least
        and at most, the number of repeats that went wrong, and ``ratio``, ours over theirs of the
        rate in all: our random search against samplers that draw, ADBO against those that model.
    """
    numbers = rows.assign(**{name: pd.to_numeric(rows[name]) for name in _MEASURED})
    numbers["wrong"] = numbers["error"].astype(str) != ""
    groups = numbers.groupby(_CELL, sort=False)
    found = groups[_MEASURED].median()
    found["n"] = groups.size()
    found["n_ran_least"], found["n_ran_most"] = groups["n_ran"].min(), groups["n_ran"].max()
    found["wrong"] = groups["wrong"].sum()
    found = found.reset_index()
    rate = found.set_index(["tool", "sleep_s", "n_trials"])["per_second"]
    found["ratio"] = [
        rate.get((OURS[cell["sampler"] == "random"], cell["sleep_s"], cell["n_trials"]), np.nan)
        / cell["per_second"]
        for cell in found.to_dict("records")
    ]
    return found


def as_markdown(rows: pd.DataFrame) -> str:
    """Write the table."""
    found = medians(rows)
    caps = ", ".join(f"{cap:g}" for cap in sorted(rows["cap_s"].unique()))
    commits = ", ".join(sorted(rows["commit"].unique()))
    parts = [
        "# Trials per second of optimizers on two local workers\n",
        f"8-dimensional LightGBM space, {rows['machine'].iloc[0]}; commits {commits}. Rows: "
        "`results/raw/peers_speed.csv`, made by `experiments/peers/speed.py`, where README.md says "
        f"what was run. Medians of {found['n'].min()} to {found['n'].max()} repeats, in shuffled "
        f"order; a cell had {caps} s, so fewer trials than asked for means that this was over. "
        "Rates are between the first and the last trial; the ratio is ours over theirs: our random "
        "search against what draws, ADBO against what models. Processes are those in which the "
        "objective ran: two threads are in one, and what is serial has one worker.\n",
    ]
    for sleep_s, part in found.groupby("sleep_s"):
        what = f"An objective of {1e3 * sleep_s:g} ms" if sleep_s else "An objective that is free"
        parts += [f"## {what}\n", _table(part)]
    return "\n".join([*parts, "## Targets\n", _targets(found)])


def _table(part: pd.DataFrame) -> str:
    lines = [
        "| tool | sharing | asked | ran | per second | last tenth | ratio | start-up, s | "
        "worker's peak, MiB | processes | went wrong |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in part.sort_values(["n_trials", "ratio"]).to_dict("records"):
        least, most = cell["n_ran_least"], cell["n_ran_most"]
        lines.append(
            f"| {cell['tool']} | {cell['sharing']} | {cell['n_trials']:,} "
            f"| {least:,}{f' to {most:,}' if most > least else ''} "
            f"| {_number(cell['per_second'])} | {_number(cell['per_second_last_tenth'])} "
            f"| {_number(cell['ratio'])} | {_number(cell['startup_s'])} "
            f"| {cell['worker_peak_mib']:.0f} | {cell['n_processes']:g} "
            f"| {cell['wrong']} of {cell['n']} |"
        )
    return "\n".join(lines) + "\n"


def _targets(found: pd.DataFrame) -> str:
    lines = []
    for tool, target in TARGETS.items():
        for cell in found.query("tool == @tool and sleep_s == 0").to_dict("records"):
            if cell["n_trials"] == 10_000:
                lines.append(
                    f"- {tool}, 10,000 trials: {_number(cell['per_second'])} per second in all, "
                    f"{_number(cell['per_second_last_tenth'])} over the last tenth; wanted "
                    f"{target:,.0f}: {'yes' if _reaches(cell, target) else 'no'}."
                )
    return "\n".join(lines or ["- Not measured at 10,000 trials."]) + "\n"


def _reaches(cell: dict[Any, Any], target: float) -> bool:
    return bool(min(cell["per_second"], cell["per_second_last_tenth"]) >= target)


def _number(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def as_figure(found: pd.DataFrame) -> Figure:
    """Draw rates over the last tenth against the number of trials, for the free objective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    free = found[found["sleep_s"] == 0]
    for panel, draws in zip(panels, OURS, strict=True):
        for tool, line in free[(free["sampler"] == "random") == draws].groupby("tool", sort=False):
            line = line.sort_values("n_trials")
            panel.plot(
                line["n_trials"],
                line["per_second_last_tenth"],
                marker="o",
                label=tool,
                color=_colour(str(tool)),
                linestyle=_linestyle(str(tool)),
                linewidth=2.5 if tool == OURS[draws] else 1.2,
            )
        panel.set(
            title="samplers that draw" if draws else "samplers that model",
            xlabel="trials asked for",
            xscale="log",
            yscale="log",
        )
        panel.legend(
            fontsize="small",
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.15),
            ncols=2,
        )
    panels[0].set_ylabel("trials per second, last tenth")
    return figure


def _colour(tool: str) -> str:
    package = tool.split()[0]
    return next(c for method, c in PEER_COLOURS.items() if method.startswith(package))


def _linestyle(tool: str) -> str:
    return next((s for how, s in {"threads": "--", "serial": ":"}.items() if how in tool), "-")
