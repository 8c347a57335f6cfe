"""Objectives that start processes, and leave them: forked ones, programs, pools and daemons."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

from experiments.hostile_objectives.case import FINE, MANY, Case, Outcome, doing, ends

__all__ = ["DAEMONS", "FORKS"]

LONG_S = 600.0
_PR_SET_NAME = 15


def fork(child: Callable[[], object]) -> int:
    """Let a forked child do something and exit; return its number."""
    if pid := os.fork():
        return pid
    try:
        child()
    finally:
        os._exit(0)


def sleep() -> None:
    time.sleep(LONG_S)


def close_and_sleep() -> None:
    os.closerange(0, 256)
    sleep()


def sleep_in_group() -> None:
    os.setpgid(0, 0)
    sleep()


def nothing() -> None:
    pass


def fork_and_both_go_on() -> None:
    """Forget that the child has to exit: it goes on as a copy of its parent."""
    os.fork()


def fork_and_the_child_returns_late() -> None:
    if os.fork() == 0:
        time.sleep(0.3)


def fork_and_the_child_raises() -> None:
    if os.fork() == 0:
        raise ValueError("in the child")


def fork_and_the_parent_exits() -> None:
    if os.fork():
        os._exit(11)
    time.sleep(LONG_S)


def fork_many() -> None:
    for _ in range(10):
        fork(sleep)


def leave_zombies() -> None:
    for _ in range(50):
        fork(nothing)


def fork_generations(n: int) -> None:
    """Let a child have a child that has a child."""

    def child() -> None:
        fork_generations(n - 1)
        sleep()

    if n:
        fork(child)


def fork_in_a_thread() -> None:
    thread = threading.Thread(target=fork, args=(sleep,))
    thread.start()
    thread.join()


def kill_parent_in_child() -> None:
    parent = os.getpid()
    fork(lambda: os.kill(parent, signal.SIGKILL))
    time.sleep(60.0)


def stop_parent_in_child() -> None:
    parent = os.getpid()
    fork(lambda: os.kill(parent, signal.SIGSTOP))
    time.sleep(60.0)


def close_all_in_child() -> None:
    fork(close_and_sleep)


def write_all_in_child() -> None:
    """Write to all that the child has inherited."""

    def write() -> None:
        for descriptor in range(3, 4096):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"from a child\n")

    os.waitpid(fork(write), 0)


def leave_processes(method: Literal["fork", "spawn", "forkserver"]) -> None:
    context = multiprocessing.get_context(method)
    context.Process(target=time.sleep, args=(LONG_S,), daemon=True).start()  # type: ignore[attr-defined]


def leave_pool() -> None:
    pool = multiprocessing.get_context("fork").Pool(2)
    pool.map(abs, range(10))
    globals()["_pool"] = pool


def leave_executor() -> None:
    executor = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    executor.submit(abs, 1).result()
    globals()["_executor"] = executor


def spawn() -> None:
    os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ)


def open_terminal() -> None:
    pid, _ = pty.fork()
    if pid == 0:
        os.execv("/bin/sleep", ["sleep", "600"])


FORKS: dict[str, Case] = {
    "child that exits": doing(lambda: fork(nothing), FINE, n_together=MANY),
    "child that sleeps": doing(lambda: fork(sleep), FINE, n_together=MANY),
    "child that returns": doing(fork_and_both_go_on, FINE),
    "child that returns late": doing(fork_and_the_child_returns_late, FINE),
    "child that raises": doing(fork_and_the_child_raises, FINE),
    "parent that exits": doing(fork_and_the_parent_exits, ends("exit code 11")),
    "ten children": doing(fork_many, FINE, n_together=MANY),
    "50 zombies": doing(leave_zombies, FINE, n_together=MANY),
    "ten generations": doing(lambda: fork_generations(10), FINE, n_together=MANY),
    "fork in a thread": doing(fork_in_a_thread, FINE, n_together=MANY),
    "child kills parent": doing(kill_parent_in_child, ends("SIGKILL")),
    "child stops parent": doing(stop_parent_in_child, ends("stopped by SIGSTOP")),
    "child closes all": doing(close_all_in_child, FINE, n_together=MANY),
    "child writes to all": doing(
        write_all_in_child, (Outcome("finished"), Outcome("failed", "no message"))
    ),
    "multiprocessing, fork": doing(lambda: leave_processes("fork"), FINE, n_together=MANY),
    "multiprocessing, spawn": doing(lambda: leave_processes("spawn"), FINE, n_together=MANY),
    "multiprocessing, forkserver": doing(
        lambda: leave_processes("forkserver"), FINE, n_together=MANY
    ),
    "open pool": doing(leave_pool, FINE),
    "open executor": doing(leave_executor, FINE),
    "posix_spawn": doing(spawn, FINE, n_together=MANY),
    "terminal of its own": doing(open_terminal, FINE, n_together=MANY),
}


def daemonize(run: Callable[[], object]) -> None:
    """Start a daemon: a child of a child, in a session of its own."""

    def begin_session() -> None:
        os.setsid()
        fork(run)

    os.waitpid(fork(begin_session), 0)


def ignore_all() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    sleep()


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    sleep()


def fork_again_and_again() -> None:
    """Hand over to a new process ten times a second, for a minute."""
    for _ in range(600):
        time.sleep(0.1)
        if os.fork():
            os._exit(0)
        os.setsid()


def listen() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        sleep()


def stop_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def take_an_odd_name() -> None:
    with contextlib.suppress(AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b") 1 (a b", 0, 0, 0)
    sleep()


def burn() -> None:
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        pass


def shell(line: str) -> None:
    subprocess.run(["/bin/sh", "-c", line], check=True)


def popen(**options: bool | int) -> None:
    program = [sys.executable, "-c", f"import time; time.sleep({LONG_S})"]
    process = subprocess.Popen(program, **options)  # type: ignore[call-overload]
    process.returncode = 0  # nobody waits for it: no warning


DAEMONS: dict[str, Case] = {
    name: doing(procedure, FINE, n_together=MANY)
    for name, procedure in (
        ("daemon", lambda: daemonize(sleep)),
        ("daemon of a daemon", lambda: daemonize(lambda: daemonize(sleep))),
        ("daemon that ignores signals", lambda: daemonize(ignore_all)),
        ("daemon that blocks signals", lambda: daemonize(block_all)),
        ("daemon that forks on", lambda: daemonize(fork_again_and_again)),
        ("daemon that listens", lambda: daemonize(listen)),
        ("daemon that is stopped", lambda: daemonize(stop_itself)),
        ("daemon without descriptors", lambda: daemonize(close_and_sleep)),
        ("daemon with an odd name", lambda: daemonize(take_an_odd_name)),
        ("daemon that burns CPU time", lambda: daemonize(burn)),
        ("group of its own", lambda: fork(sleep_in_group)),
        ("program", popen),
        ("program in a session", lambda: popen(start_new_session=True)),
        ("program in a group", lambda: popen(process_group=0)),
        ("shell in the background", lambda: shell("sleep 600 &")),
        ("nohup", lambda: shell("nohup sleep 600 >/dev/null 2>&1 &")),
        ("setsid", lambda: shell("(trap '' HUP; exec sleep 600) >/dev/null 2>&1 &")),
    )
}
