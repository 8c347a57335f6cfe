"""Rows to tables to figures: what the report says follows from the rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.lightgbm_study.accounting import (
    aggregate,
    average,
    incumbents,
    intervals,
    shares_over_time,
    worker_table,
)
from experiments.lightgbm_study.figures import draw_incumbents, save
from experiments.lightgbm_study.report import as_markdown
from experiments.lightgbm_study.runs import Configuration, Run


def make_run(strategy: str = "adbo", replication: int = 1, **changed: Any) -> Run:
    """Make a run of 2 workers and 10 s that can be added up by hand.

    Worker 0: proposes 1 s, evaluates from 1 to 5, proposes 1 s, evaluates from 6 to 12.
    Worker 1: waits until 2, proposes 2 s, evaluates from 4 to 9.
    """
    trials = pd.DataFrame(
        {
            "state": ["finished", "finished", "finished"],
            "error": [0.3, 0.2, 0.1],
            "worker": [0, 1, 0],
            "started_s": [1.0, 4.0, 6.0],
            "ended_s": [5.0, 9.0, 12.0],
            "objective_s": [4.0, 5.0, 6.0],
            "surrogate_s": [0.75, 1.5, 0.75],
            "acquisition_s": [0.25, 0.5, 0.25],
            "proposer": [np.nan] * 3,
            "proposer_cpu_s": [np.nan] * 3,
        }
    )
    samples = pd.DataFrame(
        {
            "worker": [0, 0, 1, 0],
            "at_s": [5.0, 10.0, 9.0, 12.0],
            "interval_s": [5.0, 5.0, 5.0, 2.0],
            "cpu_s": [4.0, 3.0, 2.5, 2.0],
            "rss_bytes": [1e8, 2e8, 1e8, 3e8],
        }
    )
    utilization = pd.DataFrame(
        {
            "worker": [0, 1],
            "n_trials": [2, 1],
            "wall": [10.0, 10.0],
            "startup": [0.0, 2.0],
            "objective": [8.0, 5.0],
            "surrogate": [1.5, 1.5],
            "acquisition": [0.5, 0.5],
            "coordination": [0.0, 0.0],
            "proposer": [0.0, 0.0],
            "idle": [0.0, 1.0],
        }
    )
    return Run(
        Configuration("toy", "abc", strategy, replication, 2, 10.0, "ours", 9, 1, "local"),
        {"deadline_s": 10.0, "design_best": 0.25, "n_failed": 0, "n_lost": 0},
        {},
        changed.get("trials", trials),
        samples,
        utilization,
    )


def test_a_run_becomes_a_row_of_the_papers_table() -> None:
    (row,) = aggregate([make_run()]).to_dict("records")
    assert row["learners_s"] == 13.0
    assert (row["surrogate_s"], row["acquisition_s"]) == (3.0, 1.0)
    assert row["mean_learner_s"] == 5.0
    # The third trial ended after the deadline.
    assert (row["evaluations"], row["error"]) == (2, 0.2)
    assert row["utilization"] == pytest.approx(17 / 20)
    assert row["objective_share"] == pytest.approx(13 / 20)
    assert row["startup_share"] == pytest.approx(2 / 20)
    assert row["cpu_share"] == pytest.approx(9.5 / 20)
    assert row["cpu_per_busy"] == pytest.approx(9.5 / 17)
    assert row["memory_mb"] == 300.0


def test_a_run_without_a_better_trial_keeps_the_designs_best() -> None:
    run = make_run()
    (row,) = aggregate([make_run(trials=run.trials.iloc[:0])]).to_dict("records")
    assert (row["evaluations"], row["error"]) == (0, 0.25)


def test_replications_are_averaged() -> None:
    second = make_run(replication=2)
    second.trials["error"] = [0.3, 0.1, 0.1]
    means = average(aggregate([make_run(), second, make_run("random")]))
    assert means["strategy"].tolist() == ["adbo", "random"]
    assert means["replications"].tolist() == [2, 1]
    assert means["error"][0] == pytest.approx(0.15)


def test_intervals_are_what_each_worker_did_until_the_deadline() -> None:
    spans = intervals(make_run()).sort_values(["worker", "start_s"])
    assert list(spans.itertuples(index=False, name=None)) == [
        (0, "proposing", 0.0, 1.0),
        (0, "objective", 1.0, 5.0),
        (0, "proposing", 5.0, 6.0),
        (0, "objective", 6.0, 10.0),
        (1, "proposing", 2.0, 4.0),
        (1, "objective", 4.0, 9.0),
    ]
    run = make_run("acbo")
    run.trials["proposer"] = 2
    assert set(intervals(run).query("phase == 'proposing'")["worker"]) == {-1}


def test_shares_over_time_add_up_to_those_of_the_run() -> None:
    shares = shares_over_time([make_run()], n_bins=5)
    assert shares["at_s"].tolist() == [1.0, 3.0, 5.0, 7.0, 9.0]
    # From 4 to 6: worker 0 evaluates 1 s and proposes 1 s, worker 1 evaluates 2 s.
    assert shares["objective"].tolist() == pytest.approx([1 / 4, 2 / 4, 3 / 4, 4 / 4, 3 / 4])
    assert shares["busy"].mean() == pytest.approx(17 / 20)
    assert shares["cpu"].mean() == pytest.approx(9.5 / 20)
    # From 4 to 6: worker 0 at 4/5 and then at 3/5 of a core, worker 1 at half of one.
    assert shares["cpu"][2] == pytest.approx((0.8 + 0.6 + 1.0) / 4)


def test_shares_over_time_are_means_though_replications_do_not_end_at_the_same_instant() -> None:
    first, second = make_run(), make_run(replication=2)
    second.summary["deadline_s"] += 1e-3
    shares = shares_over_time([first, second, make_run("random")], n_bins=5)
    assert shares["at_s"].tolist() == [1.0, 3.0, 5.0, 7.0, 9.0] * 2
    assert shares["strategy"].tolist() == ["adbo"] * 5 + ["random"] * 5
    assert shares["objective"][:5].tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.75])


def test_the_worker_table_has_the_shares_of_each_worker() -> None:
    table = worker_table([make_run()])
    assert table["objective_share"].tolist() == [0.8, 0.5]
    assert table["busy_share"].tolist() == [1.0, 0.7]
    assert table["cpu_share"].tolist() == pytest.approx([0.7, 0.25])


def test_the_incumbent_begins_with_the_design_and_has_a_band() -> None:
    second = make_run(replication=2)
    second.trials["error"] = [0.05, 0.2, 0.1]
    curve = incumbents([make_run(), second], n_points=11)
    at = curve.set_index("at_s")
    assert at.loc[4.0, ["mean", "lowest", "highest"]].tolist() == [0.25, 0.25, 0.25]
    assert at.loc[5.0, ["mean", "lowest", "highest"]].tolist() == pytest.approx([0.15, 0.05, 0.25])
    assert at.loc[9.0, "highest"] == 0.2
    assert curve["replications"].tolist() == [2] * 11


def test_tables_are_written_with_their_figures(tmp_path: Path) -> None:
    curve = incumbents([make_run()], n_points=11)
    save(draw_incumbents(curve), curve, tmp_path / "figures" / "incumbent")
    read = pd.read_csv(tmp_path / "figures" / "incumbent.csv")
    assert read["mean"].tolist() == curve["mean"].tolist()
    assert (tmp_path / "figures" / "incumbent.png").stat().st_size > 1000
    text = as_markdown(average(aggregate([make_run()])), worker_table([make_run()]), [make_run()])
    assert "| toy | adbo | 1 | 13 | 3.00 | 1.00 | 5.00 | 2 | 0.2000 | 85.0% | 65.0% |" in text
    assert "| toy | adbo | 50.0% .. 80.0% |" in text
