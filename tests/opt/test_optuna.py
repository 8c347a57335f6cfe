"""A run as a study of Optuna, read by Optuna itself."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from rush_opt import (
    Boolean,
    Categorical,
    Constant,
    Float,
    FrozenTrial,
    GridSearch,
    Integer,
    Ordinal,
    Space,
    Transformed,
    TuneResult,
    simulate,
)
from rush_opt.space.foreign import from_optuna
from tests.opt.changing import changed, goals

mpl.use("agg")

SPACE = {
    "rate": Float(1e-3, 1.0, log=True),
    "share": Float(0.0, 1.0, step=0.25),
    "leaves": Integer(2, 64, log=True),
    "depth": Integer(1, 9, step=2),
    "booster": Categorical(["gbdt", "dart", None]),
    "level": Ordinal(["low", "high"]),
    "extra": Boolean(),
    "drop": Float(0.0, 0.5, when={"booster": "dart"}),
    "width": Transformed(Integer(3, 6), lambda k: 2**k, inverse=lambda n: n.bit_length() - 1),
    "root": Transformed(Float(0.0, 2.0), lambda x: x**2, inverse=lambda y: y**0.5),
    "version": Constant("v1"),
    "momentum": Constant(0.9),
    "jobs": Constant(4),
    "quiet": Constant(True),
}


def objective(config: dict[str, Any]) -> dict[str, Any]:
    if config["booster"] is None:
        raise RuntimeError("no booster")
    return {"loss": config["rate"] + config.get("drop", 0.1), "curve": np.arange(3.0)}


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(scope="module")
def result() -> TuneResult:
    return simulate(
        objective,
        SPACE,
        n_workers=4,
        n_trials=60,
        optimizer="random",
        metric="loss",
        seed=1,
        duration=lambda config, number: 1.0 + config["rate"],
    )


@pytest.fixture
def study(result: TuneResult) -> optuna.Study:
    return result.to_optuna()


def test_the_study_has_all_trials_with_values_states_and_times(
    result: TuneResult, study: optuna.Study
) -> None:
    assert len(study.trials) == 60
    for mine, theirs in zip(result.frozen_trials, study.trials, strict=True):
        assert theirs.number == mine.number
        assert theirs.params == mine.params
        assert theirs.value == mine.value
        failed = mine.state == "failed"
        assert theirs.state == (TrialState.FAIL if failed else TrialState.COMPLETE)
        assert theirs.datetime_start == datetime.fromtimestamp(mine.started_at or 0.0)
        assert theirs.datetime_complete == datetime.fromtimestamp(mine.ended_at)
    assert 0 < sum(trial.state == TrialState.FAIL for trial in study.trials) < 60
    assert study.best_value == result.best_value
    assert study.best_params == result.best_params
    assert study.study_name == result.network_id


def test_data_without_a_place_in_optuna_are_user_attributes(
    result: TuneResult, study: optuna.Study
) -> None:
    for mine, theirs in zip(result.frozen_trials, study.trials, strict=True):
        assert theirs.user_attrs["key"] == mine.key
        assert theirs.user_attrs["worker"] == mine.worker
        assert theirs.user_attrs["notes_objective_s"] == mine.notes["objective_s"]
        if mine.error is None:
            assert theirs.user_attrs["result_curve"] == [0.0, 1.0, 2.0]
            assert "error" not in theirs.user_attrs
        else:
            assert "no booster" in theirs.user_attrs["error"]
    assert study.user_attrs["metrics"] == ["loss"]


def test_distributions_are_those_of_the_space(study: optuna.Study) -> None:
    trial = next(t for t in study.trials if t.params["booster"] == "dart")
    assert trial.distributions == {
        "rate": FloatDistribution(1e-3, 1.0, log=True),
        "share": FloatDistribution(0.0, 1.0, step=0.25),
        "leaves": IntDistribution(2, 64, log=True),
        "depth": IntDistribution(1, 9, step=2),
        "booster": CategoricalDistribution(("gbdt", "dart", None)),
        "level": CategoricalDistribution(("low", "high")),
        "extra": CategoricalDistribution((False, True)),
        "drop": FloatDistribution(0.0, 0.5),
        "width": CategoricalDistribution((8, 16, 32, 64)),
        "root": FloatDistribution(0.0, 4.0),
        "version": CategoricalDistribution(("v1",)),
        "momentum": FloatDistribution(0.9, 0.9),
        "jobs": IntDistribution(4, 4),
        "quiet": CategoricalDistribution((True,)),
    }
    for other in study.trials:
        assert ("drop" in other.distributions) == (other.params["booster"] == "dart")


@pytest.mark.parametrize(
    "parameter", [Float(0, 1, step=1 / 3), Float(0.1, 0.1 + 3 * 0.2, step=0.2)]
)
def test_steps_that_miss_the_bound_by_rounding_are_left_out(parameter: Float) -> None:
    result = simulate(
        lambda config: config["x"],
        {"x": parameter},
        n_workers=1,
        n_trials=4,
        optimizer=GridSearch(4),
        duration=lambda config, number: 1.0,
    )
    study = result.to_optuna()
    assert max(trial.params["x"] for trial in study.trials) == parameter.high
    assert study.trials[0].distributions == {"x": FloatDistribution(parameter.low, parameter.high)}


def test_a_space_goes_to_optuna_and_back() -> None:
    space = {name: SPACE[name] for name in ("rate", "share", "leaves", "depth", "booster")}
    given: dict[str, Any] = {"n_workers": 1, "n_trials": 2, "optimizer": "random", "seed": 1}
    there = simulate(lambda c: c["rate"], space, duration=lambda c, n: 1.0, **given).to_optuna()
    assert from_optuna(there.trials[0].distributions).parameters == tuple(space.values())


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
# The axis of a fixed value makes matplotlib warn.
@pytest.mark.filterwarnings("ignore:Attempting to set identical low and high:UserWarning")
def test_pictures_and_importances_work(study: optuna.Study) -> None:
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as pictures

    for plot in (
        pictures.plot_optimization_history,
        pictures.plot_parallel_coordinate,
        pictures.plot_slice,
        pictures.plot_timeline,
    ):
        assert plot(study) is not None
    plt.close("all")
    importances = optuna.importance.get_param_importances(study)
    assert max(importances, key=importances.__getitem__) == "rate"
    assert len(study.trials_dataframe()) == 60


def test_optuna_continues_from_the_trials(study: optuna.Study) -> None:
    study.sampler = optuna.samplers.TPESampler(seed=1)
    study.optimize(lambda trial: trial.suggest_float("rate", 1e-3, 1.0, log=True), n_trials=3)
    assert len(study.trials) == 63


def test_maximizing_stays_maximizing(result: TuneResult) -> None:
    turned = changed(result, goals=goals("loss", "maximize"))
    assert turned.to_optuna().best_value == turned.best_value > result.best_value


def test_a_trial_without_a_start_has_the_time_of_its_end(result: TuneResult) -> None:
    trial = replace(result.frozen_trials[0], started_at=None, worker=None)
    (there,) = changed(result, trials=[trial]).to_optuna().trials
    assert there.datetime_start == there.datetime_complete


def test_a_result_without_its_space_says_what_to_do(result: TuneResult) -> None:
    with pytest.raises(ValueError, match=r"does not know: .* add the space: result\.with_space"):
        changed(result, space=None).to_optuna()


def curve(number: int, steps: list[float], **changes: Any) -> FrozenTrial:
    """Return a trial that reported at these steps, with the last value as its own."""
    values = {step: 1.0 / (1 + step) + number for step in steps}
    value = list(values.values())[-1]
    trial = FrozenTrial(
        *(number, str(number), "finished", {"x": 0.5}, value, {"loss": value}, None, 0, 0.0, 1.0),
        notes={},
        intermediate=values,
    )
    return replace(trial, **changes)


def study_of(*trials: FrozenTrial) -> optuna.Study:
    space = Space({"x": Float(0, 1)})
    made = simulate(
        lambda config: {"loss": 0.0},
        space,
        n_workers=1,
        n_trials=1,
        metric="loss",
        optimizer="random",
        duration=lambda config, number: 1.0,
    )
    return changed(made, trials=list(trials)).to_optuna()


def test_a_stopped_trial_is_a_pruned_one_with_its_value() -> None:
    stopped = curve(0, [1, 2], notes={"stopped_at": 2})
    diverged = curve(1, [1], notes={"stopped_at": 1}, state="failed", value=None, result={})
    there = study_of(stopped, diverged, curve(2, [1, 2, 3]))
    states = [TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE]
    assert [t.state for t in there.trials] == states
    assert [t.value for t in there.trials] == [stopped.value, None, 2.25]
    assert there.best_trial.number == 2
    assert there.trials[2].intermediate_values == {1: 2.5, 2: 2 + 1 / 3, 3: 2.25}
    assert "steps" not in there.user_attrs


def test_fractional_steps_become_their_indices_in_all_trials() -> None:
    there = study_of(curve(0, [0.5, 0.9, 1]), curve(1, [0.9, 2.0]))
    assert there.user_attrs["steps"] == [0.5, 0.9, 1, 2.0]
    assert [list(t.intermediate_values) for t in there.trials] == [[0, 1, 2], [1, 3]]


def test_several_objectives_have_their_names_in_pictures() -> None:
    result = simulate(
        lambda config: {"error": config["x"], "size": 1 - config["x"]},
        {"x": Float(0, 1)},
        metric=["error", "size"],
        direction=["minimize", "minimize"],
        n_workers=1,
        n_trials=5,
        optimizer="random",
        duration=lambda config, number: 1.0,
    )
    study = result.to_optuna()
    assert study.metric_names == ["error", "size"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = optuna.visualization.matplotlib.plot_pareto_front(study)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("error", "size")
