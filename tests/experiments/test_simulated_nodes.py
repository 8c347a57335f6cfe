"""Thousands of virtual workers: what the rows and the table say."""

from typing import Any

import pandas as pd
import pytest

from experiments import simulated_nodes
from experiments.simulated_nodes import as_markdown, measure
from rush_opt.simulation.coordination import Coordination


def test_a_server_that_is_too_slow_takes_the_time_of_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulated_nodes, "cost_of_adding", lambda: 0.0)
    slow = Coordination(
        step_s=0.0, record_s=0.0, server_step_s=0.5, server_record_s=0.0, workers_per_reader=1
    )
    monkeypatch.setitem(simulated_nodes.WAYS, "slow", slow)
    row = measure("slow", 4, 40.0, 1)
    # Two steps per second for four workers with trials of one second.
    assert row["tasks_per_s"] == pytest.approx(2.0, rel=0.1)
    assert row["objective_share"] == pytest.approx(0.5, abs=0.05)
    assert row["coordination_share"] == pytest.approx(0.5, abs=0.05)


def test_the_table_shows_the_last_run_of_each_cell() -> None:
    shared: dict[str, Any] = {
        "way": "each worker reads",
        "n_workers": 4096,
        "timeout_s": 6.0,
        "proposal_share": 0.01,
        "coordination_share": 0.5,
        "tasks_per_s": 2000.0,
        "n_ended": 12_000,
        "machine": "a machine",
        "python": "3.11",
        "commit": "abc",
    }
    rows = pd.DataFrame([{**shared, "objective_share": share} for share in (0.1, 0.45)])
    table = as_markdown(rows)
    assert "| each worker reads | 4,096 | 2,000 | 0.450 | 0.010 | 0.500 | 12,000 |" in table
    assert "0.100" not in table
