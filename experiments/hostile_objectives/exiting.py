"""Objectives that end their process: in order, by a signal or by a crash."""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time

from experiments.hostile_objectives.case import FINE, MANY, Case, doing, ends, fails

__all__ = ["CRASHES", "EXITS"]


def exit_in_thread() -> None:
    thread = threading.Thread(target=sys.exit, args=(1,))
    thread.start()
    thread.join()


def end_in_thread() -> None:
    threading.Thread(target=os._exit, args=(5,)).start()
    time.sleep(60.0)


def become(program: str, *arguments: str) -> None:
    os.execv(program, [program, *arguments])


def raise_at_exit() -> None:
    def fail() -> None:
        raise ValueError("at the exit")

    atexit.register(fail)


def end_at_exit() -> None:
    atexit.register(os._exit, 6)


def end_when_deleted() -> None:
    class Last:
        def __del__(self) -> None:
            os._exit(8)

    Last()


def call_null() -> None:
    ctypes.CFUNCTYPE(None)(0)()


def crash_in_thread() -> None:
    threading.Thread(target=faulthandler._sigsegv).start()  # type: ignore[attr-defined]
    time.sleep(60.0)


def kill_with(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60.0)


EXITS: dict[str, Case] = {
    "_exit(0)": doing(lambda: os._exit(0), ends("exit code 0")),
    "_exit(255)": doing(lambda: os._exit(255), ends("exit code 255")),
    "exit of C": doing(lambda: ctypes.CDLL(None).exit(3), ends("exit code 3")),
    "exit of the interpreter": doing(lambda: ctypes.pythonapi.Py_Exit(4), ends("exit code 4")),
    "quit()": doing(lambda: sys.exit("quit"), fails("SystemExit: quit"), n_together=MANY),
    "exit in a thread": doing(exit_in_thread, FINE, n_together=MANY),
    "_exit in a thread": doing(end_in_thread, ends("exit code 5")),
    "become another program": doing(
        lambda: become("/bin/sh", "-c", "exit 7"), ends("exit code 7|closed its connection")
    ),
    "_exit in a destructor": doing(end_when_deleted, ends("exit code 8")),
    "error at the exit": doing(raise_at_exit, FINE),
    "_exit at the exit": doing(end_at_exit, FINE),
}

CRASHES: dict[str, Case] = {
    "read at 0": doing(lambda: ctypes.string_at(0), ends("SIGSEGV")),
    "call of 0": doing(call_null, ends("SIGSEGV")),
    "crash in a thread": doing(crash_in_thread, ends("SIGSEGV")),
    "overflow of the stack": doing(
        lambda: faulthandler._stack_overflow(),  # type: ignore[attr-defined]
        ends("SIGSEGV|SIGABRT|SIGBUS"),
    ),
    "fatal error of Python": doing(
        lambda: ctypes.pythonapi.Py_FatalError(b"mine"), ends("SIGABRT")
    ),
    "abort()": doing(os.abort, ends("SIGABRT")),
    "SIGSEGV": doing(lambda: kill_with(signal.SIGSEGV), ends("SIGSEGV")),
    "SIGBUS": doing(lambda: kill_with(signal.SIGBUS), ends("SIGBUS")),
}
