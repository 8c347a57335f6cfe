"""`RushSearchCV`: `tune()` as a search estimator of scikit-learn.

It uses only public functions of scikit-learn: `cross_validate` evaluates a trial. It is not a
subclass of scikit-learn's base class for searches, because a subclass needs private parts of it,
which change between versions.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import check_cv
from sklearn.utils import Tags, check_random_state, get_tags, indexable
from sklearn.utils.validation import check_is_fitted

from rush_opt.optimizers import Optimizer
from rush_opt.results.result import TuneResult
from rush_opt.results.trials import FrozenTrial
from rush_opt.running.end_of_run import AllTrialsFailedError, StopRun
from rush_opt.sklearn.best_estimator import delegated, has_method, routed_to_fit, with_params
from rush_opt.sklearn.budget import capped_n_iter
from rush_opt.sklearn.cv_results import cv_columns
from rush_opt.sklearn.distributions import read_space
from rush_opt.sklearn.folds import MEAN, Folds, looked_up, store
from rush_opt.sklearn.scoring import choose_scorers
from rush_opt.space import Space
from rush_opt.tune import tune

__all__ = ["RushSearchCV"]


class RushSearchCV(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Search an estimator's parameters with cross-validation, by workers that share their results.

    It has the parameters, attributes and methods of
    `sklearn.model_selection.RandomizedSearchCV`, and a few more.

    Parameters
    ----------
    estimator : estimator
    param_distributions : mapping, Space or ConfigurationSpace
        Parameter name to a parameter of this package such as `Float` or `Integer`, a frozen
        distribution of `scipy.stats`, or a list of values; or a space of another package that
        `tune()` takes.
    n_iter : int, optional
        Number of settings to try. None means: until `timeout`, or 100 without a timeout. If a
        discrete space has fewer points, all of them are tried, with a warning.
    timeout : float, optional
        Seconds after which no new setting is tried.
    optimizer : str or Optimizer
        As for `tune()`. With ``"grid"``, ``n_iter=None`` tries the whole grid. A number that is
        smaller than the grid tries that number of its points, with a warning.
    scoring : str, callable, list, tuple, dict or None
        As for `RandomizedSearchCV`. If there are several scores, `refit` names the one to optimize;
        if `refit` is False or a function, the first score is optimized.
    n_jobs : int, optional
        Number of worker processes; -1 for one per CPU. None and 1 evaluate in a thread of this
        process: there a fit cannot set signal handlers, and a second Ctrl-C does not end it.
    refit : bool, str or callable
        As for `RandomizedSearchCV`.
    cv : int, splitter, iterable or None
        As for `RandomizedSearchCV`. The folds are drawn once and are the same for all trials.
    verbose : int
        Whether to show progress.
    random_state : int, RandomState or None
        The seed of the search. With one worker, the same seed gives the same search. None draws a
        seed from NumPy's global state, which `numpy.random.seed` sets.
    error_score : ``"raise"`` or number
        The scores of the folds of a failed trial in `cv_results_`. If this is NaN, a trial fails as
        soon as one of its fits fails, otherwise if all of them do. A `FitFailedWarning` says how
        many trials failed. With ``"raise"``, the first failure ends the search.
    return_train_score : bool
        Whether `cv_results_` has scores on the training data.

    Attributes
    ----------
    best_estimator_, best_params_, best_score_, best_index_, cv_results_, scorer_, n_splits_,
    refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As of `RandomizedSearchCV`. The rows of `cv_results_` are in order of completion.
    tune_result_ : TuneResult
        The run: times, errors, utilization of the workers.

    Notes
    -----
    The data are written to a temporary file once, and all workers map it into their memory. A trial
    evaluates all of its folds, one after the other. With scikit-learn's metadata routing, the
    parameters of `fit` go to the estimator and the scorers that request them. The search does not
    request any for itself, and `score` passes none on.

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
            For the estimator's `fit`. A parameter with a value per sample is split like `X`.
            Without metadata routing, a `sample_weight` is used in the fits but not in the scores;
            recent searches of scikit-learn use it in both.

        Returns
        -------
        RushSearchCV

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be used, all trials failed, or one failed and `error_score` is
            ``"raise"``. The message has the traceback.
        KeyboardInterrupt
            After Ctrl-C, when all folds of the running trials are evaluated; nothing is fitted. A
            second Ctrl-C ends trials in other processes at once, but waits for a trial in this
            process.
        """
        if self.error_score != "raise" and not isinstance(self.error_score, Real):
            raise ValueError(
                f"error_score must be 'raise' or a number, got {self.error_score!r}; numpy.nan "
                "leaves failed trials without a score"
            )
        self.scorer_, metric = choose_scorers(self.estimator, self.scoring, self.refit)
        refit_params = routed_to_fit(self.estimator, fit_params)
        space, values = read_space(self.param_distributions)
        X, y, groups = indexable(X, y, groups)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, groups))
        self.n_splits_ = len(splits)
        with tempfile.TemporaryDirectory(prefix="rush-data-") as folder:
            path = Path(folder) / "data"
            store(path, (X, y, splits), self.estimator, values, self.scorer_, fit_params)
            folds = Folds(
                path,
                metric,
                error_score="raise" if self._one_failed_fit_fails_a_trial else self.error_score,
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
    def _one_failed_fit_fails_a_trial(self) -> bool:
        return isinstance(self.error_score, str) or bool(np.isnan(self.error_score))

    def _tune(self, objective: Folds, space: Space) -> TuneResult:
        seed: Any = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(2**31)
        n_workers = int(joblib.effective_n_jobs(self.n_jobs))
        here = ThreadPoolExecutor(1) if n_workers == 1 else nullcontext()
        try:
            with here as executor:
                result = tune(
                    objective,
                    space,
                    n_workers=n_workers,
                    n_trials=capped_n_iter(self.n_iter, space, self.optimizer),
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
            raise KeyboardInterrupt  # scikit-learn's searches raise it, too, and keep nothing
        self._check_trials(result)
        return result

    def _check_trials(self, result: TuneResult) -> None:
        """Raise an error, or warn, if trials failed or none was evaluated."""
        trials = result.frozen_trials
        if all(trial.value is None for trial in trials):
            raise ValueError(
                f"no setting was evaluated, the search ended by {result.stop_reason!r}; raise "
                f"timeout, got {self.timeout!r}"
            )
        errors = [trial.error for trial in trials if trial.error]
        if self.error_score == "raise" and errors:
            raise ValueError(f"{len(errors)} trials failed, the first one with:\n{errors[0]}")
        if errors:
            warnings.warn(
                f"{len(errors)} of {len(trials)} settings failed, which counts as a score of "
                f"{self.error_score}; tune_result_.trials has all errors, the first one is:\n"
                f"{errors[0]}",
                FitFailedWarning,
                stacklevel=4,  # the caller of `fit`
            )

    def _keep_best(self, metric: str | None, values: Mapping[str, list[Any]]) -> None:
        """Set `cv_results_` and the attributes of the best setting."""
        trials = [trial for trial in self.tune_result_.frozen_trials if not trial.lost]
        folds = [{k: v for k, v in t.result.items() if k != MEAN} or None for t in trials]
        params = [looked_up(trial.params, values) for trial in trials]
        error_score = np.nan if isinstance(self.error_score, str) else self.error_score
        self.cv_results_ = cv_columns(params, folds, self.n_splits_, error_score)
        self.multimetric_ = "mean_test_score" not in self.cv_results_
        if not self.refit and self.multimetric_:
            return  # no score defines the best setting
        if callable(self.refit):
            self.best_index_ = self.refit(self.cv_results_)
        else:
            metric = metric or "test_score"
            self.best_index_ = int(self.cv_results_[f"rank_{metric}"].argmin())
            self.best_score_ = float(self.cv_results_[f"mean_{metric}"][self.best_index_])
        self.best_params_ = self.cv_results_["params"][self.best_index_]

    def score(self, X: Any, y: Any = None) -> float:
        """Return the best estimator's score on other data, by the score that was optimized.

        Raises
        ------
        AttributeError
            If there is no best estimator, because `refit` is False.
        ValueError
            If there are several scores, and `refit` does not name one of them.
        """
        has_method("fit")(self)
        check_is_fitted(self)
        if self.multimetric_ and not isinstance(self.refit, str):
            raise ValueError(
                "with several scores, refit must name the one to return, got "
                f"{self.refit!r}; score best_estimator_ with the scorers in scorer_ instead"
            )
        scorer = self.scorer_[self.refit] if isinstance(self.scorer_, dict) else self.scorer_
        score = scorer(self.best_estimator_, X, y)
        return float(score[self.refit] if isinstance(score, dict) else score)

    predict = delegated("predict")
    predict_proba = delegated("predict_proba")
    predict_log_proba = delegated("predict_log_proba")
    decision_function = delegated("decision_function")
    score_samples = delegated("score_samples")
    transform = delegated("transform")
    inverse_transform = delegated("inverse_transform")

    @property
    def classes_(self) -> Any:
        """Class labels of the best estimator."""
        has_method("classes_")(self)
        return self.best_estimator_.classes_

    @property
    def n_features_in_(self) -> int:
        """Number of features that the best estimator was fitted with."""
        has_method("n_features_in_")(self)
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
    """End the run when a trial failed; a callback of `tune()`."""
    if trial.error is not None:
        raise StopRun("a trial failed")
