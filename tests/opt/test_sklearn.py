"""The search estimator keeps scikit-learn's contract."""

import math
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from ConfigSpace import ConfigurationSpace
from optuna.distributions import FloatDistribution
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import estimator_checks_generator

from experiments import lightgbm_search
from rush_core.servers.locate import resolve_url
from rush_opt import Boolean, Categorical, Float, GridSearch, Integer, Ordinal, Space, Transformed
from rush_opt.sklearn.budget import count_points
from rush_opt.sklearn.cv_results import cv_columns
from rush_opt.sklearn.distributions import from_distributions
from rush_opt.sklearn.folds import Folds, store
from rush_opt.sklearn.search import RushSearchCV
from tests.typed import unchecked

X, Y = make_classification(60, 5, random_state=0)
SMOOTHING = {"var_smoothing": Float(1e-9, 1.0, log=True)}


@pytest.fixture(scope="module", autouse=True)
def _shared_server() -> None:
    """Start the embedded server of this process once."""
    resolve_url(None)


def search(estimator: Any = None, space: Any = None, **options: Any) -> RushSearchCV:
    given: dict[str, Any] = {"n_iter": 4, "cv": 3, "random_state": 0, "optimizer": "random"}
    return RushSearchCV(estimator or GaussianNB(), space or SMOOTHING, **(given | options))


# -- scikit-learn's own checks ---------------------------------------------------------------------

# A TypeError of a fit becomes a ValueError with its traceback: the fit may run elsewhere.
FAILS = "check_dtype_object"
# Needs SciPy with its array API, which must be switched on before SciPy is imported.
DOES_NOT_APPLY = "check_array_api_input"


def name_of(check: Any) -> str:
    return str(getattr(check, "func", check).__name__)


CHECKS = [
    check
    for _, check in estimator_checks_generator(search(n_iter=1, cv=2, error_score="raise"))
    if name_of(check) not in (FAILS, DOES_NOT_APPLY)
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_the_estimator_passes_the_check(check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks use unusual data
        check(search(n_iter=1, cv=2, error_score="raise"))


def test_an_error_of_a_fit_is_in_a_value_error_with_its_traceback() -> None:
    objects = np.array([[{"not": "a number"}]] * 60, dtype=object)
    with pytest.raises(ValueError, match=r"TypeError: .* must be .* number"):
        search(error_score="raise").fit(objects, Y)


def test_results_are_those_of_randomized_search() -> None:
    """Both searches try the same settings: their columns and their best must be the same."""
    settings = list(np.logspace(-9, 0, 6))
    ours = search(space={"var_smoothing": settings}, optimizer="grid", n_iter=None)
    ours.set_params(return_train_score=True).fit(X, Y)
    theirs = RandomizedSearchCV(
        GaussianNB(), {"var_smoothing": settings}, n_iter=6, cv=3, return_train_score=True
    ).fit(X, Y)
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    mine, other = (
        pd.DataFrame(s.cv_results_).sort_values("param_var_smoothing", ignore_index=True)
        for s in (ours, theirs)
    )
    untimed = [name for name in mine if not name.endswith("_time")]
    pd.testing.assert_frame_equal(mine[untimed], other[untimed])
    for name in ("best_score_", "n_splits_", "n_features_in_", "multimetric_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.best_params_ == ours.cv_results_["params"][ours.best_index_]
    assert ours.cv_results_["rank_test_score"][ours.best_index_] == 1
    public = {n for n in vars(theirs) if n.endswith("_")}
    assert public <= set(vars(ours))


# -- what is searched ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        (stats.uniform(2, 3), Float(2, 5)),
        (stats.loguniform(1e-3, 10), Float(1e-3, 10, log=True)),
        (stats.randint(3, 9), Integer(3, 8)),
        ([1, 5, 20], Ordinal([1, 5, 20])),
        (np.array([0.1, 0.5]), Ordinal([0.1, 0.5])),
        ([5, 1], Categorical([5, 1])),
        (["a", "b", None], Categorical(["a", "b", None])),
        ([True, False], Categorical([True, False])),
        (Boolean(), Boolean()),
        ([(1,), (2, 3)], Categorical([0, 1])),
        ([1, True], Categorical([0, 1])),
    ],
)
def test_distributions_and_lists_become_parameters(given: Any, parameter: Any) -> None:
    space, values = from_distributions({"p": given, "q": Float(0, 1)})
    assert space.parameters[0] == parameter
    assert values == ({"p": given} if parameter == Categorical([0, 1]) else {})


@pytest.mark.parametrize("given", [stats.norm(3, 2), stats.expon(1, 0.1), stats.beta(2, 5)])
def test_other_continuous_distributions_are_searched_by_quantiles(given: Any) -> None:
    space, _ = from_distributions({"p": given})
    assert isinstance(space.parameters[0], Transformed)
    (middle,) = space.decode(np.array([[0.5]]))
    assert given.cdf(middle["p"]) == pytest.approx(0.5, abs=1e-3)
    low, high = (config["p"] for config in space.decode(np.array([[0.0], [1.0]])))
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert given.cdf(low) <= 0.001
    assert given.cdf(high) >= 0.999


@pytest.mark.parametrize(
    "foreign",
    [
        {"var_smoothing": FloatDistribution(1e-9, 1.0, log=True), "priors": None},
        ConfigurationSpace({"var_smoothing": (1e-9, 1.0)}),
    ],
    ids=["Optuna", "ConfigSpace"],
)
def test_spaces_of_other_packages_are_searched(foreign: Any) -> None:
    found = search(space=foreign).fit(X, Y)
    assert 1e-9 <= found.best_params_["var_smoothing"] <= 1.0
    assert found.best_params_.get("priors") is None


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a continuous or a uniform distribution, got 'poi"):
        from_distributions({"p": stats.poisson(3)})
    with pytest.raises(TypeError, match=r"must be a mapping .* write when="):
        from_distributions([{"p": [1, 2]}])  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["adbo", "grid"])
def test_a_space_with_fewer_points_than_settings_is_searched_as_a_whole(optimizer: str) -> None:
    space = {"var_smoothing": [1e-9, 1e-3], "priors": [None, (0.5, 0.5)]}
    wanted = search(space=space, optimizer=optimizer, n_iter=10)
    with pytest.warns(UserWarning, match="has 4 points, fewer than n_iter=10") as warned:
        found = wanted.fit(X, Y)
    assert warned[0].filename == __file__
    assert len({str(params) for params in found.cv_results_["params"]}) == 4
    assert len(found.cv_results_["params"]) == 4


def test_a_grid_that_is_not_tried_as_a_whole_causes_a_warning() -> None:
    space = {"var_smoothing": Float(1e-9, 1.0, log=True), "priors": [None, (0.5, 0.5)]}
    wanted = search(space=space, optimizer="grid", n_iter=7)
    with pytest.warns(UserWarning, match="grid has 20 points, but only n_iter=7 of") as said:
        found = wanted.fit(X, Y)
    assert said[0].filename == __file__
    assert len(found.cv_results_["params"]) == 7
    wanted.set_params(optimizer=GridSearch(resolution=2), n_iter=4).fit(X, Y)  # no warning


def test_points_that_a_condition_makes_equal_or_a_constraint_forbids_are_not_counted() -> None:
    space = Space(
        {"on": Boolean(), "n": Integer(1, 3, when={"on": True}), "m": Integer(1, 2)},
        constraints=[lambda config: config["on"] or config["m"] == 1],
    )
    assert count_points(space) == 1 + 3 * 2
    assert count_points(Space({"x": Float(0, 1), "on": Boolean()})) is None
    assert count_points(Space({"n": Integer(1, 10**6)})) is None


def test_parameters_may_be_estimators_of_a_pipeline() -> None:
    scalers = [StandardScaler(), MinMaxScaler(), "passthrough"]
    pipeline = make_pipeline(StandardScaler(), GaussianNB())
    found = search(pipeline, {"standardscaler": scalers}, optimizer="grid", n_iter=None).fit(X, Y)
    assert len(found.cv_results_["params"]) == 3
    assert {str(p["standardscaler"]) for p in found.cv_results_["params"]} == set(map(str, scalers))
    assert found.best_params_["standardscaler"] in scalers
    assert found.tune_result_.stop_reason == "exhausted"


def test_a_parameter_that_a_trial_did_not_have_is_masked() -> None:
    space = {
        "penalize": Categorical([False, True]),
        "C": Float(0.1, 1, when={"penalize": True}),
    }

    class Penalized(ClassifierMixin, BaseEstimator):
        def __init__(self, penalize: bool = False, C: float = 1.0) -> None:
            self.penalize, self.C = penalize, C

        def fit(self, X: Any, y: Any) -> "Penalized":
            self.classes_ = np.unique(y)
            return self

        def predict(self, X: Any) -> Any:
            return np.zeros(len(X), dtype=int)

    results = search(Penalized(), space, n_iter=8).fit(X, Y).cv_results_
    assert results["param_C"].mask.tolist() == [not p["penalize"] for p in results["params"]]
    assert 0 < results["param_C"].mask.sum() < 8


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0.1, 1, 10], float),
        ([1, 2], int),
        ([True, False], bool),
        ([True, 0.5], object),
        ([None, 1], object),
        (["a", 1], object),
    ],
)
def test_a_column_of_numbers_has_a_numeric_type(values: list[Any], kind: type) -> None:
    results: list[dict[str, list[float]]] = [{"test_score": [0.0]}] * len(values)
    column = cv_columns([{"p": v} for v in values], results, 1, math.nan)["param_p"]
    assert column.dtype == kind
    assert column.tolist() == values


# -- scoring ---------------------------------------------------------------------------------------


def test_of_several_scores_refit_names_the_one_to_optimize() -> None:
    scoring = {"acc": "accuracy", "loss": "neg_log_loss"}
    found = search(scoring=scoring, refit="loss").fit(X, Y)
    results = found.cv_results_
    assert found.multimetric_
    assert found.best_score_ == results["mean_test_loss"].max()
    assert results["rank_test_loss"][found.best_index_] == 1
    assert "split0_test_acc" in results
    assert found.score(X, Y) == pytest.approx(found.scorer_["loss"](found.best_estimator_, X, Y))
    with pytest.raises(ValueError, match=r"one of \['acc', 'loss'\], .* got refit=True"):
        search(scoring=scoring).fit(X, Y)


def both(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    accuracy = accuracy_score(y, estimator.predict(X))
    return {"accuracy": accuracy, "error": accuracy - 1}


def test_a_function_may_give_several_scores() -> None:
    found = search(scoring=both, refit="error").fit(X, Y)
    assert found.best_score_ == found.cv_results_["mean_test_error"].max()
    assert found.score(X, Y) == both(found.best_estimator_, X, Y)["error"]
    with pytest.raises(ValueError, match="name the one to optimize"):
        search(scoring=both).fit(X, Y)


def test_refit_may_be_a_function_of_the_results() -> None:
    found = search(refit=lambda results: int(results["mean_test_score"].argmin())).fit(X, Y)
    assert found.best_index_ == found.cv_results_["mean_test_score"].argmin()
    assert not hasattr(found, "best_score_")


@pytest.mark.parametrize("scoring", [["accuracy", "neg_log_loss"], both])
def test_of_several_scores_refit_may_be_a_function_or_false(scoring: Any) -> None:
    def middle(results: dict[str, Any]) -> int:
        return int(np.argsort(results["mean_test_accuracy"])[2])

    chosen = search(scoring=scoring, refit=middle).fit(X, Y)
    assert chosen.best_index_ == middle(chosen.cv_results_)
    assert chosen.best_estimator_.var_smoothing == chosen.best_params_["var_smoothing"]
    with pytest.raises(ValueError, match="with several scores, refit must name the one to return"):
        chosen.score(X, Y)

    found = search(scoring=scoring, refit=False).fit(X, Y)
    assert found.multimetric_
    assert found.tune_result_.best_value == found.cv_results_["mean_test_accuracy"].max()
    assert not {"best_index_", "best_score_", "best_params_"} & set(vars(found))


def test_without_refit_there_is_no_best_estimator() -> None:
    found = search(refit=False, scoring=make_scorer(accuracy_score)).fit(X, Y)
    assert found.best_params_
    assert not hasattr(found, "predict")
    assert not hasattr(found, "classes_")
    with pytest.raises(AttributeError, match="refit=False; set refit=True"):
        found.score(X, Y)


# -- folds and data --------------------------------------------------------------------------------


def test_all_trials_have_the_same_folds() -> None:
    found = search(space={"priors": [None, (0.5, 0.5)]}, optimizer="grid", n_iter=None)
    results = found.set_params(cv=ShuffleSplit(4, random_state=None)).fit(X, Y).cv_results_
    first, again = (
        np.array([results[f"split{i}_test_score"][j] for i in range(4)]) for j in (0, 1)
    )
    # Both priors are the same for balanced classes, so the scores differ only with the folds.
    np.testing.assert_allclose(first, again, atol=0.2)
    assert found.n_splits_ == 4


def test_groups_and_weights_reach_the_splitter_and_the_fits() -> None:
    groups = np.arange(len(X)) % 6
    weights = np.where(Y == 0, 1.0, 1e-6)
    found = search(cv=GroupKFold(3)).fit(X, Y, groups=groups, sample_weight=weights)
    assert found.n_splits_ == 3
    assert (found.predict(X) == 0).mean() > (search().fit(X, Y).predict(X) == 0).mean()


def test_workers_map_the_data_and_do_not_load_a_copy(tmp_path: Path) -> None:
    splits = [(np.arange(40), np.arange(40, 60))]
    store(tmp_path / "data", (X, Y, splits), GaussianNB(), {}, None, {})
    folds = Folds(tmp_path / "data", "test_score")
    result = folds({"var_smoothing": 1e-9})
    assert isinstance(folds._stored[0], np.memmap)
    assert folds._stored[0] is folds._stored[0]
    expected = GaussianNB().fit(X[:40], Y[:40]).score(X[40:], Y[40:])
    assert result["mean_score"] == expected
    assert result["test_score"] == [expected]


SCRIPT = """
import lightgbm
import numpy as np
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from rush_opt.sklearn.search import RushSearchCV


def error(y, predicted):
    return "error", abs(y - predicted).mean(), False


class Log:
    def __call__(self, env):
        pass


X, y = make_classification(60, 5, random_state=0)
table = np.zeros(9 * 2**20)  # 72 MiB
model = make_pipeline(
    FunctionTransformer(lambda X, table: X + table[0], kw_args={"table": table}),
    lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1),
)
search = RushSearchCV(
    model, {"lgbmclassifier__num_leaves": [2, 4, 8]}, n_iter=2, cv=3, n_jobs=2, error_score="raise"
)
search.fit(
    *(X, y),
    lgbmclassifier__eval_set=[(X, y)],
    lgbmclassifier__eval_metric=[error, lambda y, predicted: ("half", 0.5, False)],
    lgbmclassifier__callbacks=[Log()],
)
(scores,) = search.best_estimator_[-1].evals_result_.values()
print(*scores)
"""


def test_workers_fit_with_functions_classes_and_large_arrays_of_a_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "script.py"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert {"error", "half"} <= set(ran.stdout.split())


def test_what_cannot_be_copied_for_workers_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be picklable.*cannot pickle '_thread.lock'"):
        search(Fussy(unchecked(threading.Lock()))).fit(X, Y)


def test_one_worker_repeats_a_search_with_a_seed() -> None:
    first, second = (search(optimizer="adbo", n_iter=6).fit(X, Y) for _ in range(2))
    assert first.cv_results_["params"] == second.cv_results_["params"]
    third = search(random_state=np.random.RandomState(1)).fit(X, Y)
    fourth = search(random_state=np.random.RandomState(1)).fit(X, Y)
    assert third.cv_results_["params"] == fourth.cv_results_["params"]
    np.random.seed(1)
    fifth, sixth = (search(random_state=None).fit(X, Y) for _ in range(2))
    assert fifth.cv_results_["params"] == third.cv_results_["params"]
    assert sixth.cv_results_["params"] != third.cv_results_["params"]


# -- scikit-learn's configuration ------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_fits_have_the_configuration_of_scikit_learn(n_jobs: int) -> None:
    frame = pd.DataFrame(X, columns=list("abcde"))
    by_name = make_column_transformer((MinMaxScaler(), ["a", "b"]))
    pipeline = make_pipeline(StandardScaler(), by_name, GaussianNB())
    space = {"gaussiannb__var_smoothing": Float(1e-9, 1.0, log=True)}
    with sklearn.config_context(transform_output="pandas"):
        found = search(pipeline, space, n_jobs=n_jobs, error_score="raise").fit(frame, Y)
    assert found.best_score_ > 0.5


def test_metadata_goes_where_it_is_requested() -> None:
    weights = np.where(np.arange(len(X)) % 2, 1.0, 5.0)
    depths = {"max_depth": [1, 2, 3]}
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        for is_fitted_with in (False, True):
            tree = DecisionTreeClassifier(random_state=0)
            tree.set_fit_request(sample_weight=is_fitted_with)
            ours = search(tree, depths, optimizer="grid", n_iter=None, scoring=scorer)
            ours.fit(X, Y, sample_weight=weights)
            theirs = GridSearchCV(tree, depths, cv=3, scoring=scorer)
            theirs.fit(X, Y, sample_weight=weights)
            order = np.argsort(ours.cv_results_["param_max_depth"])
            np.testing.assert_array_equal(
                ours.cv_results_["mean_test_score"][order], theirs.cv_results_["mean_test_score"]
            )
            fitted = ours.best_estimator_.tree_.weighted_n_node_samples[0]
            assert fitted == (weights.sum() if is_fitted_with else len(X))
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            search().fit(X, Y, sample_weight=weights)


# -- failures --------------------------------------------------------------------------------------


class Fussy(ClassifierMixin, BaseEstimator):
    """Predict class 0; a fit with a negative tolerance fails."""

    def __init__(self, tolerance: float = 0.0) -> None:
        self.tolerance = tolerance

    def fit(self, X: Any, y: Any) -> "Fussy":
        if self.tolerance < 0:
            raise OverflowError("no tolerance left")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X), dtype=int)


@pytest.mark.parametrize("error_score", [math.nan, -7.0])
def test_a_failed_trial_has_the_error_score_and_ranks_last(error_score: float) -> None:
    space = {"tolerance": [-1.0, 0.0, 1.0]}
    given: dict[str, Any] = {"optimizer": "grid", "n_iter": None, "error_score": error_score}
    with pytest.warns(FitFailedWarning) as warned:
        found = search(Fussy(), space, **given).fit(X, Y)
    (said,) = [w for w in warned if "settings failed" in str(w.message)]
    assert re.match(r"1 of 3 settings failed.*\n(.*\n)*.*no tolerance left", str(said.message))
    assert said.filename == __file__
    results = found.cv_results_
    (bad,) = [i for i, p in enumerate(results["params"]) if p["tolerance"] < 0]
    np.testing.assert_equal(results["mean_test_score"][bad], error_score)
    assert results["rank_test_score"][bad] == 3
    assert found.best_params_["tolerance"] >= 0
    assert "no tolerance left" in found.tune_result_.trials["error"][bad]


def test_failures_are_raised_on_request_or_if_all_trials_fail() -> None:
    space = {"tolerance": [-1.0, 0.0]}
    with pytest.raises(ValueError, match=r"1 (trials )?failed.*\n(.*\n)*.*no tolerance left"):
        search(Fussy(), space, optimizer="grid", n_iter=None, error_score="raise").fit(X, Y)
    with pytest.raises(ValueError, match="no setting could be evaluated"):
        search(Fussy(), {"tolerance": Float(-2, -1)}).fit(X, Y)
    with pytest.raises(ValueError, match="error_score must be 'raise' or a number"):
        search(error_score="ignore").fit(X, Y)


def test_the_first_failure_ends_a_search_with_error_score_raise() -> None:
    space = {"tolerance": Float(-1, 1)}
    with pytest.raises(ValueError, match="failed") as refusal:
        search(Fussy(), space, n_iter=10_000, error_score="raise").fit(X, Y)
    # Half of the settings fail; the only worker continues until it is asked to stop.
    n_failed = re.search(r"(\d+) (?:trials )?failed", str(refusal.value))
    assert n_failed is not None
    assert int(n_failed[1]) < 1_000


class Interrupting(GaussianNB):
    """Send this process SIGINT, as Ctrl-C does, at the first fit with a smoothing of 0."""

    was_sent = False

    def fit(self, X: Any, y: Any) -> "Interrupting":
        if self.var_smoothing == 0 and not Interrupting.was_sent:
            Interrupting.was_sent = True
            os.kill(os.getpid(), signal.SIGINT)
        fitted: Interrupting = super().fit(X, y)
        return fitted


def test_an_interrupt_is_raised_and_nothing_is_fitted() -> None:
    found = search(
        Interrupting(),
        {"var_smoothing": [1.0, 0.1, 0.0, *np.logspace(-9, -2, 40)]},
        optimizer="grid",
        n_iter=None,
    )
    with pytest.raises(KeyboardInterrupt):
        found.fit(X, Y)
    assert Interrupting.was_sent
    assert not hasattr(found, "best_estimator_")
    assert not hasattr(found, "cv_results_")


IMPATIENT = """
import os, signal, sys, threading, time
from pathlib import Path
from sklearn.datasets import make_classification
from sklearn.naive_bayes import GaussianNB
from rush_opt import Float
from rush_opt.sklearn import RushSearchCV

started = Path(sys.argv[1])

class Slow(GaussianNB):
    def fit(self, X, y):
        started.touch()
        time.sleep(600)

def press_ctrl_c_twice():
    while not started.exists():
        time.sleep(0.01)
    for i in range(2):
        threading.Timer(0.5 * i, os.kill, (os.getpid(), signal.SIGINT)).start()

signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=press_ctrl_c_twice, daemon=True).start()
space = {"var_smoothing": Float(1e-9, 1, log=True)}
try:
    RushSearchCV(Slow(), space, n_iter=4, n_jobs=2).fit(*make_classification(random_state=1))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_second_interrupt_ends_a_search_with_workers_at_once(tmp_path: Path) -> None:
    program = subprocess.run(
        [sys.executable, "-c", IMPATIENT, str(tmp_path / "started")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (program.returncode, program.stdout) == (0, "interrupted\n"), program.stderr


def test_a_search_without_time_for_a_single_trial_says_so() -> None:
    with pytest.raises(ValueError, match=r"ended by 'timeout'; raise timeout, got 1e-06"):
        search(timeout=1e-6).fit(X, Y)


# -- an estimator among others ---------------------------------------------------------------------


def test_the_search_has_the_type_of_its_estimator() -> None:
    assert is_classifier(search())
    assert is_regressor(search(Ridge(), {"alpha": Float(0.1, 1)}))
    assert not hasattr(search(Ridge(), {"alpha": Float(0.1, 1)}), "predict_proba")
    copied = clone(search())
    assert copied.param_distributions == SMOOTHING
    assert cross_val_score(search(), X, Y, cv=2).shape == (2,)


def test_methods_are_those_of_the_best_estimator() -> None:
    found = search(LogisticRegression(), {"C": Float(0.1, 1)}).fit(X, Y)
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        expected = getattr(found.best_estimator_, name)(X)
        np.testing.assert_array_equal(getattr(found, name)(X), expected)
    assert found.classes_.tolist() == [0, 1]
    assert found.score(X, Y) == found.best_estimator_.score(X, Y)
    reduced = search(PCA(), {"n_components": Integer(1, 3)}, n_iter=3).fit(X)
    np.testing.assert_allclose(
        reduced.inverse_transform(reduced.transform(X)),
        reduced.best_estimator_.inverse_transform(reduced.best_estimator_.transform(X)),
    )


def test_names_of_features_come_from_a_data_frame() -> None:
    frame = pd.DataFrame(X, columns=list("abcde"))
    assert search().fit(frame, Y).feature_names_in_.tolist() == list("abcde")


def test_the_lightgbm_example_runs_with_two_workers(capsys: pytest.CaptureFixture[str]) -> None:
    found = lightgbm_search.main(["--n-iter", "8", "--n-jobs", "2"])
    assert len(found.cv_results_["params"]) == 8
    assert len(found.tune_result_.workers) == 2
    assert found.best_score_ > -0.5
    assert "accuracy, held out: 0.9" in capsys.readouterr().out
