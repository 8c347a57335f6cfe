"""Regressions that stand in for objectives, and runs of many workers on them."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from experiments.lightgbm_study.cli import main
from experiments.lightgbm_study.data import DataError
from experiments.lightgbm_study.design import ConfigurationError
from experiments.lightgbm_study.paper import ROWS, find_row, paper_cost
from experiments.lightgbm_study.regression import StandIn, Trees, check_fit, read_evaluations
from experiments.lightgbm_study.simulation import table
from experiments.spaces import LIGHTGBM
from rush_opt import Space

N = 300


@pytest.fixture
def evaluations(tmp_path: Path) -> Path:
    """A table of evaluations whose error and seconds follow from the learning rate."""
    rng = np.random.default_rng(1)
    rows = Space(LIGHTGBM).decode(rng.random((N, 8)))
    frame = pd.DataFrame(rows)
    rate = np.log10(frame["learning_rate"])
    frame["error"] = 0.1 + 0.05 * (rate + 1.5) ** 2
    frame["seconds"] = 10.0**-rate / 50
    frame.to_csv(tmp_path / "own.csv", index=False)
    return tmp_path / "own.csv"


def test_published_and_own_tables_give_the_same_evaluations(
    evaluations: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(evaluations)
    for name in ("learning_rate", "lambda_l1", "lambda_l2", "min_gain_to_split"):
        frame[name] = np.log(frame[name])
    names = {"error": "classif.ce", "seconds": "runtime_learners"}
    frame.rename(columns=names).to_csv(tmp_path / "published.csv", index=False)
    own, published = read_evaluations([evaluations]), read_evaluations([tmp_path / "published.csv"])
    np.testing.assert_allclose(own.X, published.X, atol=1e-12)
    np.testing.assert_array_equal(own.seconds, published.seconds)


def test_tables_that_cannot_be_used_are_refused(evaluations: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        read_evaluations([tmp_path / "nothing.csv"])
    pd.read_csv(evaluations).drop(columns="seconds").to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match="seconds"):
        read_evaluations([tmp_path / "bad.csv"])
    pd.read_csv(evaluations).head(20).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(DataError, match="has 20 complete evaluations"):
        read_evaluations([tmp_path / "few.csv"])


def test_a_published_table_without_a_logged_parameter_is_refused(
    evaluations: Path, tmp_path: Path
) -> None:
    names = {"error": "classif.ce", "seconds": "runtime_learners"}
    frame = pd.read_csv(evaluations).rename(columns=names).drop(columns="lambda_l1")
    frame.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=r"without \['lambda_l1'\]"):
        read_evaluations([tmp_path / "bad.csv"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", 1.01), ("num_leaves", 300), ("num_leaves", "many"), ("extra_trees", 2)],
)
def test_a_value_outside_the_space_is_refused_with_its_column_and_row(
    evaluations: Path, tmp_path: Path, name: str, value: object
) -> None:
    frame = pd.read_csv(evaluations).astype({name: object})
    frame.loc[7, name] = value
    frame.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=f"as {name}, found {value} in row 8"):
        read_evaluations([tmp_path / "bad.csv"])


def test_a_value_that_was_rounded_out_of_its_range_is_at_its_end(
    evaluations: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(evaluations)
    frame.loc[0, "lambda_l1"] = np.exp(-6.908)
    frame.to_csv(tmp_path / "rounded.csv", index=False)
    X = read_evaluations([tmp_path / "rounded.csv"]).X
    assert X[0, list(LIGHTGBM).index("lambda_l1")] == 0.0


@pytest.mark.parametrize("words", [("1", "0"), ("true", "FALSE"), ("1.0", "0.0")])
def test_truth_can_be_written_in_several_ways(
    evaluations: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    frame = pd.read_csv(evaluations)
    frame["extra_trees"] = np.where(frame["extra_trees"], *words)
    frame.to_csv(tmp_path / "other.csv", index=False)
    np.testing.assert_array_equal(
        read_evaluations([tmp_path / "other.csv"]).X, read_evaluations([evaluations]).X
    )


def test_tables_of_one_name_are_pooled(
    evaluations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(evaluations)
    parts = {"first": frame[:60], "second": frame[60:]}
    for name, part in parts.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    pooled = read_evaluations([tmp_path / "first.csv", tmp_path / "second.csv"])
    np.testing.assert_array_equal(pooled.X, read_evaluations([evaluations]).X)
    words = ["simulate", "--table", *(f"x={tmp_path / name}.csv" for name in parts)]
    words += ["--out", str(tmp_path), "--seconds", "5", "--workers", "2", "--design-size", "20"]
    main([*words, "--replications", "1", "--strategy", "random"])
    assert f"x: {N} evaluations" in capsys.readouterr().out


def test_a_run_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy-adbo-r1.json.gz"
    whole = gzip.compress(b'{"configuration": {}}\n{"error": [0.1, 0.2, 0.3]}\n')
    for n_bytes in (len(whole) // 2, 0):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(ConfigurationError, match="must be the whole file of a run"):
            read_evaluations([path])


def test_trees_read_one_row_at_a_time_predict_what_scikit_learn_does() -> None:
    rng = np.random.default_rng(1)
    X = rng.random((N, 8))
    y = np.column_stack([X[:, 0] + X[:, 1] ** 2, rng.normal(size=N)])
    trees = Trees(X, y, seed=3)
    new = rng.random((20, 8))
    expected = [ExtraTreesRegressor(50, random_state=3).fit(X, c).predict(new) for c in y.T]
    np.testing.assert_allclose([trees.predict(row) for row in new], np.transpose(expected))


def test_a_stand_in_predicts_errors_and_durations(evaluations: Path) -> None:
    read = read_evaluations([evaluations])
    fit = check_fit(read, seed=1)
    assert fit.error_r2 > 0.8
    assert fit.seconds_rank > 0.9
    assert fit.smearing == pytest.approx(1.0, abs=0.2)
    stand_in = StandIn(read, 1, fit.smearing)
    frame = pd.read_csv(evaluations)
    configs = frame[list(LIGHTGBM)].to_dict("records")
    # Fully grown trees on all rows know what they were fitted to.
    assert stand_in.error(configs[0]) == pytest.approx(frame["error"][0])
    assert stand_in.duration(configs[1], 0) == pytest.approx(fit.smearing * frame["seconds"][1])
    assert stand_in.error(configs[0]) == pytest.approx(frame["error"][0])


def test_the_papers_cost_of_a_proposal_reproduces_its_sums() -> None:
    for row in (row for row in ROWS if row.strategy == "adbo"):
        costs = np.array([paper_cost(100 + i) for i in range(row.evaluations)])
        surrogate_s, acquisition_s = costs.sum(axis=0)
        assert surrogate_s == pytest.approx(row.surrogate_s, rel=0.16)
        assert acquisition_s == pytest.approx(row.acquisition_s, rel=0.16)


def test_simulated_runs_are_rows_that_are_not_made_twice(
    evaluations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["simulate", "--table", f"credit-g={evaluations}", "--out", str(tmp_path)]
    words += ["--seconds", "20", "--workers", "4", "--cost", "paper", "--design-size", "20"]
    main([*words, "--replications", "1", "--strategy", "adbo"])
    first = (tmp_path / "simulated.csv").read_text()
    main([*words, "--replications", "1", "--strategy", "adbo", "clbo"])
    assert (tmp_path / "simulated.csv").read_text().startswith(first)
    rows = pd.read_csv(tmp_path / "simulated.csv")
    assert rows["strategy"].tolist() == ["adbo", "clbo"]
    assert (rows["evaluations"] > 0).all()
    assert (rows["error"] <= rows["design_error"]).all()
    assert (rows["objective_share"] < rows["busy_share"]).all()
    # The paper's forest costs more than an evaluation here takes; its workers are busy with it.
    assert rows["surrogate_s"][0] > 0
    assert "cross-validated R2" in capsys.readouterr().out


def test_rows_of_another_table_are_not_mixed_in(evaluations: Path, tmp_path: Path) -> None:
    words = ["simulate", "--out", str(tmp_path), "--seconds", "5", "--workers", "2"]
    words += ["--design-size", "20", "--replications", "1", "--strategy", "random", "--table"]
    main([*words, f"credit-g={evaluations}"])
    first = (tmp_path / "simulated.csv").read_text()
    shorter = tmp_path / "shorter.csv"
    pd.read_csv(evaluations).iloc[:-5].to_csv(shorter, index=False)
    with pytest.raises(SystemExit, match="choose another results folder"):
        main([*words, f"credit-g={shorter}"])
    assert (tmp_path / "simulated.csv").read_text() == first


def test_means_stand_beside_what_was_published() -> None:
    row: dict[str, Any] = {"dataset": "adult", "workers": 448, "seconds": 600, "cost": "paper"}
    row |= {"strategy": "adbo", "busy_share": 0.9, "mean_learner_s": 12.0}
    row |= {"learners_s": 1.0, "surrogate_s": 1.0, "acquisition_s": 1.0}
    row |= {"design_size": 100, "seed": 1}
    rows = [
        row | {"evaluations": 10_000, "error": 0.12, "objective_share": 0.5},
        row | {"evaluations": 11_000, "error": 0.13, "objective_share": 0.6},
        row | {"evaluations": 1, "error": 0.2, "objective_share": 0.5, "workers": 2},
        row | {"evaluations": 9, "error": 0.2, "objective_share": 0.5, "seconds": 60},
        row | {"evaluations": 8, "error": 0.2, "objective_share": 0.5, "design_size": 10},
    ]
    means = table(pd.DataFrame(rows)).set_index("evaluations")
    assert means["replications"].to_dict() == {1: 1, 8: 1, 10_500: 2, 9: 1}
    assert means["paper_evaluations"][10_500] == 10_375
    assert means["paper_evaluations"].isna().sum() == 3  # of other settings
    published = find_row("adult", "adbo")
    assert published is not None
    assert published.objective_share == pytest.approx(0.503, abs=1e-3)
