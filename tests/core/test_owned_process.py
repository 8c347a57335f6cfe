"""Processes that end with their owner: closed, killed, or outlived by a forked child."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rush_core import OwnedProcess, run_at_owner_end
from tests.waiting import wait_until

WAITING = [sys.executable, "-c", "import sys; sys.exit(len(sys.stdin.read()) + 7)"]


def test_closing_ends_the_process() -> None:
    process = OwnedProcess(WAITING)
    assert not process.has_ended()
    assert process.close() == 7
    assert process.has_ended()
    assert process.close() == 7


def test_a_killed_process_is_waited_for() -> None:
    process = OwnedProcess(WAITING)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_program_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        OwnedProcess(["/nowhere/program"])


def test_a_script_runs_at_close_and_not_before(tmp_path: Path) -> None:
    made = tmp_path / "two words"
    process = run_at_owner_end('echo "$1" > "$2"', "closed", str(made))
    assert not process.has_ended()
    assert not made.exists()
    assert process.close() == 0
    assert made.read_text() == "closed\n"


@pytest.mark.parametrize("forked_child", [False, True])
def test_a_script_runs_when_the_owner_is_killed(tmp_path: Path, forked_child: bool) -> None:
    program = f"""
import os, time
from rush_core import run_at_owner_end
process = run_at_owner_end('touch "$1"', {str(tmp_path / "made")!r})
child = os.fork() if {forked_child} else -1
if child:
    print(child, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        try:
            owner.kill()
            wait_until(lambda: (tmp_path / "made").exists())
            assert child == -1 or psutil.pid_exists(child)  # it outlived its parent
        finally:
            if child != -1:
                os.kill(child, signal.SIGKILL)
