"""The table of the matrix: rows of runs to a table by kind."""

from __future__ import annotations

import pandas as pd

__all__ = ["as_markdown"]


def as_markdown(rows: pd.DataFrame) -> str:
    """Make the table that goes with the last row of each case, limits and optimizer.

    Parameters
    ----------
    rows : DataFrame
        One row for each case, with and without limits, and optimizer; the columns of
        ``results/raw/hostile_objectives.csv``.
    """
    last = rows.drop_duplicates(["kind", "case", "limits", "optimizer"], keep="last")
    lines = [
        "# Objectives that do the worst",
        "",
        f"{len(last)} of {4 * _n_cases(last)} combinations have been played: {_n_cases(last)} "
        "cases, with and without limits, with random search and ADBO; two workers each. "
        f"Machine: {last['machine'].iloc[0]}. "
        "Made by `python -m experiments.hostile_objectives` from "
        "`results/raw/hostile_objectives.csv`.",
        "",
        "The budget is exact if as many trials count as were asked for. The table is right if the "
        "hostile trial has the expected state and reason, and all others finished with their own "
        "values. Processes are left over if they live when `tune()` returns.",
        "",
        "| kind | cases | rows | exact budget | right table | left over | longest run, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, group in [*last.groupby("kind", sort=True), ("all", last)]:
        lines.append(
            f"| {kind} | {_n_cases(group)} | {len(group)} | {_count(group['exact_budget'])} | "
            f"{_count(group['right'])} | {group['left_over'].sum()} | "
            f"{group['seconds'].max():.1f} |"
        )
    wrong = last[~(_is_true(last["right"]) & (last["left_over"] == 0))]
    if len(wrong):
        lines += ["", "Rows that are not as expected:", ""]
        lines += ["| kind | case | limits | optimizer | expected | found | left over |"]
        lines += ["|---|---|---|---|---|---|---:|"]
        names = ["kind", "case", "limits", "optimizer", "expected", "found", "left_over"]
        lines += [
            f"| {' | '.join(map(str, row))} |" for row in wrong[names].itertuples(index=False)
        ]
    return "\n".join(lines) + "\n"


def _is_true(column: pd.Series) -> pd.Series:
    return column.astype(str) == "True"


def _count(column: pd.Series) -> int:
    return int(_is_true(column).sum())


def _n_cases(rows: pd.DataFrame) -> int:
    return len(rows[["kind", "case"]].drop_duplicates())
