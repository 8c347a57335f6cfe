"""Histories of clients, workers and servers that are killed, stopped and cut off are good ones."""

import pytest

from experiments.chaos.rounds import VERDICTS, run_chaos


@pytest.mark.long
def test_a_minute_of_faults_contradicts_no_promise() -> None:
    faults, found, sentences = run_chaos(
        seed=14, for_s=50.0, round_s=20.0, limit=1_000, faults_per_s=3.0
    )
    assert sentences == []
    assert {name: found[name] for name in VERDICTS if found[name]} == {}
    assert found["acknowledged"] >= 3_000
    assert len(+faults) >= 12
