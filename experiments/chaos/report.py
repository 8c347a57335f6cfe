"""The table of a run."""

from __future__ import annotations

from typing import Any


def as_markdown(rows: list[dict[str, Any]], sentences: list[str]) -> str:
    """Make the table of the last run."""
    row = rows[0]
    lines = [
        "# Everything fails at once",
        "",
        f"{row['minutes']} minutes, {row['faults_per_s']:g} faults per second, seed {row['seed']}, "
        f"commit {row['commit']}, {row['server']}, "
        f"Python {row['python']}, {row['machine']}. {row['rounds']} networks one after the other, "
        f"{row['acknowledged']:,} acknowledged operations, {row['finished']:,} finished and "
        f"{row['failed']:,} failed tasks, {row['reaped']} workers found lost; the whole state was "
        f"checked {row['looks']:,} times meanwhile. Rows: `results/raw/chaos_histories.csv`, made "
        "by `python -m experiments.chaos`.",
        "",
        "| what was found | how often |",
        "|---|---:|",
        f"| acknowledged, but not there | {row['lost']} |",
        f"| there more than once | {row['doubled']} |",
        f"| refused, but there | {row['refused_but_there']} |",
        f"| claimed by two clients | {row['claimed_twice']} |",
        f"| pushes of which a part is there | {row['torn_push']} |",
        f"| in another order than in time | {row['out_of_order']} |",
        f"| reads that lack what was acknowledged before | {row['stale_read']} |",
        f"| tasks or processes left over | {row['stuck']} |",
        f"| places of the budget overshot or fallen short | {row['budget']} |",
        f"| workers ended by an error | {row['crashed']} |",
        f"| impossible states | {row['impossible']} |",
        "",
        "| fault | injected |",
        "|---|---:|",
    ]
    lines += [f"| {row['fault']} | {row['n_injected']} |" for row in rows]
    lines += ["", *sentences] if sentences else []
    return "\n".join(lines) + "\n"
