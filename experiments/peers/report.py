"""The files of a comparison: its table, its figure, and the numbers that the figure shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.provenance import ROOT, TABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ROOT / "results" / "figures"


def write(name: str, table: str, figure: Figure, numbers: pd.DataFrame) -> None:
    """Write the results of this name, instead of earlier ones."""
    TABLES.joinpath(f"{name}.md").write_text(table)
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / f"{name}.svg", metadata={"Date": None})
    numbers.to_csv(FIGURES / f"{name}.csv", index=False)
