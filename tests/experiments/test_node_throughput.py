"""The throughput of real workers: what the table shows."""

import os
from typing import Any

import pandas as pd

from experiments.node_throughput import as_markdown
from experiments.process_memory import memory_of


def row_of(version: str, commit: str, started: str, tasks_per_s: float) -> dict[str, Any]:
    return {
        "version": version,
        "n_workers": 2,
        "tasks_per_s": tasks_per_s,
        "server_us_per_task": 40.0,
        "other_us_per_task": 60.0,
        "pss_mb": 90.0,
        "private_mb": 20.0,
        "load": 0.5,
        "repeat": 0,
        "commit": commit,
        "machine": "a machine",
        "python": "3.11",
        "started": started,
    }


def test_the_table_shows_the_last_day() -> None:
    rows = pd.DataFrame(
        [
            row_of("after", "old", "2026-01-01T03:04:05+00:00", 1.0),
            row_of("before", "older", "2026-01-02T03:04:05+00:00", 5_000.0),
            row_of("after", "new", "2026-01-02T03:04:05+00:00", 9_000.0),
            row_of("after", "new", "2026-01-02T03:04:05+00:00", 10_000.0),
        ]
    )
    table = as_markdown(rows)
    assert "| after, new | 2 | 9,500 (9,000, 10,000) | 40 (40, 40) |" in table
    assert "| before, older | 2 | 5,000 (5,000, 5,000) |" in table
    assert "old |" not in table


def test_private_memory_is_a_part_of_the_proportional_memory() -> None:
    memory = memory_of([os.getpid()])
    assert 1 < memory["private_mb"] <= memory["pss_mb"]
