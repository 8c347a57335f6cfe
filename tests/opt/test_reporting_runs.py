"""Whole runs whose trials report, are stopped early, and keep their curves."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from rush_core import CorruptRecordError, EmbeddedServer, Network, Worker
from rush_opt import Float, MedianRule, SuccessiveHalving, Trial, tune
from rush_opt.stopping.trial_rules import Pruner
from tests.opt.objectives import N_STEPS, learning, rising

X = {"x": Float(0, 1)}
HALVING = SuccessiveHalving(min_resource=1, reduction_factor=3)


@pytest.mark.parametrize(
    ("optimizer", "pruner"),
    [("random", HALVING), ("adbo", MedianRule(n_min_trials=2)), ("acbo", HALVING)],
)
def test_rules_go_with_every_optimizer_and_keep_the_budget(
    server: EmbeddedServer, optimizer: str, pruner: Pruner
) -> None:
    result = tune(
        *(learning, X),
        n_workers=2,
        n_trials=20,
        optimizer=optimizer,
        pruner=pruner,
        seed=1,
        url=server.url,
        progress=False,
    )
    assert len(result.frozen_trials) == 20
    assert {trial.state for trial in result.frozen_trials} == {"finished"}
    stopped = [trial for trial in result.frozen_trials if trial.stopped_at is not None]
    assert 0 < len(stopped) < 20
    for trial in result.frozen_trials:
        last = N_STEPS if trial.stopped_at is None else trial.stopped_at
        assert list(trial.intermediate) == list(range(1, int(last) + 1))
        assert trial.value == trial.intermediate[last]
    assert result.best_trial.stopped_at is None
    assert sum(result.trials["notes_stopped_at"].notna()) == len(stopped)


def test_known_to_a_proposal_are_whole_failed_and_stopped_trials(
    server: EmbeddedServer,
) -> None:
    def diverging(config: dict[str, Any], trial: Trial) -> float:
        if 0.25 < config["x"] < 0.5:
            trial.report(math.nan, 1)
            trial.should_stop()
            return math.nan
        return learning(config, trial)

    result = tune(
        *(diverging, X),
        n_workers=1,
        n_trials=30,
        pruner=HALVING,
        initial_design=10,
        seed=1,
        url=server.url,
        progress=False,
    )
    kinds = {(trial.state, trial.stopped_at is None) for trial in result.frozen_trials}
    assert kinds == {("finished", True), ("finished", False), ("failed", False)}
    for trial in result.frozen_trials[10:]:
        assert result.known_at(trial) == result.frozen_trials[: trial.number]


def test_maximizing_stops_those_with_small_values(server: EmbeddedServer) -> None:
    result = tune(
        *(rising, X),
        n_workers=2,
        n_trials=20,
        optimizer="random",
        pruner=HALVING,
        direction="maximize",
        seed=1,
        url=server.url,
        progress=False,
    )
    whole = [t.params["x"] for t in result.frozen_trials if t.stopped_at is None]
    stopped = [t.params["x"] for t in result.frozen_trials if t.stopped_at is not None]
    assert stopped
    assert result.best_params["x"] == max(whole) > np.mean(stopped)


def test_workers_in_threads_share_their_reports(server: EmbeddedServer) -> None:
    with ThreadPoolExecutor(2) as pool:
        result = tune(
            *(learning, X),
            n_workers=2,
            n_trials=8,
            optimizer="random",
            pruner=HALVING,
            seed=1,
            url=server.url,
            executor=pool,
            progress=False,
        )
    assert len(result.frozen_trials) == 8
    assert any(trial.stopped_at == 1 for trial in result.frozen_trials)


def test_a_run_that_goes_on_knows_the_reports_of_the_one_before(
    server: EmbeddedServer, network: Network
) -> None:
    given: dict[str, Any] = {
        "n_workers": 1,
        "optimizer": "random",
        "pruner": HALVING,
        "network_id": network.network_id,
        "url": server.url,
        "progress": False,
    }
    tune(learning, X, n_trials=1, initial_design=[{"x": 0.0}], seed=1, **given)
    result = tune(learning, X, n_trials=2, seed=2, **given)
    first, second = result.frozen_trials
    assert len(first.intermediate) == N_STEPS
    assert (second.stopped_at, list(second.intermediate)) == (1, [1])


def test_a_killed_workers_reports_still_count(server: EmbeddedServer, network: Network) -> None:
    def mortal(config: dict[str, Any], trial: Trial) -> float:
        trial.report(config["x"], 1)
        if config["x"] == 0.0:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        trial.should_stop()
        return float(config["x"])

    result = tune(
        *(mortal, X),
        n_workers=1,
        n_trials=1,
        optimizer="random",
        pruner=HALVING,
        initial_design=[{"x": 0.0}],
        seed=1,
        network_id=network.network_id,
        url=server.url,
        progress=False,
    )
    lost, ended = sorted(result.frozen_trials, key=lambda trial: trial.params["x"])
    assert (lost.lost, lost.intermediate) == (True, {1: 0.0})
    assert ended.stopped_at == 1  # of two at the first rung, the better one goes on


def test_trials_that_report_without_a_rule_keep_their_curves(server: EmbeddedServer) -> None:
    seen: list[int] = []
    result = tune(
        *(learning, X),
        n_workers=2,
        n_trials=6,
        optimizer="random",
        callbacks=[lambda trial: seen.append(len(trial.intermediate))],
        url=server.url,
        progress=False,
    )
    assert seen == [N_STEPS] * 6
    assert all(trial.stopped_at is None for trial in result.frozen_trials)


@pytest.mark.parametrize(
    ("objective", "pruner", "error", "said"),
    [
        (learning, "median", TypeError, "pruner must be SuccessiveHalving"),
        (learning, MedianRule, TypeError, r"write MedianRule\(\)"),
        (lambda config: 0.0, MedianRule(), ValueError, "the objective must take the trial"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_at_the_door(
    server: EmbeddedServer,
    objective: Callable[..., Any],
    pruner: Any,
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        tune(objective, X, pruner=pruner, url=server.url)


@pytest.mark.parametrize("values", [{}, {"step": 1}, {"step": [1], "value": 2.0}])
def test_a_report_of_another_program_is_named(network: Network, values: dict[str, Any]) -> None:
    with Worker(network.network_id, url=network.url) as other:
        key = other.start_task({"x": 0.5})
        assert key is not None
        other.report_task(key, values)
        other.finish_task(key, {"value": 0.5})
    given: dict[str, Any] = {"network_id": network.network_id, "url": network.url}
    with pytest.raises(
        CorruptRecordError, match=r"must have the numbers 'step' and 'value'"
    ) as error:
        tune(learning, X, n_workers=1, n_trials=3, progress=False, **given)
    assert error.value.key == key
