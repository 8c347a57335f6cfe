"""Rows to tables: what the reports say follows from the rows."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import (
    adbo_vs_random,
    core_overhead,
    core_overhead_report,
    proposal_cost,
    script_floor,
    simulation_check,
)
from experiments.provenance import append_rows, provenance
from experiments.surrogate_study.tables import log_regret
from rush_opt import Float, simulate

COMMON = {"commit": "abc", "machine": "a machine", "python": "3.11"}


def cells(table: str, first: str) -> list[str]:
    """Return the cells of the row that starts with `first`."""
    rows = [line for line in table.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def test_regrets_are_compared_seed_by_seed() -> None:
    regrets = {"adbo": [0.1, 0.01, 0.4], "random": [1.0, 1.0, 0.1]}
    rows = [
        {"problem": name, "optimizer": optimizer, "seed": seed, "regret": regret}
        | {"n_trials": 100, "n_workers": 2}
        for name in adbo_vs_random.CHOSEN
        for optimizer, values in regrets.items()
        for seed, regret in enumerate(values)
    ]
    row = cells(adbo_vs_random.as_markdown(rows, COMMON), "branin")
    # Ratios 0.1, 0.01 and 4: their geometric mean is 0.159, and two of three are wins.
    assert row == ["branin", "3", "0.1", "1", "0.159", "2", "1"]


def core_row(operation: str, values: list[float], **options: Any) -> dict[str, Any]:
    row = core_overhead.row(operation, core_overhead_report.BOUND_CELL, values, "us", **options)
    return {**row, **COMMON, "server": "valkey 9"}


def test_timings_are_medians_in_multiples_of_the_floor() -> None:
    row = core_row("finish", [20.0, 30.0, 90.0], floor=15.0)
    assert (row["median"], row["floors"], row["n"]) == (30.0, 2.0, 3)
    table = core_overhead_report.as_markdown([row])
    assert "| finish | 2 floors | 2.00 |" in table
    # R rush's median of the same operation stands beside it, in microseconds.
    assert cells(table.split("## Grid")[1], "finish")[1:] == ["10", "1", "30.0"]
    assert cells(table.split("## Beside R")[1], "finish")[3:] == ["30.0", "260", "280"]


def test_the_table_shows_an_exceeded_bound() -> None:
    rows = [
        core_row("fail", [31.0] * 3, floor=15.0),
        core_row(core_overhead_report.TO_MATRIX, [299e3] * 3),
        core_row("server memory per task, MEMORY USAGE of the log", [187.0], floor=180.0),
    ]
    table = core_overhead_report.as_markdown(rows)
    assert cells(table, "fail")[1:] == ["2 floors", "2.07", "2.07 to 2.07", "no"]
    assert cells(table, core_overhead_report.TO_MATRIX)[1:3] == ["300 CPU ms", "299.00"]
    memory = cells(table, "server memory per task, MEMORY USAGE of the log")
    assert memory[1:3] + memory[-1:] == ["1.1 record bytes", "1.04", "yes"]


def test_a_cell_without_a_value_is_listed_with_its_reason() -> None:
    measured, missing = core_row("finish", [20.0]), core_row("all", [], reason="too much")
    assert (missing["median"], missing["n"]) == ("", 0)
    table = core_overhead_report.as_markdown([measured, missing])
    assert "- all (too much): parameters of numbers 10 of 1, 100,000 tasks." in table
    as_read = [{name: str(value) for name, value in row.items()} for row in (measured, missing)]
    assert core_overhead_report.as_markdown(as_read) == table
    assert len(core_overhead_report.frame([measured, missing])) == 1


def test_the_times_of_script_floor_are_given_in_floors() -> None:
    rows = script_floor.as_rows({"PING": [1e-5] * 3, "empty script": [1e-5, 2e-5, 2e-5]})
    assert [row["floors"] for row in rows] == [1.0, 2.0]
    told = cells(script_floor.as_markdown(rows, COMMON), "empty script")
    assert (told[1], told[-1]) == ("20.0", "2.00")


def test_proposal_costs_are_summarized_by_cell() -> None:
    rows = pd.DataFrame(
        [
            {"what": "fit", "n_dims": 8, "n_finished": 100, "value": value, "unit": "CPU ms"}
            for value in (1.0, 2.0, 9.0)
        ]
    )
    assert "| fit | 8 | 100 | 2.00 | 1.50 .. 5.50 | 3 |" in proposal_cost.table(rows)


def test_a_regret_of_nothing_counts_as_found() -> None:
    rows = pd.DataFrame({"regret": [0.0, 1e-9, 0.1]})
    assert log_regret(rows, "regret").tolist() == pytest.approx([-6.0, -6.0, -1.0])


def test_rows_are_appended_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    append_rows(path, [{"value": 1}])
    append_rows(path, [{"value": 2}])
    append_rows(path, [])
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"value": "1"}, {"value": "2"}]
    with pytest.raises(ValueError, match="choose another file"):
        append_rows(path, [{"other": 3}])
    assert len(path.read_text().splitlines()) == 3


def test_every_row_says_where_it_comes_from() -> None:
    source = provenance()
    assert {"commit", "machine", "python", "numpy", "started"} <= source.keys()
    assert all(isinstance(value, str) and value for value in source.values())


def test_real_runs_stand_beside_virtual_ones() -> None:
    rows = [
        {"kind": kind, "optimizer": "acbo", "n_workers": 4, "seed": seed, "timeout": 10.0}
        | {"n_in_half": n, "objective_share_in_half": n / 50, "proposal_ms": 2.5, "load": 0.5}
        for kind, counts in (("real", [40, 38, 20]), ("virtual", [41, 39.9, 37]))
        for seed, n in enumerate(counts)
    ]
    table = simulation_check.as_markdown(rows, COMMON)
    assert cells(table, "acbo") == [
        *("acbo", "4", "3", "38", "39.9", "1.050"),
        *("0.760", "0.798", "2.5", "2.5"),
    ]


def test_the_second_half_of_a_run_is_counted_up_to_its_timeout() -> None:
    result = simulate(
        lambda config: config["x"],
        {"x": Float(0, 1)},
        n_workers=2,
        timeout=10.0,
        optimizer="random",
        seed=1,
        duration=lambda config, number: 3.0,
        cost=lambda n_known: (0.0, 0.0),
    )
    found = simulation_check.described(result)
    assert found["n_trials"] == 6  # two each at 3, 6 and 9; two more end at 12
    assert found["n_in_half"] == 4
    assert found["objective_share_in_half"] == pytest.approx(1.0)
