"""Runs of `tune()` that meet hostile objectives, and what became of them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from experiments.hostile_objectives.case import Case, Outcome
from experiments.hostile_objectives.cases import CASES
from rush_core import Network
from rush_opt import Float, FrozenTrial, Trial, TuneResult, tune

__all__ = ["LIMITED", "OPTIMIZERS", "Run", "Verdict", "all_runs", "play"]

OPTIMIZERS = ("random", "adbo")
LIMITED = (False, True)

# Good trials before and after the hostile ones, and trials that the optimizer proposes at last.
_N_BEFORE, _N_AFTER, _N_PROPOSED = 2, 2, 2

# The limit of memory: of cases that use memory, and of others. Processes that an objective left
# behind count as well, each with the memory that it shares with the others.
_LITTLE_MEMORY, _MUCH_MEMORY = "500MB", "8GB"

# A run that takes longer is ended as by Ctrl-C, seconds.
_PATIENCE_S = 90.0

# All processes of a run have this in the environment that they began with.
_MARK = "RUSH_HOSTILE_RUN"


@dataclass(frozen=True)
class Run:
    """One run: its hostile cases, with or without limits, with an optimizer."""

    cases: tuple[str, ...]
    limited: bool
    optimizer: str


@dataclass(frozen=True)
class Verdict:
    """What became of one case.

    Attributes
    ----------
    expected, found : str
        How its trial ended: finished, failed, lost, or another word if it is not there once.
    as_expected : bool
        Whether state and error are right.
    error : str
        The end of the trial's error.
    """

    case: str
    expected: str
    found: str
    as_expected: bool
    error: str


@dataclass(frozen=True)
class Played:
    """What became of one run.

    Attributes
    ----------
    exact_budget : bool
        Whether as many trials count as were asked for, and the run ended because of that.
    others_right : bool
        Whether all good trials finished with their own value.
    n_left_over : int
        Processes that were left when the call returned.
    seconds : float
    verdicts : tuple of Verdict
    """

    exact_budget: bool
    others_right: bool
    n_left_over: int
    seconds: float
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Objective:
    """An objective that does what a case does at certain values of x, and elsewhere returns x."""

    cases: dict[float, str]

    def __call__(self, config: dict[str, Any], trial: Trial) -> Any:
        x = float(config["x"])
        return CASES[self.cases[x]].act(x, trial) if x in self.cases else x


def all_runs() -> list[Run]:
    """Return the whole matrix; a case that ends its process has runs of its own."""
    together: dict[tuple[str, int, float], list[str]] = {}
    for name, case in CASES.items():
        kind = name.partition(":")[0]
        together.setdefault((kind, case.n_together, case.timeout_s), []).append(name)
    groups = [
        tuple(names[i : i + n])
        for (_, n, _), names in together.items()
        for i in range(0, len(names), n)
    ]
    return [
        Run(group, limited, optimizer)
        for group in groups
        for limited in LIMITED
        for optimizer in OPTIMIZERS
    ]


def play(run: Run) -> Played:
    """Play a run without a name, with two workers."""
    n_points = _N_BEFORE + len(run.cases) + _N_AFTER
    points = [(i + 1) / 64 for i in range(n_points)]
    cases = dict(zip(points[_N_BEFORE:], run.cases, strict=False))
    limits: dict[str, Any] = {}
    if run.limited:
        longest = max(CASES[name].timeout_s for name in run.cases)
        uses_memory = run.cases[0].startswith("memory")
        memory = _LITTLE_MEMORY if uses_memory else _MUCH_MEMORY
        limits = {"trial_timeout": longest, "trial_memory": memory}
    with Network():  # the server of this program is started before its processes are marked
        pass
    with _marked() as mark, _ended_after(_PATIENCE_S):
        began = time.monotonic()
        result = tune(
            Objective(cases),
            {"x": Float(0, 1)},
            n_workers=2,
            n_trials=n_points + _N_PROPOSED,
            optimizer=run.optimizer,
            seed=1,
            initial_design=[{"x": x} for x in points],
            progress=False,
            **limits,
        )
        seconds = time.monotonic() - began
        left_over = _marked_processes(mark)
    for process in left_over:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return _judged(run, result, cases, n_points, len(left_over), seconds)


def _judged(
    run: Run,
    result: TuneResult,
    cases: dict[float, str],
    n_points: int,
    n_left_over: int,
    seconds: float,
) -> Played:
    counted = [trial for trial in result.frozen_trials if trial.counts]
    others = [trial for trial in result.frozen_trials if trial.params["x"] not in cases]
    verdicts = []
    for x, name in cases.items():
        found = [trial for trial in result.frozen_trials if trial.params["x"] == x]
        verdicts.append(_verdict(name, CASES[name], run.limited, found))
    n_good = sum(t.state == "finished" and t.value == t.params["x"] for t in others)
    n_lost = sum(verdict.found == "lost" for verdict in verdicts)
    n_trials = n_points + _N_PROPOSED
    return Played(
        exact_budget=len(counted) == n_trials and result.stop_reason == "n_trials",
        others_right=n_good == len(others) == n_trials - len(cases) + n_lost,
        n_left_over=n_left_over,
        seconds=seconds,
        verdicts=tuple(verdicts),
    )


def _verdict(name: str, case: Case, limited: bool, trials: list[FrozenTrial]) -> Verdict:
    expected = case.limited if limited else case.free
    if len(trials) != 1:
        return Verdict(name, expected.state, f"{len(trials)} trials", False, "")
    (trial,) = trials
    found = "lost" if trial.lost else trial.state
    error = trial.error or ""
    return Verdict(name, expected.state, found, _fits(expected, found, error), error[-200:])


def _fits(expected: Outcome, found: str, error: str) -> bool:
    return found == expected.state and re.search(expected.pattern, error) is not None


@contextmanager
def _marked() -> Iterator[str]:
    """Mark all processes that are started in a ``with`` block."""
    mark = secrets.token_hex(8)
    os.environ[_MARK] = mark
    try:
        yield mark
    finally:
        del os.environ[_MARK]


def _marked_processes(mark: str) -> list[psutil.Process]:
    """Return the processes that live and have the mark; this process has it not."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_alive = process.status() != psutil.STATUS_ZOMBIE
            if is_alive and process.environ().get(_MARK) == mark:
                found.append(process)
    return found


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Interrupt this process if a ``with`` block takes too long; a second time to kill trials."""
    timers = [
        threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT))
        for after_s in (seconds, seconds + 5.0)
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
