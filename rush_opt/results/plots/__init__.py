"""Pictures of a run. Each module makes the table of one picture, and draws it."""

from rush_opt.results.plots.exploration import exploration_table, plot_exploration
from rush_opt.results.plots.front import front_table, plot_pareto_front
from rush_opt.results.plots.history import history_table, plot_comparison, plot_history
from rush_opt.results.plots.shares import plot_shares, shares_table
from rush_opt.results.plots.timeline import plot_timeline, spans_table

__all__ = [
    "exploration_table",
    "front_table",
    "history_table",
    "plot_comparison",
    "plot_exploration",
    "plot_history",
    "plot_pareto_front",
    "plot_shares",
    "plot_timeline",
    "shares_table",
    "spans_table",
]
