"""Supervised processes: what they start ends with them, and who is stopped is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rush_core import OwnedProcess, SupervisedProcess, describe_exit
from tests.core.processes import is_alive
from tests.waiting import wait_until

# How a program starts another that goes on: `act` returns in the program itself.
STARTS = {
    "forked": "os.fork() or wait()",
    "in a session": "os.fork() or os.setsid() or wait()",
    "detached": "os.fork() or os.setsid() or os.fork() or wait()",
    "in a group": "os.fork() or os.setpgid(0, 0) or wait()",
    "subprocess": "subprocess.Popen([sys.executable, '-c', CHILD])",
    "subprocess in a session": (
        "subprocess.Popen([sys.executable, '-c', CHILD], start_new_session=True)"
    ),
    "shell": "os.system(f'nohup setsid {sys.executable} -c {shlex.quote(CHILD)} &')",
    "deaf": "os.fork() or block() or wait()",
    "stopped": "os.fork() or write() or os.kill(os.getpid(), signal.SIGSTOP)",
}

PROGRAM = """
import os, pathlib, shlex, signal, subprocess, sys, time
path = pathlib.Path(sys.argv[1])
CHILD = f"import os, pathlib, time; path = pathlib.Path({str(path)!r}); " + (
    "path.with_suffix('.new').write_text(str(os.getpid())); path.with_suffix('.new').rename(path);"
    "time.sleep(600)")
def write():
    path.with_suffix('.new').write_text(str(os.getpid()))
    path.with_suffix('.new').rename(path)
def wait():
    write()
    time.sleep(600)
    os._exit(0)
def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
"""


def supervised(tmp_path: Path, text: str) -> SupervisedProcess:
    return SupervisedProcess([sys.executable, "-c", PROGRAM + text, str(tmp_path / "pid")])


def started(tmp_path: Path, pids: list[int]) -> int:
    """Wait until the program has started another; return its number."""
    path = tmp_path / "pid"
    wait_until(path.exists)
    pids.append(int(path.read_text()))
    return pids[-1]


@pytest.mark.parametrize("start", list(STARTS))
def test_what_a_program_left_behind_ends_with_it(
    start: str, tmp_path: Path, pids: list[int]
) -> None:
    text = f"{STARTS[start]}\nwhile not path.exists(): time.sleep(0.01)\nos._exit(3)"
    process = supervised(tmp_path, text)
    assert process.wait() == 3
    assert not is_alive(started(tmp_path, pids))


@pytest.mark.parametrize("start", ["detached", "shell", "deaf"])
def test_a_killed_program_takes_along_what_it_started(
    start: str, tmp_path: Path, pids: list[int]
) -> None:
    process = supervised(tmp_path, f"{STARTS[start]}\ntime.sleep(600)")
    pid = started(tmp_path, pids)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not is_alive(pid)


def test_what_a_program_left_behind_may_end_by_itself(tmp_path: Path) -> None:
    text = "os.fork() or (time.sleep(0.1), path.touch(), os._exit(0))\nos._exit(0)"
    assert supervised(tmp_path, text).wait() == 0
    assert (tmp_path / "pid").exists()


@pytest.mark.parametrize("start", ["detached", "subprocess", "deaf"])
def test_all_end_with_the_owner(start: str, tmp_path: Path, pids: list[int]) -> None:
    text = PROGRAM + f"{STARTS[start]}\ntime.sleep(600)"
    program = f"""
import sys, time
from rush_core import SupervisedProcess
process = SupervisedProcess([sys.executable, "-c", {text!r}, {str(tmp_path / "pid")!r}])
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program]) as owner:
        started(tmp_path, pids)
        family = psutil.Process(owner.pid).children(recursive=True)
        pids += [process.pid for process in family]
        owner.kill()
    wait_until(lambda: not any(map(is_alive, pids)))


def test_a_program_ends_with_its_supervisor() -> None:
    process = SupervisedProcess([sys.executable, "-c", "import time; time.sleep(600)"])
    (program,) = wait_until(psutil.Process(process.pid).children)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: not is_alive(program.pid))


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("pass", 0, "ended with exit code 0"),
        ("sys.exit(7)", 7, "ended with exit code 7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, "was killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "was killed by SIGKILL"),
        ("os.killpg(0, signal.SIGTERM)", -signal.SIGTERM, "was killed by SIGTERM"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", 128 + signal.SIGSTOP, "was stopped by SIGSTOP"),
        ("os.killpg(0, signal.SIGSTOP)", 128 + signal.SIGSTOP, "was stopped by SIGSTOP"),
    ],
)
def test_the_exit_code_is_that_of_the_program(
    text: str, code: int, words: str, tmp_path: Path
) -> None:
    found = supervised(tmp_path, text).wait()
    assert found == code
    assert words in describe_exit(found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGSTOP])
def test_a_program_cannot_end_or_stop_its_supervisor_by_a_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = supervised(tmp_path, f"os.kill(os.getppid(), {int(number)})\nsys.exit(7)")
    assert process.wait() == 7


def test_a_program_that_stops_its_supervisor_can_be_killed(tmp_path: Path, pids: list[int]) -> None:
    text = "write(); os.kill(os.getppid(), signal.SIGSTOP); time.sleep(600)"
    process = supervised(tmp_path, text)
    started(tmp_path, pids)
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_program_that_is_continued_in_time_goes_on(tmp_path: Path, pids: list[int]) -> None:
    process = supervised(tmp_path, "write()\nfor _ in range(30): time.sleep(0.1)\nsys.exit(7)")
    program = psutil.Process(started(tmp_path, pids))
    for _ in range(5):
        program.suspend()
        wait_until(lambda: program.status() == psutil.STATUS_STOPPED)
        program.resume()
    assert process.wait() == 7


def test_a_program_that_was_stopped_together_with_its_supervisor_goes_on(
    tmp_path: Path, pids: list[int]
) -> None:
    process = supervised(tmp_path, "write()\nwhile path.exists(): time.sleep(0.01)\nsys.exit(7)")
    program, supervisor = psutil.Process(started(tmp_path, pids)), psutil.Process(process.pid)
    stopped_at = time.monotonic()
    for stopped in (program, supervisor):
        stopped.suspend()
    # Longer than a program may be stopped alone.
    wait_until(lambda: time.monotonic() - stopped_at > 2.5)
    supervisor.resume()
    continued_at = time.monotonic()
    wait_until(lambda: time.monotonic() - continued_at > 0.3)
    program.resume()
    (tmp_path / "pid").unlink()
    assert process.wait() == 7


def test_the_signal_mask_of_the_owner_is_that_of_the_program(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        text = "sys.exit(signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR1})"
        assert supervised(tmp_path, text).wait() == 1
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_only_the_program_keeps_what_it_inherits() -> None:
    read, write = os.pipe()
    text = f"import os, time; os.close({write}); time.sleep(600)"
    process = SupervisedProcess([sys.executable, "-c", text], pass_fds=[write])
    os.close(write)
    assert os.read(read, 1) == b""  # the program has closed it, and the supervisor has no copy
    process.kill()
    process.wait()
    os.close(read)


@pytest.mark.parametrize("kind", [OwnedProcess, SupervisedProcess])
def test_killing_twice_and_after_the_end_is_no_error(
    kind: Callable[[list[str]], OwnedProcess | SupervisedProcess],
) -> None:
    process = kind([sys.executable, "-c", "import time; time.sleep(600)"])
    process.kill()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.kill()
    assert process.has_ended()
    assert process.wait() == -signal.SIGKILL


def test_a_program_that_does_not_exist_ends_with_127() -> None:
    assert SupervisedProcess(["/nowhere/program"]).wait() == 127
