"""How soon workers run trials: what the records of the objective say, and what the table shows."""

import os
import struct
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.start_up import as_markdown, times
from experiments.start_up_cell import RECORD, RECORDS, SLEEP, evaluate, memory_of_workers


def test_times_are_those_of_the_first_trial_of_each_worker() -> None:
    found = [(12.5, 2, 20, True), (11.0, 1, 10, False), (11.5, 1, 10, False), (13.0, 2, 20, True)]
    assert times(found, 2, None, 10.0) == {"first_s": 1.0, "all_s": 2.5, "modelled_s": 2.5}
    assert times(found, 3, 10.25, 10.0) == {"first_s": 1.0, "all_s": None, "modelled_s": 0.25}
    assert times([], 1, None, 10.0) == {"first_s": None, "all_s": None, "modelled_s": None}


def test_the_objective_records_when_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "records"
    records.touch()
    monkeypatch.setenv(RECORDS, str(records))
    monkeypatch.setenv(SLEEP, "0")
    evaluate({f"x{i}": 0.3 for i in range(8)})
    ((_, pid, thread, is_modelled),) = struct.iter_unpack(RECORD, records.read_bytes())
    assert (pid, thread, is_modelled) == (os.getpid(), threading.get_native_id(), False)
    memory = memory_of_workers(1)
    assert 1 < memory["private_mb"] <= memory["pss_mb"]
    assert memory_of_workers(2) == {}


def row_of(
    version: str, commit: str, started: str, first_s: float, **changed: Any
) -> dict[str, Any]:
    return {
        "version": version,
        "tool": "rush random",
        "n_workers": 2,
        "sleep_s": 0.05,
        "n_trials": 400,
        "first_s": first_s,
        "all_s": 1.0,
        "modelled_s": None,
        "total_s": 2.0,
        "cpu_s": 3.0,
        "pss_mb": 40.0,
        "private_mb": 30.0,
        "load": 0.5,
        "commit": commit,
        "machine": "a machine",
        "python": "3.11",
        "started": started,
        **changed,
    }


def test_the_table_shows_both_versions_on_the_last_day() -> None:
    first, last = "2026-01-01T03:04:05+00:00", "2026-01-02T03:04:05+00:00"
    rows = pd.DataFrame(
        [
            row_of("after", "old", first, 0.1),
            row_of("before", "older", first, 0.2),
            row_of("before", "older", last, 0.8),
            row_of("after", "new", last, 0.3),
            row_of("after", "new", last, 0.5),
            row_of("after", "new", last, 0.4, tool="Optuna random, threads", pss_mb=None),
        ]
    )
    table = as_markdown(rows)
    assert "| after | rush random | 2 | 50 | 400 | 0.40 | 1.00 |  | 2.00 | 3.00 | 40, 30 |" in table
    assert "| before | rush random | 2 | 50 | 400 | 0.80 |" in table
    assert "|  | Optuna random, threads | 2 | 50 | 400 | 0.40 |" in table
