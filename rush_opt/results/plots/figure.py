"""Parts that the pictures share: axes, the place of the legend, and a colour for each phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PHASE_COLOURS", "axes_or_new", "place_legend_beside"]

PHASE_COLOURS = {
    "startup": "#cccccc",
    "objective": "#0072b2",
    "proposing": "#d55e00",
    "surrogate": "#d55e00",
    "acquisition": "#e69f00",
    "coordination": "#009e73",
    "idle": "#f0f0f0",
}


def axes_or_new(ax: Axes | None, *, height: float = 4.0) -> Axes:
    """Return the given axes, or those of a new figure of this height in inches.

    Raises
    ------
    ImportError
        If matplotlib is not installed: ``pip install 'rush-hpo[plots]'``.
    """
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError(
            "pictures need matplotlib, which is not installed: pip install 'rush-hpo[plots]'"
        ) from None
    return plt.figure(figsize=(7, height), layout="constrained").subplots()


def place_legend_beside(ax: Axes) -> None:
    """Put the legend to the right of the axes: bars leave no room inside."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
