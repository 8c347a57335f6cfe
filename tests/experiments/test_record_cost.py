"""The cost of learning what others have finished: both sources are read, and are in the table."""

import pandas as pd
import pytest

from experiments import record_cost
from experiments.record_cost import as_markdown, measure


def test_both_sources_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_cost, "N_NEW", (4,))
    rows = pd.DataFrame(measure(2))
    assert len(rows) == 2 * 2 * 2
    assert set(rows["source"]) == {"server", "memory"}
    assert (rows["us"] > 0).all()


def test_the_table_has_medians_of_the_last_run() -> None:
    shared = {"n_new": 256, "machine": "a machine", "python": "3.11", "commit": "abc"}
    cells = [("server", "fetch", 1.0), ("memory", "fetch", 0.5), ("server", "add", 2.0)]
    rows = pd.DataFrame(
        [
            {**shared, "source": source, "part": part, "us": us + spread, "started": started}
            for started, offset in (("monday", 100.0), ("tuesday", 0.0))
            for source, part, us in cells
            for spread in (offset, offset + 0.25)
        ]
    )
    assert "| 256 | 1.12 (1.06, 1.19) | 0.62 (0.56, 0.69) | 2.12 (2.06, 2.19) | 2 |" in as_markdown(
        rows
    )
