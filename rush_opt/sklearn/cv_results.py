"""The trials of a search as `cv_results_` of scikit-learn: a dict of columns, a row per trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]


def cv_columns(
    params: Sequence[dict[str, Any]],
    results: Sequence[Mapping[str, Sequence[float]] | None],
    n_splits: int,
    error_score: float,
) -> dict[str, Any]:
    """Make the columns of `cv_results_` from the results of the folds of all trials.

    Parameters
    ----------
    params : sequence of n dicts
        Parameters of each trial. A trial's cell is masked if it does not have the parameter.
    results : sequence of n mappings or None
        ``fit_time``, ``score_time``, ``test_<metric>`` and perhaps ``train_<metric>``, each with a
        value per fold; None for a trial that failed. At least one trial did not fail.
    n_splits : int
        Number of folds.
    error_score : float
        The scores of all folds of a failed trial.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        The columns of `sklearn.model_selection.RandomizedSearchCV.cv_results_`; ``params`` is a
        list.
    """
    names = next(list(result) for result in results if result is not None)
    columns: dict[str, Any] = {}
    for name in sorted(names, key=lambda name: not name.endswith("_time")):
        is_score = not name.endswith("_time")
        missing = error_score if is_score else np.nan
        folds = np.array([[missing] * n_splits if r is None else r[name] for r in results])
        if is_score:
            columns |= {f"split{i}_{name}": folds[:, i] for i in range(n_splits)}
        columns[f"mean_{name}"] = folds.mean(axis=1)
        columns[f"std_{name}"] = folds.std(axis=1)
        if name.startswith("test_"):
            columns[f"rank_{name}"] = _ranks(columns[f"mean_{name}"])
    searched = dict.fromkeys(name for config in params for name in config)
    return (
        {name: columns.pop(name) for name in list(columns) if name.endswith("_time")}
        | {f"param_{name}": _masked(name, params) for name in searched}
        | {"params": list(params)}
        | columns
    )


def _ranks(scores: Column) -> Column:
    """Rank scores: 1 is the best, equal scores get the smallest of their ranks, NaN is worst."""
    known = np.where(np.isnan(scores), -np.inf, scores)
    return np.array([1 + np.sum(known > score) for score in known], dtype=np.int32)


def _masked(name: str, params: Sequence[dict[str, Any]]) -> Column:
    """Return a parameter's values, masked where a trial does not have it."""
    present = [config[name] for config in params if name in config]
    kinds = {type(value) for value in present}
    dtype = next((kind for kind in (bool, int, float) if kinds == {kind}), object)
    if kinds == {int, float}:
        dtype = float
    column = np.ma.MaskedArray(np.zeros(len(params), dtype=dtype), mask=True)
    for i, config in enumerate(params):
        if name in config:
            column[i] = config[name]
    return column
