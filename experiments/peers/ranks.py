"""From rows of `quality` to tables and a figure: pure functions.

=======  ===================================================================================
word     meaning
=======  ===================================================================================
block    one problem with one seed and one number of workers: all methods ran on it
rank     a method's place in its block by regret, 1 is best; equal regrets share their places
moment   a quarter, a half and all of the trials
floor    what counts as no regret: a thousandth of random search's median regret on the problem
=======  ===================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.style import PEER_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS = "rush ADBO"
BASE = "random"
MOMENTS = {"regret_at_quarter": 0.25, "regret_at_half": 0.5, "regret": 1.0}
_TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

# Below this share of random search's median regret on the problem, the optimum counts as found.
# More correct digits have no practical value, and would decide the ratios of regrets.
FLOOR = 1e-3
# The regret of a failed run, so that it ranks after all other runs.
_FAILED = 1e12
_RESAMPLES = 2_000
# With fewer seeds of a problem, resampling them gives no information.
_FEWEST = 5

_CELL = ["problem", "n_workers", "seed", "method"]
_BLOCK = _CELL[:3]


def blocks(
    rows: pd.DataFrame, moment: str = "regret", methods: Collection[str] | None = None
) -> pd.DataFrame:
    """Arrange regrets: a row per block that all methods ran on, a column per method.

    Of a cell that was run several times the latest row counts.

    Parameters
    ----------
    rows : DataFrame
        With some of random search for each problem, for its floor.
    moment : str
        A key of `MOMENTS`.
    methods : collection of str, optional
        Which to arrange; by default all that there are.
    """
    latest = _latest(rows)
    failed = latest["error"].astype(str) != ""
    regret = latest[moment].astype(float).clip(upper=_FAILED).where(~failed, _FAILED)
    at_least = regret.clip(lower=latest["problem"].map(floors(rows)))
    chosen = latest["method"].isin(latest["method"] if methods is None else methods)
    table = latest.assign(value=at_least)[chosen].pivot(
        index=["kind", *_BLOCK], columns="method", values="value"
    )
    return table.dropna()[sorted(table.columns, key=_place)]


def floors(rows: pd.DataFrame) -> pd.Series:
    """Return for each problem the limit below which a regret counts as zero."""
    base = _latest(rows).query("method == @BASE and error.astype('str') == ''")
    return FLOOR * base["regret"].astype(float).groupby(base["problem"]).median()


def _latest(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop_duplicates(_CELL, keep="last")


def _place(method: str) -> tuple[bool, bool, str]:
    """Ours first, the base last."""
    return method != OURS, method == BASE, method


def mean_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """Average the ranks over blocks, every problem with the same weight.

    Parameters
    ----------
    table : DataFrame
        As `blocks` makes it.

    Returns
    -------
    DataFrame
        ``rank``, ``low`` and ``high`` per method: 95 % of the means when the seeds of each problem
        are drawn anew, 2,000 times; ``low_any`` and ``high_any`` when the problems are drawn, too.
        NaN with fewer than 5 seeds of some problem.
    """
    names = ("rank", "low", "high", "low_any", "high_any")
    found = dict(zip(names, _resampled(table.rank(axis=1)), strict=True))
    return pd.DataFrame(found, index=table.columns)


def _resampled(table: pd.DataFrame) -> tuple[npt.NDArray[np.float64], ...]:
    """Average means of problems; bound them by drawing seeds anew, and problems as well."""
    groups = [group.to_numpy() for _, group in table.groupby(level="problem")]
    average = np.mean([group.mean(axis=0) for group in groups], axis=0)
    n_seeds = table.index.to_frame(index=False).groupby("problem")["seed"].nunique()
    if n_seeds.min() < _FEWEST:
        return average, *np.full((4, len(average)), math.nan)
    rng = np.random.default_rng(0)
    drawn = np.array(
        [
            group[rng.integers(len(group), size=(_RESAMPLES, len(group)))].mean(axis=1)
            for group in groups
        ]
    )
    which = rng.integers(len(groups), size=(len(groups), _RESAMPLES))
    any_groups = drawn[which, np.arange(_RESAMPLES)]
    bounds = [
        np.quantile(part.mean(axis=0), [0.025, 0.975], axis=0) for part in (drawn, any_groups)
    ]
    return np.mean([group.mean(axis=0) for group in groups], axis=0), *bounds[0], *bounds[1]


def duels(table: pd.DataFrame, ours: str = OURS) -> pd.DataFrame:
    """Count in how many blocks ours has less, more and as much regret as each other method.

    Returns
    -------
    DataFrame
        ``wins``, ``losses``, ``ties`` and ``ratio`` per other method; the ratio is the geometric
        mean of our regret over theirs, of the blocks where neither failed.
    """
    others = [method for method in table.columns if method != ours]
    won = {other: (table[ours] < table[other]).sum() for other in others}
    lost = {other: (table[ours] > table[other]).sum() for other in others}
    counts = pd.DataFrame({"wins": won, "losses": lost}).reindex(others)
    counts["ties"] = len(table) - counts["wins"] - counts["losses"]
    counts["ratio"] = [_geometric_ratio(table[ours], table[other]) for other in others]
    return counts


def _geometric_ratio(ours: pd.Series, theirs: pd.Series) -> float:
    both = (ours < _FAILED) & (theirs < _FAILED)
    return float(np.exp(np.log(ours[both] / theirs[both]).mean()))


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Describe how regret goes down in relation to random search.

    Returns
    -------
    DataFrame
        A row per number of workers, method and moment: ``share`` of the trials, ``ratio``, the
        geometric mean over blocks of the regret over that of random search with all its trials,
        ``low`` and ``high`` as in `mean_ranks`, and ``n`` blocks. Failed runs are left out with
        their blocks.
    """
    base = blocks(rows)[BASE]
    found = []
    for moment, share in MOMENTS.items():
        table = blocks(rows, moment)
        table = table[(table < _FAILED).all(axis=1)]
        logs = np.log(table.div(base.reindex(table.index), axis=0))
        for n_workers, part in logs.groupby(level="n_workers"):
            for method, *bounds in zip(
                part.columns, *map(np.exp, _resampled(part)[:3]), strict=True
            ):
                names = dict(zip(("ratio", "low", "high"), map(float, bounds), strict=True))
                cell = {"n_workers": n_workers, "method": method, "share": share}
                found.append({**cell, **names, "n": len(part)})
    return pd.DataFrame(found)


def as_figure(curves: pd.DataFrame) -> Figure:
    """Draw what `curves` made: a panel per number of workers, a line per method.

    The legend lists the methods from the worst to the best at the end of the first panel.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullFormatter

    counts = sorted(curves["n_workers"].unique())
    figure = Figure(figsize=(4 * len(counts), 4.6), layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for panel, n_workers in zip(panels, counts, strict=True):
        here = curves[curves["n_workers"] == n_workers]
        for method in _from_worst(curves[curves["n_workers"] == counts[0]]):
            line = here[here["method"] == method]
            spread = [line["ratio"] - line["low"], line["high"] - line["ratio"]]
            panel.errorbar(
                *(line["share"], line["ratio"], spread),
                label=method,
                color=PEER_COLOURS[method],
                linewidth=2.5 if method == OURS else 1.2,
                capsize=2,
            )
        workers = "1 worker" if n_workers == 1 else f"{n_workers} workers"
        panel.set(title=f"{workers}, {here['n'].max()} runs", xlabel="trials so far", yscale="log")
        panel.set_xticks(list(MOMENTS.values()), [f"{share:.0%}" for share in MOMENTS.values()])
        panel.yaxis.set_major_locator(FixedLocator(_TICKS))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(axis="y", color="0.9")
    panels[0].set_ylabel("regret (1: random search, all trials)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle("Lower is better. Bars: 95 % interval when seeds are drawn anew.", fontsize=10)
    return figure


def _from_worst(curves: pd.DataFrame) -> list[str]:
    last = curves[curves["share"] == curves["share"].max()].sort_values("ratio", ascending=False)
    return list(map(str, last["method"]))


def as_markdown(rows: pd.DataFrame, new: Collection[str]) -> str:
    """Write all tables; `new` are the problems added when ADBO's settings had been chosen."""
    rows = _latest(rows)
    table = blocks(rows)
    n_seeds = table.reset_index().groupby("problem")["seed"].nunique()
    seeds = " to ".join(map(str, sorted({n_seeds.min(), n_seeds.max()})))
    commits = ", ".join(sorted(rows["commit"].unique()))
    parts = [
        "# Optimizers at equal trials, in virtual time\n",
        f"{len(n_seeds)} problems, {seeds} seeds each; commits {commits}. Rows: "
        "`results/raw/peers_quality.csv`, made by `experiments/peers/quality.py`, where README.md "
        f"says what was run. 1 is the best rank of {len(table.columns)}. Intervals are "
        "of 95 %: the first when the seeds of these problems are drawn anew, the second when the "
        f"problems are, too; none with fewer than {_FEWEST} seeds. A regret below {FLOOR:g} of "
        "random search's median on the problem counts as none, and all such as equal.\n",
        "## Mean ranks by number of workers, all problems\n",
        _rank_table(table, by="n_workers", any_problem=True),
        "## Mean ranks by number of workers, problems added when ADBO's settings had been chosen\n",
        _rank_table(table.query("problem in @new"), by="n_workers", any_problem=True),
        "## Mean ranks by kind of problem, all numbers of workers\n",
        _rank_table(table, by="kind"),
        "## Mean ranks by problem, all numbers of workers\n",
        _problem_table(table),
        "## Mean ranks after a quarter, a half and all of the trials\n",
        _moment_table(rows),
        f"## {OURS} against each: wins / losses / ties, and ratio of regrets\n",
        _duel_table(table),
        "## CPU time per trial, and runs that failed\n",
        _cost_table(rows),
    ]
    return "\n".join(parts)


def _rank_table(table: pd.DataFrame, by: str, *, any_problem: bool = False) -> str:
    columns = {str(name): mean_ranks(part) for name, part in table.groupby(level=by)}
    n = {str(name): len(part) for name, part in table.groupby(level=by)}
    return _as_table(
        [f"{name} ({n[name]} runs)" for name in columns],
        {
            method: [_interval(c.loc[method], any_problem) for c in columns.values()]
            for method in table.columns
        },
    )


def _problem_table(table: pd.DataFrame) -> str:
    ranks = table.rank(axis=1).groupby(level="problem").mean()
    return _as_table(
        list(table.columns),
        {str(name): [f"{rank:.2f}" for rank in line] for name, line in ranks.iterrows()},
        corner="problem",
    )


def _moment_table(rows: pd.DataFrame) -> str:
    tables = [blocks(rows, moment) for moment in MOMENTS]
    found = {
        (n_workers, share): mean_ranks(part)
        for share, table in zip(MOMENTS.values(), tables, strict=True)
        for n_workers, part in table.groupby(level="n_workers")
    }
    names = sorted(found)
    return _as_table(
        [f"{n_workers} w, {share:g}" for n_workers, share in names],
        {
            method: [f"{found[name].loc[method, 'rank']:.2f}" for name in names]
            for method in tables[0].columns
        },
    )


def _duel_table(table: pd.DataFrame) -> str:
    groups = {
        (str(kind), n): part for (kind, n), part in table.groupby(level=["kind", "n_workers"])
    }
    for n_workers, part in table.groupby(level="n_workers"):
        groups["all", n_workers] = part
    found = {f"{kind}, {n} w": duels(part) for (kind, n), part in groups.items()}
    return _as_table(
        list(table.columns.drop(OURS)),
        {
            name: [
                f"{d.wins:.0f} / {d.losses:.0f} / {d.ties:.0f}, {d.ratio:.2g}"
                for d in counts.itertuples()
            ]
            for name, counts in found.items()
        },
        corner="problems, workers",
    )


def _cost_table(rows: pd.DataFrame) -> str:
    lines = {}
    for method in sorted(rows["method"].unique(), key=_place):
        part = rows[rows["method"] == method]
        failed = part["error"].astype(str) != ""
        cost = part.loc[~failed, "cpu_ms_per_trial"].astype(float)
        lines[method] = [
            ", ".join(sorted(part["package"].unique())),
            f"{cost.median():.1f}",
            f"{cost.quantile(0.1):.1f} to {cost.quantile(0.9):.1f}",
            f"{failed.sum()} of {len(part)}",
        ]
    return _as_table(["package", "median, ms", "10 to 90 %, ms", "failed"], lines)


def _interval(found: pd.Series, any_problem: bool) -> str:
    if math.isnan(found["low"]):
        return f"{found['rank']:.2f}"
    also = f"; {found['low_any']:.2f} to {found['high_any']:.2f}" if any_problem else ""
    return f"{found['rank']:.2f} ({found['low']:.2f} to {found['high']:.2f}{also})"


def _as_table(columns: list[str], lines: dict[str, list[str]], corner: str = "method") -> str:
    header = [f"| {corner} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    return "\n".join([*header, *(f"| {k} | {' | '.join(v)} |" for k, v in lines.items())]) + "\n"
