"""Whole runs, seen from outside: real worker processes, our own server."""

import math
import os
import re
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from rush_core import EmbeddedServer, WorkerState
from rush_opt import Boolean, Categorical, Float, FrozenTrial, Integer, Trial, TuneResult, tune
from rush_opt.optimizers import OPTIMIZERS
from tests.opt.inspecting import stored_keys
from tests.typed import present

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

X = {"x": Float(0, 1)}


@dataclass
class Run:
    """A run, and what could be seen of it from outside."""

    result: TuneResult
    called_with: list[FrozenTrial]
    keys_left: set[bytes]


@pytest.fixture(scope="module")
def run(server: EmbeddedServer) -> Run:
    """100 trials of ADBO by four workers, maximizing, with failures and further results."""

    def objective(config: dict[str, Any], trial: Trial) -> dict[str, Any]:
        if config["n"] == 3:
            raise ValueError(f"cannot do {config['n']}")
        accuracy = config["x"] * (2.0 if config["kind"] == "good" else 1.0) - 0.2 * config["n"]
        return {
            **{"accuracy": accuracy, "key": trial.key, "pid": os.getpid()},
            **{"worker": trial.worker_number, "threads": os.environ["OMP_NUM_THREADS"]},
        }

    before = stored_keys(server.url)
    called_with: list[FrozenTrial] = []
    space = {**X, "n": Integer(1, 4), "kind": Categorical(["good", "bad"]), "on": Boolean()}
    result = tune(
        objective,
        space,
        n_workers=4,
        n_trials=100,
        metric="accuracy",
        direction="maximize",
        seed=1,
        url=server.url,
        callbacks=[called_with.append],
        progress=False,
    )
    return Run(result, called_with, stored_keys(server.url) - before)


def test_exactly_as_many_trials_end_as_asked_for(run: Run) -> None:
    trials = run.result.frozen_trials
    assert run.result.stop_reason == "n_trials"
    assert len(trials) == 100
    assert len({trial.key for trial in trials}) == 100
    assert [trial.number for trial in trials] == list(range(100))
    assert not any(trial.lost for trial in trials)


def test_trials_that_fail_have_a_traceback_and_the_run_goes_on(run: Run) -> None:
    failed = [trial for trial in run.result.frozen_trials if trial.state == "failed"]
    assert 0 < len(failed) < 100
    for trial in failed:
        assert trial.params["n"] == 3
        assert trial.value is None
        assert trial.result == {}
        assert present(trial.error).startswith("Traceback")
        assert present(trial.error).endswith("ValueError: cannot do 3")
    assert not any(
        trial.params["n"] == 3 for trial in run.result.frozen_trials if trial.state == "finished"
    )


def test_maximizing_finds_a_large_value(run: Run) -> None:
    values = [t.value for t in run.result.frozen_trials if t.value is not None]
    assert run.result.best_value == max(values)
    assert run.result.best_value > 1.7  # of at most 1.8
    assert run.result.best_params["kind"] == "good"
    # A model of the values themselves: the last quarter is better than the design, of which eight
    # points two fail. By the median, for a fifth of the proposals try whichever choices.
    assert np.median(values[-25:]) > np.median(values[:6])


def test_further_results_are_columns_of_the_table(run: Run) -> None:
    table = run.result.trials
    finished = table[table["state"] == "finished"]
    assert "result_accuracy" not in table
    assert set(finished["result_threads"]) == {"1"}
    assert table["result_pid"].isna().equals(table["state"] == "failed")
    assert finished["result_worker"].tolist() == finished["worker"].tolist()
    assert set(table["params_kind"]) == {"good", "bad"}
    assert str(table["params_on"].dtype) == "bool"
    assert str(table["params_n"].dtype) == "int64"


def test_an_objective_with_two_arguments_gets_its_trial(run: Run) -> None:
    finished = [t for t in run.result.frozen_trials if t.state == "finished"]
    assert [t.result["key"] for t in finished] == [t.key for t in finished]


def test_four_processes_of_their_own_did_the_work(run: Run) -> None:
    workers = run.result.workers
    assert [worker.number for worker in workers] == [0, 1, 2, 3]
    assert {worker.state for worker in workers} == {WorkerState.STOPPED}
    assert len({worker.pid for worker in workers} | {os.getpid()}) == 5
    pids = {worker.number: worker.pid for worker in workers}
    for trial in run.result.frozen_trials:
        if trial.state == "finished":
            assert trial.result["pid"] == pids[present(trial.worker)]


def test_a_callback_is_called_once_per_trial_in_order_failed_ones_included(run: Run) -> None:
    assert run.called_with == run.result.frozen_trials
    assert {trial.state for trial in run.called_with} == {"finished", "failed"}


def test_a_network_of_the_runs_own_leaves_nothing_in_the_server(run: Run) -> None:
    assert run.keys_left == set()


def test_the_design_comes_first_and_its_size_follows_from_dimensions_and_workers(run: Run) -> None:
    in_order = sorted(run.result.frozen_trials, key=lambda trial: present(trial.started_at))
    designed = [t for t in run.result.frozen_trials if "lambda" not in t.notes]
    assert len(designed) == 8  # four dimensions, four workers
    # Only the first ones: the clocks of two workers agree to about a round trip.
    assert {t.key for t in in_order[:5]} <= {t.key for t in designed}


def test_notes_of_later_trials_show_how_they_were_proposed(run: Run) -> None:
    proposed = [t for t in run.result.frozen_trials if "lambda" in t.notes]
    assert max(t.notes["n_known"] for t in proposed) > 20
    assert len({t.notes["lambda"] for t in proposed}) > 10
    for trial in proposed[-10:]:
        assert trial.notes["surrogate_s"] > 0.0
        assert trial.notes["acquisition_s"] > 0.0


def test_the_time_of_all_workers_adds_up(run: Run) -> None:
    table = run.result.utilization
    parts = ["startup", "objective", "surrogate", "acquisition", "coordination", "idle"]
    assert len(table) == 4
    np.testing.assert_allclose(table[parts].sum(axis=1), table["wall"], rtol=1e-6)
    assert (table[[*parts, "cpu"]] >= 0.0).all(axis=None)
    assert table["n_trials"].sum() == 100
    for share in (table["objective_share"], table["busy_share"]):
        assert ((share >= 0.0) & (share <= 1.0)).all()
    assert 0.0 < run.result.objective_share < run.result.busy_share < 1.0


def test_the_result_shows_itself_in_one_line(run: Run) -> None:
    n_failed = sum(t.state == "failed" for t in run.result.frozen_trials)
    assert re.fullmatch(
        rf"<TuneResult: {100 - n_failed} trials finished, {n_failed} failed, best value [\d.]+>",
        repr(run.result),
    )


# -- the budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", sorted(set(OPTIMIZERS) - {"adbo", "grid"}))  # adbo: `run`
def test_every_optimizer_keeps_the_budget_with_four_workers(
    optimizer: str, server: EmbeddedServer
) -> None:
    def objective(config: dict[str, Any]) -> float:
        return config["x"] if config["x"] < 0.9 else math.nan

    result = tune(
        objective,
        {**X, "y": Float(0, 1)},
        n_workers=4,
        n_trials=100,
        optimizer=optimizer,
        seed=2,
        url=server.url,
        progress=False,
    )
    assert len(result.frozen_trials) == 100
    assert 0 < sum(t.state == "failed" for t in result.frozen_trials) < 50
    assert result.stop_reason == "n_trials"


def test_at_the_timeout_running_trials_end_and_none_is_started(
    server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    timeout = 5.0
    began = time.time()

    def objective(config: dict[str, Any]) -> float:
        # The first trial outlasts the timeout, which begins a little later on a busy machine.
        while time.time() < began + timeout + 2.5:
            time.sleep(0.01)
        return float(config["x"])

    result = tune(
        *(objective, X),
        n_workers=1,
        timeout=timeout,
        optimizer="random",
        seed=1,
        url=server.url,  # it runs already: to start one would be part of the trial's head start
    )
    assert result.stop_reason == "timeout"
    assert [trial.state for trial in result.frozen_trials] == ["finished"]
    assert began + timeout <= present(result.deadline)
    assert (
        present(result.best_trial.started_at)
        < present(result.deadline)
        < present(result.best_trial.ended_at)
    )
    # Not being shown on a terminal, the run tells from time to time how it goes, and its end.
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    shown = re.compile(r"0 trials, (1 running|0 of 1 workers joined), \d+/5 s$")
    assert all(map(shown.match, lines[:-1]))
    end = r"1 trials, best value \S+, \d+/5 s, \S+ trials/s, \d+ % of time in objective"
    assert re.fullmatch(end, lines[-1])
    assert f", best value {result.best_value:.6g}, " in lines[-1]
