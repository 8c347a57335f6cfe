"""Objectives that disturb the connection of their process: the trial fails, and in time."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rush_core import EmbeddedServer, WorkerState
from rush_opt import Categorical, tune
from rush_opt.evaluation.limited_process import HEADER, MARK, framed
from rush_opt.evaluation.limits import LimitedObjective, Limits
from rush_opt.evaluation.objective import TrialFailure
from tests.typed import present
from tests.waiting import wait_until

TIMEOUT_S = 3.0
LIMITED_TIME = Limits(timeout_s=TIMEOUT_S, memory_bytes=None)
# Shorter than a process may be stopped.
SHORT_TIME = Limits(timeout_s=0.5, memory_bytes=None)
LIMITED_MEMORY = Limits(timeout_s=None, memory_bytes=10**9)


def connections() -> list[int]:
    """Return the sockets that the objective's process has inherited."""
    found = []
    for descriptor in range(3, 4096):  # it has the number that it had in the parent
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.append(descriptor)
        except OSError:
            pass
    return found


def write(content: bytes) -> None:
    for descriptor in connections():
        os.write(descriptor, content)


def stop_in_a_header(config: dict[str, Any]) -> None:
    write(framed(b"a message")[:7])
    os.kill(os.getpid(), signal.SIGSTOP)


def stop_in_a_message(config: dict[str, Any]) -> None:
    write(framed(bytes(10**6))[: 10**5])
    os.kill(os.getpid(), signal.SIGSTOP)


def stop_in_silence(config: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def send_without_end(config: dict[str, Any]) -> None:
    write(HEADER.pack(MARK, 2**29, 0))
    while True:
        write(bytes(1000))


def write_text(config: dict[str, Any]) -> float:
    write(b"loss: 0.5\n")
    return 0.5


def write_one_byte(config: dict[str, Any]) -> float:
    write(b"\0")
    return 0.5


def write_a_huge_length(config: dict[str, Any]) -> float:
    write(HEADER.pack(MARK, 2**62, 0))
    time.sleep(60)
    return 0.5


def write_a_wrong_checksum(config: dict[str, Any]) -> float:
    write(framed(b"a message")[:-1] + b"x")
    return 0.5


def write_what_is_no_pickle(config: dict[str, Any]) -> float:
    write(framed(b"a message"))
    return 0.5


def write_all_the_time(config: dict[str, Any]) -> float:
    def make_noise() -> None:
        while True:
            write(b"noise")

    threading.Thread(target=make_noise, daemon=True).start()
    time.sleep(60)
    return 0.5


def close_all(config: dict[str, Any]) -> float:
    os.closerange(3, 4096)
    return 0.5


def replace_all(config: dict[str, Any]) -> float:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in connections():
        os.dup2(nothing, descriptor)
    return 0.5


STOPPED = [stop_in_a_header, stop_in_a_message, stop_in_silence, send_without_end]
GARBLED = [
    write_text,
    write_one_byte,
    write_a_huge_length,
    write_a_wrong_checksum,
    write_what_is_no_pickle,
    write_all_the_time,
]
CLOSED = [close_all, replace_all]


@pytest.mark.parametrize("objective", STOPPED)
def test_a_process_that_stops_or_sends_without_end_fails_its_trial_in_time(
    objective: Callable[[dict[str, Any]], Any],
) -> None:
    with LimitedObjective(objective, SHORT_TIME) as limited:
        began = time.monotonic()
        with pytest.raises(TrialFailure, match=r"took longer than trial_timeout=0\.5 s"):
            limited({})
        assert time.monotonic() - began < 30  # it has to start first


@pytest.mark.parametrize("objective", STOPPED[:3])
def test_a_stopped_process_fails_its_trial_without_a_limit_of_time(
    objective: Callable[[dict[str, Any]], Any],
) -> None:
    with (
        LimitedObjective(objective, LIMITED_MEMORY) as limited,
        pytest.raises(TrialFailure, match="was stopped by SIGSTOP"),
    ):
        limited({})


@pytest.mark.parametrize("limits", [LIMITED_TIME, LIMITED_MEMORY])
@pytest.mark.parametrize("objective", GARBLED)
def test_bytes_that_are_no_message_fail_the_trial_at_once(
    objective: Callable[[dict[str, Any]], Any], limits: Limits
) -> None:
    with (
        LimitedObjective(objective, limits) as limited,
        pytest.raises(TrialFailure, match="may not write to file descriptors"),
    ):
        limited({})


@pytest.mark.parametrize("objective", CLOSED)
def test_a_closed_connection_fails_the_trial(objective: Callable[[dict[str, Any]], Any]) -> None:
    with (
        LimitedObjective(objective, LIMITED_MEMORY) as limited,
        pytest.raises(TrialFailure, match="the process of the objective"),
    ):
        limited({})


def test_a_process_that_does_not_read_its_configuration_fails_the_trial_in_time() -> None:
    with LimitedObjective(lambda config: os.getpid(), SHORT_TIME) as limited:
        first = limited({})
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(TrialFailure, match=r"took longer than trial_timeout=0\.5 s"):
            limited({"large": bytes(10**7)})
        assert limited({}) != first


def test_a_process_that_ends_before_its_trial_begins_is_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with LimitedObjective(lambda config: os.getpid(), LIMITED_MEMORY) as limited:
        first = limited({})
        os.kill(first, signal.SIGSTOP)  # it is killed when the next trial waits for it
        assert limited({}) != first
    assert "was stopped by SIGSTOP, and killed" in caplog.text
    assert "before its next trial began" in caplog.text


def test_a_forked_child_that_returns_sends_no_result() -> None:
    def objective(config: dict[str, Any]) -> float:
        os.fork()
        return float(config["x"])

    with LimitedObjective(objective, LIMITED_TIME) as limited:
        assert [limited({"x": x}) for x in range(20)] == list(range(20))


def test_a_connection_that_an_objective_makes_nonblocking_still_serves() -> None:
    def objective(config: dict[str, Any]) -> int:
        for descriptor in connections():
            os.set_blocking(descriptor, False)
        return os.getpid()

    with LimitedObjective(objective, LIMITED_TIME) as limited:
        assert len({limited({}) for _ in range(3)}) == 1


def test_bytes_that_come_after_a_trial_do_not_fail_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    may_write, has_written = tmp_path / "may write", tmp_path / "has written"

    def write_late() -> None:
        wait_until(may_write.exists)
        write(b"late")
        has_written.touch()

    def objective(config: dict[str, Any]) -> int:
        if not may_write.exists():
            threading.Thread(target=write_late, daemon=True).start()
        return os.getpid()

    with LimitedObjective(objective, LIMITED_TIME) as limited:
        first = limited({})
        may_write.touch()
        wait_until(has_written.exists)
        assert limited({}) != first
    assert "wrote to its connection after its trial" in caplog.text


def test_a_run_with_such_objectives_keeps_its_budget(server: EmbeddedServer) -> None:
    cases = {action.__name__: action for action in (*STOPPED[:2], *GARBLED[:2], *CLOSED)}
    names = ["fine", *cases, *(f"fine {i}" for i in range(5))]

    def objective(config: dict[str, Any]) -> float:
        action = cases.get(config["case"])
        return 1.0 if action is None else action(config) or 0.0

    result = tune(
        objective,
        {"case": Categorical(names)},
        n_workers=2,
        n_trials=12,
        optimizer="random",
        initial_design=[{"case": name} for name in names],
        trial_timeout=TIMEOUT_S,
        url=server.url,
        progress=False,
    )
    assert sorted(trial.params["case"] for trial in result.frozen_trials) == sorted(names)
    failed = {t.params["case"]: present(t.error) for t in result.frozen_trials if t.error}
    assert set(failed) == set(cases)
    assert [worker.state for worker in result.workers] == [WorkerState.STOPPED] * 2
