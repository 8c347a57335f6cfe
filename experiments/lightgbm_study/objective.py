"""One trial: LightGBM's classification error, averaged over the folds of a data set."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np

from experiments.lightgbm_study.data import Source, load

# The paper's: as many trees as help the fold's test part, looked for with this patience.
MAX_ITERATIONS = 5000
PATIENCE = 100

_FIXED = {
    "objective": "binary",
    "metric": "binary_error",
    "num_threads": 1,
    "seed": 1,
    "verbosity": -1,
    # Else LightGBM tries row-wise and column-wise histograms in each training, and sums rounded
    # in another order make another tree: results would depend on what else the machine does.
    "force_col_wise": True,
    "deterministic": True,
    # With it, bins would depend on min_data_in_leaf and could not be reused.
    "feature_pre_filter": False,
}


@dataclass(frozen=True)
class CrossValidation:
    """Evaluates configurations of `experiments.spaces.LIGHTGBM` on one data set.

    Parameters
    ----------
    source : Source
        Where each process gets the data from, once.
    """

    source: Source

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        """Train once per fold.

        Returns
        -------
        dict
            ``error``, the mean of the folds' classification errors, and ``num_iterations``, the
            mean of the iterations that reached them.
        """
        fitted = [
            _fit({**config, **_FIXED}, train, test) for train, test in _binned_folds(self.source)
        ]
        errors, iterations = zip(*fitted, strict=True)
        return {"error": float(np.mean(errors)), "num_iterations": float(np.mean(iterations))}


def _fit(parameters: dict[str, Any], train: lgb.Dataset, test: lgb.Dataset) -> tuple[float, int]:
    fitted = lgb.train(
        parameters,
        train,
        num_boost_round=MAX_ITERATIONS,
        valid_sets=[test],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    return fitted.best_score["valid_0"]["binary_error"], fitted.best_iteration


# One: a process that evaluates another data set does not go back to the one before.
@functools.lru_cache(maxsize=1)
def _binned_folds(source: Source) -> list[tuple[lgb.Dataset, lgb.Dataset]]:
    """Bin the training and test part of each fold; bins come from the training part alone."""
    data = load(source)
    options: dict[str, Any] = {
        "categorical_feature": list(data.categorical),
        "params": _FIXED,
    }
    folds = []
    for fold in range(data.n_folds):
        is_test = np.asarray(data.test_fold) == fold
        train = lgb.Dataset(data.X[~is_test], data.y[~is_test], **options)
        test = lgb.Dataset(data.X[is_test], data.y[is_test], reference=train, **options)
        folds.append((train.construct(), test.construct()))
    return folds
