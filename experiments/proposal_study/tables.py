"""From raw rows to a table: a pure function."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Below this a regret counts as none: the values of a random point are around 0.3.
_FLOOR = 3e-4

_MOMENTS = ("regret_at_quarter", "regret_at_half", "regret")
_KEYS = ["problem", "seed"]


def comparison_table(rows: pd.DataFrame, *, base: str = "base") -> str:
    """Compare variants with a base on the problems and seeds that both ran.

    Parameters
    ----------
    rows : DataFrame
        One run each.
    base : str

    Returns
    -------
    str
        Markdown: per number of workers and variant the geometric mean over problems and seeds of
        regret, divided by the base's in the same blocks (below 1 is better), with its 95 %
        interval by the normal approximation; the ratio at the end per problem; trials that
        repeated a finished or running one; CPU time.
    """
    problems = list(dict.fromkeys(sorted(rows["problem"])))
    head = [
        *("workers", "trials", "variant", "a quarter", "a half", "the end", "95 % interval"),
        *(f"{problem}" for problem in problems),
        *("blocks", "repeats", "CPU ms per trial"),
    ]
    lines = [
        f"# Regret relative to: {base}",
        "",
        "Rows: `results/raw/proposal_study.csv`, made by "
        "`python -m experiments.proposal_study.run`.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for (n_workers, n_trials), part in rows.groupby(["n_workers", "n_trials"]):
        anchor = part[part["variant"] == base].drop_duplicates(_KEYS).set_index(_KEYS)
        for name in dict.fromkeys(part["variant"]):
            own = part[part["variant"] == name].drop_duplicates(_KEYS).set_index(_KEYS)
            common = own.index.intersection(anchor.index)
            own, ours = own.loc[common], anchor.loc[common]
            ratios = {m: _log(own[m]) - _log(ours[m]) for m in _MOMENTS}
            end = ratios["regret"]
            error = 1.96 * end.std() / np.sqrt(len(end))
            low, high = 10 ** (end.mean() - error), 10 ** (end.mean() + error)
            each = 10 ** end.groupby("problem").mean().reindex(problems)
            cells = [
                *(n_workers, n_trials, name),
                *(f"{10 ** ratio.mean():.2f}" for ratio in ratios.values()),
                f"{low:.2f} .. {high:.2f}",
                *(f"{ratio:.2f}" for ratio in each),
                *(len(common), f"{own['n_repeats'].mean():.1f}"),
                f"{1e3 * own['cpu_s'].mean() / n_trials:.1f}",
            ]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _log(regrets: pd.Series[float]) -> pd.Series[float]:
    return np.log10(regrets.clip(lower=_FLOOR))
