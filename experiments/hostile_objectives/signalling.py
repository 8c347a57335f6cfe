"""Objectives that send, block and handle signals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

from experiments.hostile_objectives.case import FINE, MANY, Case, Outcome, doing, ends

__all__ = ["SIGNALS"]


def send(number: signal.Signals, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)
    time.sleep(0.05)  # the handlers of Python have run


def wait_for_alarm() -> None:
    signal.alarm(1)
    time.sleep(60.0)


def kill_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60.0)


def handle_in_vain() -> None:
    """Handle all signals with what does nothing."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, lambda *_: None)


def ignore(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)


def block(*numbers: signal.Signals) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers or signal.valid_signals())


def send_in_thread(number: signal.Signals) -> None:
    main = threading.main_thread().ident or 0
    thread = threading.Thread(target=signal.pthread_kill, args=(main, number))
    thread.start()
    thread.join()
    time.sleep(0.05)


SIGNALS: dict[str, Case] = {
    "SIGKILL": doing(lambda: send(signal.SIGKILL), ends("SIGKILL")),
    "SIGSTOP": doing(lambda: send(signal.SIGSTOP), ends("was stopped by SIGSTOP")),
    "SIGHUP": doing(lambda: send(signal.SIGHUP), ends("SIGHUP")),
    "SIGALRM": doing(wait_for_alarm, ends("SIGALRM")),
    "SIGPIPE": doing(lambda: send(signal.SIGPIPE), FINE, n_together=MANY),
    "SIGCHLD": doing(lambda: send(signal.SIGCHLD), FINE, n_together=MANY),
    "SIGCONT": doing(lambda: send(signal.SIGCONT), FINE, n_together=MANY),
    "SIGTSTP": doing(lambda: send(signal.SIGTSTP), FINE, n_together=MANY),
    # A worker that is asked to stop ends its trial first.
    "SIGTERM": doing(
        lambda: send(signal.SIGTERM), (Outcome("finished"), Outcome("failed", "SIGTERM"))
    ),
    "SIGINT": doing(
        lambda: send(signal.SIGINT), (Outcome("finished"), Outcome("failed", "KeyboardInterrupt"))
    ),
    "SIGTERM twice": doing(
        lambda: send(signal.SIGTERM, 2), (Outcome("lost"), Outcome("failed", "SIGTERM"))
    ),
    "SIGTERM in a thread": doing(
        lambda: send_in_thread(signal.SIGTERM), (Outcome("finished"), Outcome("failed", "SIGTERM"))
    ),
    "SIGKILL to its group": doing(lambda: os.killpg(0, signal.SIGKILL), ends("SIGKILL")),
    "SIGSTOP to its group": doing(lambda: os.killpg(0, signal.SIGSTOP), ends("stopped by SIGSTOP")),
    "SIGKILL to its parent": doing(kill_parent, ends("SIGKILL")),
    "SIGTERM to its parent": doing(
        lambda: os.kill(os.getppid(), signal.SIGTERM), FINE, n_together=MANY
    ),
    "SIGSTOP to its parent": doing(lambda: os.kill(os.getppid(), signal.SIGSTOP), FINE),
    "all signals blocked": doing(block, FINE),
    "SIGCHLD ignored": doing(lambda: ignore(signal.SIGCHLD), FINE),
    "all signals handled": doing(handle_in_vain, FINE),
}
