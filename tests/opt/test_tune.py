"""Whole runs: real worker processes, our own server."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import objectives
import psutil
import pytest
from waiting import wait_until

import rush_core
from rush_core import (
    EmbeddedServer,
    LoopError,
    Network,
    RushError,
    ServerRefusedError,
    ServerUnreachableError,
    WorkersFailedError,
    WorkerState,
)
from rush_core.connection import Connection, pack
from rush_core.invariants import check_network
from rush_core.server import resolve_url
from rush_opt import (
    ADBO,
    AllTrialsFailedError,
    Boolean,
    Categorical,
    Float,
    FrozenTrial,
    Integer,
    RandomSearch,
    Space,
    Trial,
    TuneResult,
    tune,
)
from rush_opt.design import random_design, sobol_design
from rush_opt.evaluation import Problem
from rush_opt.loops import OPTIMIZERS

PATIENCE_S = 30.0  # for what takes a second on an idle machine

X = {"x": Float(0, 1)}


@pytest.fixture(scope="module", autouse=True)
def _shared_server() -> None:
    """Start the embedded server of this process, which stays: it is nobody's left-over."""
    resolve_url(None)


@pytest.fixture(autouse=True)
def _nothing_is_left_running(_shared_server: None, server: EmbeddedServer) -> Iterator[None]:
    """Whatever becomes of a run: its processes and threads are gone when the call is over."""

    def processes() -> set[int]:
        return {process.pid for process in psutil.Process().children(recursive=True)}

    before, threads = processes(), set(threading.enumerate())
    yield
    assert processes() - before == set()
    wait_until(lambda: not set(threading.enumerate()) - threads)  # they may be at their last line


def stored_keys(url: str) -> set[bytes]:
    """All keys that a server holds."""
    connection = Connection(url)
    cursor, keys = b"0", set()
    while True:
        cursor, found = connection.execute(pack((b"SCAN", cursor, b"COUNT", 1000)))
        keys.update(found)
        if cursor == b"0":
            connection.close()
            return keys


def wait_for_file(path: Path) -> str:
    return wait_until(lambda: path.exists() and path.read_text(), PATIENCE_S)


def write_at_once(path: Path, text: str) -> None:
    """Write a file that is complete as soon as it is there."""
    hidden = path.with_name(f".{path.name}")
    hidden.write_text(text)
    hidden.replace(path)


# -- the budget ------------------------------------------------------------------------------------


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
        assert trial.error.startswith("Traceback")
        assert trial.error.endswith("ValueError: cannot do 3")
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


def test_an_objective_with_two_arguments_is_told_its_trial(run: Run) -> None:
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
            assert trial.result["pid"] == pids[trial.worker]


def test_a_callback_is_called_once_per_trial_in_order_failed_ones_included(run: Run) -> None:
    assert run.called_with == run.result.frozen_trials
    assert {trial.state for trial in run.called_with} == {"finished", "failed"}


def test_a_network_of_the_runs_own_leaves_nothing_in_the_server(run: Run) -> None:
    assert run.keys_left == set()


def test_the_design_comes_first_and_its_size_follows_from_dimensions_and_workers(run: Run) -> None:
    in_order = sorted(run.result.frozen_trials, key=lambda trial: trial.started_at)
    designed = [t for t in run.result.frozen_trials if "lambda" not in t.notes]
    assert len(designed) == 8  # four dimensions, four workers
    # Only the first ones: the clocks of two workers agree to about a round trip.
    assert {t.key for t in in_order[:5]} <= {t.key for t in designed}


def test_later_trials_say_how_they_were_proposed(run: Run) -> None:
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


@pytest.mark.parametrize("optimizer", sorted(set(OPTIMIZERS) - {"adbo", "grid"}))  # adbo: `run`
def test_every_optimizer_keeps_the_budget_with_four_workers(
    optimizer: str, server: EmbeddedServer
) -> None:
    def objective(config: dict[str, Any]) -> float:
        return config["x"] if config["x"] < 0.9 else math.nan

    result = tune(
        objective,
        X,
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
        return config["x"]

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
    assert began + timeout <= result.deadline
    assert result.best_trial.started_at < result.deadline < result.best_trial.ended_at
    # Not being shown on a terminal, the run tells from time to time how it goes, and its end.
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    shown = re.compile(r"[01] trials, best value .+, \d+/5 s, \S+ trials/s, objective \d+ %$")
    assert all(map(shown.match, lines))
    assert f", best value {result.best_value:.6g}, " in lines[-1]


# -- reproducible ----------------------------------------------------------------------------------


def configs_of(result: TuneResult) -> list[dict[str, Any]]:
    return [trial.params for trial in result.frozen_trials]


@pytest.fixture(scope="module")
def alone() -> Callable[..., TuneResult]:
    """Runs of one worker."""

    def alone(optimizer: str, seed: int | None, **options: Any) -> TuneResult:
        return tune(
            lambda config: (config["x"] - 0.3) ** 2 + config["n"],
            {**X, "n": Integer(0, 5)},
            n_workers=1,
            optimizer=optimizer,
            seed=seed,
            progress=False,
            **options,
        )

    return alone


def test_one_worker_repeats_a_run_of_adbo_exactly(alone: Callable[..., TuneResult]) -> None:
    first, again = (alone("adbo", 7, n_trials=40, initial_design=10) for _ in range(2))
    assert configs_of(first) == configs_of(again)
    assert first.seed == 7
    # The first ten are a Sobol design of the same seed.
    space = Space({**X, "n": Integer(0, 5)})
    problem = Problem(lambda config: 0.0, space, ("value",), (1.0,), 40, None, 7)
    design = space.decode(sobol_design(space, 10, problem.design_rng()))
    assert configs_of(first)[:10] == design
    assert sum("lambda" in t.notes for t in first.frozen_trials) == 30
    other = alone("adbo", 8, n_trials=10, initial_design=10)
    assert not any(config in design for config in configs_of(other))


def test_the_seed_of_a_result_repeats_a_run_that_was_given_none(
    alone: Callable[..., TuneResult],
) -> None:
    first = alone("random", None)
    assert len(first.frozen_trials) == 100  # what neither n_trials nor timeout leaves
    assert first.stop_reason == "n_trials"
    again = alone("random", first.seed, n_trials=30)
    assert configs_of(again) == configs_of(first)[:30]


def test_every_worker_follows_the_stream_of_its_number(server: EmbeddedServer) -> None:
    result = tune(
        objectives.half,
        X,
        n_workers=2,
        n_trials=np.int64(60),
        optimizer=RandomSearch(),
        seed=np.int64(9),
        url=server.url,
        progress=False,
    )
    space = Space(X)
    problem = Problem(objectives.half, space, ("value",), (1.0,), 60, None, 9)
    for worker in result.workers:
        drawn = space.decode(random_design(space, 64, problem.worker_rng(worker.number)))
        mine = [t for t in result.frozen_trials if t.worker == worker.number]
        mine.sort(key=lambda trial: trial.started_at)
        assert [t.params for t in mine] == drawn[::-1][: len(mine)]
        assert [t.value for t in mine] == [t.params["x"] / 2 for t in mine]


# -- what an objective may do wrong ----------------------------------------------------------------

RETURNED: dict[str, tuple[Callable[[], Any], str]] = {
    "nan": (lambda: math.nan, "returned nan as 'value'"),
    "inf": (lambda: -math.inf, "returned -inf as 'value'"),
    "none": (lambda: None, "returned None (NoneType) as 'value'"),
    "string": (lambda: "0.5", "returned '0.5' (str) as 'value'"),
    "bool": (lambda: True, "returned True (bool) as 'value'"),
    "no metric": (lambda: {"loss": 0.5}, "has no 'value'; it has ['loss']"),
    "unstorable": (lambda: {"value": 0.5, "model": object()}, "'model'"),
    "exit": (lambda: sys.exit(3), "SystemExit: 3"),
    "raise": (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    "fine": (lambda: 0.5, ""),
}


@pytest.fixture(scope="module")
def wrong(server: EmbeddedServer) -> TuneResult:
    """A run of one worker whose design has every case of `RETURNED` once, in order."""

    def objective(config: dict[str, Any]) -> Any:
        return cases[config["case"]][0]()

    cases = dict(RETURNED)
    return tune(
        objective,
        {"case": Categorical(list(RETURNED))},
        n_workers=1,
        n_trials=len(RETURNED) + 5,
        seed=1,
        # The last one first: a run whose first trials all fail is stopped.
        initial_design=[{"case": case} for case in reversed(RETURNED)],
        url=server.url,
        progress=False,
    )


@pytest.mark.parametrize("case", sorted(set(RETURNED) - {"fine"}))
def test_what_is_no_result_fails_the_trial_with_its_reason(case: str, wrong: TuneResult) -> None:
    trial = next(t for t in wrong.frozen_trials if t.params["case"] == case)
    assert trial.state == "failed"
    assert RETURNED[case][1] in trial.error
    assert not trial.lost
    assert trial.notes["objective_s"] >= 0.0


def test_given_configurations_are_evaluated_first_and_in_order(wrong: TuneResult) -> None:
    assert configs_of(wrong)[: len(RETURNED)] == [{"case": case} for case in reversed(RETURNED)]


def test_no_failure_of_a_trial_ends_its_worker(wrong: TuneResult) -> None:
    assert len(wrong.frozen_trials) == len(RETURNED) + 5
    (worker,) = wrong.workers
    assert worker.state == WorkerState.STOPPED
    assert not worker.reason


def test_a_run_whose_first_trials_all_fail_is_stopped_and_shows_why(
    server: EmbeddedServer, network_id: str
) -> None:
    n_calls = 0

    def objective(config: dict[str, Any]) -> float:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 6:
            threading.Event().wait(PATIENCE_S)  # five are enough: this one is killed
        raise RuntimeError(f"no data, try {n_calls}")

    with pytest.raises(AllTrialsFailedError, match="the first 5 trials all failed") as error:
        tune(
            objective,
            X,
            n_workers=1,
            n_trials=1000,
            network_id=network_id,
            url=server.url,
            progress=False,
        )
    message = str(error.value)
    assert "RuntimeError: no data, try 1" in message
    assert "Traceback" in message
    with Network(network_id, server.url) as network:
        failed = network.fetch_tasks("failed")
        assert error.value.key == failed[0].key
        assert f"{failed[0].config}" in message
        assert [t.result_extra.get("lost") for t in failed] == [None] * 5 + ["killed"]
        assert network.count_tasks().running == 0
    check_network(network_id, server.url)


# -- killed workers --------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_its_place_given_back(
    server: EmbeddedServer, tmp_path: Path, network_id: str
) -> None:
    hold, third, called_with = tmp_path / "hold", tmp_path / "third", []

    def objective(config: dict[str, Any], trial: Trial) -> float:
        if config["x"] == 1.0:
            write_at_once(hold, f"{os.getpid()} {trial.key}")
            threading.Event().wait(PATIENCE_S)
        # A run that has all its trials needs no third worker.
        if trial.worker_number == 2:
            write_at_once(third, "here")
        wait_for_file(third)
        return config["x"]

    def kill() -> None:
        os.kill(int(wait_for_file(hold).split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = tune(
        objective,
        X,
        n_workers=2,
        n_trials=30,
        optimizer="random",
        seed=4,
        network_id=network_id,
        url=server.url,
        initial_design=[{"x": 0.25}, {"x": 1.0}, {"x": 0.5}],
        callbacks=[called_with.append],
        progress=False,
    )
    killer.join()
    pid, key = hold.read_text().split()

    (lost,) = (trial for trial in result.frozen_trials if trial.lost)
    assert (lost.key, lost.state, lost.params) == (key, "failed", {"x": 1.0})
    assert "was lost: its process was killed by SIGKILL" in lost.error
    assert lost.value is None

    others = [trial for trial in result.frozen_trials if not trial.lost]
    assert [trial.state for trial in others] == ["finished"] * 30
    assert called_with == result.frozen_trials
    assert result.stop_reason == "n_trials"

    assert [worker.number for worker in result.workers] == [0, 1, 2]
    (killed,) = (worker for worker in result.workers if worker.state == WorkerState.LOST)
    assert killed.pid == int(pid)
    assert lost.worker == killed.number != 2
    assert "SIGKILL" in killed.reason
    check_network(network_id, server.url)


def test_an_objective_that_always_ends_its_process_ends_the_run(
    server: EmbeddedServer, network_id: str
) -> None:
    with pytest.raises(WorkersFailedError, match="3 workers were lost") as error:
        tune(
            lambda config: os.kill(os.getpid(), signal.SIGKILL),
            X,
            n_workers=1,
            n_trials=50,
            network_id=network_id,
            url=server.url,
            progress=False,
        )
    assert "SIGKILL" in str(error.value)
    with Network(network_id, server.url) as network:
        counts = network.count_tasks()
        assert (counts.running, counts.finished, counts.failed) == (0, 0, 3)
        assert [w.state for w in network.fetch_workers()] == [WorkerState.LOST] * 3
    check_network(network_id, server.url)


# -- callbacks, networks that stay -----------------------------------------------------------------


def test_an_exception_of_a_callback_ends_the_run_and_leaves_nothing(
    server: EmbeddedServer, network_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EnoughError(Exception):
        pass

    def objective(config: dict[str, Any]) -> float:
        if config["x"] > 0.5:
            threading.Event().wait(PATIENCE_S)  # busy when the run ends
        return config["x"]

    def callback(trial: FrozenTrial) -> None:
        with Network(network_id, server.url) as network:
            wait_until(lambda: network.count_tasks().running == 1)
        raise EnoughError(trial.number)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where workers' output goes
    with pytest.raises(EnoughError):
        tune(
            objective,
            X,
            n_workers=1,
            n_trials=10_000,
            network_id=network_id,
            url=server.url,
            initial_design=[{"x": 0.25}, {"x": 0.75}],
            callbacks=[callback],
            progress=False,
        )
    assert list(tmp_path.iterdir()) == []
    with Network(network_id, server.url) as network:
        assert network.count_tasks() == (0, 0, 1, 1)
        (killed,) = network.fetch_tasks("failed")
        assert killed.result_extra["lost"] == "killed"
        (worker,) = network.fetch_workers()
        assert worker.state == WorkerState.KILLED
    check_network(network_id, server.url)


def test_a_network_that_stays_can_be_looked_at_and_gone_on_with(
    server: EmbeddedServer, network_id: str
) -> None:
    def go_on(n_trials: int, called_with: list[FrozenTrial]) -> TuneResult:
        return tune(
            lambda config: config["x"],
            X,
            n_workers=1,
            n_trials=n_trials,
            seed=5,
            network_id=network_id,
            url=server.url,
            callbacks=[called_with.append],
            progress=False,
        )

    first_called: list[FrozenTrial] = []
    first = go_on(20, first_called)
    assert first.network_id == network_id
    with Network(network_id, server.url) as network:
        assert network.count_tasks() == (0, 0, 20, 0)
        assert network.fetch_finished_tasks().configs == configs_of(first)

    second_called: list[FrozenTrial] = []
    second = go_on(30, second_called)
    assert second.stop_reason == "n_trials"
    assert second.frozen_trials[:20] == first.frozen_trials
    assert [t.number for t in second.frozen_trials] == list(range(30))
    assert second_called == second.frozen_trials[20:]
    assert all(t.notes["n_known"] >= 20 for t in second_called)  # it knows the first run's
    assert not any(config in configs_of(first) for config in configs_of(second)[20:])
    assert [w.number for w in second.workers] == [0, 1]
    assert second.utilization["worker"].tolist() == [1]
    assert second.utilization["n_trials"].tolist() == [10]
    assert 0.0 < second.busy_share < 1.0
    check_network(network_id, server.url)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "loss"}, "no number 'loss': {'value': 0.25}"),
        ({"space": {"y": Float(0, 1)}}, "parameter 'y' is missing"),
        ({"space": {"x": Float(0.6, 1)}}, "0.6 <= value <= 1.0, got 0.5"),
    ],
)
def test_a_network_of_another_problem_is_not_gone_on_with(
    changes: dict[str, Any], said: str, network: Network
) -> None:
    (key,) = network.push_finished_tasks([{"x": 0.5}], [{"value": 0.25}])
    given = {"objective": objectives.half, "space": X} | changes
    with pytest.raises(ValueError, match="does not fit this run") as refusal:
        tune(**given, n_workers=1, network_id=network.network_id, url=network.url, progress=False)
    for part in (said, key, network.network_id, "another network_id"):
        assert part in str(refusal.value)
    assert network.count_tasks() == (0, 0, 1, 0)
    assert network.fetch_workers() == []


# -- Ctrl-C ----------------------------------------------------------------------------------------

INTERRUPTED = """
import json, os, pathlib, sys, threading, time
from rush_opt import Float, tune

folder, network_id, url = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def objective(config, trial):
    (folder / ".began").write_text(str(os.getpid()))
    (folder / ".began").rename(folder / "began")
    while not (folder / "go").exists():
        time.sleep(0.01)
    return config["x"]

try:
    result = tune(
        objective, {"x": Float(0, 1)}, n_workers=1, n_trials=1000, optimizer="random",
        network_id=network_id, url=url,
    )
except KeyboardInterrupt:
    print(json.dumps("raised"))
else:
    print(json.dumps({
        "reason": result.stop_reason,
        "states": [trial.state for trial in result.frozen_trials],
        "workers": [worker.state for worker in result.workers],
        "rows": len(result.utilization),
    }))
"""


@dataclass
class Interrupted:
    """A program in a terminal of its own whose worker is busy until ``go`` exists."""

    program: subprocess.Popen[str]
    network: Network
    folder: Path
    worker_pid: int

    def press_ctrl_c(self) -> None:
        os.killpg(self.program.pid, signal.SIGINT)  # a terminal signals the whole group

    def wait_until_asked_to_stop(self) -> None:
        wait_until(
            lambda: {w.state for w in self.network.fetch_workers()} == {WorkerState.STOPPING},
            PATIENCE_S,
        )

    def end(self) -> Any:
        out, err = self.program.communicate(timeout=PATIENCE_S)
        assert self.program.returncode == 0, err
        assert "Traceback" not in err
        return json.loads(out)


@pytest.fixture
def interrupted(server: EmbeddedServer, network_id: str, tmp_path: Path) -> Iterator[Interrupted]:
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    program = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), network_id, server.url],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        began = tmp_path / "began"
        wait_until(lambda: began.exists() or program.poll() is not None, PATIENCE_S)
        assert began.exists(), program.communicate()
        pid = int(began.read_text())
        with Network(network_id, server.url) as network:
            yield Interrupted(program, network, tmp_path, pid)
        check_network(network_id, server.url)
    finally:
        program.kill()
        program.communicate()


def test_the_first_interrupt_ends_the_run_after_the_running_trials(
    interrupted: Interrupted,
) -> None:
    # A terminal's Ctrl-C does not reach the worker.
    assert os.getpgid(interrupted.worker_pid) != os.getpgid(interrupted.program.pid)
    interrupted.press_ctrl_c()
    interrupted.wait_until_asked_to_stop()
    assert interrupted.network.count_tasks() == (0, 1, 0, 0)
    (interrupted.folder / "go").touch()
    assert interrupted.end() == {
        "reason": "interrupted",
        "states": ["finished"],
        "workers": ["stopped"],
        "rows": 1,
    }
    assert not psutil.pid_exists(interrupted.worker_pid)


def test_the_second_interrupt_ends_the_run_at_once(interrupted: Interrupted) -> None:
    interrupted.press_ctrl_c()
    interrupted.wait_until_asked_to_stop()
    interrupted.press_ctrl_c()
    assert interrupted.end() == "raised"
    assert not psutil.pid_exists(interrupted.worker_pid)
    assert interrupted.network.count_tasks() == (0, 0, 0, 1)


# -- bad input -------------------------------------------------------------------------------------


class Searching:
    """Something that is no optimizer of ours."""

    def __call__(self, worker: Any, problem: Any) -> None:
        pass


def refused(error: type[Exception], *said: str, **arguments: Any) -> Any:
    """Name a case by its arguments."""
    name = " ".join(f"{key}={value!r:.30}" for key, value in arguments.items())
    return pytest.param(arguments, error, said, id=re.sub(r" at 0x\w+", "", name))


def locked(config: dict[str, Any]) -> float:
    raise AssertionError("never called")


def with_lock() -> Callable[..., Any]:
    lock = threading.Lock()

    def objective(config: dict[str, Any]) -> float:
        with lock:
            return 0.0

    return objective


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        refused(TypeError, "objective must be callable", "int", objective=3),
        refused(TypeError, "objective must be callable", "NoneType", objective=None),
        refused(TypeError, "configuration first", "objective(trial)", objective=lambda trial: 0.0),
        refused(TypeError, "first", "(trial, config)", objective=lambda trial, config: 0.0),
        refused(TypeError, "as objective(config), got objective()", objective=lambda: 0.0),
        refused(
            *(TypeError, "as objective(config, trial), got objective(x, y, z): missing", "'z'"),
            objective=lambda x, y, z: 0.0,
        ),
        refused(TypeError, "'data'", "functools.partial", objective=lambda config, *, data: 0.0),
        refused(LoopError, "lock", "inside the function", objective=with_lock()),
        refused(ValueError, "at least one parameter", "got none", space={}),
        refused(TypeError, "space must be a mapping", "Float, Integer", "NoneType", space=None),
        refused(TypeError, "space must be a mapping", "'x' (str)", space="x"),
        refused(TypeError, "space must be a mapping", "['x']", space=["x"]),
        refused(TypeError, "space must be a mapping", "[Float(", space=[Float(0, 1)]),
        refused(TypeError, "'x'", "Float, Integer", "(0, 1)", space={"x": (0, 1)}),
        refused(TypeError, "'x'", "Float", space={"x": Float}),
        refused(TypeError, "a string", "1", space={1: Float(0, 1)}),
        refused(ValueError, "['x'] twice", space=[("x", Float(0, 1)), ("x", Boolean())]),
        refused(ValueError, "n_workers must be at least 1", "got 0", n_workers=0),
        refused(ValueError, "n_workers must be at least 1", "got -2", n_workers=-2),
        refused(TypeError, "n_workers must be a whole number", "got True", n_workers=True),
        refused(TypeError, "n_workers must be a whole number", "got 2.0", n_workers=2.0),
        refused(TypeError, "n_workers must be a whole number", "got '2'", n_workers="2"),
        refused(ValueError, "n_trials must be at least 1", "got 0", n_trials=0),
        refused(TypeError, "n_trials must be a whole number", "got 1.5", n_trials=1.5),
        refused(TypeError, "n_trials must be a whole number", "got False", n_trials=False),
        refused(ValueError, "timeout must be a positive", "seconds", "got 0", timeout=0),
        refused(ValueError, "timeout must be a positive", "got -1.0", timeout=-1.0),
        refused(ValueError, "timeout must be", "finite", "got nan", timeout=math.nan),
        refused(ValueError, "timeout must be", "finite", "got inf", timeout=math.inf),
        refused(TypeError, "timeout must be a number", "got True", timeout=True),
        refused(TypeError, "timeout must be a number", "got '10'", timeout="10"),
        refused(
            ValueError, "'acbo', 'adbo', 'clbo', 'grid', 'random'", "got 'abdo'", optimizer="abdo"
        ),
        refused(TypeError, "an instance", "write ADBO()", optimizer=ADBO),
        refused(TypeError, "an instance such as ADBO()", "Searching", optimizer=Searching()),
        refused(TypeError, "an instance such as ADBO()", "None", optimizer=None),
        refused(ValueError, "'minimize' or 'maximize'", "got 'min'", direction="min"),
        refused(ValueError, "'minimize' or 'maximize'", "got True", direction=True),
        refused(TypeError, "metric must be the name", "got 3", metric=3),
        refused(TypeError, "metric must be the name", "got ''", metric=""),
        refused(TypeError, "metric must be the name", "got None", metric=None),
        refused(ValueError, "seed must not be negative", "got -1", seed=-1),
        refused(TypeError, "seed must be a whole number or None", "got 1.5", seed=1.5),
        refused(TypeError, "seed must be a whole number or None", "got True", seed=True),
        refused(TypeError, "initial_design must be", "got 2.5", initial_design=2.5),
        refused(TypeError, "initial_design must be", "got {'x': 0.5}", initial_design={"x": 0.5}),
        refused(ValueError, "initial_design must not be negative", "-1", initial_design=-1),
        refused(TypeError, "initial_design[1]", "got 0.5", initial_design=[{"x": 0.5}, 0.5]),
        refused(
            *(ValueError, "initial_design[1]: parameter 'x' needs", "got 1.5"),
            initial_design=[{"x": 0.5}, {"x": 1.5}],
        ),
        refused(ValueError, "'x' is missing", "unknown parameter 'y'", initial_design=[{"y": 0.5}]),
        refused(TypeError, "executor must be a concurrent.futures.Executor", "3", executor=3),
        refused(TypeError, "launch must be callable", "'srun'", launch="srun"),
        refused(ValueError, "either executor or launch", executor=3, launch=print),
        refused(TypeError, "warm_start must be", "got 3 (int)", warm_start=3),
        refused(ValueError, "warm_start[0]: parameter 'x'", warm_start=[({"x": 2.0}, 1.0)]),
        refused(TypeError, "callbacks must be a sequence of functions", callbacks=print),
        refused(TypeError, "callbacks must be a sequence of functions", "[3]", callbacks=[3]),
        refused(ValueError, "network_id must be", "'no good'", "plainer", network_id="no good"),
        refused(TypeError, "network_id must be a string", "int: 3", network_id=3),
        refused(ValueError, "redis://, rediss://, unix://", "http://h", url="http://h"),
        refused(
            *(ServerUnreachableError, "no server answers", "redis://127.0.0.1:1", "embedded"),
            url="redis://127.0.0.1:1",
        ),
        refused(ServerUnreachableError, "no server answers", url="unix:///nowhere/at.all"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_door(
    arguments: dict[str, Any], error: type[Exception], said: tuple[str, ...], server: EmbeddedServer
) -> None:
    before = stored_keys(server.url)
    given = {"objective": locked, "space": X, "url": server.url} | arguments
    with pytest.raises(error) as refusal:
        tune(**given)
    message = str(refusal.value)
    assert "\n" not in message
    for part in said:
        assert part in message
    assert stored_keys(server.url) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Float(1, 1), "low < high, got 1.0 >= 1.0"),
        (lambda: Float(2, 1), "low < high, got 2.0 >= 1.0"),
        (lambda: Integer(5, 1), "low < high, got 5 >= 1"),
        (lambda: Float(0, 1, log=True), "low > 0, got 0.0"),
        (lambda: Float(-1, 1, log=True), "low > 0, got -1.0"),
        (lambda: Integer(0, 9, log=True), "low >= 1, got 0"),
        (lambda: Float(0, math.inf), "finite"),
        (lambda: Categorical([]), "at least one choice, got none"),
    ],
)
def test_a_parameter_without_values_cannot_be_made(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_a_wrong_password_is_said_and_not_shown() -> None:
    with rush_core.serve() as locked_server:
        connection = Connection(locked_server.url)
        connection.execute(pack((b"CONFIG", b"SET", b"requirepass", b"open-sesame")))
        connection.close()
        path = locked_server.url.removeprefix("unix://")
        for url in (f"unix://:guessed@{path}", locked_server.url):
            with pytest.raises((ServerUnreachableError, ServerRefusedError)) as refusal:
                tune(locked, X, n_workers=1, url=url, progress=False)
            assert isinstance(refusal.value, RushError)
            assert "password" in str(refusal.value)
            assert "URL" in str(refusal.value)
            assert "guessed" not in str(refusal.value)
            assert "\n" not in str(refusal.value)
