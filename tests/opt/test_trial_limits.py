"""Limits on trials, with real processes that are busy in foreign code, too large or gone."""

import contextlib
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from rush_core import EmbeddedServer, WorkerState
from rush_opt import Categorical, Trial, TuneResult, tune
from rush_opt.evaluation.limits import LimitedObjective, Limits
from rush_opt.evaluation.objective import TrialFailure
from tests.typed import present
from tests.waiting import wait_until

# What cannot be interrupted from within: the interpreter lock is held all the time.
ENDLESS = ("(a+)+$", "a" * 50 + "b")


def objective(config: dict[str, Any], trial: Trial) -> dict[str, Any]:
    case = config["case"]
    if case == "endless":
        re.match(*ENDLESS)
    if case == "large":
        held = [bytearray(b"x" * 10**7) for _ in range(200)]
        time.sleep(60 + len(held))
    if case == "large child":
        code = "import time; held = bytearray(b'x' * 10**9); time.sleep(60)"
        subprocess.run([sys.executable, "-c", code], check=True)
    if case == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if case == "error":
        raise ValueError("no such thing")
    return {"value": 1.0, "pid": os.getpid(), "key": trial.key}


CASES = ["fine", "endless", "large", "large child", "crash", "error", "fine"]


def evaluating_processes() -> list[psutil.Process]:
    """Return the processes that evaluate trials of these tests: RUSH_HOME tells them from others.

    Their parents may be gone, so they cannot be found as children of this process.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            is_ours = process.environ().get("RUSH_HOME") == os.environ["RUSH_HOME"]
            if is_ours and "limited_process.py" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def limited(server: EmbeddedServer) -> TuneResult:
    """A run of one worker that meets every case."""
    result = tune(
        objective,
        {"case": Categorical(sorted(set(CASES)))},
        n_workers=1,
        n_trials=len(CASES),
        optimizer="random",
        initial_design=[{"case": case} for case in CASES],
        trial_timeout=3.0,
        trial_memory="400MB",
        url=server.url,
        progress=False,
    )

    wait_until(lambda: not evaluating_processes())
    return result


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("endless", "the trial took longer than trial_timeout=3 s"),
        ("large", "more than trial_memory=400,000,000"),
        ("large child", "more than trial_memory=400,000,000"),
        ("crash", "the process of the objective was killed by SIGSEGV"),
        ("error", "ValueError: no such thing"),
    ],
)
def test_a_trial_beyond_its_limits_fails_with_the_reason(
    case: str, message: str, limited: TuneResult
) -> None:
    (trial,) = (t for t in limited.frozen_trials if t.params["case"] == case)
    assert trial.state == "failed"
    assert not trial.lost
    assert message in present(trial.error)
    assert "rush_opt/evaluation/limits.py" not in present(trial.error)


def test_the_worker_goes_on_and_evaluates_elsewhere(limited: TuneResult) -> None:
    (worker,) = limited.workers
    assert worker.state is WorkerState.STOPPED
    assert [trial.params["case"] for trial in limited.frozen_trials] == CASES
    fine = [trial for trial in limited.frozen_trials if trial.state == "finished"]
    assert len(fine) == 2
    assert len({trial.result["pid"] for trial in fine} | {worker.pid}) == 3
    assert [trial.result["key"] for trial in fine] == [trial.key for trial in fine]


def test_the_end_of_a_process_is_seen_although_its_child_holds_the_connection() -> None:
    def leave_a_child(config: dict[str, Any]) -> None:
        if os.fork():
            os._exit(3)
        signal.pause()

    with (
        LimitedObjective(leave_a_child, Limits(timeout_s=None, memory_bytes=10**9)) as objective,
        pytest.raises(TrialFailure, match="the process of the objective ended with exit code 3"),
    ):
        objective({})


def log(trial: Trial, step: int) -> None:
    logging.getLogger("study").warning("step %d", step)


def report(trial: Trial, step: int) -> None:
    trial.report(1.0, step)


@pytest.mark.parametrize("say", [log, report])
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(timeout_s=0.5, memory_bytes=None), "took longer than trial_timeout=0.5 s"),
        (Limits(timeout_s=None, memory_bytes=2 * 10**8), "more than trial_memory=200,000,000"),
    ],
)
def test_limits_hold_for_a_trial_that_reports_all_the_time(
    say: Callable[[Trial, int], None], limits: Limits, message: str
) -> None:
    def talkative(config: dict[str, Any], trial: Trial) -> int:
        held, until = bytearray(), time.monotonic() + 20.0
        for step in itertools.count():
            say(trial, step)
            if time.monotonic() > until:
                break
            held += b"x" * (10**6 if step < 400 else 0)
        return len(held)

    trial = Trial("key", "worker", 0, lambda value, step: False)
    with LimitedObjective(talkative, limits) as limited, pytest.raises(TrialFailure, match=message):
        limited({}, trial)


def test_a_process_that_ends_between_two_trials_is_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with LimitedObjective(lambda config: os.getpid(), Limits(60.0, None)) as limited:
        first = limited({})
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(first))
        second = limited({})
        assert second != first
        assert limited({}) == second
    assert "the evaluation process ended or closed its connection after its trial" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trial_timeout": 0}, "trial_timeout must be a positive"),
        ({"trial_timeout": "5"}, "trial_timeout must be a number of seconds"),
        ({"trial_memory": "2 gigs"}, "a text such as '2GB'"),
        ({"trial_memory": 1.5}, "a whole number of bytes"),
        ({"trial_memory": 2}, "at least 16,777,216 bytes"),
    ],
)
def test_limits_that_cannot_be_used_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        tune(objective, {"case": Categorical(["fine", "error"])}, **arguments)
