"""The objective of a search: the cross-validated score of an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import sklearn
from sklearn.model_selection import cross_validate

from rush_opt.sklearn.best_estimator import with_params

__all__ = ["MEAN", "Folds", "looked_up", "store"]

# The name of the objective value in a result of `Folds`.
MEAN = "mean_score"


class Folds:
    """An objective: evaluate an estimator with a trial's parameters by cross-validation.

    Data, estimator and scorers are in a file. Each worker process maps the file into its memory at
    its first trial, so that all processes share one copy of the data.

    Configurations are evaluated under the configuration of scikit-learn that is set when this
    object is made. Without that, each thread and process would use scikit-learn's defaults.

    Parameters
    ----------
    path : Path
        The file that `store` wrote.
    metric : str or None
        The score to optimize, such as ``test_score``; None for the first one.
    **options
        Passed to `cross_validate`.
    """

    def __init__(self, path: Path, metric: str | None, **options: Any) -> None:
        self._path = path
        self._metric = metric
        self._options = options
        self._config = sklearn.get_config()

    @cached_property
    def _stored(self) -> tuple[Any, ...]:
        *data, by_value = joblib.load(self._path, mmap_mode="r")
        return *data, *cloudpickle.loads(by_value)

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        """Evaluate a configuration.

        Returns
        -------
        dict
            ``mean_score``, the mean of the score to optimize, and what `cross_validate` returned, a
            list with a value per fold for each name.

        Raises
        ------
        ValueError
            If the scorer has no score of the name to optimize.
        """
        with sklearn.config_context(**self._config):
            X, y, splits, estimator, values, scoring, fit_params = self._stored
            folds = cross_validate(
                with_params(estimator, looked_up(config, values)),
                X,
                y,
                cv=splits,
                scoring=scoring,
                params=fit_params or None,
                **self._options,
            )
        names = [name for name in folds if name.startswith("test_")]
        metric = names[0] if self._metric is None else self._metric
        if metric not in folds:
            scores = [name.removeprefix("test_") for name in names]
            raise ValueError(
                f"there are the scores {scores}; name the one to optimize: refit='...'"
            )
        mean = float(folds[metric].mean())
        return {MEAN: mean} | {k: list(map(float, v)) for k, v in folds.items()}


def store(
    path: Path,
    data: tuple[Any, Any, Any],
    estimator: Any,
    values: dict[str, list[Any]],
    scoring: Any,
    fit_params: dict[str, Any],
) -> None:
    """Write the file that `Folds` reads.

    Parameters
    ----------
    path : Path
    data : tuple
        X, y and the folds. Processes map these into their memory.
    estimator : estimator
    values : dict of str to list
        Parameter name to the list of its values, for parameters whose configurations hold an index
        of this list.
    scoring : str, callable, dict or None
        Passed to `cross_validate`.
    fit_params : dict
        Parameters of ``fit``.

    Raises
    ------
    TypeError
        If estimator, values, scoring or fit_params cannot be pickled.

    Notes
    -----
    The last four are pickled by value: they may contain functions and classes of the user's script
    or notebook, which worker processes cannot import.
    """
    try:
        by_value = cloudpickle.dumps((estimator, values, scoring, fit_params))
    except Exception as error:  # pickling raises errors of many types
        raise TypeError(
            "estimator, scorers and parameters must be picklable, because each worker gets a copy; "
            f"got {type(error).__name__}: {error}"
        ) from error
    joblib.dump((*data, by_value), path)


def looked_up(config: Mapping[str, Any], values: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Replace indices in a configuration by the values of their lists."""
    return {name: values[name][v] if name in values else v for name, v in config.items()}
