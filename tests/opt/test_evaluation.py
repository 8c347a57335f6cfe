"""One worker's trials, run in this process against our own server."""

import functools
import json
import math
import sys
import time
from collections import UserDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from rush_core import Network, Worker
from rush_opt import Trial
from rush_opt.evaluation.objective import evaluate, takes_trial
from rush_opt.evaluation.runner import TrialRunner
from tests.fixture_types import Join
from tests.opt.trials import PROBLEM, runner
from tests.typed import present

CONFIG = {"x": 0.5}


def start(trials: TrialRunner) -> str:
    key = trials.start(CONFIG)
    assert key is not None
    return key


# -- what an objective may return ------------------------------------------------------------------


class Scalar:
    """A tensor without dimensions, as other libraries have them."""

    def __init__(self, dtype: str = "torch.float32", error: Exception | None = None) -> None:
        self.dtype, self.error = dtype, error

    def __float__(self) -> float:
        if self.error is not None:
            raise self.error
        return 0.75


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (2, 2.0),
        (-0.5, -0.5),
        (np.float32(0.25), 0.25),
        (np.int64(3), 3.0),
        (Fraction(1, 4), 0.25),
        (np.array(1.5), 1.5),
        (Decimal("0.5"), 0.5),
        (Scalar(), 0.75),
    ],
)
def test_every_kind_of_number_counts_and_becomes_a_float(returned: Any, value: float) -> None:
    result, error = evaluate(lambda config: returned, CONFIG, ("loss",))
    assert result == {"loss": value}
    assert type(result["loss"]) is float
    assert error == ""


@pytest.mark.parametrize("kind", [dict, UserDict, MappingProxyType])
def test_a_mapping_brings_further_results_along(
    kind: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> None:
    returned = kind({"accuracy": 1, "loss": np.float32(0.5), "tag": "a"})
    result, error = evaluate(lambda config: returned, CONFIG, ("loss",))
    assert result == {"accuracy": 1, "loss": 0.5, "tag": "a"}
    assert error == ""
    assert returned["loss"].dtype == np.float32  # what was returned is not changed


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "None (NoneType)"),
        ("0.5", "'0.5' (str)"),
        (True, "True (bool)"),
        (np.True_, "(bool"),
        ([0.5], "[0.5] (list)"),
        (1j, "1j (complex)"),
        (Scalar("torch.bool"), "(Scalar)"),
        (Scalar(error=RuntimeError("2 elements")), "2 elements"),
        (np.array(True), "array(True)"),
        (np.complex128(1j), "(complex128)"),
        (np.str_("0.5"), "(str_)"),
        (np.timedelta64(3, "s"), "(timedelta64)"),
        (Decimal("NaN"), "nan"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (np.float64("nan"), "nan"),
        (np.array([1.0, 2.0]), "array([1., 2.])"),
        (10**400, "too large"),
        ({"loss": None}, "None (NoneType)"),
        ({"loss": math.nan}, "nan"),
        ({}, "it has []"),
        ({"auc": 0.5, "acc": 0.75}, "it has ['acc', 'auc']"),
        ({1: 0.5}, "it has ['1']"),
    ],
)
def test_a_value_that_is_no_finite_number_fails_the_trial(returned: Any, message: str) -> None:
    result, error = evaluate(lambda config: returned, CONFIG, ("loss",))
    assert result is None
    assert "'loss'" in error
    assert message in error
    assert "\n" not in error


def test_a_long_value_is_not_repeated_in_full() -> None:
    _, error = evaluate(lambda config: "x" * 10_000, CONFIG, ("loss",))
    assert len(error) < 300


def test_a_value_whose_repr_raises_fails_the_trial() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("not to be shown")

    result, error = evaluate(lambda config: Shy(), CONFIG, ("loss",))
    assert result is None
    assert "Shy object" in error


def test_an_exception_becomes_its_traceback_from_the_objective_on() -> None:
    def objective(config: dict[str, Any]) -> float:
        nothing: dict[str, float] = {}
        return nothing["nowhere"]

    result, error = evaluate(objective, CONFIG, ("loss",))
    assert result is None
    assert error.startswith("Traceback (most recent call last)")
    assert error.endswith("KeyError: 'nowhere'")
    assert error.count("  File ") == 1  # nothing of ours
    assert "in objective" in error


def test_leaving_the_program_is_a_failure_of_the_trial() -> None:
    result, error = evaluate(lambda config: sys.exit("no data"), CONFIG, ("loss",))
    assert result is None
    assert error.endswith("SystemExit: no data")


# -- how an objective is called --------------------------------------------------------------------


def of_config(config: Any) -> float:
    return 0.0


def of_config_and_trial(config: Any, trial: Any) -> float:
    return 0.0


def of_config_and_another_name(config: Any, info: Any) -> float:
    return 0.0


def of_config_and_optional_trial(config: Any, trial: Any = None) -> float:
    return 0.0


def of_config_and_option(config: Any, scale: float = 1.0) -> float:
    return 0.0


def of_anything(*args: Any, **kwargs: Any) -> float:
    return 0.0


def of_config_and_keyword(config: Any, *, trial: Any = None) -> float:
    return 0.0


class OfConfigAndTrial:
    def __call__(self, config: Any, trial: Any) -> float:
        return 0.0

    def method(self, config: Any) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("objective", "takes"),
    [
        (of_config, False),
        (of_config_and_trial, True),
        (of_config_and_another_name, True),
        (of_config_and_optional_trial, True),
        (of_config_and_option, False),
        (of_anything, False),
        (of_config_and_keyword, False),
        (OfConfigAndTrial(), True),
        (OfConfigAndTrial().method, False),
        (functools.partial(of_config_and_trial, trial=None), False),
        (functools.partial(of_config_and_option, scale=2.0), False),
        (max, False),
    ],
)
def test_an_objective_gets_the_trial_if_it_has_a_place_for_it(
    objective: Callable[..., Any], takes: bool
) -> None:
    assert takes_trial(objective) is takes


def test_the_trial_has_its_key_and_its_worker(worker: Worker) -> None:
    seen: list[Trial] = []

    def objective(config: dict[str, Any], trial: Trial) -> float:
        seen.append(trial)
        return 0.0

    trials = runner(worker, objective)
    key = start(trials)
    trials.run(key, CONFIG)
    (trial,) = seen
    assert trial.key == key
    assert (trial.worker_id, trial.worker_number) == (worker.worker_id, worker.number)


# -- what becomes of a trial -----------------------------------------------------------------------


def test_a_worker_fetches_its_own_trial_and_those_of_others(join: Join) -> None:
    here, elsewhere = (runner(join(), lambda config: config["x"]) for _ in range(2))
    theirs, ours = start(elsewhere), start(here)
    assert [task.key for task in elsewhere.run_and_fetch_new(theirs, {"x": 0.25}).finished] == [
        theirs
    ]
    new = list(here.run_and_fetch_new(ours, CONFIG).finished)
    assert [task.key for task in new] == [theirs, ours]
    assert [task.result for task in new] == [{"loss": 0.25}, {"loss": 0.5}]


def test_a_worker_whose_trial_failed_still_fetches_those_of_others(
    join: Join, network: Network
) -> None:
    here = runner(join(), lambda config: math.nan)
    elsewhere = runner(join(), lambda config: config["x"])
    theirs, ours = start(elsewhere), start(here)
    elsewhere.run(theirs, CONFIG)
    new = here.run_and_fetch_new(ours, CONFIG)
    assert [task.key for task in new.finished] == [theirs]
    assert [task.key for task in new.failed] == [ours]
    (failed,) = network.fetch_tasks("failed")
    assert failed.key == ours
    assert "nan" in present(failed.error)
    assert "lost" not in failed.result_extra
    assert failed.result_extra["objective_s"] >= 0.0


@pytest.mark.parametrize("unstorable", [object(), 2**70, {"deep": json}])
def test_a_result_that_cannot_be_stored_fails_the_trial_by_its_name(
    worker: Worker, network: Network, unstorable: object
) -> None:
    trials = runner(worker, lambda config: {"loss": 0.5, "model": unstorable})
    trials.run(start(trials), CONFIG)
    (failed,) = network.fetch_tasks("failed")
    assert "'model'" in present(failed.error)
    assert network.count_tasks() == (0, 0, 0, 1)


def test_an_objective_that_changes_its_configuration_changes_no_record(
    worker: Worker, network: Network
) -> None:
    trials = runner(worker, lambda config: config.pop("x"))
    (task,) = trials.run_and_fetch_new(start(trials), dict(CONFIG)).finished
    assert task.config == CONFIG


def test_the_notes_of_a_trial_have_the_time_of_each_phase_before_it(worker: Worker) -> None:
    def objective(config: dict[str, Any]) -> float:
        until = time.process_time() + 0.025  # a bit more than is asserted: clocks differ
        while time.process_time() < until:
            pass
        return 0.0

    trials = runner(worker, objective)
    with trials.clock.timing("surrogate"):
        objective(CONFIG)
    (first,) = trials.run_and_fetch_new(start(trials), CONFIG, {"lambda": 1.5}).finished
    (second,) = trials.run_and_fetch_new(start(trials), CONFIG).finished
    notes = first.result_extra
    assert set(notes) == {
        *("lambda", "cpu_s"),
        *("objective_s", "surrogate_s", "acquisition_s", "coordination_s"),
    }
    assert notes["lambda"] == 1.5
    assert notes["objective_s"] >= 0.02
    assert notes["surrogate_s"] >= 0.02
    assert notes["acquisition_s"] == 0.0
    assert notes["cpu_s"] >= 0.04
    assert second.result_extra["surrogate_s"] == 0.0
    assert second.result_extra["objective_s"] >= 0.02


def test_time_is_accounted_for_even_if_a_phase_ends_in_an_error(worker: Worker) -> None:
    trials = runner(worker, of_config)
    with pytest.raises(ZeroDivisionError), trials.clock.timing("acquisition"):
        1 / 0  # noqa: B018
    (task,) = trials.run_and_fetch_new(start(trials), CONFIG).finished
    assert task.result_extra["acquisition_s"] > 0.0


def test_a_killed_worker_reports_no_result_and_stops(worker: Worker, network: Network) -> None:
    def objective(config: dict[str, Any]) -> float:
        network.stop_workers([worker.worker_id], kill=True)
        return 0.5

    trials = runner(worker, objective)
    key = start(trials)
    ended = trials.run_and_fetch_new(key, CONFIG)
    assert list(ended.finished) == list(ended.failed) == []
    assert not trials.may_start()
    (failed,) = network.fetch_tasks("failed")
    assert failed.key == key
    assert failed.result_extra["lost"] == "killed"


# -- how long it goes on ---------------------------------------------------------------------------


def test_no_trial_starts_beyond_the_budget(worker: Worker) -> None:
    trials = runner(worker, of_config, n_trials=2)
    trials.run(start(trials), CONFIG)
    trials.run(start(trials), CONFIG)
    assert trials.start(CONFIG) is None


def test_waiting_trials_are_claimed_in_order_and_within_the_budget(
    worker: Worker, network: Network
) -> None:
    network.push_tasks([{"x": 0.1}, {"x": 0.2}, {"x": 0.3}])
    trials = runner(worker, of_config, n_trials=2)
    claimed = [present(trials.claim()), present(trials.claim())]
    assert [config for _, config in claimed if _] == [{"x": 0.1}, {"x": 0.2}]
    assert trials.claim() is None
    for key, config in claimed:
        trials.run(key, config)


def test_no_trial_may_start_after_the_deadline(worker: Worker) -> None:
    assert runner(worker, of_config, began=worker.now(), timeout_s=3600.0).may_start()
    late = runner(worker, of_config, began=worker.now() - 1.0, timeout_s=1.0)
    assert not late.may_start()
    assert late.start(CONFIG) is None


def test_no_trial_may_start_once_the_worker_is_asked_to_stop(
    worker: Worker, network: Network
) -> None:
    trials = runner(worker, of_config)
    assert trials.may_start()
    network.stop_workers()
    assert not trials.may_start()


# -- randomness ------------------------------------------------------------------------------------


def draws(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(rng.random(4))


def test_the_design_and_every_worker_have_a_stream_of_their_own() -> None:
    streams = [PROBLEM.design_rng(), *(PROBLEM.worker_rng(number) for number in range(50))]
    assert len({draws(rng) for rng in streams}) == 51


def test_the_seed_decides_every_stream() -> None:
    again, other = replace(PROBLEM), replace(PROBLEM, seed=4)
    assert draws(again.design_rng()) == draws(PROBLEM.design_rng())
    assert draws(again.worker_rng(1)) == draws(PROBLEM.worker_rng(1))
    assert draws(other.design_rng()) != draws(PROBLEM.design_rng())
    assert draws(other.worker_rng(1)) != draws(PROBLEM.worker_rng(1))
