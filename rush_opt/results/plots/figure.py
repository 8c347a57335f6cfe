"""Parts that the pictures share: axes, the place of the legend, colours and marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "PHASE_COLOURS",
    "STOPPED",
    "axes_or_new",
    "every_nth",
    "mark_failures",
    "place_legend_beside",
]

PHASE_COLOURS = {
    "startup": "#cccccc",
    "objective": "#0072b2",
    "stopped early": "#56b4e9",
    "failed": "#a50026",
    "proposing": "#d55e00",
    "surrogate": "#d55e00",
    "acquisition": "#e69f00",
    "coordination": "#009e73",
    "idle": "#f0f0f0",
}

# How the value of a trial that was stopped early is drawn: a ring.
STOPPED: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 4,
    "markerfacecolor": "none",
    "markeredgecolor": PHASE_COLOURS["stopped early"],
}


def axes_or_new(ax: Axes | None, *, height: float = 4.0, width: float = 7.0) -> Axes:
    """Return the given axes, or those of a new figure of this size in inches.

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
    return plt.figure(figsize=(width, height), layout="constrained").subplots()


def mark_failures(ax: Axes, x: Sequence[float]) -> None:
    """Draw a cross for each failed trial at the upper border: it has no value."""
    if x:
        ax.plot(
            *(x, [0.98] * len(x)),
            transform=ax.get_xaxis_transform(),
            linestyle="none",
            marker="x",
            markersize=4,
            color=PHASE_COLOURS["failed"],
            label=f"failed ({len(x)})",
        )


def every_nth(labels: Sequence[object], most: int) -> tuple[list[int], list[str]]:
    """Return positions and texts of at most so many labels, evenly spaced from the first one."""
    step = -(-len(labels) // most) or 1
    return list(range(0, len(labels), step)), [str(label) for label in labels[::step]]


def place_legend_beside(ax: Axes) -> None:
    """Put the legend to the right of the axes: bars leave no room inside."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
