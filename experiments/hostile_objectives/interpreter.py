"""Objectives that hold the interpreter's lock, leave threads, or change the interpreter."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import gc
import logging
import re
import sys
import threading
import time
import warnings
from typing import Any

from experiments.hostile_objectives.case import FINE, MANY, Case, doing, fails, trial_fails
from experiments.hostile_objectives.raising import OwnError

__all__ = ["HOOKS", "LOCKS", "THREADS"]

_TOO_LONG = trial_fails("longer than trial_timeout")


def hold(for_s: float) -> None:
    """Hold the interpreter's lock in foreign code."""
    ctypes.PyDLL(None).usleep(round(for_s * 1e6))


def match_for_long() -> None:
    """Hold it in a regular expression for some seconds."""
    re.match("(a+)+$", "a" * 25 + "b")


def count_for_long() -> None:
    """Hold it in one multiplication after another of huge numbers."""
    until = time.monotonic() + 3.0
    number = 7**200_000
    while time.monotonic() < until:
        _ = number * number


def spin() -> None:
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        pass


def catch_all() -> None:
    """Go on whatever is raised."""
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        with contextlib.suppress(BaseException):
            time.sleep(until - time.monotonic())


LOCKS: dict[str, Case] = {
    "lock held": doing(lambda: hold(3.0), _TOO_LONG, n_together=MANY, timeout_s=1.0),
    "lock held in a match": doing(match_for_long, _TOO_LONG, n_together=MANY, timeout_s=0.2),
    "lock held in numbers": doing(count_for_long, _TOO_LONG, n_together=MANY, timeout_s=1.0),
    "busy waiting": doing(spin, _TOO_LONG, n_together=MANY, timeout_s=1.0),
    "sleep": doing(lambda: time.sleep(3.0), _TOO_LONG, n_together=MANY, timeout_s=1.0),
    "all errors caught": doing(catch_all, _TOO_LONG, n_together=MANY, timeout_s=1.0),
    "never switched": doing(lambda: sys.setswitchinterval(1000.0), FINE),
}


def leave_threads(n: int, target: Any, *args: object) -> None:
    for _ in range(n):
        threading.Thread(target=target, args=args, daemon=True).start()


def spin_for_good() -> None:
    while True:
        pass


def raise_late() -> None:
    time.sleep(0.02)
    raise OwnError("in a thread")


def leave_waiting_thread() -> None:
    """Leave a thread that is no daemon, so that the interpreter waits for it."""
    threading.Thread(target=time.sleep, args=(600.0,)).start()


def raise_in_main() -> None:
    """Let another thread raise an exception in this one."""
    main = ctypes.c_ulong(threading.main_thread().ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(OwnError))
    for _ in range(1000):
        pass


def fail_in_thread_hook() -> None:
    def fail(*_: object) -> None:
        raise OwnError("in the hook")

    threading.excepthook = fail
    leave_threads(3, raise_late)


THREADS: dict[str, Case] = {
    "20 threads asleep": doing(lambda: leave_threads(20, time.sleep, 600.0), FINE, n_together=MANY),
    "thread that spins": doing(lambda: leave_threads(1, spin_for_good), FINE),
    "threads that raise": doing(lambda: leave_threads(20, raise_late), FINE, n_together=MANY),
    "hook that raises": doing(fail_in_thread_hook, FINE, n_together=MANY),
    "thread that is no daemon": doing(leave_waiting_thread, FINE),
    "raised from outside": doing(raise_in_main, fails("OwnError")),
}


def fail_in_trace() -> None:
    def trace(*_: object) -> None:
        raise OwnError("in a trace")

    sys.settrace(trace)


def hook_into_errors() -> None:
    def fail(*_: object) -> None:
        raise OwnError("in the hook")

    sys.excepthook = sys.unraisablehook = fail


def forget_modules() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("numpy", "json", "re")]:
        del sys.modules[name]


def break_imports() -> None:
    sys.path.clear()
    sys.path.append("/nowhere")


def sleep_at_exit() -> None:
    atexit.register(time.sleep, 600.0)


def patch_time() -> None:
    time.time = lambda: 0.0


def drop_print() -> None:
    del builtins.print
    del builtins.input


def raise_numpy_errors() -> None:
    import numpy as np

    np.seterr(all="raise")
    np.random.seed(1)


def shut_logging() -> None:
    logging.shutdown()
    logging.disable(logging.CRITICAL)
    logging.getLogger().handlers.clear()


def fail_in_logging() -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OwnError("in a handler")

    logging.getLogger().addHandler(Failing())


def make_warnings_errors() -> None:
    warnings.resetwarnings()
    warnings.simplefilter("error")


HOOKS: dict[str, Case] = {
    "trace that raises": doing(fail_in_trace, fails("in a trace")),
    "hooks that raise": doing(hook_into_errors, FINE),
    "modules forgotten": doing(forget_modules, FINE),
    "import path cleared": doing(break_imports, FINE),
    "sleep at the exit": doing(sleep_at_exit, FINE),
    "time of day patched": doing(patch_time, FINE),
    "print deleted": doing(drop_print, FINE, n_together=MANY),
    "errors of NumPy raised": doing(raise_numpy_errors, FINE, n_together=MANY),
    "logging shut down": doing(shut_logging, FINE, n_together=MANY),
    "log handler that raises": doing(fail_in_logging, FINE),
    "warnings are errors": doing(make_warnings_errors, FINE),
    "no garbage collection": doing(gc.disable, FINE, n_together=MANY),
}
