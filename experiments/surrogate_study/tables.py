"""From raw rows to tables: pure functions."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Below this a regret counts as none: the optimum was found for every practical purpose.
_FLOOR = 1e-6

_MOMENTS = {"regret_at_quarter": "a quarter", "regret_at_half": "a half", "regret": "the end"}
_OUTCOMES = {"problem", "n_workers", "n_trials", "seed", "cpu_s", *_MOMENTS}
_SOURCE = {"commit", "machine", "python", "numpy", "scipy", "scikit_learn", "started"}


def log_regret(rows: pd.DataFrame, moment: str) -> pd.Series:
    """Take the decimal logarithm of a regret column."""
    return np.log10(rows[moment].clip(lower=_FLOOR))


def screening_table(rows: pd.DataFrame) -> str:
    """Estimate each level's effect on the log regret, all factors at once.

    Parameters
    ----------
    rows : DataFrame
        Outcomes and one column per factor.

    Returns
    -------
    str
        Markdown. The rounds are fitted separately, after subtracting each problem and worker
        number's mean and dividing by its standard deviation: -0.1 is a tenth of a standard
        deviation better than the round's average.
    """
    # The second round's seeds are these; the first's are below, or far above in a short trial run.
    second = rows["seed"].between(5_000, 99_999)
    parts = []
    for name, part in (("first", rows[~second]), ("second", rows[second])):
        if len(part):
            parts.append(f"## The {name} round: {len(part)} runs\n\n{_effects(part)}")
    return "# Effects of settings on log regret\n\n" + "\n".join(parts)


def _effects(rows: pd.DataFrame) -> str:
    factors = [c for c in rows if c not in _OUTCOMES | _SOURCE and rows[c].nunique() > 1]
    blocks = [rows["problem"], rows["n_workers"]]
    columns, design = [], [np.ones(len(rows))]
    for factor in factors:
        first, *others = sorted(rows[factor].unique())
        for level in others:
            columns.append((factor, level))
            design.append(np.where(rows[factor] == level, 1.0, -1.0 * (rows[factor] == first)))
    A = np.array(design).T
    effects: dict[str, dict[tuple[str, float], float]] = {}
    errors = {}
    for moment in _MOMENTS:
        y = log_regret(rows, moment)
        grouped = y.groupby(blocks)
        z = ((y - grouped.transform("mean")) / grouped.transform("std")).fillna(0.0).to_numpy()
        coefficients, *_ = np.linalg.lstsq(A, z, rcond=None)
        errors[moment] = (z - A @ coefficients).std() * np.sqrt(2.0 / len(rows))
        effects[moment] = dict(zip(columns, coefficients[1:], strict=True))
        for factor in factors:
            first = rows[factor].min()
            effects[moment][factor, first] = -sum(
                effect for (name, _), effect in effects[moment].items() if name == factor
            )
    lines = [
        "| factor | level | after a quarter | a half | the end |",
        "|---|---|---|---|---|",
    ]
    for factor in factors:
        for level in sorted(rows[factor].unique()):
            cells = " | ".join(f"{effects[moment][factor, level]:+.2f}" for moment in _MOMENTS)
            lines.append(f"| {factor} | {level} | {cells} |")
    error = " | ".join(f"{errors[moment]:.2f}" for moment in _MOMENTS)
    return "\n".join([*lines, f"| standard error, three levels | | {error} |"]) + "\n"


def comparison_table(rows: pd.DataFrame) -> str:
    """Compare strategies on the problems and seeds that all of them ran.

    Parameters
    ----------
    rows : DataFrame
        Outcomes and a column `strategy`.

    Returns
    -------
    str
        Markdown: per number of workers and strategy the geometric mean over problems and seeds of
        regret, divided by that of the base strategy in the same blocks (below 1 is better), the
        interval of one standard error around it, the share of blocks won (a tie is half), and the
        CPU time.
    """
    names = set(rows["strategy"])
    base = next(name for name in ("base", "500 rows, 0 best") if name in names)
    lines = [
        f"# Regret relative to: {base}",
        "",
        "| workers | trials | strategy | a quarter | a half | the end | its interval "
        "| better at the end in | blocks | CPU ms per trial |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ["problem", "seed"]
    for (n_workers, n_trials), part in rows.groupby(["n_workers", "n_trials"]):
        anchor = part[part["strategy"] == base].drop_duplicates(keys).set_index(keys)
        for name, mine in part.groupby("strategy"):
            own = mine.drop_duplicates(keys).set_index(keys)
            common = own.index.intersection(anchor.index)
            ratios = {
                moment: log_regret(own.loc[common], moment) - log_regret(anchor.loc[common], moment)
                for moment in _MOMENTS
            }
            means = " | ".join(f"{10 ** ratio.mean():.2f}" for ratio in ratios.values())
            end = ratios["regret"]
            won = (end < 0).mean() + 0.5 * (end == 0).mean()
            error = end.std() / np.sqrt(len(end)) if len(end) > 1 else np.nan
            low, high = (10 ** (end.mean() + side * error) for side in (-1, 1))
            cost = 1e3 * own["cpu_s"].mean() / n_trials
            lines.append(
                f"| {n_workers} | {n_trials} | {name} | {means} | {low:.2f} .. {high:.2f} "
                f"| {won:.0%} | {len(common)} | {cost:.1f} |"
            )
    return "\n".join(lines) + "\n"
