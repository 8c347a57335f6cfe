"""A picture of one run: two workers tune the model of `make demo`.

Above: the value of each trial, and the best value so far. Below: what each worker did at what time.
The tables that the picture shows are written beside it.

Run from the project's root: ``python -m experiments.run_picture``
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.demo import cross_validate
from experiments.provenance import ROOT
from experiments.spaces import LIGHTGBM
from rush_opt import TuneResult, tune
from rush_opt.results.plots import history_table, spans_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ROOT / "results" / "figures"
TIMEOUT_S = 45.0
_TICKS = (0.05, 0.07, 0.1, 0.2, 0.5, 1.0)


def draw(result: TuneResult) -> Figure:
    """Draw the history above the timeline, over the same wall clock."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullFormatter

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
    result.plot_history(above)
    above.set(xlabel="", ylabel="log loss", yscale="log")
    above.yaxis.set_major_locator(FixedLocator(_TICKS))
    above.yaxis.set_major_formatter("{x:g}")
    above.yaxis.set_minor_formatter(NullFormatter())
    above.legend(loc="center right")
    result.plot_timeline(below)
    return figure


def write(result: TuneResult, folder: Path) -> None:
    """Write the picture and its two tables into a folder."""
    draw(result).savefig(folder / "one_run.svg", metadata={"Date": None})
    history_table(result.record).to_csv(folder / "one_run_history.csv", index=False)
    spans_table(result.record).to_csv(folder / "one_run_spans.csv", index=False)


def main() -> None:
    """Run the search, and write its picture."""
    result = tune(
        cross_validate, LIGHTGBM, n_workers=2, timeout=TIMEOUT_S, metric="log_loss", seed=1
    )
    write(result, FIGURES)


if __name__ == "__main__":
    main()
