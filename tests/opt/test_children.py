"""What objectives start ends with their workers, and workers that are stopped are replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rush_core import EmbeddedServer, WorkerState
from rush_opt import Float, TuneResult, tune
from rush_opt.evaluation.limits import LimitedObjective, Limits
from rush_opt.evaluation.objective import TrialFailure
from tests.core.processes import is_alive
from tests.typed import present
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

LIMITS = [{}, {"trial_timeout": 60.0}, {"trial_memory": "2GB"}]


def note(folder: Path) -> None:
    """Let the test know this process."""
    (folder / str(os.getpid())).touch()


def detach(folder: Path) -> None:
    """Start a daemon, as the textbooks do."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note(folder)
            time.sleep(600.0)
        os._exit(0)


def fork(folder: Path) -> None:
    if os.fork() == 0:
        note(folder)
        time.sleep(600.0)


def start_program(folder: Path) -> None:
    program = "import pathlib, os, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch()"
    subprocess.Popen(
        [sys.executable, "-c", f"{program}; time.sleep(600)", str(folder)], start_new_session=True
    )


STARTS = [detach, fork, start_program]


@pytest.fixture
def started(tmp_path: Path, pids: list[int]) -> Iterator[Path]:
    """A folder in which processes note themselves; none of them may be left after the test."""
    (folder := tmp_path / "started").mkdir()
    yield folder
    pids += [int(path.name) for path in folder.iterdir()]
    assert pids


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes that must be gone after the test; those that are not are killed."""
    pids: list[int] = []
    yield pids
    left = [pid for pid in pids if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def run(objective: Callable[[dict[str, Any]], Any], url: str, **options: Any) -> TuneResult:
    return tune(
        objective,
        {"x": Float(0, 1)},
        n_workers=2,
        n_trials=6,
        optimizer="random",
        initial_design=[{"x": i / 8} for i in range(6)],
        url=url,
        progress=False,
        **options,
    )


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("start", STARTS)
def test_what_an_objective_starts_ends_with_the_run(
    start: Callable[[Path], None], limits: dict[str, Any], server: EmbeddedServer, started: Path
) -> None:
    def objective(config: dict[str, Any]) -> float:
        n_before = len(list(started.iterdir()))
        start(started)
        wait_until(lambda: len(list(started.iterdir())) > n_before)
        return float(config["x"])

    result = run(objective, server.url, **limits)
    assert [trial.state for trial in result.frozen_trials] == ["finished"] * 6


@pytest.mark.parametrize("limits", LIMITS)
def test_what_an_objective_starts_ends_with_a_worker_that_crashes(
    limits: dict[str, Any], server: EmbeddedServer, started: Path
) -> None:
    def objective(config: dict[str, Any]) -> float:
        if config["x"] == 0.25:
            detach(started)
            wait_until(lambda: list(started.iterdir()))
            os.kill(os.getpid(), signal.SIGKILL)
        return float(config["x"])

    result = run(objective, server.url, **limits)
    assert result.stop_reason == "n_trials"
    assert [trial.state for trial in result.frozen_trials if trial.counts].count("finished") >= 5


def test_what_an_objective_starts_ends_with_a_trial_beyond_its_limit(started: Path) -> None:
    def objective(config: dict[str, Any]) -> None:
        detach(started)
        time.sleep(600.0)

    limits = Limits(timeout_s=1.0, memory_bytes=None)
    with LimitedObjective(objective, limits) as limited:
        with pytest.raises(TrialFailure, match="longer than trial_timeout"):
            limited({})
        (daemon,) = started.iterdir()
        assert not is_alive(int(daemon.name))


def test_memory_of_what_left_its_parent_counts(started: Path) -> None:
    def objective(config: dict[str, Any]) -> None:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                note(started)
                time.sleep(600.0 + len(bytearray(b"x" * 4 * 10**8)))
            os._exit(0)
        time.sleep(60.0)

    limits = Limits(timeout_s=30.0, memory_bytes=4 * 10**8)
    with (
        LimitedObjective(objective, limits) as limited,
        pytest.raises(TrialFailure, match="more than trial_memory=400,000,000"),
    ):
        limited({})


def test_a_worker_that_its_objective_stops_is_replaced(server: EmbeddedServer) -> None:
    def objective(config: dict[str, Any]) -> float:
        if config["x"] == 0.25:
            os.kill(os.getpid(), signal.SIGSTOP)
        return float(config["x"])

    result = run(objective, server.url)
    assert result.stop_reason == "n_trials"
    assert [t.state for t in result.frozen_trials if t.counts] == ["finished"] * 6
    (lost,) = (worker for worker in result.workers if worker.state is WorkerState.LOST)
    assert "was stopped by SIGSTOP" in present(lost.reason)
    (trial,) = (trial for trial in result.frozen_trials if trial.lost)
    assert trial.params == {"x": 0.25}


def test_a_stopped_evaluation_process_is_replaced_without_a_limit_of_time(
    server: EmbeddedServer,
) -> None:
    def objective(config: dict[str, Any]) -> float:
        if config["x"] == 0.25:
            os.kill(os.getpid(), signal.SIGSTOP)
        return float(config["x"])

    result = run(objective, server.url, trial_memory="1GB")
    assert result.stop_reason == "n_trials"
    (failed,) = (trial for trial in result.frozen_trials if trial.state == "failed")
    assert "was stopped by SIGSTOP" in present(failed.error)
    assert failed.params == {"x": 0.25}
    assert not failed.lost


PROGRAM = """
import pathlib, sys, time
from rush_opt import Float, tune

running = pathlib.Path(sys.argv[1])

def objective(config):
    running.touch()
    time.sleep(0.1)
    return config["x"]

result = tune(objective, {"x": Float(0, 1)}, n_workers=2, n_trials=20, optimizer="random",
    url=sys.argv[2], progress=False)
print(result.stop_reason, len(result.frozen_trials), [worker.reason for worker in result.workers])
"""


def test_a_run_that_ctrl_z_stops_goes_on_when_it_is_continued(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    running = tmp_path / "running"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(running), server.url],
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as program:
        wait_until(running.exists)
        os.killpg(program.pid, signal.SIGSTOP)  # as a shell's terminal does, but never ignored
        manager = psutil.Process(program.pid)
        wait_until(lambda: manager.status() == psutil.STATUS_STOPPED)
        stopped_at = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped_at > 2.5)
        os.killpg(program.pid, signal.SIGCONT)
        output, _ = program.communicate(timeout=30.0)
    assert output == "n_trials 20 ['', '']\n"
