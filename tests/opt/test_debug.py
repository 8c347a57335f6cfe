"""Objectives that print, read and are debugged: in worker processes, and in this process."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from experiments.hostile_objectives.raising import OwnError
from rush_core import EmbeddedServer, Network
from rush_opt import AllTrialsFailedError, Float, FrozenTrial, StopRun, tune
from tests.typed import present

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

X = {"x": Float(0, 1)}
PATIENCE_S = 60.0


# -- in worker processes ---------------------------------------------------------------------------


def read_input(config: dict[str, Any]) -> float:
    return float(input())


def break_here(config: dict[str, Any]) -> float:
    breakpoint()
    return float(config["x"])


@pytest.mark.parametrize("objective", [read_input, break_here])
@pytest.mark.parametrize("limits", [{}, {"trial_timeout": 50.0}])
def test_what_needs_a_terminal_fails_its_trial_and_says_what_to_do(
    objective: Any, limits: dict[str, Any], server: EmbeddedServer
) -> None:
    with pytest.raises(AllTrialsFailedError, match=r"call tune\(..., debug=True\)"):
        tune(objective, X, n_workers=1, n_trials=1, url=server.url, progress=False, **limits)


def test_an_end_of_file_that_has_another_cause_gets_no_such_advice(server: EmbeddedServer) -> None:
    def objective(config: dict[str, Any]) -> float:
        if config["x"] > 0.5:
            raise EOFError("the data file is cut off")
        return 1.0

    result = tune(
        *(objective, X),
        n_workers=1,
        n_trials=2,
        initial_design=[{"x": 0.0}, {"x": 1.0}],
        url=server.url,
        progress=False,
    )
    (failed,) = (trial for trial in result.frozen_trials if trial.error)
    assert present(failed.error).endswith("EOFError: the data file is cut off")


@pytest.mark.parametrize("limits", [{}, {"trial_timeout": 50.0}])
@pytest.mark.parametrize("optimizer", ["random", "acbo"])
def test_what_trials_print_is_in_the_file_of_their_worker_at_once(
    limits: dict[str, Any], optimizer: str, server: EmbeddedServer, tmp_path: Path
) -> None:
    folder = tmp_path / "of this run" / "logs"
    seen: list[bool] = []

    def objective(config: dict[str, Any]) -> float:
        print(f"here is {config['x']:.3f}")
        return float(config["x"])

    def look(trial: FrozenTrial) -> None:
        printed = "".join(path.read_text() for path in folder.glob("*.out"))
        seen.append(f"here is {trial.params['x']:.3f}\n" in printed)

    result = tune(
        *(objective, X),
        n_workers=2,
        n_trials=6,
        optimizer=optimizer,
        log_folder=folder,
        callbacks=[look],
        url=server.url,
        progress=False,
        **limits,
    )
    assert seen == [True] * 6
    files = {path.name for path in folder.iterdir()}
    assert {f"{worker.worker_id}.out" for worker in result.workers} <= files


# -- in this process -------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["random", "adbo", "acbo", "clbo", "grid", "de"])
def test_a_run_in_this_process_has_the_result_of_any_other(
    optimizer: str, server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[float] = []  # not a copy in another process
    called_back: list[FrozenTrial] = []

    def objective(config: dict[str, Any]) -> float:
        print(f"x is {config['x']:.3f}")
        kept.append(config["x"])
        return float(config["x"])

    given: dict[str, Any] = {"n_trials": 8, "optimizer": optimizer, "seed": 3, "url": server.url}
    result = tune(objective, X, debug=True, callbacks=[called_back.append], **given)
    assert [trial.params["x"] for trial in result.frozen_trials] == kept
    assert called_back == result.frozen_trials
    assert result.stop_reason == "n_trials"
    (worker,) = result.workers
    assert worker.pid == os.getpid()
    assert capsys.readouterr().out.count("x is ") == 8
    elsewhere = tune(lambda config: config["x"], X, n_workers=1, progress=False, **given)
    if optimizer not in ("acbo", "clbo"):  # those depend on when trials end
        assert [trial.params["x"] for trial in elsewhere.frozen_trials] == kept


def test_errors_and_the_end_of_a_run_in_this_process_are_those_of_any_other(
    server: EmbeddedServer, network_id: str
) -> None:
    def objective(config: dict[str, Any]) -> float:
        if config["x"] > 0.5:
            raise OwnError("too large")
        return float(config["x"])

    def enough(trial: FrozenTrial) -> None:
        if trial.number == 9:
            raise StopRun("enough")

    given: dict[str, Any] = {"url": server.url, "debug": True, "progress": False}
    result = tune(
        objective, X, optimizer="random", n_trials=10**6, callbacks=[enough], seed=1, **given
    )
    assert result.stop_reason == "enough"
    errors = [trial.error for trial in result.frozen_trials if trial.error]
    assert all(error.endswith("OwnError: too large") for error in errors)
    assert {trial.state for trial in result.frozen_trials} == {"finished", "failed"}
    with pytest.raises(AllTrialsFailedError, match=r"the first \d+ trials all failed"):
        tune(lambda config: 1 / 0, X, n_trials=10**6, network_id=network_id, **given)
    with Network(network_id, server.url) as network:
        assert network.count_tasks().running == 0


def test_a_run_in_this_process_that_has_nothing_left_to_do_ends(
    server: EmbeddedServer, network_id: str
) -> None:
    for _ in range(2):
        result = tune(
            *(lambda config: 0.5, X),
            n_trials=3,
            debug=True,
            network_id=network_id,
            url=server.url,
            progress=False,
        )
        assert len(result.frozen_trials) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_workers": 2}, "n_workers must be 1 or left out, got 2"),
        ({"trial_timeout": 5.0}, "trial_timeout has no effect"),
        ({"trial_memory": "1GB"}, "trial_memory has no effect"),
        ({"launch": print}, "launch has no effect"),
        ({"log_folder": "logs"}, "has no effect with debug=True"),
        ({"start_method": "spawn"}, "has no effect with debug=True"),
        ({"debug": False, "launch": print, "start_method": "fork"}, "has no effect with launch="),
        ({"debug": False, "start_method": "thread"}, 'must be "fork", "spawn" or None'),
        ({"debug": "yes"}, "debug must be True or False"),
        ({"debug": False, "launch": print, "log_folder": "logs"}, "has no effect with launch="),
        ({"debug": False, "log_folder": 7}, "log_folder must be a path"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        tune(lambda config: 1.0, X, **({"debug": True} | options))


PROGRAM = """
import json, os, signal, sys
from rush_opt import Float, tune

def objective(config):
    if config["x"] == 0.5:
        {do}
    return config["x"]

result = tune(
    objective, {{"x": Float(0, 1)}}, n_trials=4, optimizer="random", debug=True, progress=False,
    initial_design=[{{"x": x}} for x in (0.25, 0.5, 0.75)],
)
print("RESULT" + json.dumps({{
    "reason": result.stop_reason, "states": [t.state for t in result.frozen_trials],
}}))
"""


def run_program(do: str, typed: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Run a program that debugs its second trial; return its result and what it printed."""
    script = folder / "program.py"
    script.write_text(textwrap.dedent(PROGRAM.format(do=do)))
    ended = subprocess.run(
        [sys.executable, str(script)],
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stderr
    printed, _, result = ended.stdout.partition("RESULT")
    return json.loads(result), printed


def test_a_breakpoint_works_in_this_process(tmp_path: Path) -> None:
    result, printed = run_program("breakpoint()", 'p config["x"] * 1000\nc\n', tmp_path)
    assert result == {"reason": "n_trials", "states": ["finished"] * 4}
    assert "500.0" in printed


def test_input_works_in_this_process(tmp_path: Path) -> None:
    result, printed = run_program("return float(input('which? '))", "7\n", tmp_path)
    assert result == {"reason": "n_trials", "states": ["finished"] * 4}
    assert "which? " in printed


@pytest.mark.parametrize(
    ("do", "typed"),
    [
        ("breakpoint()", "q\n"),
        ("signal.raise_signal(signal.SIGINT)", ""),
        ("breakpoint()", "import signal; signal.raise_signal(signal.SIGINT)\nq\n"),
    ],
)
def test_leaving_the_debugger_or_ctrl_c_ends_the_run_and_returns_what_finished(
    do: str, typed: str, tmp_path: Path
) -> None:
    result, _ = run_program(do, typed, tmp_path)
    assert result == {"reason": "interrupted", "states": ["finished", "failed"]}


def test_what_an_objective_logs_is_in_the_network(network: Network) -> None:
    def objective(config: dict[str, Any]) -> float:
        logging.getLogger("study").warning("x is %s", config["x"])
        return float(config["x"])

    given: dict[str, Any] = {"network_id": network.network_id, "url": network.url}
    tune(objective, {"x": Float(0, 1)}, n_workers=1, n_trials=3, progress=False, **given)
    logged = [r.message for r in network.read_log() if r.logger == "study"]
    assert logged == [f"x is {config['x']}" for config in network.fetch_finished_tasks().configs]


def test_nothing_of_a_run_is_shown_without_progress(
    server: EmbeddedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    def objective(config: dict[str, Any]) -> float:
        print("from the objective", flush=True)
        return float(config["x"])

    for progress in (False, True):
        tune(objective, X, n_workers=1, n_trials=2, url=server.url, progress=progress)
        shown = "".join(capfd.readouterr())
        assert "from the objective" not in shown
        assert bool(shown) is progress
