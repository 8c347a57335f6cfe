"""A stand-in for an objective and its duration: a regression on evaluations that were made before.

=============  ====================  ===============================================================
table          columns               configurations
=============  ====================  ===============================================================
CSV            ``error``,            a column per parameter, as in the designs of a results folder
               ``seconds``
CSV            ``classif.ce``,       the same, as the paper's suite logs them: the four
               ``runtime_learners``  that are searched by their logarithm as natural logarithms
run file       its trials            ``params_`` columns, as `runs` writes them
=============  ====================  ===============================================================

Rows that lack something are left out. Rows are counted from 1, after the header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.lightgbm_study.data import DataError
from experiments.lightgbm_study.runs import read_run
from experiments.spaces import LIGHTGBM
from rush_opt import Float, Integer, Space
from rush_opt.space import FloatArray, Parameter

_LOGGED = ("learning_rate", "lambda_l1", "lambda_l2", "min_gain_to_split")
# How far outside a range a value may be, relative to its end: a part of the published logarithms
# has four digits, such as -6.908 for that of 0.001.
_ROUNDING = 1e-3
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_FOLDS = 10
_TREES = 50


@dataclass(frozen=True)
class Evaluations:
    """Evaluations that were made before.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Their configurations in the unit cube of `LIGHTGBM`.
    error, seconds : ndarray of shape (n,)
    """

    X: FloatArray
    error: FloatArray
    seconds: FloatArray


def read_evaluations(paths: Sequence[Path]) -> Evaluations:
    """Read tables of evaluations, each in one of the forms above, and pool them.

    Raises
    ------
    DataError
        If a table lacks columns or has values outside the space, or fewer than 100 rows are
        complete.
    ConfigurationError
        If the file of a run does not hold it in full.
    """
    frame = pd.concat([_read_table(path) for path in paths], ignore_index=True)
    if len(frame) < 10 * _FOLDS:
        raise DataError(
            f"{', '.join(map(str, paths))} has {len(frame)} complete evaluations, a regression "
            f"needs {10 * _FOLDS}; evaluate more configurations"
        )
    return Evaluations(
        Space(LIGHTGBM).encode(frame[list(LIGHTGBM)].to_dict("records")),
        frame["error"].to_numpy(),
        frame["seconds"].to_numpy(),
    )


def _read_table(path: Path) -> pd.DataFrame:
    """Return the complete rows of a table: the space's parameters, error and seconds."""
    if not path.exists():
        raise DataError(f"{path} is missing; give a table of evaluations as --table")
    frame = _read_trials(path) if path.name.endswith(".json.gz") else pd.read_csv(path)
    is_published = {"classif.ce", "runtime_learners"} <= set(frame)
    if is_published:
        frame = frame.rename(columns={"classif.ce": "error", "runtime_learners": "seconds"})
    needed = [*LIGHTGBM, "error", "seconds"]
    missing = [name for name in needed if name not in frame]
    if missing:
        raise DataError(f"{path} must have the columns {needed}, without {missing}; see --help")
    frame = frame[needed].dropna()
    frame = frame[frame["seconds"] > 0]
    for name, parameter in LIGHTGBM.items():
        column = frame[name]
        if is_published and name in _LOGGED:
            column = np.exp(pd.to_numeric(column, errors="coerce"))
        frame[name] = _into_space(path, column, parameter)
    return frame


def _read_trials(path: Path) -> pd.DataFrame:
    frame = read_run(path).trials.rename(columns={"objective_s": "seconds"})
    frame.columns = frame.columns.str.removeprefix("params_")
    return frame


def _into_space(path: Path, column: pd.Series, parameter: Parameter) -> pd.Series:
    """Return values of a parameter; what rounding moved out of its range goes to the end."""
    if isinstance(parameter, Float | Integer):
        numbers = pd.to_numeric(column, errors="coerce")
        values = numbers.clip(parameter.low, parameter.high)
        is_wrong = ~((numbers - values).abs() <= _ROUNDING * values.abs())
        kind = "float" if isinstance(parameter, Float) else "int"
        needed = f"numbers from {parameter.low:g} to {parameter.high:g}"
    else:
        values = column.astype(str).str.lower().map(_TRUTH)
        is_wrong = values.isna()
        kind, needed = "bool", "true or false, or 1 or 0"
    if is_wrong.any():
        place = is_wrong.idxmax()
        raise DataError(
            f"{path} must have {needed} as {column.name}, found {column[place]} in row "
            f"{place + 1}; correct it, or leave the row out"
        )
    return values.astype(kind)


class Trees:
    """Extremely randomized trees on error and log duration, read one row at a time.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n, 2)
        Error and log duration.
    seed : int

    Notes
    -----
    scikit-learn's `predict` takes 10 ms for one row, most of it checks and threads. Here all trees
    are one array of nodes, in which a leaf is its own child, and all trees take a step at once.
    """

    def __init__(self, X: FloatArray, y: FloatArray, seed: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        forests = [ExtraTreesRegressor(_TREES, random_state=seed).fit(X, column) for column in y.T]
        trees = [estimator.tree_ for forest in forests for estimator in forest.estimators_]
        sizes = np.array([tree.node_count for tree in trees])
        self._roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._feature = np.concatenate([np.maximum(tree.feature, 0) for tree in trees])
        self._threshold = np.concatenate([tree.threshold for tree in trees])
        own = np.arange(sizes.sum())
        shift = np.repeat(self._roots, sizes)
        left = np.concatenate([tree.children_left for tree in trees])
        right = np.concatenate([tree.children_right for tree in trees])
        self._children = np.stack(
            [np.where(left < 0, own, left + shift), np.where(right < 0, own, right + shift)]
        ).T.ravel()
        self._value = np.concatenate([tree.value[:, 0, 0] for tree in trees])
        self._depth = max(tree.max_depth for tree in trees)

    def predict(self, row: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Predict both targets at one point."""
        x = np.asarray(row, dtype=np.float32)  # as scikit-learn compares
        nodes = self._roots
        for _ in range(self._depth):
            is_right = x.take(self._feature.take(nodes)) > self._threshold.take(nodes)
            nodes = self._children.take(2 * nodes + is_right)
        return np.asarray(self._value.take(nodes).reshape(2, _TREES).mean(axis=1))


@dataclass(frozen=True)
class Fit:
    """How well the regression predicts evaluations that it was not fitted to.

    Attributes
    ----------
    n : int
        How many evaluations there were.
    error_r2, log_seconds_r2 : float
        Shares of variance explained.
    error_rank, seconds_rank : float
        Spearman's rank correlations.
    smearing : float
        By what the mean duration exceeds that of the exponentials of the predicted logarithms.
    """

    n: int
    error_r2: float
    log_seconds_r2: float
    error_rank: float
    seconds_rank: float
    smearing: float


def check_fit(evaluations: Evaluations, seed: int) -> Fit:
    """Cross-validate the regression, in 10 folds."""
    from scipy.stats import spearmanr
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    folds = KFold(_FOLDS, shuffle=True, random_state=seed)
    scores, ranks = [], []
    for y in _targets(evaluations).T:
        model = ExtraTreesRegressor(_TREES, random_state=seed)
        predicted = cross_val_predict(model, evaluations.X, y, cv=folds)
        scores.append(float(1.0 - np.sum((predicted - y) ** 2) / np.sum((y - y.mean()) ** 2)))
        ranks.append(float(spearmanr(predicted, y).statistic))
    return Fit(
        n=len(evaluations.X),
        error_r2=scores[0],
        log_seconds_r2=scores[1],
        error_rank=ranks[0],
        seconds_rank=ranks[1],
        smearing=float(evaluations.seconds.mean() / np.exp(predicted).mean()),
    )


class StandIn:
    """An objective that is predicted, and its duration.

    Parameters
    ----------
    evaluations : Evaluations
    seed : int
    smearing : float
        Multiplies the durations, see `Fit`.

    References
    ----------
    .. [Duan] N. Duan. Smearing estimate: a nonparametric retransformation method. Journal of the
       American Statistical Association 78(383), 1983.
    """

    def __init__(self, evaluations: Evaluations, seed: int, smearing: float) -> None:
        self._trees = Trees(evaluations.X, _targets(evaluations), seed)
        self._space = Space(LIGHTGBM)
        self._smearing = smearing
        # A simulation asks for the value and then for the duration of the same configuration.
        self._last: tuple[dict[str, Any], FloatArray] | None = None

    def error(self, config: dict[str, Any]) -> float:
        """Predict the classification error; without noise."""
        return float(self._predict(config)[0])

    def duration(self, config: dict[str, Any], number: int) -> float:
        """Predict the seconds that an evaluation takes."""
        return float(self._smearing * np.exp(self._predict(config)[1]))

    def _predict(self, config: dict[str, Any]) -> FloatArray:
        if self._last is None or self._last[0] != config:
            self._last = (dict(config), self._trees.predict(self._space.encode([config])[0]))
        return self._last[1]


def _targets(evaluations: Evaluations) -> FloatArray:
    return np.column_stack([evaluations.error, np.log(evaluations.seconds)])
