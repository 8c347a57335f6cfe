"""A result as HTML, for notebooks: the best trial, why it ended, counts, and a small picture.

Everything that comes from a user is escaped. The picture is SVG without scripts; its colours are
readable on light and dark backgrounds.
"""

from __future__ import annotations

from html import escape

import numpy as np

from rush_core import printable
from rush_opt.arrays import FloatArray
from rush_opt.results.record import RunRecord
from rush_opt.results.summary import (
    best_text,
    best_trials,
    counts_text,
    end_text,
    time_text,
)

__all__ = ["result_html"]

_WIDTH, _HEIGHT, _MARGIN = 360, 110, 6

# More dots would make a notebook large, and hide each other.
_MOST_DOTS = 400

# The share of values that the picture shows to scale. Worse ones are drawn at the border.
_SHOWN_SHARE = 0.9

_GREY, _BLUE, _RED = "#888888", "#0072b2", "#d55e00"
_CELL = 'style="text-align:left;padding:0 1em 0 0"'


def result_html(record: RunRecord) -> str:
    """Return a result as a fragment of HTML."""
    rows = []
    best = best_trials(record)
    if best and len(record.goals) == 1:
        rows = [
            f"<tr><th {_CELL}>{_safe(name)}</th><td {_CELL}>{_safe(value)}</td></tr>"
            for name, value in best[0].params.items()
        ]
    about = f"{counts_text(record)}; {time_text(record)}"
    table = f"<table>{''.join(rows)}</table>" if rows else ""
    return (
        f"<div><div><b>Best:</b> {_safe(best_text(record))}</div>{table}"
        f"<div><b>Trials:</b> {_safe(about)}</div>"
        f"<div><b>Ended:</b> {_safe(end_text(record))}</div>{_picture(record)}</div>"
    )


def _safe(value: object) -> str:
    return escape(printable(str(value)))


def _picture(record: RunRecord) -> str:
    """Return the history of a run with one objective as SVG; empty without finished trials."""
    if len(record.goals) > 1 or not record.finished:
        return ""
    goal = record.goals[0]
    values = [trial.result.get(goal.name, np.nan) for trial in record.trials]
    losses = goal.sign * np.array(values, dtype=np.float64)
    losses[np.isinf(losses)] = np.nan
    if np.isnan(losses).all():
        return ""
    is_stopped = np.array([trial.stopped_at is not None for trial in record.trials])
    whole = losses if is_stopped[~np.isnan(losses)].all() else np.where(is_stopped, np.nan, losses)
    best = np.fmin.accumulate(whole)
    n = len(losses)
    x = _MARGIN + np.arange(n) * (_WIDTH - 2 * _MARGIN) / max(n - 1, 1)
    chosen = np.unique(np.linspace(0, n - 1, min(n, _MOST_DOTS)).astype(int))
    low, high = np.nanmin(losses), np.nanquantile(losses, _SHOWN_SHARE)
    y = _heights(losses, low, high)
    dots = [_dot(x[i], y[i], is_stopped=bool(is_stopped[i])) for i in chosen]
    return (
        f'<svg role="img" aria-label="The value of each trial, and the best so far" '
        f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'style="display:block;max-width:100%">{"".join(dots)}'
        f'<path d="{_steps(x, _heights(best, low, high))}" fill="none" stroke="{_BLUE}" '
        f'stroke-width="1.5"/></svg>'
    )


def _heights(losses: FloatArray, low: float, high: float) -> FloatArray:
    """Return where losses are drawn, from the top, the best at the bottom; NaN stays NaN."""
    with np.errstate(over="ignore"):
        share = np.clip((losses - low) / ((high - low) or 1.0), 0.0, 1.0)
    return _HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN)


def _dot(x: float, y: float, *, is_stopped: bool) -> str:
    """Return the mark of a trial: finished, stopped early (a ring), or failed (a stroke on top)."""
    if np.isnan(y):
        return f'<path d="M{x:.1f} 0v{_MARGIN}" stroke="{_RED}"/>'
    look = f'fill="none" stroke="{_GREY}"' if is_stopped else f'fill="{_GREY}"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5" {look}/>'


def _steps(x: FloatArray, y: FloatArray) -> str:
    """Return the path of the best value so far, which changes at few trials."""
    changes = np.flatnonzero(np.diff(y, prepend=np.nan) != 0)
    changes = changes[~np.isnan(y[changes])]
    first, *others = changes
    path = "".join(f"H{x[i]:.1f}V{y[i]:.1f}" for i in others)
    return f"M{x[first]:.1f} {y[first]:.1f}{path}H{_WIDTH - _MARGIN}"
