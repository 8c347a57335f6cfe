"""A sample of the runs with hostile objectives, and the table that is made of all of them."""

from __future__ import annotations

import os
import random

import pandas as pd
import pytest

from experiments.hostile_objectives.cases import CASES, KINDS
from experiments.hostile_objectives.report import as_markdown
from experiments.hostile_objectives.runs import Run, all_runs, play
from experiments.provenance import RAW, TABLES

# Whoever changes how workers or evaluation processes run should play all: see the experiment.
SEED, N_RUNS = 1, 8

# Cases of these kinds are in tests/opt/test_hostile_objectives.py, all of them.
ELSEWHERE = ("raises", "returns")


def sample() -> list[Run]:
    runs = [run for run in all_runs() if not run.cases[0].startswith(ELSEWHERE)]
    return random.Random(SEED).sample(runs, N_RUNS)


def name_of(run: Run) -> str:
    limits = "limits" if run.limited else "no limits"
    return f"{run.cases[0]}, {len(run.cases)}, {limits}, {run.optimizer}"


@pytest.mark.parametrize("run", sample(), ids=name_of)
def test_a_run_with_hostile_objectives_is_exact_and_leaves_nothing(run: Run) -> None:
    before = dict(os.environ)
    played = play(run)
    assert dict(os.environ) == before
    assert played.exact_budget
    assert played.others_right
    assert [verdict for verdict in played.verdicts if not verdict.as_expected] == []
    assert played.n_left_over == 0


def test_each_case_is_in_four_runs() -> None:
    names = [name for run in all_runs() for name in run.cases]
    assert {name: names.count(name) for name in CASES} == dict.fromkeys(CASES, 4)
    assert sum(map(len, KINDS.values())) == len(CASES) >= 150


def test_the_table_is_made_from_the_rows() -> None:
    rows = pd.read_csv(RAW / "hostile_objectives.csv", keep_default_na=False)
    assert as_markdown(rows) == (TABLES / "hostile_objectives.md").read_text()


def test_the_table_names_what_is_wrong() -> None:
    row = {
        "kind": "exits",
        "case": "_exit(0)",
        "limits": "no",
        "optimizer": "adbo",
        "expected": "lost",
        "found": "finished",
        "exact_budget": True,
        "right": False,
        "left_over": 2,
        "seconds": 1.0,
        "machine": "none",
    }
    table = as_markdown(pd.DataFrame([row, row | {"case": "fine", "right": True, "left_over": 0}]))
    assert "| exits | 2 | 2 | 2 | 1 | 2 | 1.0 |" in table
    assert "| exits | _exit(0) | no | adbo | lost | finished | 2 |" in table
