"""The experiment that lets everything fail at once, for a few seconds."""

import psutil

from experiments.chaos.faults import fault_sequence
from experiments.chaos.report import as_markdown
from experiments.chaos.rounds import VERDICTS, run_chaos


def test_a_few_seconds_of_chaos_break_nothing_and_leave_nothing_behind() -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    faults, found, sentences = run_chaos(
        seed=5, for_s=6.0, round_s=6.0, limit=100, faults_per_s=3.0
    )
    assert sum(faults.values()) > 3
    assert found["acknowledged"] >= 100
    assert {name: found[name] for name in VERDICTS if found[name]} == {}
    assert sentences == []
    left = [process for process in psutil.Process().children() if process.pid not in before]
    assert [process for process in left if "resource_tracker" not in str(process.cmdline())] == []


def test_the_same_seed_chooses_the_same_faults() -> None:
    first, second = fault_sequence(7, minute_at=3), fault_sequence(7, minute_at=3)
    faults = [next(first) for _ in range(50)]
    assert faults == [next(second) for _ in range(50)]
    assert faults[3] == "stop a worker for over a minute"


def test_the_table_says_what_was_found() -> None:
    row = dict.fromkeys(("minutes", "seed", "commit", "server", "python", "machine"), "1")
    verdicts = [name.replace(" ", "_") for name in VERDICTS]
    counts = ("rounds", "acknowledged", "finished", "failed", "reaped", "looks", *verdicts)
    counts += ("faults_per_s",)
    rows = [{**row, **dict.fromkeys(counts, 0), "lost": 3, "fault": "kill", "n_injected": 2}]
    table = as_markdown(rows, ["a sentence"])
    assert "| acknowledged, but not there | 3 |" in table
    assert "| kill | 2 |" in table
    assert table.endswith("a sentence\n")
