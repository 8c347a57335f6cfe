"""Objectives that change what their process lives in, ask for input, or use rush itself wrongly."""

from __future__ import annotations

import code
import getpass
import locale
import os
import pdb
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.hostile_objectives.case import (
    FINE,
    MANY,
    Case,
    Expected,
    Outcome,
    doing,
    ends,
    fails,
)

__all__ = ["INPUT", "RUSH", "SURROUNDINGS"]


def live_in_a_removed_folder() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def live_beside_odd_modules() -> None:
    """Live in a folder whose modules have the names of others."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("msgspec", "numpy", "psutil", "signal"):
            Path(folder, f"{name}.py").write_text("raise ValueError('the wrong module')")
        os.chdir(folder)
        sys.path.append("")


def limit(which: int, most: int) -> None:
    resource.setrlimit(which, (most, resource.getrlimit(which)[1]))


def use_cpu_time() -> None:
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    limit(resource.RLIMIT_CPU, int(used) + 1)
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        pass


def change_time_zone() -> None:
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()


def misguide_connections() -> None:
    os.environ["RUSH_REDIS_URL"] = os.environ["REDIS_URL"] = "redis://127.0.0.1:1/0"
    os.environ["RUSH_HOME"] = "/nowhere"


def misguide_temporary_files() -> None:
    os.environ["TMPDIR"] = "/nowhere"
    tempfile.tempdir = "/nowhere"


SURROUNDINGS: dict[str, Case] = {
    "root folder": doing(lambda: os.chdir("/"), FINE, n_together=MANY),
    "removed folder": doing(live_in_a_removed_folder, FINE),
    "odd modules": doing(live_beside_odd_modules, FINE),
    "environment cleared": doing(os.environ.clear, FINE),
    "no temporary folder": doing(misguide_temporary_files, FINE),
    "other server": doing(misguide_connections, FINE),
    "no rights for new files": doing(lambda: os.umask(0o777), FINE, n_together=MANY),
    "time zone": doing(change_time_zone, FINE, n_together=MANY),
    "locale": doing(lambda: locale.setlocale(locale.LC_ALL, "C"), FINE, n_together=MANY),
    "lowest priority": doing(lambda: os.nice(19), FINE, n_together=MANY),
    "no room in files": doing(lambda: limit(resource.RLIMIT_FSIZE, 0), FINE),
    "no more descriptors": doing(lambda: limit(resource.RLIMIT_NOFILE, 16), FINE, n_together=1),
    "CPU time used up": doing(use_cpu_time, ends("SIGXCPU|SIGKILL")),
    "low recursion limit": doing(lambda: sys.setrecursionlimit(80), FINE),
}


def ask_debugger() -> None:
    pdb.set_trace()
    time.sleep(0.0)  # where the debugger stops


_NO_INPUT = fails("standard input is empty")

INPUT: dict[str, Case] = {
    "input()": doing(lambda: input("value? "), _NO_INPUT, n_together=MANY),
    "breakpoint()": doing(ask_debugger, _NO_INPUT, n_together=MANY),
    "input read": doing(lambda: sys.stdin.read(), FINE, n_together=MANY),
    "input read by number": doing(lambda: os.read(0, 100), FINE, n_together=MANY),
    "interpreter": doing(lambda: code.interact(banner="", exitmsg=""), FINE, n_together=MANY),
    "password": doing(lambda: getpass.getpass(), fails("EOFError|terminal|input"), n_together=MANY),
}


def interrupt_worker() -> None:
    from rush_core import WorkerInterrupt

    raise WorkerInterrupt("mine")


def break_worker_loop() -> None:
    """Let the next call of the worker loop fail, as an error of our own would."""
    from rush_opt.evaluation.runner import TrialRunner

    TrialRunner.may_start = None  # type: ignore[method-assign,assignment]


def close_worker() -> None:
    """Find the worker of this process, and close it."""
    import gc

    from rush_core import Worker

    for found in gc.get_objects():
        if type(found) is Worker:
            found.close()


def open_network() -> None:
    """Open a network with a server of its own, and do not close it."""
    from rush_core import Network

    globals()["_network"] = network = Network()
    network.push_tasks([{"x": 1}])


def run_inside() -> None:
    """Run another optimization in the objective."""
    from rush_opt import Float, tune

    tune(abs_x, {"x": Float(-1, 1)}, n_workers=1, n_trials=2, optimizer="random", progress=False)


def abs_x(config: dict[str, Any]) -> float:
    return abs(float(config["x"]))


def _reporting(
    report: Callable[[Any], object], expected: Expected, *, n_together: int = MANY
) -> Case:
    def act(x: float, trial: Any) -> float:
        report(trial)
        return x

    return Case(act, *expected, n_together=n_together)


def report_backwards(trial: Any) -> None:
    trial.report(1.0, 2)
    trial.report(1.0, 1)


def report_after_the_end(trial: Any) -> None:
    trial.report(1.0, 1)

    def report_late() -> None:
        time.sleep(0.2)
        trial.report(2.0, 2)

    threading.Thread(target=report_late, daemon=True).start()


RUSH: dict[str, Case] = {
    "report of a text": _reporting(lambda trial: trial.report("1.0", 1), fails("must be a number")),
    "reports backwards": _reporting(report_backwards, fails("greater at each report")),
    "report of NaN": _reporting(lambda trial: trial.report(float("nan"), 1), FINE),
    "method that is none": _reporting(lambda trial: trial.no_method(), fails("no_method")),
    "report after the trial": _reporting(report_after_the_end, FINE, n_together=1),
    "WorkerInterrupt": doing(
        interrupt_worker, (Outcome("lost"), Outcome("failed", "WorkerInterrupt: mine"))
    ),
    "broken worker loop": doing(break_worker_loop, FINE),
    "closed worker": doing(close_worker, (Outcome("lost"), Outcome("finished"))),
    "open network": doing(open_network, FINE),
    "run in a run": doing(run_inside, FINE),
}
