"""The main job: ADBO with four workers tunes LightGBM on real data, in about a minute.

Run from the project's root: ``make demo``
"""

from __future__ import annotations

import os
from typing import Any

import lightgbm as lgb
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold

from experiments.spaces import LIGHTGBM
from rush_opt import TuneResult, tune

N_FOLDS = 5
MAX_ITERATIONS = 2000
PATIENCE = 50


def cross_validate(config: dict[str, Any]) -> dict[str, float]:
    """Return the log loss of LightGBM, averaged over folds, and the iterations it stopped at."""
    X, y = load_breast_cancer(return_X_y=True)
    parameters = {
        **config,
        "objective": "binary",
        "num_threads": 1,
        "verbosity": -1,
        "seed": 1,
        "feature_pre_filter": False,
    }
    losses, iterations = [], []
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=1)
    for train, test in folds.split(X, y):
        fitted = lgb.train(
            parameters,
            lgb.Dataset(X[train], y[train]),
            num_boost_round=MAX_ITERATIONS,
            valid_sets=[lgb.Dataset(X[test], y[test])],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )
        losses.append(fitted.best_score["valid_0"]["binary_logloss"])
        iterations.append(fitted.best_iteration)
    return {"log_loss": float(np.mean(losses)), "iterations": float(np.mean(iterations))}


def show(result: TuneResult) -> None:
    """Print the best configuration, the ten best trials and where the time went."""
    print(f"\nBest {result.metric}: {result.best_value:.5f}, with")
    for name, value in result.best_params.items():
        print(f"  {name:18} {value:.4g}" if isinstance(value, float) else f"  {name:18} {value}")

    best = result.trials.nsmallest(10, "value")
    best.columns = best.columns.str.removeprefix("params_").str.removeprefix("result_")
    columns = ["number", "worker", "duration_s", "value", "iterations", *LIGHTGBM]
    print("\nThe ten best trials:")
    print(best[columns].to_string(index=False, float_format="{:.4g}".format))

    seconds = ["startup", "objective", "surrogate", "acquisition", "coordination", "idle"]
    print("\nWhere the workers' time went, seconds:")
    print(
        result.utilization[["worker", "n_trials", *seconds, "cpu"]].to_string(
            index=False, float_format="{:.2f}".format
        )
    )
    print(
        f"Objective share {result.objective_share:.1%}, busy share {result.busy_share:.1%} of wall "
        "clock x workers."
    )


def main() -> None:
    """Tune for the time that a coffee takes."""
    timeout = float(os.environ.get("RUSH_DEMO_SECONDS", "45"))
    print(f"Tuning LightGBM on breast cancer data with ADBO: 4 workers, {timeout:.0f} s")
    result = tune(cross_validate, LIGHTGBM, n_workers=4, timeout=timeout, metric="log_loss", seed=1)
    show(result)


if __name__ == "__main__":
    main()
