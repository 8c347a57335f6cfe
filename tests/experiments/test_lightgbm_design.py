"""The objective, and designs that are drawn once, evaluated once and checked when read."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.metrics import zero_one_loss

from experiments.lightgbm_study import folder
from experiments.lightgbm_study.data import load
from experiments.lightgbm_study.design import (
    ConfigurationError,
    Design,
    evaluate_design,
    read_design,
)
from experiments.lightgbm_study.objective import CrossValidation
from rush_core import EmbeddedServer, WorkersFailedError

CONFIG: dict[str, Any] = {
    "learning_rate": 0.2,
    "feature_fraction": 1.0,
    "min_data_in_leaf": 5,
    "num_leaves": 10,
    "extra_trees": False,
    "lambda_l1": 0.001,
    "lambda_l2": 0.001,
    "min_gain_to_split": 0.001,
}


def test_the_error_is_that_of_models_stopped_early_on_each_fold(data_dir: Path) -> None:
    source = folder.find(data_dir, "toy")
    data = load(source)
    errors, iterations = [], []
    for fold in range(10):
        test = data.test_fold == fold
        train_set = lgb.Dataset(data.X[~test], data.y[~test], categorical_feature=[1])
        # Every number of trees is scored from its predictions; the first best one is kept.
        booster = lgb.train(
            {**CONFIG, "objective": "binary", "seed": 1, "verbosity": -1, "num_threads": 1},
            train_set,
            num_boost_round=200,
        )
        by_count = [
            zero_one_loss(
                data.y[test],
                np.asarray(booster.predict(data.X[test], num_iteration=n, num_threads=1)) > 0.5,
            )
            for n in range(1, 201)
        ]
        errors.append(min(by_count))
        iterations.append(1 + int(np.argmin(by_count)))
    result = CrossValidation(source)(CONFIG)
    assert result["error"] == pytest.approx(np.mean(errors))
    assert result["num_iterations"] == pytest.approx(np.mean(iterations))


def test_bins_that_are_used_again_change_no_result(data_dir: Path) -> None:
    evaluate = CrossValidation(folder.find(data_dir, "toy"))
    first = evaluate(CONFIG)
    evaluate({**CONFIG, "min_data_in_leaf": 100, "extra_trees": True})
    assert evaluate(CONFIG) == first
    assert evaluate({**CONFIG, "min_data_in_leaf": 100}) != first


def test_a_design_is_drawn_from_its_data_set_replication_and_seed(data_dir: Path) -> None:
    source = folder.find(data_dir, "toy")
    points = Design(source, 1, 20, 1).points()
    assert Design(source, 1, 20, 1).points() == points
    assert Design(source, 2, 20, 1).points() != points
    assert Design(source, 1, 20, 2).points() != points
    assert Design(source, 1, 20, 1).run_seed() != Design(source, 2, 20, 1).run_seed()


def test_an_interrupted_design_goes_on_with_its_missing_points(
    data_dir: Path, tmp_path: Path, server: EmbeddedServer
) -> None:
    design = Design(folder.find(data_dir, "toy"), 1, 6, 1)
    path = design.path(tmp_path)
    options: dict[str, Any] = {"n_workers": 1, "launcher": {}, "url": server.url}
    assert evaluate_design(design, tmp_path, **options) == 6
    complete = read_design(design, tmp_path)
    assert [config for config, _ in complete] == design.points()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]))
    with pytest.raises(ConfigurationError, match="6 evaluated points, found 3"):
        read_design(design, tmp_path)
    assert evaluate_design(design, tmp_path, **options) == 3
    assert read_design(design, tmp_path) == complete
    assert path.read_text().splitlines()[:4] == [line.rstrip("\n") for line in lines[:4]]
    assert evaluate_design(design, tmp_path, **options) == 0


def test_a_point_that_is_lost_with_its_worker_is_evaluated_by_the_same_command_again(
    data_dir: Path, tmp_path: Path, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design(folder.find(data_dir, "toy"), 1, 6, 1)
    points = design.points()

    def objective(config: dict[str, Any]) -> dict[str, float]:
        if config == points[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        if config == points[4]:
            raise ValueError("no")
        return {"error": 0.5, "num_iterations": 3.0}

    options: dict[str, Any] = {"n_workers": 1, "launcher": {}, "url": server.url}
    with monkeypatch.context() as patched:
        patched.setattr("experiments.lightgbm_study.design.CrossValidation", lambda _: objective)
        with pytest.raises(WorkersFailedError, match=r"lost .*, 1 of 6: \[1\]; see why"):
            evaluate_design(design, tmp_path, **options)
    with pytest.raises(ConfigurationError, match="6 evaluated points, found 5"):
        read_design(design, tmp_path)
    assert evaluate_design(design, tmp_path, **options) == 1
    assert [config for config, _ in read_design(design, tmp_path)] == [*points[:4], points[5]]
    assert len(design.path(tmp_path).read_text().splitlines()) == 1 + 6


def test_a_repeated_row_does_not_complete_a_design(
    data_dir: Path, tmp_path: Path, server: EmbeddedServer
) -> None:
    design = Design(folder.find(data_dir, "toy"), 1, 2, 1)
    path = design.path(tmp_path)
    evaluate_design(design, tmp_path, n_workers=1, launcher={}, url=server.url)
    complete = read_design(design, tmp_path)
    header, first, second = path.read_text().splitlines(keepends=True)
    path.write_text(header + first + first)
    with pytest.raises(ConfigurationError, match="2 evaluated points, found 1"):
        read_design(design, tmp_path)
    path.write_text(header + first + second + first)
    assert read_design(design, tmp_path) == complete


def test_a_last_line_that_was_cut_is_refused_as_such(
    data_dir: Path, tmp_path: Path, server: EmbeddedServer
) -> None:
    design = Design(folder.find(data_dir, "toy"), 1, 2, 1)
    path = design.path(tmp_path)
    options: dict[str, Any] = {"n_workers": 1, "launcher": {}, "url": server.url}
    evaluate_design(design, tmp_path, **options)
    text = path.read_text()
    for n_less in (1, 40, 150):
        path.write_text(text[:-n_less])
        with pytest.raises(ConfigurationError, match=r"the last line of .* is cut"):
            evaluate_design(design, tmp_path, **options)


def test_rows_of_another_design_are_refused_with_the_difference(
    data_dir: Path, tmp_path: Path
) -> None:
    source = folder.find(data_dir, "toy")
    design = Design(source, 1, 2, 1)
    path = design.path(tmp_path)
    path.parent.mkdir()
    rows = [
        {"point": i, **config, "error": 0.1, "num_iterations": 5, "failure": ""}
        | {"seed": 1, "size": 2, "data": source.digest[:16]}
        for i, config in enumerate(design.points())
    ]

    def write() -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    write()
    assert len(read_design(design, tmp_path)) == 2
    with pytest.raises(ConfigurationError, match="was made with size 2, now it is 3"):
        read_design(Design(source, 1, 3, 1), tmp_path)
    rows[1] |= {"error": "", "num_iterations": "", "failure": "LightGBMError: no"}
    write()
    assert [config for config, _ in read_design(design, tmp_path)] == design.points()[:1]
    rows[1]["num_leaves"] += 1
    write()
    with pytest.raises(ConfigurationError, match=r"point 1 of .* is not the one"):
        read_design(design, tmp_path)
