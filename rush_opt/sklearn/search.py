"""`RushSearchCV`: `tune()` as a search estimator of scikit-learn.

It is built on scikit-learn's public functions: `cross_validate` evaluates a trial, all folds at
once. The searches' common base class is not used: most of what a subclass needs of it is private
and changes with the versions.
"""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import cloudpickle
import joblib
import numpy as np
import sklearn
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv, cross_validate
from sklearn.utils import Tags, check_random_state, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from rush_opt.arguments.arguments import choose_optimizer, foreign_space
from rush_opt.optimizers import GridSearch, Optimizer
from rush_opt.results.result import TuneResult
from rush_opt.results.trials import FrozenTrial
from rush_opt.running.end_of_run import AllTrialsFailedError, StopRun
from rush_opt.search.grid import grid_design
from rush_opt.sklearn.cv_results import cv_columns
from rush_opt.sklearn.distributions import from_distributions
from rush_opt.space import Space
from rush_opt.tune import tune

__all__ = ["RushSearchCV"]

# What is optimized, by its name in the results of `Folds`.
MEAN = "mean_score"

# Larger spaces are not counted: nobody tries as many settings with cross-validation.
_MOST_POINTS = 100_000


class Folds:
    """An objective: the cross-validated score of an estimator with a trial's parameters.

    What it needs is in a file, which every process maps into its memory when its first trial
    begins. Evaluations have the configuration of scikit-learn with which this was made: each thread
    has its own, and a new one the defaults.

    Parameters
    ----------
    path : Path
        What `store` wrote.
    metric : str or None
        The score to optimize, such as ``test_score``; None for the first one.
    **options
        For `cross_validate`.
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
        """Evaluate a configuration: the mean of the scores to optimize, and what each fold gave.

        The mean is under the name `MEAN`.
        """
        with sklearn.config_context(**self._config):
            X, y, splits, estimator, values, scoring, fit_params = self._stored
            folds = cross_validate(
                *(with_params(estimator, looked_up(config, values)), X, y),
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
                f"the scores are {scores}, of which one has to be optimized; name it: refit='...'"
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
    """Write what `Folds` needs.

    Parameters
    ----------
    path : Path
    data : tuple
        X, y and the folds, which are mapped.
    estimator : estimator
    values : dict of str to list
        Lists of whose values the configurations have the places.
    scoring : str, callable, dict or None
        For `cross_validate`.
    fit_params : dict
        Parameters of ``fit``. These four may hold functions and classes of the user's script or
        notebook, which other processes do not find by name.

    Raises
    ------
    TypeError
        If one of these four cannot be pickled.
    """
    try:
        by_value = cloudpickle.dumps((estimator, values, scoring, fit_params))
    except Exception as error:  # each type has its own
        raise TypeError(
            "estimator, scorers and parameters must be picklable, for workers are handed copies; "
            f"got {type(error).__name__}: {error}"
        ) from error
    joblib.dump((*data, by_value), path)


def looked_up(config: Mapping[str, Any], values: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Put values where a configuration has their places in lists."""
    return {name: values[name][v] if name in values else v for name, v in config.items()}


def with_params(estimator: Any, params: Mapping[str, Any]) -> Any:
    """Return a new estimator with these parameters, which may be estimators themselves."""
    return clone(estimator).set_params(**clone(dict(params), safe=False))


def _of_fit(estimator: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Return those of the parameters that go to the estimator's `fit`, all without routing."""
    if not sklearn.get_config()["enable_metadata_routing"]:
        return params
    mapping = MethodMapping().add(caller="fit", callee="fit")
    router = MetadataRouter(owner="RushSearchCV").add(estimator=estimator, method_mapping=mapping)
    routed: dict[str, Any] = router.route_params(caller="fit", params=params).estimator.fit
    return routed


def _has(name: str) -> Callable[[RushSearchCV], bool]:
    def has(search: RushSearchCV) -> bool:
        if not search.refit:
            raise AttributeError(
                f"{name} needs the best estimator, but refit={search.refit!r}; set refit=True, or "
                "fit an estimator with best_params_ yourself"
            )
        getattr(getattr(search, "best_estimator_", search.estimator), name)
        return True

    return has


def _delegated(name: str) -> Any:
    """Make a method that the best estimator answers, if it has such a method."""

    def method(self: RushSearchCV, X: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.best_estimator_, name)(X)

    method.__name__ = name
    method.__doc__ = f"Call `{name}` of the best estimator; see there."
    return available_if(_has(name))(method)


class RushSearchCV(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Search an estimator's parameters with cross-validation, by workers that share their results.

    It takes and gives what `sklearn.model_selection.RandomizedSearchCV` does.

    Parameters
    ----------
    estimator : estimator
    param_distributions : mapping, Space or ConfigurationSpace
        Parameter name to `Float`, `Integer`, ... of this package, a frozen distribution of
        `scipy.stats`, or a list of values; or a foreign space as `tune()` takes it.
    n_iter : int, optional
        How many settings are tried; None if only `timeout` ends the search, or 100 without one. If
        a space of lists and other discrete parameters has fewer points, it is as many, with a
        warning.
    timeout : float, optional
        Seconds after which no further setting is tried.
    optimizer : str or Optimizer
        As for `tune()`; ``"grid"`` tries all of its points with ``n_iter=None``, else as many, with
        a warning.
    scoring : str, callable, list, tuple, dict or None
        As for `RandomizedSearchCV`. Of several scores, `refit` names the one to optimize; if it is
        False or a function, the first one is.
    n_jobs : int, optional
        Worker processes; -1 for one per CPU. None and 1 evaluate in a thread of this process,
        where fits can set no handlers of signals, and no second Ctrl-C ends them.
    refit : bool, str or callable
        As for `RandomizedSearchCV`.
    cv : int, splitter, iterable or None
        As for `RandomizedSearchCV`; the folds are drawn once, and the same for all trials.
    verbose : int
        Whether to show progress.
    random_state : int, RandomState or None
        Of the search; with one worker it then repeats exactly. None draws it from NumPy's global
        state, which `numpy.random.seed` sets.
    error_score : ``"raise"`` or number
        What the folds of a failed trial count in `cv_results_`. A trial fails as a whole if one of
        its fits does and this is NaN, otherwise if all do; a `FitFailedWarning` then says how many
        did. With ``"raise"`` the first failure ends the search.
    return_train_score : bool

    Attributes
    ----------
    best_estimator_, best_params_, best_score_, best_index_, cv_results_, scorer_, n_splits_,
    refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As of `RandomizedSearchCV`; the rows of `cv_results_` are in order of completion.
    tune_result_ : TuneResult
        The run: times, errors, utilization.

    Notes
    -----
    The data are written to a temporary file once, which all workers map into memory. Each trial
    evaluates all its folds, one after the other. With metadata routing switched on, parameters of
    `fit` go to those of estimator and scorers that request them; the search itself requests none of
    another one around it, and `score` passes none on.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> search = RushSearchCV(SVC(), {"C": loguniform(1e-2, 1e2)}, n_iter=30, n_jobs=4)
    >>> search.fit(X, y).best_params_
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any] | Space,
        *,
        n_iter: int | None = 10,
        timeout: float | None = None,
        optimizer: str | Optimizer = "adbo",
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[[dict[str, Any]], int] = True,
        cv: Any = None,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
        error_score: str | float = np.nan,
        return_train_score: bool = False,
    ) -> None:
        self.estimator = estimator
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.timeout = timeout
        self.optimizer = optimizer
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.cv = cv
        self.verbose = verbose
        self.random_state = random_state
        self.error_score = error_score
        self.return_train_score = return_train_score

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, **fit_params: Any) -> Self:
        """Search, and fit the best estimator to all data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
        groups : array-like of shape (n_samples,), optional
            For the splitter.
        **fit_params
            For the estimator's `fit`; those with a value per sample are split like `X`. Without
            metadata routing a `sample_weight` weighs fits and no scores, which recent searches of
            scikit-learn weigh.

        Returns
        -------
        RushSearchCV

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be used, every trial failed, or one did and `error_score` is
            ``"raise"``; the message has the traceback.
        KeyboardInterrupt
            After an interrupt (Ctrl-C), when the running trials have ended, all folds of each;
            nothing is fitted. A second one ends trials in other processes at once, but waits for
            one in this process all the same.
        """
        if self.error_score != "raise" and not isinstance(self.error_score, Real):
            raise ValueError(
                f"error_score must be 'raise' or a number, got {self.error_score!r}; numpy.nan "
                "leaves failed trials without a score"
            )
        self.scorer_, metric = self._scorers()
        refit_params = _of_fit(self.estimator, fit_params)
        space, values = _space_of(self.param_distributions)
        X, y, groups = indexable(X, y, groups)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, groups))
        self.n_splits_ = len(splits)
        with tempfile.TemporaryDirectory(prefix="rush-data-") as folder:
            path = Path(folder) / "data"
            store(path, (X, y, splits), self.estimator, values, self.scorer_, fit_params)
            folds = Folds(
                *(path, metric),
                error_score="raise" if self._fails_whole else self.error_score,
                return_train_score=self.return_train_score,
            )
            self.tune_result_ = self._tune(folds, space)
        self._keep_best(metric, values)
        if self.refit:
            began = time.perf_counter()
            self.best_estimator_ = with_params(self.estimator, self.best_params_)
            self.best_estimator_.fit(X, *(() if y is None else (y,)), **refit_params)
            self.refit_time_ = time.perf_counter() - began
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_
        return self

    @property
    def _fails_whole(self) -> bool:
        """Whether a fit that fails leaves its trial without a score."""
        return isinstance(self.error_score, str) or bool(np.isnan(self.error_score))

    def _scorers(self) -> tuple[Any, str | None]:
        """Return what `cross_validate` scores with, and the score to optimize, None for the first.

        Whether a function gives one score or several shows when it is called.
        """
        scoring, refit = self.scoring, self.refit
        if scoring is None or isinstance(scoring, str):
            return check_scoring(self.estimator, scoring), "test_score"
        metric = None if not refit or callable(refit) else "test_score"
        if isinstance(refit, str):
            metric = f"test_{refit}"
        if callable(scoring):
            return scoring, metric
        pairs = scoring if isinstance(scoring, Mapping) else {name: name for name in scoring}
        scorers = {name: check_scoring(self.estimator, s) for name, s in pairs.items()}
        if metric is not None and refit not in scorers:
            raise ValueError(
                "of several scores, refit must name the one to optimize, one of "
                f"{list(scorers)}, or be False or a function, got refit={refit!r}"
            )
        return scorers, metric

    def _tune(self, objective: Folds, space: Space) -> TuneResult:
        seed: Any = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(2**31)
        n_workers = int(joblib.effective_n_jobs(self.n_jobs))
        here = ThreadPoolExecutor(1) if n_workers == 1 else nullcontext()
        try:
            with here as executor:
                result = tune(
                    *(objective, space),
                    n_workers=n_workers,
                    n_trials=self._capped_n_iter(space),
                    timeout=self.timeout,
                    optimizer=self.optimizer,
                    direction="maximize",
                    metric=MEAN,
                    seed=seed,
                    executor=executor,
                    callbacks=[_stop_at_failure] if self.error_score == "raise" else [],
                    progress=bool(self.verbose),
                )
        except AllTrialsFailedError as error:
            raise ValueError(f"no setting could be evaluated: {error}") from error
        if result.stop_reason == "interrupted":
            raise KeyboardInterrupt  # as from scikit-learn's searches, which keep nothing either
        if all(trial.value is None for trial in result.frozen_trials):
            raise ValueError(
                f"no setting was evaluated, the search ended by {result.stop_reason!r}; raise "
                f"timeout, got {self.timeout!r}"
            )
        errors = [trial.error for trial in result.frozen_trials if trial.error]
        if self.error_score == "raise" and errors:
            raise ValueError(f"{len(errors)} trials failed, the first one with:\n{errors[0]}")
        if errors:
            warnings.warn(
                f"{len(errors)} of {len(result.frozen_trials)} settings failed, which counts as a "
                f"score of {self.error_score}; tune_result_.trials has all errors, the first one "
                f"is:\n{errors[0]}",
                FitFailedWarning,
                stacklevel=3,
            )
        return result

    def _capped_n_iter(self, space: Space) -> int | None:
        """Return how many settings are tried: of a grid or a discrete space no more than it has."""
        optimizer, n_iter = choose_optimizer(self.optimizer), self.n_iter
        what, n_points = "space", count_points(space)
        if isinstance(optimizer, GridSearch):
            what, n_points = "grid", len(grid_design(space, optimizer.resolution))
        if n_points is None or not isinstance(n_iter, Integral):
            return n_iter
        if n_iter > n_points:
            warnings.warn(
                f"the {what} has {n_points} points, fewer than n_iter={n_iter}; as many are tried",
                UserWarning,
                stacklevel=4,
            )
        elif what == "grid" and n_iter < n_points:
            warnings.warn(
                f"the grid has {n_points} points, of which n_iter={n_iter} are tried; n_iter=None "
                "tries all",
                UserWarning,
                stacklevel=4,
            )
        return min(n_iter, n_points)

    def _keep_best(self, metric: str | None, values: Mapping[str, list[Any]]) -> None:
        trials = [trial for trial in self.tune_result_.frozen_trials if not trial.lost]
        folds = [{k: v for k, v in t.result.items() if k != MEAN} or None for t in trials]
        params = [looked_up(trial.params, values) for trial in trials]
        error_score = np.nan if isinstance(self.error_score, str) else self.error_score
        self.cv_results_ = cv_columns(params, folds, self.n_splits_, error_score)
        self.multimetric_ = "mean_test_score" not in self.cv_results_
        if not self.refit and self.multimetric_:
            return  # nothing says what is best
        if callable(self.refit):
            self.best_index_ = self.refit(self.cv_results_)
        else:
            metric = metric or "test_score"
            self.best_index_ = int(self.cv_results_[f"rank_{metric}"].argmin())
            self.best_score_ = float(self.cv_results_[f"mean_{metric}"][self.best_index_])
        self.best_params_ = self.cv_results_["params"][self.best_index_]

    def score(self, X: Any, y: Any = None) -> float:
        """Return the best estimator's score on other data, by the score that was optimized.

        Of several scores, `refit` must name that one.
        """
        _has("fit")(self)
        check_is_fitted(self)
        if self.multimetric_ and not isinstance(self.refit, str):
            raise ValueError(
                f"of several scores, refit must name the one to return, got {self.refit!r}; score "
                "best_estimator_ with those of scorer_ instead"
            )
        scorer = self.scorer_[self.refit] if isinstance(self.scorer_, dict) else self.scorer_
        score = scorer(self.best_estimator_, X, y)
        return float(score[self.refit] if isinstance(score, dict) else score)

    predict = _delegated("predict")
    predict_proba = _delegated("predict_proba")
    predict_log_proba = _delegated("predict_log_proba")
    decision_function = _delegated("decision_function")
    score_samples = _delegated("score_samples")
    transform = _delegated("transform")
    inverse_transform = _delegated("inverse_transform")

    @property
    def classes_(self) -> Any:
        """Class labels of the best estimator."""
        _has("classes_")(self)
        return self.best_estimator_.classes_

    @property
    def n_features_in_(self) -> int:
        """Number of features that the best estimator was fitted with."""
        _has("n_features_in_")(self)
        return int(self.best_estimator_.n_features_in_)

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = inner.classifier_tags
        tags.regressor_tags = inner.regressor_tags
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.input_tags.pairwise = inner.input_tags.pairwise
        return tags


def _stop_at_failure(trial: FrozenTrial) -> None:
    if trial.error is not None:
        raise StopRun("a trial failed")


def count_points(space: Space) -> int | None:
    """Return how many points a discrete space has; None for another, or if there are too many."""
    most = math.prod(space.n_levels.tolist())  # a parameter without levels counts as 0
    return len(grid_design(space, most)) if 0 < most <= _MOST_POINTS else None


def _space_of(given: Mapping[str, Any] | Space) -> tuple[Space, dict[str, list[Any]]]:
    if isinstance(given, Space):
        return given, {}
    foreign = foreign_space(given)
    return from_distributions(given) if foreign is None else (foreign, {})
